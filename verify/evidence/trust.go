package evidence

import (
	"gavel/raftfsm"
	"gavel/verify/tlog"
)

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
