package build

import (
	"math/rand/v2"
	"testing"
)

// naiveJudge counts by comparing every pair, in the words of DESIGN section 4, step 8.
func naiveJudge(first, panel []ID) Judgement {
	if len(panel) < 3 {
		return Judgement{Verdict: Unverified}
	}
	distinct := true
	for i := range panel {
		same := 0
		for j := range panel {
			if panel[i] == panel[j] {
				same++
				distinct = distinct && i == j
			}
		}
		if 3*same >= 2*len(panel) {
			for _, d := range first {
				if d == panel[i] {
					return Judgement{Judged, d}
				}
			}
			return Judgement{Verdict: NonDeterministic}
		}
	}
	if distinct {
		return Judgement{Verdict: NonDeterministic}
	}
	return Judgement{Verdict: EnvironmentDependent}
}

func TestJudgeAgainstOracle(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	seen := map[State]int{}
	for range 200_000 {
		kinds := 1 + rng.IntN(6)
		pick := func(n int) []ID {
			out := make([]ID, n)
			for i := range out {
				out[i] = fill(byte(rng.IntN(kinds)))
			}
			return out
		}
		first, panel := pick(1+rng.IntN(5)), pick(rng.IntN(9))
		got, want := Judge(first, panel), naiveJudge(first, panel)
		if got != want {
			t.Fatalf("first %v, panel %v: %v, want %v", first, panel, got, want)
		}
		rng.Shuffle(len(panel), func(i, j int) { panel[i], panel[j] = panel[j], panel[i] })
		if Judge(first, panel) != got {
			t.Fatalf("first %v, panel %v: the order of the panel matters", first, panel)
		}
		seen[got.Verdict]++
	}
	for _, v := range []State{Judged, NonDeterministic, EnvironmentDependent, Unverified} {
		if seen[v] == 0 {
			t.Errorf("no case was %v", v)
		}
	}
}

func TestManifestRefuses(t *testing.T) {
	file := func(p string) Output { return Output{Path: p, Type: OutputFile} }
	for name, m := range map[string]Manifest{
		"unknown status":       {Status: 9},
		"outputs of a timeout": {Status: StatusTimeout, Outputs: []Output{file("a")}},
		"disorder":             {Status: StatusExited, Outputs: []Output{file("b"), file("a")}},
		"repeat":               {Status: StatusExited, Outputs: []Output{file("a"), file("a")}},
		"escape":               {Status: StatusExited, Outputs: []Output{file("../a")}},
		"absolute":             {Status: StatusExited, Outputs: []Output{file("/a")}},
		"dot":                  {Status: StatusExited, Outputs: []Output{file("a/./b")}},
		"NUL":                  {Status: StatusExited, Outputs: []Output{file("a\x00")}},
		"no UTF-8":             {Status: StatusExited, Outputs: []Output{file("a\xff")}},
		"link without target":  {Status: StatusExited, Outputs: []Output{{Path: "a", Type: OutputSymlink}}},
		"directory of a size":  {Status: StatusExited, Outputs: []Output{{Path: "a", Type: OutputDir, Size: 1}}},
		"exit code":            {Status: StatusExited, ExitCode: 256},
	} {
		if m.Validate() == nil {
			t.Errorf("%s: taken", name)
		}
	}
	if err := sampleManifest().Validate(); err != nil {
		t.Error(err)
	}
}
