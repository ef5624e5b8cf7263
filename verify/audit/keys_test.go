package audit

import (
	"strings"
	"testing"

	"gavel/raftfsm/build"
	"gavel/raftfsm/wire"
	"gavel/verify/audit/audittest"
	"gavel/verify/evidence"
)

// A log in which keys were revoked and replaced, the group's too, and in which a
// result of before was challenged after, deviates in nothing; what is changed of those
// leaves, and of the commands behind them, is found and named.
func TestKeysAndChallengesAreAudited(t *testing.T) {
	w := must(audittest.New(audittest.Options{Seed: 6}))
	id, ok := w.Agreed()
	if !ok {
		t.Fatal("nothing was agreed on")
	}
	check(t, w.ChangeKeys())
	must(w.Challenge(id, audittest.FindsOther))
	s := must(w.Serve())
	if r := audited(t, s, Options{}); !r.Clean() {
		t.Fatalf("%+v", r)
	}
	kinds := map[string]func(l *evidence.Leaf) bool{
		"key":        func(l *evidence.Leaf) bool { return l.Key != nil },
		"handover":   func(l *evidence.Leaf) bool { return l.Handover != nil },
		"withdrawal": func(l *evidence.Leaf) bool { return l.Withdrawal != nil },
	}
	for name, c := range map[string]struct {
		says string
		do   func(x *attack)
	}{
		"reason of a key":      {"reason", func(x *attack) { x.replace(x.kindOf(0, kinds["key"]), "a new machine", "a new planet") }},
		"revocation hidden":    {"", func(x *attack) { x.drop(x.kindOf(1, kinds["key"])) }},
		"handover hidden":      {"", func(x *attack) { x.drop(x.kindOf(0, kinds["handover"])) }},
		"reason of a handover": {"reason", func(x *attack) { x.replace(x.kindOf(0, kinds["handover"]), "yearly", "weekly") }},
		"withdrawal hidden":    {"", func(x *attack) { x.drop(x.kindOf(0, kinds["withdrawal"])) }},
		"possession": {"(rotate)", func(x *attack) {
			payload(x, build.TypeRotate, func(p *build.Rotate) { p.Possession[5] ^= 1 })
		}},
		"reason of a revocation": {"(revoke)", func(x *attack) {
			payload(x, build.TypeRevoke, func(p *build.Revoke) { p.Reason = "sold" })
		}},
		"the old group's signature": {"(beacon) signature", func(x *attack) {
			var p build.Beacon
			entry, command := x.command(build.TypeBeacon, &p, func() bool { return p.Purpose == build.PurposeHandover })
			p.Signature[20] ^= 1
			x.rewrite(entry, command, func(m *build.Command) { m.Payload = wire.Encode(&p) })
		}},
		"the certificate of a challenge": {"(challenge)", func(x *attack) {
			payload(x, build.TypeChallenge, func(p *build.Challenge) { p.Certificate.Signature[20] ^= 1 })
		}},
	} {
		t.Run(name, func(t *testing.T) {
			x := &attack{Served: s.Copy(), t: t, leaf: beside}
			c.do(x)
			r := x.run()
			found := false
			for i := range r.Deviations {
				found = found || strings.Contains(r.Deviations[i].Field, c.says)
			}
			if !found {
				t.Errorf("nothing about %q is found: %+v", c.says, r.Deviations)
			}
			for i := range r.Deviations[:min(3, len(r.Deviations))] {
				t.Log(r.Deviations[i].String())
			}
		})
	}
}
