package container

import (
	"os"
	"testing"
)

func TestTopDevice(t *testing.T) {
	const table = `21 1 254:0 / / rw,relatime shared:1 - ext4 /dev/root rw
30 21 0:40 / /build rw,nosuid,nodev master:7 - tmpfs gavel rw,size=1k
31 30 0:51 / /build rw,nosuid,nodev - overlay gavel rw,lowerdir=/build
32 21 0:60 / /buildings rw - tmpfs none rw
33 21 0:61 /build /other rw - tmpfs none rw
short
`
	for target, want := range map[string]string{"/build": "0:51", "/": "254:0", "/other": "0:61", "/absent": "", "/build/x": ""} {
		if got := topDevice([]byte(table), target); got != want {
			t.Errorf("%s: %q, want %q", target, got, want)
		}
	}
}

// What was never filled is not shown, and a process that is gone sees nothing.
func TestShownIn(t *testing.T) {
	s := Scratch{Dir: t.TempDir()}
	if err := s.ShownIn(os.Getpid(), "/build"); err == nil {
		t.Error("there is no slot")
	}
	if err := os.Mkdir(s.path(slotDir), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := s.ShownIn(os.Getpid(), "/nothing/mounted/here"); err == nil {
		t.Error("nothing is mounted there")
	}
	if err := s.ShownIn(1<<30, "/"); err == nil {
		t.Error("there is no such process")
	}
}
