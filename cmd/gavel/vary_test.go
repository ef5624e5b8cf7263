package main

import (
	"bytes"
	"strings"
	"testing"

	gavelv1 "gavel/api/gavel/v1"
	"gavel/raftfsm/build"
)

// varied is an agreed build whose validators found these things.
func varied(asked []string, seats ...*gavelv1.Attempt) *gavelv1.Build {
	b := &gavelv1.Build{Id: make([]byte, 32), State: build.Settled.String(), Verdict: build.Agreed.String(), Status: build.StatusExited.String(), Vary: asked}
	for i, s := range seats {
		s.Round, s.Seat, s.Worker, s.Agreed = build.RoundFirst.String(), uint32(i+1), workerName(i+1), true
		b.Attempts = append(b.Attempts, s)
	}
	return b
}

func TestWhatVaryingTells(t *testing.T) {
	found := func(f build.Finding, tried []string, broke ...string) *gavelv1.Attempt {
		return &gavelv1.Attempt{Finding: f.String(), Tried: tried, Broke: broke}
	}
	both := []string{"hostname", "clock"}
	for name, c := range map[string]struct {
		asked []string
		seats []*gavelv1.Attempt
		code  int
		says  string
	}{
		"nothing asked":    {nil, []*gavelv1.Attempt{{}, {}}, exitDone, ""},
		"same":             {both, []*gavelv1.Attempt{found(build.FindSame, both), found(build.FindSame, both)}, exitDone, "the same result with hostname, clock varied, by 2 validators"},
		"depends":          {both, []*gavelv1.Attempt{found(build.FindDepends, both, "clock"), found(build.FindSame, both)}, exitFailed, "the same result"},
		"unstable":         {both, []*gavelv1.Attempt{found(build.FindUnstable, both), found(build.FindSame, both)}, exitFailed, "not deterministic"},
		"together":         {both, []*gavelv1.Attempt{found(build.FindTogether, both)}, exitFailed, "several together"},
		"unfinished":       {both, []*gavelv1.Attempt{found(build.FindUnfinished, both)}, exitUnverified, "could not finish"},
		"one answer":       {both, []*gavelv1.Attempt{found(build.FindUnfinished, both), found(build.FindSame, both)}, exitDone, "could not finish"},
		"nobody can":       {both, []*gavelv1.Attempt{{}, {}}, exitUnverified, "nothing was varied"},
		"some cannot":      {both, []*gavelv1.Attempt{found(build.FindSame, []string{"clock"}), {}}, exitDone, "not varied, because no validator's machine can: hostname"},
		"findings unasked": {nil, []*gavelv1.Attempt{found(build.FindDepends, both, "clock")}, exitDone, ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := newReport(varied(c.asked, c.seats...))
			if got := r.exitCode(false); got != c.code {
				t.Errorf("exit status %d, want %d", got, c.code)
			}
			if got := r.exitCode(true); c.code == exitUnverified && got != exitDone {
				t.Errorf("exit status %d with --on-unverified warn", got)
			}
			var out bytes.Buffer
			r.writeVaried(&terminal{out: &out, err: &out})
			if !strings.Contains(out.String(), c.says) || c.says == "" && out.Len() > 0 {
				t.Errorf("said %q, want %q", &out, c.says)
			}
		})
	}
}

func TestDependencesAreNamed(t *testing.T) {
	b := varied([]string{"hostname", "clock"}, &gavelv1.Attempt{Finding: build.FindDepends.String(), Tried: []string{"hostname", "clock"}, Broke: []string{"clock"}})
	b.Dependences = []*gavelv1.Dependence{{Dimension: "clock", Found: 1, Tried: 1}}
	r := newReport(b)
	r.explainVaried()
	var out bytes.Buffer
	r.writeVaried(&terminal{out: &out, err: &out})
	if !strings.Contains(r.Reason, "the result depends on the clock (clock)") || !strings.Contains(out.String(), "1 of 1 validator that varied it") {
		t.Errorf("reason %q, said %q", r.Reason, &out)
	}
	// A command that failed made nothing to compare: nothing is said.
	b.ExitCode = 1
	out.Reset()
	newReport(b).writeVaried(&terminal{out: &out, err: &out})
	if out.Len() > 0 {
		t.Errorf("of a failed command it says %q", &out)
	}
	for _, name := range build.VaryAll.Names() {
		if dimensionWords[name] == "" {
			t.Errorf("there are no words for %s", name)
		}
	}
	if _, err := parseVary([]string{"all", "host"}); err == nil || !strings.Contains(err.Error(), `"host"`) {
		t.Errorf("an unknown dimension: %v", err)
	}
}
