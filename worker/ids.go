package worker

import (
	"encoding/hex"
	"fmt"

	"gavel/raftfsm/build"
)

// full names a build in the log, as every command prints it.
func full(id build.ID) string { return hex.EncodeToString(id[:]) }

// short names a lease or an auction in the log.
func short(id build.ID) string { return hex.EncodeToString(id[:8]) }

// idOf copies a 32-byte id of a message.
func idOf(raw []byte, id *build.ID) error {
	if len(raw) != len(id) {
		return fmt.Errorf("an id of %d bytes, want %d", len(raw), len(id))
	}
	copy(id[:], raw)
	return nil
}
