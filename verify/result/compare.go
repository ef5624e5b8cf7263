package result

import (
	"gavel/raftfsm/build"
)

// Why says in what a path differs.
type Why string

// The ways in which results differ. The first three are of the result as a
// whole and have no path.
const (
	Status   Why = "status"
	ExitCode Why = "exit code"
	Signal   Why = "signal"
	Missing  Why = "missing"
	Type     Why = "type"
	Mode     Why = "mode"
	Target   Why = "target"
	Content  Why = "content"
)

// Difference is one way in which result a and result b differ.
type Difference struct {
	Path string // empty where the results differ as a whole
	Why  Why
	// A and B are the two sides in words: "exited", "executable", "target x",
	// "absent", a digest.
	A, B string
}

// Compare lists all differences of two valid manifests: first those of the
// results as a whole, then by path, bytewise. It is empty exactly if the
// manifests encode alike. Where types differ, nothing more is said of the path.
func Compare(a, b *build.Manifest) []Difference {
	out := compareEnds(a, b)
	i, j := 0, 0
	for i < len(a.Outputs) || j < len(b.Outputs) {
		switch {
		case j == len(b.Outputs) || i < len(a.Outputs) && a.Outputs[i].Path < b.Outputs[j].Path:
			out = append(out, Difference{a.Outputs[i].Path, Missing, typeName(a.Outputs[i].Type), absent})
			i++
		case i == len(a.Outputs) || b.Outputs[j].Path < a.Outputs[i].Path:
			out = append(out, Difference{b.Outputs[j].Path, Missing, absent, typeName(b.Outputs[j].Type)})
			j++
		default:
			out = append(out, compareOutput(&a.Outputs[i], &b.Outputs[j])...)
			i++
			j++
		}
	}
	return out
}

const absent = "absent"

// compareEnds compares how the two commands ended.
func compareEnds(a, b *build.Manifest) (out []Difference) {
	if a.Status != b.Status {
		out = append(out, Difference{Why: Status, A: a.Status.String(), B: b.Status.String()})
	}
	if a.ExitCode != b.ExitCode {
		out = append(out, Difference{Why: ExitCode, A: decimal(a.ExitCode), B: decimal(b.ExitCode)})
	}
	if a.Signal != b.Signal {
		out = append(out, Difference{Why: Signal, A: decimal(a.Signal), B: decimal(b.Signal)})
	}
	return out
}

// compareOutput compares what lies at one path on both sides.
func compareOutput(a, b *build.Output) (out []Difference) {
	if a.Type != b.Type {
		return []Difference{{a.Path, Type, typeName(a.Type), typeName(b.Type)}}
	}
	if a.Executable != b.Executable {
		out = append(out, Difference{a.Path, Mode, modeName(a.Executable), modeName(b.Executable)})
	}
	if a.Target != b.Target {
		out = append(out, Difference{a.Path, Target, a.Target, b.Target})
	}
	// Equal digests with different sizes cannot both be true; the encodings
	// differ, so it is a difference.
	if a.Digest != b.Digest || a.Size != b.Size {
		out = append(out, Difference{a.Path, Content, contentName(a), contentName(b)})
	}
	return out
}

// FirstContent is the path of the first file that both have with different
// content: the one to fetch for FirstDifference.
func FirstContent(differences []Difference) (path string, ok bool) {
	for _, d := range differences {
		if d.Why == Content {
			return d.Path, true
		}
	}
	return "", false
}
