package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gavel/verify/keys"
)

func TestKeysWithAPassphrase(t *testing.T) {
	path := filepath.Join(t.TempDir(), "alice")
	t.Setenv(keys.PasswordVariable, "correct horse")
	code, made, stderr := call(t.Context(), "keys", "new", path, "--passphrase", "--json")
	if code != exitDone {
		t.Fatalf("%d: %s", code, stderr)
	}
	raw, err := os.ReadFile(path)
	if err != nil || !keys.Encrypted(raw) {
		t.Errorf("%v\n%s", err, raw)
	}
	if code, shown, stderr := call(t.Context(), "keys", "show", path, "--json"); code != exitDone || shown != made {
		t.Errorf("%d: %s%s, want %s", code, shown, stderr, made)
	}
	t.Setenv(keys.PasswordVariable, "wrong")
	if code, _, stderr := call(t.Context(), "keys", "show", path); code == exitDone || !strings.Contains(stderr, "no passphrase opens the key") {
		t.Errorf("a wrong passphrase: %d %s", code, stderr)
	}
	if code, _, stderr := call(t.Context(), "keys", "new", path+"2", "--passphrase", "--seal"); code != exitUsage || !strings.Contains(stderr, "exclude each other") {
		t.Errorf("a sealing key: %d %s", code, stderr)
	}
}
