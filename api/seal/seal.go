// Package seal owns what is encrypted between the parties of a farm: openings
// lodged with the coordinators, logs for their requester, and the X25519 keys
// for both. It never decides whether what it opened is true, sends nothing and
// keeps nothing but the key files it is asked to write. Every message is one
// HPKE base-mode message (RFC 9180, DHKEM(X25519, HKDF-SHA256), HKDF-SHA256,
// ChaCha20Poly1305) whose info names the one place it belongs to, so that it
// opens nowhere else.
package seal

import (
	"bytes"
	"crypto/hpke"
	"errors"
	"fmt"

	"gavel/raftfsm/build"
	"gavel/raftfsm/wire"
)

// ErrOpen says that a message was not sealed for this key and place, or was changed since.
var ErrOpen = errors.New("sealed message does not open")

// Lodgement seals an opening to every coordinator of the cluster, which must be
// sorted by id, and returns the canonical build.Lodgement that a Commit carries.
func Lodgement(coordinators []build.Coordinator, cluster, buildID, lease, commitment build.ID, opening *build.Opening) ([]byte, error) {
	if len(coordinators) == 0 || len(coordinators) > MaxCoordinators {
		return nil, fmt.Errorf("sealing an opening to %d coordinators, want 1 to %d", len(coordinators), MaxCoordinators)
	}
	info := build.LodgeInfo(cluster, buildID, lease, commitment)
	plain := wire.Encode(opening)
	var l build.Lodgement
	for i := range coordinators {
		c := &coordinators[i]
		if i > 0 && wire.Compare32(coordinators[i-1].ID, c.ID) >= 0 {
			return nil, fmt.Errorf("sealing an opening: coordinator %s is out of order", c.Name)
		}
		sealed, err := sealTo(c.SealKey, info, plain)
		if err != nil {
			return nil, fmt.Errorf("sealing an opening to coordinator %s: %w", c.Name, err)
		}
		l.Sealed = append(l.Sealed, sealed)
	}
	lodged := wire.Encode(&l)
	if len(lodged) > build.MaxLodgedBytes {
		return nil, fmt.Errorf("an opening sealed to %d coordinators takes %d bytes, at most %d fit in a commit", len(coordinators), len(lodged), build.MaxLodgedBytes)
	}
	return lodged, nil
}

// OpenLodgement decrypts the opening that was sealed to the coordinator at
// position index (from 0, of those sorted by id) among count. Whether it matches
// the commitment is left to the caller. The error wraps ErrOpen whenever the
// lodgement is at fault.
func OpenLodgement(key *PrivateKey, index, count int, cluster, buildID, lease, commitment build.ID, lodged []byte) (*build.Opening, error) {
	var l build.Lodgement
	if err := wire.Decode(lodged, &l); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrOpen, err)
	}
	if len(l.Sealed) != count || index < 0 || index >= count {
		return nil, fmt.Errorf("%w: %d messages lodged, want %d, of which number %d", ErrOpen, len(l.Sealed), count, index)
	}
	plain, err := open(key, build.LodgeInfo(cluster, buildID, lease, commitment), l.Sealed[index])
	if err != nil {
		return nil, err
	}
	var o build.Opening
	if err := wire.Decode(plain, &o); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrOpen, err)
	}
	return &o, nil
}

// Log encrypts one chunk of a build's log to the requester's X25519 public key,
// build.Terms.LogKey. Chunks are numbered from 0 within their lease; the number
// is bound, so that the cluster can drop the end of a log but neither reorder it
// nor mix two.
func Log(to [32]byte, buildID, lease build.ID, sequence uint64, plain []byte) ([]byte, error) {
	if len(plain) > MaxLogChunkBytes {
		return nil, fmt.Errorf("a log chunk of %d bytes, at most %d can be sealed", len(plain), MaxLogChunkBytes)
	}
	sealed, err := sealTo(to[:], logInfo(buildID, lease, sequence), plain)
	if err != nil {
		return nil, fmt.Errorf("sealing log chunk %d: %w", sequence, err)
	}
	return sealed, nil
}

// OpenLog decrypts what Log made. The error wraps ErrOpen.
func OpenLog(key *PrivateKey, buildID, lease build.ID, sequence uint64, sealed []byte) ([]byte, error) {
	if len(sealed) > MaxSealedLogChunkBytes {
		return nil, fmt.Errorf("%w: log chunk %d has %d bytes, at most %d are possible", ErrOpen, sequence, len(sealed), MaxSealedLogChunkBytes)
	}
	plain, err := open(key, logInfo(buildID, lease, sequence), sealed)
	if err != nil {
		return nil, fmt.Errorf("log chunk %d: %w", sequence, err)
	}
	return plain, nil
}

// logInfo is the preimage of H("log" ‖ build ‖ lease ‖ sequence). The build's id
// is a hash over the cluster, which therefore need not be named again.
func logInfo(buildID, lease build.ID, sequence uint64) []byte {
	return wire.NewHasher("log").Fixed(buildID).Fixed(lease).U64(sequence).Preimage()
}

func sealTo(public, info, plain []byte) ([]byte, error) {
	key, err := kem.NewPublicKey(public)
	if err != nil {
		return nil, fmt.Errorf("not an X25519 public key: %w", err)
	}
	sealed, err := hpke.Seal(key, hpke.HKDFSHA256(), hpke.ChaCha20Poly1305(), info, plain)
	if err != nil {
		return nil, fmt.Errorf("encrypting: %w", err)
	}
	return sealed, nil
}

func open(key *PrivateKey, info, sealed []byte) ([]byte, error) {
	plain, err := hpke.Open(key.hpke, hpke.HKDFSHA256(), hpke.ChaCha20Poly1305(), info, bytes.Clone(sealed))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrOpen, err)
	}
	return plain, nil
}
