package evidence

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"slices"

	"gavel/raftfsm"
	"gavel/verify/attest"
	"gavel/verify/tlog"
)

// Unrevoked is t without the cosigners whose keys were revoked by an event before
// a note of size leaves: what such a key signs is anybody's. How many must sign
// stays the same.
func Unrevoked(t tlog.Trust, size uint64, events []Event) tlog.Trust {
	out := t
	for i := range events {
		if events[i].Leaf >= size {
			continue
		}
		l, err := Read(events[i].Entry)
		if err != nil || l.Key == nil || !l.Key.Revoked {
			continue
		}
		out.Cosigners = slices.DeleteFunc(slices.Clone(out.Cosigners), func(c tlog.Cosigner) bool {
			return hex.EncodeToString(c.PKIX) == string(l.Key.OldKey)
		})
	}
	return out
}

// Trust is whose word makes a checkpoint of a genesis' cluster good: the cluster's
// key and a majority of the coordinators. Where keys were replaced since, the log
// says by which.
func Trust(g *raftfsm.Genesis) tlog.Trust {
	origin := tlog.Origin(g.Digest())
	t := tlog.Trust{Origin: origin, LogKey: g.ClusterKey, Quorum: tlog.Majority(len(g.Coordinators))}
	for i := range g.Coordinators {
		m := &g.Coordinators[i]
		t.Cosigners = append(t.Cosigners, tlog.Cosigner{Name: tlog.CosignerName(origin, m.Name), PKIX: m.Key})
	}
	return t
}

// TrustedRoot is the trusted_root.json of a log with these events: every key that the
// cluster has had, from when it took office until it was revoked or replaced.
func TrustedRoot(g *raftfsm.Genesis, events []Event) ([]byte, error) {
	list := []attest.LogKey{{PKIX: g.ClusterKey, FromMillis: g.CreatedWallMillis}}
	for i := range events {
		l, err := Read(events[i].Entry)
		if err != nil {
			return nil, fmt.Errorf("leaf %d: %w", events[i].Leaf, err)
		}
		if l.Key == nil || l.Key.Role != raftfsm.RoleCluster {
			continue
		}
		last := &list[len(list)-1]
		if last.UntilMillis == 0 {
			last.UntilMillis = l.Key.WallMillis
		}
		key, err := l.ClusterKeyAfter(last.PKIX)
		if err != nil {
			return nil, fmt.Errorf("leaf %d: %w", events[i].Leaf, err)
		}
		if !bytes.Equal(key, last.PKIX) {
			list = append(list, attest.LogKey{PKIX: key, FromMillis: l.Key.WallMillis})
		}
	}
	return attest.TrustedRoot(tlog.Origin(g.Digest()), list)
}
