//go:build itest

package tlog

import (
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"gavel/verify/publictool"
)

// fsck runs Tessera's reader of whole logs. Its exit status means nothing: it is 0
// for a log with a wrong root, too (tesseract issue 937).
func fsck(t *testing.T, url, vkey string) (ok bool, output string) {
	t.Helper()
	keyFile := filepath.Join(t.TempDir(), "log.vkey")
	if err := os.WriteFile(keyFile, []byte(vkey), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(publictool.Path(t, "tessera-fsck"), "-storage_url", url, "-public_key", keyFile, "-ui=false", "-N", "2").CombinedOutput()
	return err == nil && strings.Contains(string(out), "Successfully fsck'd log with size"), string(out)
}

// Tessera reads what is written here, from the directory and as it is served, at
// sizes with partial tiles on every level, and finds what was changed.
func TestTesseraReadsTheLog(t *testing.T) {
	dir, k := t.TempDir(), newLogKey(t)
	l, err := OpenLog(dir)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(Handler(dir))
	defer server.Close()
	all := someEntries(0, 70000)
	for _, n := range []int{1, 255, 256, 257, 600, 65536, 70000} {
		if err := l.AppendAt(l.Size(), all[l.Size():n]); err != nil {
			t.Fatal(err)
		}
		// What is sealed beyond the checkpoint does not disturb.
		if n < 70000 {
			if err := l.AppendAt(uint64(n), all[n:n+1]); err != nil {
				t.Fatal(err)
			}
		}
		if err := l.Publish(k.sign(t, Checkpoint{k.origin, uint64(n), must(l.RootAt(uint64(n)))})); err != nil {
			t.Fatal(err)
		}
		for _, url := range []string{"file://" + dir + "/", server.URL + "/"} {
			ok, out := fsck(t, url, k.vkey)
			if !ok || !strings.Contains(out, fmt.Sprint("size ", n)) {
				t.Errorf("%d entries from %s:\n%s", n, url, out)
			}
		}
	}
	for _, name := range []string{"tile/0/007", "tile/0/273.p/112", "tile/1/000", "tile/2/000.p/1", "tile/entries/100", "tile/entries/273.p/112", "checkpoint"} {
		path := filepath.Join(dir, name)
		if err := flip(path); err != nil {
			t.Fatal(err)
		}
		if ok, out := fsck(t, "file://"+dir+"/", k.vkey); ok {
			t.Errorf("%s was changed and fsck says:\n%s", name, out)
		}
		if err := flip(path); err != nil {
			t.Fatal(err)
		}
	}
	if ok, out := fsck(t, "file://"+dir+"/", k.vkey); !ok {
		t.Errorf("put back as it was:\n%s", out)
	}
}
