package dossier_test

import (
	"encoding/base64"
	"os"
	"testing"
)

var scratch string

func TestMain(m *testing.M) {
	code := m.Run()
	if scratch != "" {
		_ = os.RemoveAll(scratch)
	}
	os.Exit(code)
}

// tempDir outlives the test that first asks for the library.
func tempDir() (string, error) {
	var err error
	scratch, err = os.MkdirTemp("", "dossier")
	return scratch, err
}

func base64Of(raw []byte) string { return base64.StdEncoding.EncodeToString(raw) }
