package evidence

import (
	"encoding/hex"
	"slices"

	"gavel/raftfsm"
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
