package dossier

import (
	"fmt"
	"time"

	"gavel/raftfsm"
	"gavel/raftfsm/beacon"
	"gavel/verify/evidence"
	"gavel/verify/tlog"
)

// Trust is what the reader knows without the dossier.
type Trust struct {
	// Genesis says whose word counts; nil where only Key is known. Pinned says that
	// the reader knows it to be the farm's, as by its digest.
	Genesis *raftfsm.Genesis
	Pinned  bool
	// Key is that of the bundle's signer, PKIX DER; empty takes the genesis' for a
	// summary, the transcript's for a provenance.
	Key []byte
	// GroupKeys are the beacon's, compressed; empty takes the summary's as given.
	GroupKeys     [][96]byte
	Witnesses     []tlog.Cosigner
	WitnessQuorum int
	// AsOf asks what was true at a time; zero is now, as far as the files tell.
	AsOf time.Time
}

// usable says that what the reader wants can be met by some dossier.
func (t *Trust) usable() error {
	if t.WitnessQuorum < 0 || t.WitnessQuorum > len(t.Witnesses) {
		return fmt.Errorf("%w: %d of %d witnesses can never have cosigned: name each whose word counts, and ask for no more than those", ErrUnusable, t.WitnessQuorum, len(t.Witnesses))
	}
	if t.Genesis != nil {
		trust := evidence.Trust(t.Genesis)
		trust.Witnesses = t.Witnesses
		if err := trust.Check(); err != nil {
			return fmt.Errorf("%w: %w", ErrUnusable, err)
		}
	}
	for _, key := range t.GroupKeys {
		if err := beacon.GroupKey(key).Check(); err != nil {
			return fmt.Errorf("%w: %x… is no group key: %w", ErrUnusable, key[:8], err)
		}
	}
	return nil
}
