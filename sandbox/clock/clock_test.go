package clock

import (
	"testing"
)

func TestStandingClock(t *testing.T) {
	for script, want := range map[string]string{
		"date +%s":                               "2208988800\n",
		"sleep 1; date +%s; sleep 1.1; date +%s": "2208988800\n2208988800\n",
	} {
		if got := shell(t, 60, script); got != want {
			t.Errorf("%s: %q, want %q", script, got, want)
		}
	}
}
