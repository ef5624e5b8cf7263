package worker

import (
	"crypto/rand"
	"fmt"
	"log/slog"

	"gavel/raftfsm/build"
	"gavel/raftfsm/wire"
)

// garbled lodges what looks like a sealed opening and decrypts for nobody.
func garbled(inner lodger, log *slog.Logger) lodger {
	return func(buildID, lease, commitment build.ID, o *build.Opening) ([]byte, error) {
		lodged, err := inner(buildID, lease, commitment, o)
		if err != nil {
			return nil, err
		}
		log.Warn("lodges garbage", "build", full(buildID), "lease", short(lease))
		var l build.Lodgement
		if err := wire.Decode(lodged, &l); err != nil {
			return nil, fmt.Errorf("garbling: %w", err)
		}
		for _, sealed := range l.Sealed {
			if _, err := rand.Read(sealed); err != nil {
				return nil, fmt.Errorf("garbling: %w", err)
			}
		}
		return wire.Encode(&l), nil
	}
}
