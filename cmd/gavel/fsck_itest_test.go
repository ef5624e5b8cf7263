//go:build itest

package main

import (
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"gavel/verify/dossier"
	"gavel/verify/keys"
	"gavel/verify/publictool"
	"gavel/verify/tlog"
)

// Tessera's fsck reads the log as each coordinator of a farm serves it, and sees
// what was changed in a copy.
func TestTesseraReadsAFarmsLog(t *testing.T) {
	f := newTestFarm(t, "--workers", "6")
	f.submit(honest).report(exitDone)
	raw, err := os.ReadFile(farmDir(f.dir).genesis())
	if err != nil {
		t.Fatal(err)
	}
	g, err := dossier.ReadGenesis(raw)
	if err != nil {
		t.Fatal(err)
	}
	public, err := keys.ParsePKIX(g.ClusterKey)
	if err != nil {
		t.Fatal(err)
	}
	vkey, err := note.NewEd25519VerifierKey(tlog.Origin(g.Digest()), public.(ed25519.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	key := filepath.Join(t.TempDir(), "log.vkey")
	if err := os.WriteFile(key, []byte(vkey), 0o644); err != nil {
		t.Fatal(err)
	}
	read := func(url string) (bool, string) {
		out, err := exec.Command(publictool.Path(t, "tessera-fsck"), "-storage_url", url, "-public_key", key, "-ui=false", "-N", "2").CombinedOutput()
		return err == nil && strings.Contains(string(out), "Successfully fsck'd log with size"), string(out)
	}
	var file struct {
		LogPorts []int `json:"log_ports"`
	}
	readJSONFile(t, filepath.Join(f.dir, "up.json"), &file)
	for i, port := range file.LogPorts {
		eventually(t, func() bool { ok, _ := read("http://" + address("127.0.0.1", port) + "/"); return ok }, "fsck reads the log of coordinator %d", i+1)
	}
	// A changed tile is found. The copy is of a log that does not grow.
	f.stop()
	copied := t.TempDir()
	if err := os.CopyFS(copied, os.DirFS(filepath.Join(f.dir, coordinatorName(1), "tlog"))); err != nil {
		t.Fatal(err)
	}
	if ok, out := read("file://" + copied + "/"); !ok {
		t.Fatalf("fsck on a copy: %s", out)
	}
	var tiles []string
	if err := filepath.WalkDir(filepath.Join(copied, "tile", "0"), func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			tiles = append(tiles, path)
		}
		return err
	}); err != nil || len(tiles) == 0 {
		t.Fatalf("no tiles: %v", err)
	}
	for _, tile := range tiles { // which of the partial ones is read the checkpoint says
		raw, err := os.ReadFile(tile)
		if err != nil {
			t.Fatal(err)
		}
		raw[1] ^= 1
		if err := errors.Join(os.Chmod(tile, 0o644), os.WriteFile(tile, raw, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	if ok, out := read("file://" + copied + "/"); ok {
		t.Errorf("fsck does not see that tiles were changed: %s", out)
	}
}

func eventually(t *testing.T, holds func() bool, format string, args ...any) {
	t.Helper()
	for deadline := time.Now().Add(farmPatience); !holds(); time.Sleep(200 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf(format+": not in time", args...)
		}
	}
}

func readJSONFile(t *testing.T, path string, into any) {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(raw, into)
	}
	if err != nil {
		t.Fatal(err)
	}
}
