package signals

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

const playVariable = "GAVEL_TEST_SIGNALS"

func TestMain(m *testing.M) {
	if how := os.Getenv(playVariable); how != "" {
		if how == "default" {
			if err := Default(); err != nil {
				panic(err)
			}
		}
		out, err := exec.Command("grep", "SigIgn", "/proc/self/status").Output()
		if err != nil {
			panic(err)
		}
		os.Stdout.Write(out)
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// A program under nohup, and with a signal that Go knows nothing of ignored too,
// starts others that ignore nothing.
func TestNothingIsInherited(t *testing.T) {
	var was action
	if err := set(32, &action{handler: ignored}, &was); err != nil {
		t.Fatal(err)
	}
	defer set(32, &was, nil)
	for how, want := range map[string]string{"as it is": "0000000080000001", "default": "0000000000000000"} {
		cmd := exec.Command("sh", "-c", `trap "" HUP; exec "$0"`, os.Args[0])
		cmd.Env = append(os.Environ(), playVariable+"="+how)
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(out), want) {
			t.Errorf("%s: %s, want %s", how, out, want)
		}
	}
}
