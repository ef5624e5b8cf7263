package result

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"gavel/raftfsm/build"
)

// Explain says in one paragraph how the results of a and b, named so, differ.
// first is where the files at FirstContent's path part, nil if nobody looked.
func Explain(a, b string, differences []Difference, first *ByteDifference) string {
	if len(differences) == 0 {
		return fmt.Sprintf("The results of %s and %s are equal.", a, b)
	}
	var sentences []string
	fetched, _ := FirstContent(differences)
	shownPaths, hidden, last := 0, 0, ""
	for _, d := range differences {
		if d.Path != "" && d.Path != last {
			last = d.Path
			shownPaths++
			if shownPaths > maxExplained {
				hidden++
			}
		}
		if shownPaths > maxExplained {
			continue
		}
		if d.Why == Content && d.Path == fetched && first != nil {
			sentences = append(sentences, first.sentence(printable(d.Path)))
			continue
		}
		sentences = append(sentences, d.sentence())
	}
	text := fmt.Sprintf("The results of %s and %s differ (%s / %s): %s.", a, b, a, b, strings.Join(sentences, "; "))
	if hidden > 0 {
		text += fmt.Sprintf(" %s.", counted(uint64(hidden), "more path differs", "more paths differ"))
	}
	return text
}

// sentence is one difference, the two sides in brackets.
func (d Difference) sentence() string {
	path, sides := printable(d.Path), fmt.Sprintf("(%s / %s)", printable(d.A), printable(d.B))
	switch d.Why {
	case Status:
		return "the commands ended differently " + sides
	case ExitCode, Signal:
		return fmt.Sprintf("the %ss differ %s", d.Why, sides)
	case Missing:
		return path + " is missing on one side " + sides
	}
	return fmt.Sprintf("%s differs in %s %s", path, d.Why, sides)
}

func (f *ByteDifference) sentence(path string) string {
	return fmt.Sprintf("%s differs at byte %d (%s / %s)", path, f.Offset, byteName(f.A), byteName(f.B))
}

func byteName(b int) string {
	if b == End {
		return "end of file"
	}
	return fmt.Sprintf("0x%02x", b)
}

func counted(n uint64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return strconv.FormatUint(n, 10) + " " + many
}

// printable quotes text that a terminal might act upon: paths are a stranger's.
func printable(s string) string {
	if quoted := strconv.Quote(s); s == "" || quoted != `"`+s+`"` {
		return quoted
	}
	return s
}

func decimal(n uint32) string { return strconv.FormatUint(uint64(n), 10) }

func typeName(t build.OutputType) string {
	switch t {
	case build.OutputFile:
		return "file"
	case build.OutputDir:
		return "directory"
	case build.OutputSymlink:
		return "symlink"
	}
	return fmt.Sprintf("type %d", uint8(t))
}

func modeName(executable bool) string {
	if executable {
		return "executable"
	}
	return "not executable"
}

// contentName names a file's content by its size and the first digits of its
// digest, enough for a person to tell two apart.
func contentName(o *build.Output) string {
	return fmt.Sprintf("%s, sha256 %s…", counted(o.Size, "byte", "bytes"), hex.EncodeToString(o.Digest[:6]))
}
