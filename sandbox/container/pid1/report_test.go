package pid1

import (
	"errors"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestParseReport(t *testing.T) {
	for text, want := range map[string]Report{
		"":                                 {OOMKills: -1},
		"star":                             {OOMKills: -1},
		"started":                          {OOMKills: -1},
		startedLine():                      {Started: true, OOMKills: -1},
		startedLine() + endedLine(3, 0, 0): {Started: true, Ended: true, Code: 3},
		startedLine() + endedLine(0, 9, 2): {Started: true, Ended: true, Signal: 9, OOMKills: 2},
		startedLine() + "ended 3 0":        {Started: true, OOMKills: -1},
		startedLine() + "ended 3 0 0":      {Started: true, OOMKills: -1},
		"ended 256 0 0\n":                  {OOMKills: -1},
		"ended 0 128 0\n":                  {OOMKills: -1},
		"ended 0 0 -2\n":                   {OOMKills: -1},
		"ended 1 2 3 4\n":                  {OOMKills: -1},
		"ended  1 2\n":                     {OOMKills: -1},
		"ended 0 0 -1\n":                   {Ended: true, OOMKills: -1},
		failedLine(errors.New("a\nb c")):   {OOMKills: -1, Failure: "a b c"},
		"panic: runtime error\n":           {OOMKills: -1},
	} {
		if got := ParseReport(text); got != want {
			t.Errorf("%q: got %+v, want %+v", text, got, want)
		}
	}
}

func TestReportReaderInPieces(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		code, kills := rapid.IntRange(0, 255).Draw(t, "code"), rapid.Int64Range(-1, 1<<40).Draw(t, "kills")
		text := startedLine() + endedLine(code, 0, kills)
		var seen []Report
		r := ReportReader{OnLine: func(rep Report) { seen = append(seen, rep) }}
		for rest := text; rest != ""; {
			n := rapid.IntRange(1, len(rest)).Draw(t, "piece")
			if got, err := r.Write([]byte(rest[:n])); got != n || err != nil {
				t.Fatal(got, err)
			}
			rest = rest[n:]
		}
		want := Report{Started: true, Ended: true, Code: code, OOMKills: kills}
		if len(seen) == 0 || len(seen) > 2 || seen[len(seen)-1] != want || r.Report() != want || !seen[0].Started {
			t.Fatalf("saw %+v, want %+v at the end", seen, want)
		}
	})
}

func TestReportReaderIsBounded(t *testing.T) {
	calls := 0
	r := ReportReader{OnLine: func(Report) { calls++ }}
	flood := []byte(strings.Repeat("x\n", 1000))
	for range 100 {
		if n, err := r.Write(flood); n != len(flood) || err != nil {
			t.Fatal(n, err)
		}
	}
	if len(r.text) != maxReportBytes || calls > maxReportBytes {
		t.Errorf("kept %d bytes, %d calls", len(r.text), calls)
	}
}

func FuzzParseReport(f *testing.F) {
	f.Add(startedLine() + endedLine(1, 2, 3))
	f.Add(failedLine(errors.New("x")))
	f.Fuzz(func(t *testing.T, text string) {
		r := ParseReport(text)
		if r.Code < 0 || r.Code > 255 || r.Signal < 0 || r.Signal > 127 || r.OOMKills < -1 {
			t.Errorf("%q: %+v", text, r)
		}
		if !strings.Contains(text, "\n") && r != (Report{OOMKills: -1}) {
			t.Errorf("half a line counts: %+v", r)
		}
	})
}
