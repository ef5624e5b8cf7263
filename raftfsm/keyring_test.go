package raftfsm

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"gavel/raftfsm/build"
)

// rotation is a rotation with every signature that farm could make: keys are
// named by the account's first.
func (f *farm) rotation(account ID, old, fresh []byte, vouches int) *build.Rotate {
	m := &build.Rotate{Account: account, OldKey: build.AccountID(old), NewKey: fresh, Reason: "a new machine"}
	msg := build.RotationBytes(f.state().Cluster(), account, m.OldKey, build.AccountID(fresh))
	m.Possession = f.sign(fresh, msg)
	for i := range f.genesis.Coordinators[:vouches] {
		c := &f.genesis.Coordinators[i]
		m.Vouches = append(m.Vouches, build.Vouch{Coordinator: c.ID, Signature: f.sign(c.Key, msg)})
	}
	return m
}

// rotate gives an account another key, by its own word.
func (f *farm) rotate(first, fresh []byte) build.Command {
	id := build.AccountID(first)
	return f.command(first, build.TypeRotate, f.rotation(id, f.keyOf(first), fresh, 0))
}

func (f *farm) revocation(first []byte) *build.Revoke {
	return &build.Revoke{Account: build.AccountID(first), Key: build.AccountID(f.keyOf(first)), Reason: "lost"}
}

// items applies one command and returns what it leaves for the log.
func (f *farm) items(m build.Command) (items []Item) {
	f.t.Helper()
	f.replicas[0].observe = func(a Applied) { items = append(items, a.Items...) }
	f.must(m)
	f.replicas[0].observe = nil
	return items
}

func keyItems(items []Item) (out []KeyItem) {
	for _, i := range items {
		if i.Key != nil {
			out = append(out, *i.Key)
		}
	}
	return out
}

// A worker's key is revoked by the admin: it can do nothing more, nothing new is
// asked of it, and a new key that the admin puts in its place has all that it had.
func TestRevokedWorkerComesBack(t *testing.T) {
	f, _ := spot(t)
	w := f.workers[0]
	id := build.AccountID(w)
	stake, _ := f.state().Ledger().Account(id)
	f.refused(build.CodeNotAllowed, f.command(f.workers[1], build.TypeRevoke, f.revocation(w)))
	f.tick(40)
	got := keyItems(f.items(f.command(f.admin, build.TypeRevoke, f.revocation(w))))
	want := KeyEvent{OldKey: w, Revoked: true, Reason: "lost", By: build.AccountID(f.admin), FarmMillis: 40, Index: f.index}
	if len(got) != 1 || got[0].Account != id || got[0].Role != "worker" || fmt.Sprint(got[0].KeyEvent) != fmt.Sprint(want) {
		t.Errorf("the log is told %+v, want %+v", got, want)
	}
	f.must(f.command(f.admin, build.TypeRevoke, f.revocation(w))) // again: no matter
	if n := len(f.state().KeyEvents(id)); n != 1 {
		t.Errorf("%d events", n)
	}
	if worker, _ := f.state().Worker(id); !worker.Absent {
		t.Error("the worker is taken to be there")
	}
	update := func() build.Command {
		return f.command(w, build.TypeUpdate, &build.Update{Platforms: []string{"host"}})
	}
	if says := f.refused(build.CodeNotAllowed, update()); !strings.Contains(says, "revoked") {
		t.Errorf("it is told %q", says)
	}
	fresh := key("fresh", 1)
	f.refused(build.CodeNotAllowed, f.rotate(w, fresh))
	m := f.rotation(id, w, fresh, 0)
	f.refused(build.CodeNotAllowed, f.command(f.workers[1], build.TypeRotate, m))
	m.Possession = f.sign(w, []byte("something else"))
	f.refused(build.CodeBadSignature, f.command(f.admin, build.TypeRotate, m))
	m = f.rotation(id, w, fresh, 0)
	got = keyItems(f.items(f.command(f.admin, build.TypeRotate, m)))
	if len(got) != 1 || !bytes.Equal(got[0].OldKey, w) || !bytes.Equal(got[0].NewKey, fresh) || got[0].Revoked {
		t.Errorf("the log is told %+v", got)
	}
	f.refused(build.CodeBadSignature, update()) // still with the old key
	f.current[id] = fresh
	f.must(update())
	f.must(f.command(w, build.TypeRegister, &build.Register{Key: fresh, Name: "worker-1", Pool: "pool", Operator: "op-000", Machine: "m-000",
		Class: "linux/amd64", Platforms: []string{"host"}, Slots: 1}))
	f.refused(build.CodeNotAllowed, f.command(w, build.TypeRegister, &build.Register{Key: w, Name: "worker-1", Pool: "pool", Operator: "op-000", Machine: "m-000",
		Class: "linux/amd64", Platforms: []string{"host"}, Slots: 1}))
	if after, _ := f.state().Ledger().Account(id); after != stake {
		t.Errorf("it had %+v and has %+v", stake, after)
	}
	b := f.submit(0, f.terms(build.LaneSpot))
	f.auctioned(b, prices(8)...)
	if winner := f.build(b).Builder(); winner == nil || winner.Worker != id {
		t.Error("the worker with its new key did not win with the lowest price")
	}
	f.snapshotRestore(1)
	f.same()
}

// An owner replaces its key; the same command again is no matter, and a key that
// was ever used is nobody's any more.
func TestRotate(t *testing.T) {
	f, _ := spot(t)
	r, id := f.requesters[0], build.AccountID(f.requesters[0])
	second, third := key("fresh", 2), key("fresh", 3)
	m := f.rotate(r, second)
	f.must(m)
	f.current[id] = second
	m.Request[0]++ // not remembered: found done
	m.Signature = f.sign(r, m.SigningBytes(f.state().Cluster()))
	f.must(m)
	for name, used := range map[string][]byte{"its first": r, "its own": second, "another's": f.requesters[1], "the cluster's": f.genesis.ClusterKey} {
		if out := f.send(f.rotate(r, used))[0]; out.Code != build.CodeExists {
			t.Errorf("%s key is taken: %v", name, out)
		}
	}
	f.refused(build.CodeStale, f.command(r, build.TypeRotate, f.rotation(id, r, third, 0)))
	f.refused(build.CodeExists, f.command(second, build.TypeOpen, &build.Open{Key: second, Name: "mallory"}))
	f.refused(build.CodeNotAllowed, f.command(f.requesters[1], build.TypeRotate, f.rotation(id, second, third, 3)))
	f.refused(build.CodeWrongState, f.command(f.admin, build.TypeRotate, f.rotation(id, second, third, 3)))
	f.tick(1000)
	f.must(f.rotate(r, third))
	f.current[id] = third
	f.must(f.command(r, build.TypeSubmit, &build.Submit{Terms: f.terms(build.LaneSpot)}))
	s := f.state()
	for i, k := range [][]byte{r, second, third} {
		account, current, known := s.KeyOwner(build.AccountID(k))
		if account != id || !known || current != (i == 2) {
			t.Errorf("key %d belongs to %x, current %v, known %v", i, account[:4], current, known)
		}
	}
	for _, tc := range []struct {
		at   int64
		want [][]byte
	}{{-1, [][]byte{r}}, {0, [][]byte{second, r}}, {500, [][]byte{second}}, {1000, [][]byte{third, second}}, {2000, [][]byte{third}}} {
		if got := s.KeysAt(id, tc.at); fmt.Sprint(got) != fmt.Sprint(tc.want) {
			t.Errorf("at %d the keys were %x", tc.at, got)
		}
	}
	f.snapshotRestore(1)
	f.same()
}

// A worker whose signatures wait to be used keeps its key until they are.
func TestRotateWhileEngaged(t *testing.T) {
	f, _ := spot(t)
	id := f.submit(0, f.terms(build.LaneSpot))
	f.auctioned(id, prices(8)...)
	w := f.workers[f.workerIndex(f.build(id).Builder().Worker)]
	f.refused(build.CodeBusy, f.rotate(w, key("fresh", 4)))
	f.run(id, honest)
	f.refused(build.CodeBusy, f.rotate(w, key("fresh", 4)))
	f.deliver(id)
	f.must(f.rotate(w, key("fresh", 4)))
	f.same()
}

// A winner whose key is revoked lets its lease lapse: the next bidder builds.
func TestRevokedWinnerIsReplaced(t *testing.T) {
	f, _ := spot(t)
	id := f.submit(0, f.terms(build.LaneSpot))
	f.auctioned(id, prices(8)...)
	first := f.build(id).Builder().Worker
	f.must(f.command(f.admin, build.TypeRevoke, f.revocation(f.workers[f.workerIndex(first)])))
	lease := f.build(id).Builder().Lease(id)
	f.refused(build.CodeNotAllowed, f.command(f.workers[f.workerIndex(first)], build.TypeStart, &build.LeaseRef{Build: id, Lease: lease}))
	f.tick(5_000)
	if second := f.build(id).Builder(); second == nil || second.Worker == first {
		t.Fatal("there is no successor")
	}
	f.run(id, honest)
	f.deliver(id)
	if b := f.build(id); b.Verdict != build.Agreed {
		t.Errorf("verdict %v", b.Verdict)
	}
	f.same()
}

// The admin's key is replaced by itself or by t coordinators, never revoked.
func TestAdminKey(t *testing.T) {
	f, _ := spot(t)
	id := build.AccountID(f.admin)
	f.refused(build.CodeNotAllowed, f.command(f.admin, build.TypeRevoke, f.revocation(f.admin)))
	second, third := key("fresh", 5), key("fresh", 6)
	f.must(f.rotate(f.admin, second))
	f.current[id] = second
	f.must(f.command(f.admin, build.TypeMint, &build.Money{Account: build.AccountID(f.requesters[0]), Amount: credit}))
	by := f.genesis.Coordinators[0].Key
	f.refused(build.CodeQuorum, f.command(by, build.TypeRotate, f.rotation(id, second, third, 1)))
	f.must(f.command(by, build.TypeRotate, f.rotation(id, second, third, 2)))
	f.refused(build.CodeBadSignature, f.command(f.admin, build.TypeMint, &build.Money{Account: id, Amount: credit}))
	f.current[id] = third
	f.must(f.command(f.admin, build.TypeMint, &build.Money{Account: build.AccountID(f.requesters[0]), Amount: credit}))
	f.snapshotRestore(1)
	f.same()
}

// The cluster's key signs for its successor, and the admin or t coordinators with it.
func TestClusterKey(t *testing.T) {
	f, _ := spot(t)
	s, id := f.state(), build.ClusterKeyID(f.state().Cluster())
	first := f.genesis.ClusterKey
	rotation := func(old, fresh []byte, vouches int) *build.Rotate {
		m := f.rotation(id, old, fresh, vouches)
		m.Old = f.sign(old, build.RotationBytes(s.Cluster(), id, m.OldKey, build.AccountID(fresh)))
		return m
	}
	keys := [][]byte{key("fresh", 7), key("fresh", 8), key("fresh", 9)}
	by := f.genesis.Coordinators[1].Key
	f.refused(build.CodeBadSignature, f.command(f.admin, build.TypeRotate, f.rotation(id, first, keys[0], 3)))
	f.refused(build.CodeQuorum, f.command(by, build.TypeRotate, rotation(first, keys[0], 1)))
	f.refused(build.CodeQuorum, f.command(f.requesters[0], build.TypeRotate, rotation(first, keys[0], 0)))
	got := keyItems(f.items(f.command(f.admin, build.TypeRotate, rotation(first, keys[0], 0))))
	if len(got) != 1 || got[0].Role != "cluster" || got[0].Account != id || !bytes.Equal(s.ClusterKey(), keys[0]) {
		t.Fatalf("the log is told %+v, the key is %x", got, s.ClusterKey())
	}
	f.must(f.command(by, build.TypeRotate, rotation(keys[0], keys[1], 2)))
	f.refused(build.CodeNotAllowed, f.command(by, build.TypeRevoke, &build.Revoke{Account: id, Key: build.AccountID(keys[1])}))
	f.refused(build.CodeStale, f.command(f.admin, build.TypeRevoke, &build.Revoke{Account: id, Key: build.AccountID(first)}))
	f.must(f.command(f.admin, build.TypeRevoke, &build.Revoke{Account: id, Key: build.AccountID(keys[1]), Reason: "stolen"}))
	f.refused(build.CodeQuorum, f.command(f.admin, build.TypeRotate, rotation(keys[1], keys[2], 0)))
	f.refused(build.CodeNotAllowed, f.command(by, build.TypeRotate, rotation(keys[1], keys[2], 3)))
	f.must(f.command(f.admin, build.TypeRotate, f.rotation(id, keys[1], keys[2], 2)))
	if !bytes.Equal(s.ClusterKey(), keys[2]) || s.KeyRevoked(id) || len(s.KeyEvents(id)) != 4 {
		t.Errorf("the cluster's key is %x after %d events", s.ClusterKey(), len(s.KeyEvents(id)))
	}
	f.snapshotRestore(1)
	f.same()
}

// A coordinator whose key is revoked counts no longer, and as many as are needed stay.
func TestRevokedCoordinator(t *testing.T) {
	f, _ := spot(t)
	c := f.genesis.Coordinators
	f.refused(build.CodeNotAllowed, f.rotate(c[0].Key, key("fresh", 10)))
	f.must(f.command(c[0].Key, build.TypeRevoke, f.revocation(c[0].Key)))
	if says := f.refused(build.CodeQuorum, f.command(f.admin, build.TypeRevoke, f.revocation(c[1].Key))); !strings.Contains(says, "stand still") {
		t.Errorf("it is told %q", says)
	}
	id := f.submit(0, f.terms(build.LaneSpot))
	for f.build(id).State == build.Queued {
		for _, m := range f.coordinatorCommands() {
			f.send(m)
		}
		f.tick(500)
	}
	if f.build(id).State != build.Bidding {
		t.Errorf("the build is %v", f.build(id).State)
	}
	admin := build.AccountID(f.admin)
	f.refused(build.CodeQuorum, f.command(c[1].Key, build.TypeRotate, f.rotation(admin, f.admin, key("fresh", 11), 2)))
	f.must(f.command(c[1].Key, build.TypeRotate, f.rotation(admin, f.admin, key("fresh", 11), 3)))
	f.same()
}

// keyModel is what a farm's keys are, by the sentences of the protocol.
type keyModel struct {
	key     map[ID][]byte
	revoked map[ID]bool
	used    map[string]bool
}

// Random changes of keys, right and wrong, end where the naive model does.
func TestKeysAgainstModel(t *testing.T) {
	f, _ := spot(t)
	model := keyModel{map[ID][]byte{}, map[ID]bool{}, map[string]bool{string(f.genesis.ClusterKey): true}}
	firsts := append(append([][]byte{f.admin}, f.requesters...), f.workers...)
	for _, k := range firsts {
		model.key[build.AccountID(k)], model.used[string(k)] = k, true
	}
	admin := build.AccountID(f.admin)
	for step := range 600 {
		first := firsts[f.rng.IntN(len(firsts))]
		by := firsts[f.rng.IntN(len(firsts))]
		if f.rng.IntN(2) == 0 {
			by = first
		} else if f.rng.IntN(2) == 0 {
			by = f.admin
		}
		id, sender := build.AccountID(first), build.AccountID(by)
		var done bool
		var m build.Command
		fresh := key("model", f.rng.IntN(150))
		if f.rng.IntN(3) == 0 {
			m = f.command(by, build.TypeRevoke, f.revocation(first))
			done = (sender == id || sender == admin && !model.revoked[sender]) && id != admin
			if done {
				model.revoked[id] = true
			}
		} else {
			m = f.command(by, build.TypeRotate, f.rotation(id, model.key[id], fresh, 0))
			done = !model.revoked[sender] && !model.used[string(fresh)] && (sender == id || sender == admin && model.revoked[id])
			if done {
				model.key[id], model.revoked[id], model.used[string(fresh)] = fresh, false, true
				f.current[id] = fresh
			}
		}
		if out := f.send(m)[0]; (out.Code == build.Done) != done {
			t.Fatalf("step %d: %v by %x for %x: %d %s, want done %v", step, m.Type, sender[:4], id[:4], out.Code, out.Detail, done)
		}
		if step%100 == 0 {
			f.snapshotRestore(1)
		}
		f.tick(int64(f.rng.IntN(3)))
	}
	for id, want := range model.key {
		a, _ := f.state().Account(id)
		if !bytes.Equal(a.Key, want) || f.state().KeyRevoked(id) != model.revoked[id] {
			t.Errorf("account %x has another key, or is revoked", id[:4])
		}
		if n := len(f.state().KeyEvents(id)); n > maxKeyEvents {
			t.Errorf("%d events are remembered", n)
		}
	}
	f.same()
}

// keyChange revokes somebody's key, or puts another in its place.
func (c *chaos) keyChange() build.Command {
	firsts := append(append([][]byte{}, c.workers...), c.requesters...)
	first := firsts[c.rng.IntN(len(firsts))]
	for _, k := range firsts { // nobody stays away for long
		if c.state().KeyRevoked(build.AccountID(k)) {
			first = k
		}
	}
	id := build.AccountID(first)
	if c.rng.IntN(4) == 0 {
		return c.command(c.admin, build.TypeHandover, &build.Handover{GiveUp: c.rng.IntN(6) == 0})
	}
	fresh := key("fresh", c.rng.IntN(5000))
	switch {
	case c.state().KeyRevoked(id):
		return c.command(c.admin, build.TypeRotate, c.rotation(id, c.keyOf(first), fresh, 0))
	case c.rng.IntN(3) == 0:
		return c.command(c.admin, build.TypeRevoke, c.revocation(first))
	}
	return c.rotate(first, fresh)
}
