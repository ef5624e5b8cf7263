package service

import (
	"context"
	"crypto"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sigstore/sigstore/pkg/signature"

	gavelv1 "gavel/api/gavel/v1"
	"gavel/cas"
	"gavel/coordinator/publish"
	"gavel/coordinator/retention"
	"gavel/raftfsm"
	"gavel/raftfsm/build"
	"gavel/verify/attest"
	"gavel/verify/keys"
	"gavel/verify/tlog"
)

// finish builds a project twice with one result, and delivers that.
func (f *farm) finish(p *project, id build.ID, content string) *build.Manifest {
	f.t.Helper()
	good := result(content)
	f.draw()
	holders, leases := f.leases(id)
	builder, lease := holders[0], leases[0]
	f.commit(p, builder, id, lease, good, attest.RoleBuilder)
	f.draw()
	holders, leases = f.leases(id)
	f.commit(p, holders[0], id, leases[0], good, attest.RoleValidator)
	f.openAll()
	upload(f.t, builder, good.Bytes(), []byte(content))
	_, err := builder.Farm().Deliver(f.t.Context(), &gavelv1.DeliverRequest{Build: id[:], Lease: lease[:]})
	check(f.t, err)
	f.draw() // the certificate
	return good
}

// statements are a build's as its requester gets them, each a bundle that holds.
func (f *farm) statements(id build.ID) (bundles []string) {
	f.t.Helper()
	out, err := f.requester.Farm().Attestations(f.t.Context(), &gavelv1.GetBuildRequest{Build: id[:]})
	check(f.t, err)
	for _, a := range out.Attestations {
		bundles = append(bundles, a.Bundle)
	}
	return bundles
}

// publisher is a coordinator that has come up with an empty directory, alone, and
// has applied all there is.
func (f *farm) publisher() *publish.Publisher {
	f.t.Helper()
	signerOf := func(name string) *keys.Signer {
		s, err := signature.LoadED25519Signer(keyOf(name).key)
		check(f.t, err)
		return &keys.Signer{Signer: s, Public: keyOf(name).PublicPKIX(), ID: keyOf(name).id()}
	}
	g := f.genesis()
	fsm, err := raftfsm.New(g)
	check(f.t, err)
	p, err := publish.Open(publish.Config{
		Genesis: g, Self: keyOf("coordinator").id(), Dir: f.t.TempDir(), Cluster: []*keys.Signer{signerOf("cluster")}, Signer: signerOf("coordinator"),
		State: fsm, Blobs: f.server.Blobs, Log: slog.New(slog.DiscardHandler),
	})
	check(f.t, err)
	fsm.Observe(p.Take)
	f.mu.Lock()
	for i, raw := range f.entries {
		fsm.Apply(uint64(i+1), raw)
	}
	f.mu.Unlock()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		p.Run(ctx)
		close(ended)
	}()
	f.t.Cleanup(func() {
		cancel()
		<-ended
		check(f.t, p.Close())
	})
	return p
}

// logged waits until a log has a build, and returns its checkpoint.
func (f *farm) logged(p *publish.Publisher, id build.ID) tlog.Checkpoint {
	f.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		l, err := p.Lookup(id)
		check(f.t, err)
		if l != nil {
			c, err := tlog.ReadUnverified(l.Summary.Checkpoint)
			check(f.t, err)
			return c
		}
		if time.Now().After(deadline) {
			f.t.Fatal("the build does not get into the log")
		}
	}
}

// What the store has let go of stalls nobody's log and takes nobody's statements: a
// coordinator that was away all the time and starts from nothing, with no peer to
// take anything over from, comes to the same root, and the requester still gets
// every bundle.
func TestNothingWaitsForWhatWasSwept(t *testing.T) {
	f := newFarm(t)
	p := newProject(t, "int main(){}")
	id := f.submit(p, "house")
	binary := []byte("the binary")
	good := f.finish(p, id, string(binary))
	early := f.publisher()
	want := f.logged(early, id)
	f.mu.Lock()
	f.log = early
	f.mu.Unlock()
	before := f.statements(id)

	sweeper, err := retention.New(retention.Config{
		Retain: retention.Default, Dir: t.TempDir(), Store: f.store, Needed: f.server.Blobs.Needed,
		Now: func() time.Time { return time.Now().Add(2 * retention.Default) },
	})
	check(t, err)
	if blobs, _, err := sweeper.Sweep(t.Context()); err != nil || blobs != len(p.blobs) {
		t.Fatalf("%d of %d inputs were swept, %v", blobs, len(p.blobs), err)
	}
	forget(t, f.store, good.Bytes(), binary) // as once the state has let go of the build
	file, root, command, action := p.blobs[0], p.blobs[1], p.blobs[2], p.blobs[3]
	for _, raw := range [][]byte{file, root, binary} {
		if err := read(f.requester, t.Context(), raw); !errors.Is(err, cas.ErrNotFound) {
			t.Errorf("what was swept is there: %v", err)
		}
	}
	for _, raw := range [][]byte{command, action, good.Bytes()} {
		check(t, read(f.requester, t.Context(), raw))
		if err := read(f.stranger, t.Context(), raw); !errors.Is(err, cas.ErrNotFound) {
			t.Errorf("a stranger reads what is kept: %v", err)
		}
	}
	_, err = f.requester.Do(t.Context(), build.TypeSubmit, &build.Submit{Terms: p.terms(f, "house")})
	if err == nil || !strings.Contains(err.Error(), "not all uploaded") {
		t.Errorf("submitted again without its inputs: %v", err)
	}
	after := f.statements(id)
	if len(after) != 2 || !slices.Equal(after, before) {
		t.Errorf("%d statements after the sweep, %d before", len(after), len(before))
	}
	for i, bundle := range after {
		if _, err := attest.VerifyBundle([]byte(bundle), cas.Of(binary).Sum(), f.keyOfAttempt(id, i)); err != nil {
			t.Errorf("statement %d: %v", i, err)
		}
	}
	if got := f.logged(f.publisher(), id); got != want {
		t.Errorf("after the sweep the log is %+v, before %+v", got, want)
	}
}

// keyOfAttempt is its author's public key.
func (f *farm) keyOfAttempt(id build.ID, attempt int) (public crypto.PublicKey) {
	f.fsm.Read(func(s *raftfsm.State) {
		b, _ := s.Build(id)
		for _, w := range f.workers {
			if w.id() == b.Attempts[attempt].Worker {
				public = w.key.Public()
			}
		}
	})
	return public
}
