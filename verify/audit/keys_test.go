package audit

import (
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"testing"

	"gavel/raftfsm"
	"gavel/raftfsm/build"
	"gavel/raftfsm/wire"
	"gavel/verify/audit/audittest"
	"gavel/verify/evidence"
	"gavel/verify/tlog"
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

// rotated is a world in which the cluster's key was replaced, made once.
var rotated = sync.OnceValue(func() *audittest.Served {
	return must(must(audittest.New(audittest.Options{Builds: 60, Seed: 5, Keys: true})).Serve())
})

// The file by which cosign knows the log lists both of the cluster's keys; what is not
// so in it is named by its field.
func TestTrustedRootIsHeldToTheLog(t *testing.T) {
	type root struct {
		MediaType string           `json:"mediaType"`
		Tlogs     []map[string]any `json:"tlogs"`
	}
	var first, second string
	key := func(of *root, i int) map[string]any { return of.Tlogs[i]["publicKey"].(map[string]any) }
	for name, c := range map[string]struct {
		says string
		do   func(of *root)
	}{
		"nothing":                   {"", func(of *root) { first, second = key(of, 0)["rawBytes"].(string), key(of, 1)["rawBytes"].(string) }},
		"the former key dropped":    {"tlogs.0.publicKey.rawBytes", func(of *root) { of.Tlogs = of.Tlogs[1:] }},
		"the newer key dropped":     {"tlogs.1.publicKey.rawBytes", func(of *root) { of.Tlogs = of.Tlogs[:1] }},
		"the former key changed":    {"tlogs.0.publicKey.rawBytes", func(of *root) { key(of, 0)["rawBytes"] = key(of, 1)["rawBytes"] }},
		"the newer key changed":     {"tlogs.1.publicKey.rawBytes", func(of *root) { key(of, 1)["rawBytes"] = key(of, 0)["rawBytes"] }},
		"a name of the log changed": {"tlogs.1.logId.keyId", func(of *root) { of.Tlogs[1]["logId"] = of.Tlogs[0]["logId"] }},
		"a key that was none":       {"tlogs.2.publicKey.rawBytes", func(of *root) { of.Tlogs = append(of.Tlogs, of.Tlogs[0]) }},
		"no end":                    {"tlogs.0.publicKey.validFor.end", func(of *root) { delete(key(of, 0)["validFor"].(map[string]any), "end") }},
		"another beginning": {"tlogs.1.publicKey.validFor.start", func(of *root) {
			key(of, 1)["validFor"].(map[string]any)["start"] = key(of, 0)["validFor"].(map[string]any)["start"]
		}},
	} {
		t.Run(name, func(t *testing.T) {
			x := &attack{Served: rotated().Copy(), t: t}
			of := new(root)
			check(t, json.Unmarshal(x.Files[evidence.TrustedRootPath], of))
			c.do(of)
			x.Files[evidence.TrustedRootPath] = must(json.Marshal(of))
			r := x.run()
			named := slices.ContainsFunc(r.Deviations, func(d Deviation) bool {
				return d.Leaf == nil && d.Field == evidence.TrustedRootPath+" "+c.says
			})
			if named != (c.says != "") || !named && !r.Clean() {
				t.Errorf("want %q among %+v", c.says, r.Deviations)
			}
		})
	}
	if was := rotated().World; first == second || second != base64.StdEncoding.EncodeToString(was.ClusterKey.PKIX) {
		t.Errorf("it lists %s and %s", first, second)
	}
}

// A checkpoint, or a status list, that an auditor kept from before the cluster's key was
// replaced is held against the log by the key of its time, and makes no other file
// suspect.
func TestWhatTheFormerKeySignedStillCounts(t *testing.T) {
	s := rotated()
	changed := slices.IndexFunc(s.Leaves, func(raw []byte) bool {
		l := must(evidence.Read(raw))
		return l.Key != nil && l.Key.Role == raftfsm.RoleCluster
	})
	if changed < 0 {
		t.Fatal("the cluster's key was never changed")
	}
	l := must(tlog.OpenLog(t.TempDir()))
	must(l.Append(s.Leaves[:changed]))
	before := must(s.FirstCheckpoint(l.Size(), l.Root()))
	dir := t.TempDir()
	check(t, s.Write(dir))
	o := Options{Since: []Note{{"before", before}}}
	if r := auditDir(t, dir, o); !r.Clean() {
		t.Errorf("%+v", r.Deviations)
	}
	copied := t.TempDir()
	if r := must(Export(t.Context(), tlog.DirSource(dir), copied, o)); !r.Clean() {
		t.Errorf("%+v", r.Deviations)
	}
	o.Sums = func() ([]byte, error) { return readSumsFile(copied) }
	if r := auditDir(t, copied, o); !r.Clean() {
		t.Errorf("the copy: %+v", r.Deviations)
	}
}
