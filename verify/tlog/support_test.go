package tlog

import (
	"encoding/base64"
	"os"
)

func base64Of(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func second[T any](_ T, err error) error { return err }

// unsynced waits for no disk: for tests of what is computed, not of crashes.
type unsynced struct{ osFiles }

func (unsynced) Store(files []stored) error {
	for _, f := range files {
		if err := os.WriteFile(f.path, f.content, 0o644); err != nil {
			return err
		}
	}
	return nil
}

func (unsynced) SyncDirs([]string) error { return nil }
