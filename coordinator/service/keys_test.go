package service

import (
	"bytes"
	"context"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	gavelv1 "gavel/api/gavel/v1"
	"gavel/raftfsm"
	"gavel/raftfsm/beacon"
	"gavel/raftfsm/build"
	"gavel/raftfsm/wire"
	"gavel/verify/attest"
)

// account is a party's, as the farm says.
func (p *party) account(f *farm) build.ID {
	id, err := p.Account(f.t.Context())
	check(f.t, err)
	return id
}

// rotation has an account's key replaced by another, by the old one's word.
func rotation(f *farm, p *party, fresh signer) *build.Rotate {
	m := &build.Rotate{Account: p.account(f), OldKey: p.id(), NewKey: fresh.PublicPKIX(), Reason: "a new machine"}
	m.Possession, _ = fresh.Sign(build.RotationBytes(p.Cluster(), m.Account, m.OldKey, fresh.id()))
	return m
}

// Whoever replaces its key goes on as who it was, and the old key opens nothing.
func TestRotatedKeySpeaksForItsAccount(t *testing.T) {
	f, ctx := newFarm(t), t.Context()
	first := f.requester.account(f)
	id := f.submit(newProject(t, "x"), "house")
	_, err := f.requester.Do(ctx, build.TypeRotate, rotation(f, f.requester, keyOf("second")))
	check(t, err)
	if _, err := f.requester.Farm().GetBuild(ctx, &gavelv1.GetBuildRequest{Build: id[:]}); status.Code(err) != codes.Unauthenticated {
		t.Errorf("the old key still reads: %v", err)
	}
	again := f.dial("second")
	if again.account(f) != first {
		t.Fatalf("the new key speaks for %x, want %x", again.account(f), first)
	}
	if _, err := again.Do(ctx, build.TypeCancel, &build.Cancel{Build: id}); err != nil {
		t.Errorf("cancelling the build of the old key: %v", err)
	}
	other := f.submit2(again, newProject(t, "y"), "house")
	v, err := again.Farm().GetBuild(ctx, &gavelv1.GetBuildRequest{Build: other[:]})
	if err != nil || !bytes.Equal(v.Requester, first[:]) {
		t.Errorf("a build of the new key: %v, %v", v, err)
	}
	for _, name := range []string{"", "requester"} {
		h, err := f.stranger.Farm().Keys(ctx, &gavelv1.KeysRequest{Name: name})
		check(t, err)
		if len(h.Keys) != 1 || h.Keys[0].Name != "requester" || h.Keys[0].Role != "requester" || h.Keys[0].Revoked || !bytes.Equal(h.Keys[0].Key, keyOf("second").PublicPKIX()) ||
			len(h.Keys[0].Events) != 1 || h.Keys[0].Events[0].By != "requester" || h.Keys[0].Events[0].Reason != "a new machine" {
			t.Errorf("the history of %q is %v", name, h)
		}
	}
	h, err := f.stranger.Farm().Keys(ctx, &gavelv1.KeysRequest{Name: "cluster"})
	if err != nil || len(h.Keys) != 1 || len(h.Keys[0].Events) != 0 || !bytes.Equal(h.Keys[0].Key, keyOf("cluster").PublicPKIX()) {
		t.Errorf("the cluster's key: %v, %v", h, err)
	}
	if _, err := f.stranger.Farm().Keys(ctx, &gavelv1.KeysRequest{Name: "nobody"}); status.Code(err) != codes.NotFound {
		t.Errorf("nobody's keys: %v", err)
	}
}

// submit2 uploads a project and submits it for a party.
func (f *farm) submit2(by *party, p *project, pool string) build.ID {
	f.t.Helper()
	upload(f.t, by, p.blobs...)
	receipt, err := by.Do(f.t.Context(), build.TypeSubmit, &build.Submit{Terms: p.terms(f, pool)})
	check(f.t, err)
	return build.ID(receipt.Subject)
}

// A revoked key is told so, whatever it asks for.
func TestRevokedKey(t *testing.T) {
	f, ctx := newFarm(t), t.Context()
	admin := f.dial("admin")
	w := f.workers[0]
	if _, err := admin.Do(ctx, build.TypeRevoke, &build.Revoke{Account: w.account(f), Key: w.id(), Reason: "stolen"}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Do(ctx, build.TypeUpdate, &build.Update{Platforms: []string{"host"}}); err == nil || status.Code(unwrapAll(err)) != codes.Unauthenticated {
		t.Errorf("it updates: %v", err)
	}
	stream, err := w.Farm().Work(ctx, &gavelv1.WorkRequest{})
	if err == nil {
		_, err = stream.Recv()
	}
	if status.Code(err) != codes.Unauthenticated {
		t.Errorf("it is told of work: %v", err)
	}
}

func unwrapAll(err error) error {
	for {
		if s, ok := status.FromError(err); ok && s.Code() != codes.Unknown {
			return s.Err()
		}
		inner, ok := err.(interface{ Unwrap() error })
		if !ok {
			return err
		}
		err = inner.Unwrap()
	}
}

// Statements of before a rotation are held against the key of then.
func TestAttestationsUnderOldKeys(t *testing.T) {
	f, ctx := newFarm(t), t.Context()
	p := newProject(t, "x")
	id := f.settle(p, "the binary")
	for _, w := range f.workers {
		_, err := w.Do(ctx, build.TypeRotate, rotation(f, w, keyOf("second "+string(w.PublicPKIX()))))
		check(t, err)
	}
	out, err := f.requester.Farm().Attestations(ctx, &gavelv1.GetBuildRequest{Build: id[:]})
	if err != nil || len(out.Attestations) != 2 {
		t.Errorf("%v, %v", out, err)
	}
}

// settle builds a project of the house pool to its end, with one result for all.
func (f *farm) settle(p *project, binary string) build.ID {
	f.t.Helper()
	id := f.submit(p, "house")
	good := result(binary)
	roles := []attest.Role{attest.RoleBuilder, attest.RoleValidator}
	var first *party
	var lease build.ID
	for i := range roles {
		f.draw()
		holders, leases := f.leases(id)
		if i == 0 {
			first, lease = holders[0], leases[0]
		}
		f.commit(p, holders[0], id, leases[0], good, roles[i])
	}
	f.openAll()
	upload(f.t, first, good.Bytes(), []byte(binary))
	_, err := first.Farm().Deliver(f.t.Context(), &gavelv1.DeliverRequest{Build: id[:], Lease: lease[:]})
	check(f.t, err)
	return id
}

// A challenge of a result whose inputs are kept goes to workers like any build.
func TestChallenge(t *testing.T) {
	f, ctx := newFarm(t), t.Context()
	p := newProject(t, "x")
	var transcript raftfsm.TranscriptOf
	var certificate *raftfsm.CertifiedItem
	var withdrawal *raftfsm.WithdrawalItem
	f.fsm.Observe(func(a raftfsm.Applied) {
		if len(a.Transcripts) > 0 && transcript.Bytes == nil {
			transcript = a.Transcripts[0]
		}
		for _, i := range a.Items {
			if i.Certified != nil && certificate == nil {
				certificate = i.Certified
			}
			if i.Withdrawal != nil {
				withdrawal = i.Withdrawal
			}
		}
	})
	old := f.settle(p, "the binary")
	f.draw()
	claim, rest, ok := build.SplitTranscript(transcript.Bytes)
	if !ok || certificate == nil {
		t.Fatal("nothing was certified")
	}
	receipt, err := f.stranger.Do(ctx, build.TypeChallenge, &build.Challenge{Claim: claim, Rest: rest, Certificate: certificate.Certificate, Reason: "odd"})
	check(t, err)
	id := build.ID(receipt.Subject)
	f.draw()
	holders, leases := f.leases(id)
	if len(holders) != 3 {
		t.Fatalf("a panel of %d", len(holders))
	}
	if err := read(holders[0], ctx, p.blobs[0]); err != nil {
		t.Errorf("a seat cannot read the inputs: %v", err)
	}
	outsiders, err := f.requester.Farm().GetBuild(ctx, &gavelv1.GetBuildRequest{Build: id[:]})
	if err != nil || outsiders.Contest != nil || outsiders.State != "validating" || len(outsiders.Attempts) != 0 {
		t.Errorf("a stranger to the challenge sees %v, %v", outsiders, err)
	}
	for i, w := range holders {
		f.commit(p, w, id, leases[i], result("another binary"), attest.RoleValidator)
	}
	f.openAll()
	v, err := f.stranger.Farm().GetBuild(ctx, &gavelv1.GetBuildRequest{Build: id[:]})
	if err != nil || v.Verdict != "refuted" || v.Contest == nil || !bytes.Equal(v.Contest.Build, old[:]) || withdrawal == nil || withdrawal.Challenge != id {
		t.Fatalf("the challenge ended %v, %v", v, err)
	}
	v, err = f.requester.Farm().GetBuild(ctx, &gavelv1.GetBuildRequest{Build: old[:]})
	if err != nil || !bytes.Equal(v.WithdrawnBy, id[:]) {
		t.Errorf("the old build: %v, %v", v, err)
	}
	if _, err := f.stranger.Farm().Attestations(ctx, &gavelv1.GetBuildRequest{Build: id[:]}); status.Code(err) != codes.PermissionDenied {
		t.Errorf("the challenger reads the requester's command: %v", err)
	}
}

// Nobody is asked to build what is not there any more.
func TestChallengeNeedsInputs(t *testing.T) {
	f := newFarm(t)
	var terms build.Terms
	p := newProject(t, "never uploaded")
	terms = p.terms(f, "house")
	claim := build.Claim{
		Cluster: f.requester.Cluster(), Build: build.ID{1}, Requester: f.requester.account(f), Pool: "house", ActionDigest: terms.ActionDigest,
		ActionBytes: terms.ActionBytes, Platform: "host", TimeoutMillis: 1000, Validators: 1, Verdict: build.Agreed, Delivers: true,
	}
	m := f.certified(&claim)
	command := f.command(f.stranger.signer, build.TypeChallenge, m)
	out, err := f.server.checkChallenge(context.Background(), &command)
	if err != nil || out.Code != build.CodeRefused || !bytes.Contains([]byte(out.Detail), []byte("gavel rebuild")) {
		t.Errorf("%v, %v", out, err)
	}
	upload(t, f.requester, p.blobs...)
	if out, err = f.server.checkChallenge(context.Background(), &command); err != nil || out.Code != build.Done {
		t.Errorf("with its inputs: %v, %v", out, err)
	}
}

// certified is a challenge of what this farm's group says of a claim.
func (f *farm) certified(claim *build.Claim) *build.Challenge {
	f.fsm.Read(func(s *raftfsm.State) { claim.GroupKey = s.Keys().Group.Key })
	m := &build.Challenge{Claim: wire.Encode(claim)}
	m.Certificate.Transcripts = []build.ID{m.Transcript()}
	msg := beacon.Message(claim.Cluster, build.PurposeCertificate, build.CertificateSubject(m.Certificate.Transcripts), 0)
	f.fsm.Read(func(s *raftfsm.State) {
		sig, err := s.Keys().Group.Combine(msg, []beacon.Partial{f.share.Sign(msg)})
		check(f.t, err)
		m.Certificate.Signature = sig
	})
	return m
}
