package worker

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gavel/raftfsm/build"
	"gavel/raftfsm/escrow"
)

const goodConfig = `{"name":"w1","dir":"/d","endpoints":["h:1"],"key_file":"/k","pool":"p","operator":"o","machine":"m","price":"1.25"}`

func TestReadConfig(t *testing.T) {
	path := filepath.Join(t.TempDir(), "worker.json")
	if err := os.WriteFile(path, []byte(goodConfig), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := ReadConfig(path)
	if err != nil {
		t.Fatal(err)
	}
	if c.Sandbox != SandboxNative || c.Slots != 1 || c.LogFile != "/d/worker.log" || escrow.Credits(*c.Price) != 1_250_000 {
		t.Errorf("read %+v", c)
	}
	raw, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := parseConfig(raw); err != nil || again.LogFile != c.LogFile || *again.Price != *c.Price {
		t.Errorf("what is written is not read again: %v", err)
	}
}

func TestConfigRefusals(t *testing.T) {
	for name, c := range map[string]struct{ from, to, say string }{
		"unknown key":    {`"name"`, `"nome":"x","name"`, "nome"},
		"no name":        {`"w1"`, `""`, `"name" is missing`},
		"no endpoints":   {`["h:1"]`, `[]`, "endpoints"},
		"negative price": {`"1.25"`, `"-1"`, "negative"},
		"malformed":      {`"1.25"`, `"1.2.5"`, "amount of credits"},
		"two prices":     {`"1.25"`, `"1","price_per_second":"1"`, "both set"},
		"sandbox":        {`"w1"`, `"w1","sandbox":"chroot"`, "chroot"},
		"spare":          {`"w1"`, `"w1","spare_container":true`, "needs the sandbox"},
		"runtime":        {`"w1"`, `"w1","runtime":"runsc"`, "needs the sandbox"},
		"slots":          {`"w1"`, `"w1","slots":-1`, "slots"},
		"cache":          {`"w1"`, `"w1","cache_bytes":5`, "too small"},
		"misbehave":      {`"w1"`, `"w1","misbehave":"rob"`, "rob"},
		"more behind":    {`"1.25"}`, `"1.25"} {}`, "more after"},
	} {
		t.Run(name, func(t *testing.T) {
			text := strings.Replace(goodConfig, c.from, c.to, 1)
			if text == goodConfig {
				t.Fatal("the case changes nothing")
			}
			if _, err := parseConfig([]byte(text)); err == nil || !strings.Contains(err.Error(), c.say) {
				t.Errorf("got %v, want a sentence with %q", err, c.say)
			}
		})
	}
}

// A capacity that no opening may name was sealed all the same, since a commitment
// hides it: the opening was refused, and every epoch cost the bond.
func TestAskCapacityIsOneThatCanBeOpened(t *testing.T) {
	for capacity, want := range map[uint64]bool{build.MaxCapacity: true, build.MaxCapacity + 1: false, 1<<64 - 1: false} {
		_, err := parseConfig([]byte(strings.Replace(goodConfig, `"w1"`, fmt.Sprintf(`"w1","ask_capacity":%d`, capacity), 1)))
		if (err == nil) != want || err != nil && !strings.Contains(err.Error(), `"ask_capacity"`) {
			t.Errorf("a capacity of %d: %v", capacity, err)
		}
	}
}

func FuzzConfig(f *testing.F) {
	f.Add([]byte(goodConfig))
	f.Fuzz(func(t *testing.T, raw []byte) {
		c, err := parseConfig(raw)
		if err == nil && c.validate() != nil {
			t.Fatal("accepted what is not valid")
		}
	})
}
