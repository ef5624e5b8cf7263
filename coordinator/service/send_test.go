package service

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"gavel/api"
	gavelv1 "gavel/api/gavel/v1"
	"gavel/coordinator/consensus"
	"gavel/raftfsm"
	"gavel/raftfsm/build"
	"gavel/raftfsm/wire"
	"gavel/verify/attest"
)

// What this node can refuse by itself never reaches Raft, and its signed receipt
// says so by index 0.
func TestSendRefusesBeforeProposing(t *testing.T) {
	f := newFarm(t)
	for name, c := range map[string]struct {
		change func(*build.Command)
		resign bool
		code   build.Code
	}{
		"stale":       {func(m *build.Command) { m.ValidUntilMillis = -1 }, true, build.CodeStale},
		"far ahead":   {func(m *build.Command) { m.ValidUntilMillis = 1 << 40 }, true, build.CodeMalformed},
		"version":     {func(m *build.Command) { m.Version = 9 }, true, build.CodeMalformed},
		"a tick":      {func(m *build.Command) { m.Type = build.TypeTick }, true, build.CodeMalformed},
		"a beacon":    {func(m *build.Command) { m.Type = build.TypeBeacon }, true, build.CodeMalformed},
		"signature":   {func(m *build.Command) { m.Signature[0] ^= 1 }, false, build.CodeBadSignature},
		"own payload": {func(m *build.Command) { m.Payload = wire.Encode(&build.Stake{Amount: 2}) }, false, build.CodeBadSignature},
	} {
		m := f.command(f.requester.signer, build.TypeStake, &build.Stake{Amount: 1})
		c.change(&m)
		if c.resign {
			m.Signature, _ = f.requester.Sign(m.SigningBytes(f.requester.Cluster()))
		}
		before := f.tries
		r, err := f.requester.Farm().Send(t.Context(), &gavelv1.SendRequest{Command: wire.Encode(&m)})
		if err != nil || r.Code != uint32(c.code) || r.Index != 0 || f.tries != before {
			t.Errorf("%s: %v, %v after %d proposals", name, r, err, f.tries-before)
		}
	}
	m := f.command(f.stranger.signer, build.TypeStake, &build.Stake{Amount: 1})
	if _, err := f.requester.Farm().Send(t.Context(), &gavelv1.SendRequest{Command: wire.Encode(&m)}); status.Code(err) != codes.PermissionDenied {
		t.Errorf("another's command: %v", err)
	}
	if _, err := f.requester.Farm().Send(t.Context(), &gavelv1.SendRequest{Command: make([]byte, maxCommandBytes+1)}); status.Code(err) != codes.InvalidArgument {
		t.Errorf("a huge command: %v", err)
	}
}

// An account's first command is signed by the key that it carries.
func TestSendOpensAccounts(t *testing.T) {
	f := newFarm(t)
	late := f.dial("late")
	var refused *api.RefusedError
	if _, err := late.Do(t.Context(), build.TypeStake, &build.Stake{Amount: 1}); !errors.As(err, &refused) || refused.Code != build.CodeUnknownAccount {
		t.Errorf("without an account: %v", err)
	}
	if _, err := late.Do(t.Context(), build.TypeOpen, &build.Open{Key: f.requester.PublicPKIX(), Name: "late"}); !errors.As(err, &refused) || refused.Code != build.CodeNotAllowed {
		t.Errorf("with another's key: %v", err)
	}
	if _, err := late.Do(t.Context(), build.TypeOpen, &build.Open{Key: late.PublicPKIX(), Name: "late"}); err != nil {
		t.Errorf("opening: %v", err)
	}
}

// While there is no leader the caller is told to repeat, and nothing else.
func TestSendWithoutALeader(t *testing.T) {
	f := newFarm(t)
	f.mu.Lock()
	f.down = consensus.ErrNoLeader
	f.mu.Unlock()
	ctx, cancel := context.WithCancel(t.Context())
	m := f.command(f.requester.signer, build.TypeStake, &build.Stake{Amount: 1})
	done := make(chan error, 1)
	go func() {
		_, _, err := f.server.propose(ctx, &m)
		done <- err
	}()
	cancel()
	if err := <-done; status.Code(err) != codes.Aborted {
		t.Errorf("got %v", err)
	}
	for err, want := range map[error]error{
		consensus.ErrNoLeader: consensus.ErrNoLeader, consensus.ErrBusy: consensus.ErrBusy,
		consensus.ErrRefused: consensus.ErrRefused, consensus.ErrOutcomeUnknown: consensus.ErrOutcomeUnknown,
	} {
		if back := PeerError(peerStatus(fmt.Errorf("proposing: %w", err))); !errors.Is(back, want) {
			t.Errorf("%v comes back as %v", err, back)
		}
	}
	if !errors.Is(PeerError(status.Error(codes.Unavailable, "gone")), consensus.ErrOutcomeUnknown) {
		t.Error("a broken connection leaves the outcome known")
	}
}

func TestSubmissionsAreCheckedAgainstTheirAction(t *testing.T) {
	f := newFarm(t)
	p := newProject(t, "int main(){}")
	plain := p.terms(f, "house")
	submit := func(by *party, terms build.Terms) string {
		t.Helper()
		_, err := by.Do(t.Context(), build.TypeSubmit, &build.Submit{Terms: terms})
		var refused *api.RefusedError
		if !errors.As(err, &refused) {
			return fmt.Sprint("not refused: ", err)
		}
		return refused.Detail
	}
	if got := submit(f.requester, plain); !strings.Contains(got, "not all uploaded") {
		t.Errorf("nothing uploaded: %s", got)
	}
	upload(t, f.requester, p.blobs[1:]...)
	if got := submit(f.requester, plain); !strings.Contains(got, "not all uploaded") {
		t.Errorf("a file missing: %s", got)
	}
	upload(t, f.requester, p.blobs[0])
	if got := submit(f.stranger, plain); !strings.Contains(got, "not all uploaded") {
		t.Errorf("another's blobs: %s", got)
	}
	// All but the one file, whose digest the stranger knows: naming it must not
	// have a worker read it for the stranger.
	upload(t, f.stranger, p.blobs[1:]...)
	if got := submit(f.stranger, plain); !strings.Contains(got, "not all uploaded") {
		t.Errorf("another's file: %s", got)
	}
	for want, change := range map[string]func(*build.Terms){
		"timeout of":      func(t *build.Terms) { t.TimeoutMillis++ },
		"bytes of inputs": func(t *build.Terms) { t.InputBytes++ },
		"validators":      func(t *build.Terms) { t.Validators = 0 },
		"no pool":         func(t *build.Terms) { t.Pool = "nowhere" },
		"uploaded":        func(t *build.Terms) { t.ActionDigest[0] ^= 1 },
	} {
		terms := plain
		change(&terms)
		if got := submit(f.requester, terms); !strings.Contains(got, want) {
			t.Errorf("%s: %s", want, got)
		}
	}
	receipt, err := f.requester.DoAs(t.Context(), [16]byte{1}, build.TypeSubmit, &build.Submit{Terms: plain})
	check(t, err)
	again, err := f.requester.DoAs(t.Context(), [16]byte{1}, build.TypeSubmit, &build.Submit{Terms: plain})
	if err != nil || string(again.Subject) != string(receipt.Subject) {
		t.Errorf("submitting again: %v, %v", again, err)
	}
	secret := newProject(t, "x", attest.EnvVar{Name: "NPM_TOKEN", Value: "abc"})
	if got := matchTerms(&build.Terms{Platform: "host", TimeoutMillis: 60_000}, &secret.action, 0, build.LaneSpot); !strings.Contains(got.Detail, "NPM_TOKEN") {
		t.Errorf("a secret in a spot pool: %+v", got)
	}
	if got := matchTerms(&build.Terms{Platform: "host", TimeoutMillis: 60_000}, &secret.action, 0, build.LaneHouse); got.Code != build.Done {
		t.Errorf("a secret in a house pool: %+v", got)
	}
}

func TestLooksSecret(t *testing.T) {
	for name, want := range map[string]bool{
		"NPM_TOKEN": true, "token": true, "CLIENT_SECRET": true, "DBPASSWORD": true, "PASSWORD_FILE": true, "DB_PWD": true,
		"AWS_SECRET_ACCESS_KEY": true, "AWS_ACCESS_KEY_ID": true, "GPG_KEY": true, "OPENAI_API_KEY": true, "apiKey": true, "SIGNING-KEY": true,
		"PATH": false, "CC": false, "PWD": false, "OLDPWD": false, "OLD_PWD": false, "CACHE_KEY": false, "KEYMAP": false, "TOKENIZER": false,
		"SECRETARY": false, "GOFLAGS": false, "MONKEY": false, "SOURCE_DATE_EPOCH": false,
	} {
		if got := looksSecret(name, "x"); (got != "") != want {
			t.Errorf("%s: %q, want secret %v", name, got, want)
		}
	}
	for value, want := range map[string]bool{
		"-----BEGIN OPENSSH PRIVATE KEY-----\nabc": true, "ghp_0123456789abcdefghijABCDEFGHIJ012345": true, "AKIAIOSFODNN7EXAMPLE": true,
		"https://me:hunter2@example.org/x": true, "https://example.org:8080/x": false, "-O2 -g": false, "-----BEGIN PUBLIC KEY-----": false,
	} {
		if got := looksSecret("X", value); (got != "") != want {
			t.Errorf("value %q: %q, want secret %v", value, got, want)
		}
	}
}

// Only a coordinator of the genesis, with a token for this one, reaches Node.
func TestNodeIsForCoordinators(t *testing.T) {
	f := newFarm(t)
	call := func(s signer, audience string) error {
		conn, err := grpc.NewClient(f.address, grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithPerRPCCredentials(api.NewCredentials(f.requester.Cluster(), audience, s)))
		check(t, err)
		defer conn.Close()
		_, err = gavelv1.NewNodeClient(conn).Status(t.Context(), &gavelv1.StatusRequest{})
		return err
	}
	self := api.AudienceNode(keyOf("coordinator").id())
	if err := call(keyOf("coordinator"), self); err != nil {
		t.Errorf("a coordinator: %v", err)
	}
	if err := call(keyOf("requester"), self); status.Code(err) != codes.PermissionDenied {
		t.Errorf("a requester: %v", err)
	}
	if err := call(keyOf("coordinator"), api.AudienceNode(build.ID{7})); status.Code(err) != codes.Unauthenticated {
		t.Errorf("a token for another coordinator: %v", err)
	}
	if err := call(keyOf("coordinator"), api.AudienceFarm); status.Code(err) != codes.Unauthenticated {
		t.Errorf("a token for the farm: %v", err)
	}
}

func TestGateBoundsEachAndAll(t *testing.T) {
	g := newGate("calls", 2, 3)
	a, b := [32]byte{1}, [32]byte{2}
	leave, err := g.enter(a)
	check(t, err)
	_, err = g.enter(a)
	check(t, err)
	if _, err := g.enter(a); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("a third of one account: %v", err)
	}
	_, err = g.enter(b)
	check(t, err)
	if _, err := g.enter(b); status.Code(err) != codes.Aborted {
		t.Errorf("a fourth of all: %v", err)
	}
	leave()
	if _, err := g.enter(b); err != nil {
		t.Errorf("after one left: %v", err)
	}
}

// A worker is sent what is asked of it when that changes, not at every tick.
func TestWorkIsSentWhenItChanges(t *testing.T) {
	f := newFarm(t)
	p := newProject(t, "int main(){}")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	messages := make(chan *gavelv1.Assignments)
	go func() {
		for m, err := range f.workers[0].Work(ctx) {
			if err != nil {
				close(messages)
				return
			}
			messages <- m
		}
	}()
	if first := <-messages; !first.Registered || len(first.Leases) != 0 {
		t.Fatalf("at once: %v", first)
	}
	tick := build.Command{Version: build.Version, Type: build.TypeTick, Payload: wire.Encode(&build.Tick{ElapsedMillis: 10})}
	for range 20 {
		f.apply(tick)
	}
	for range workersOfFarm { // one build each, so that worker 1 gets a lease
		f.submit(p, "house")
		f.draw()
	}
	got := <-messages
	if len(got.Leases) != 1 || !got.Leases[0].Builder || got.Leases[0].LogKey == nil || got.FarmMillis == 0 {
		t.Errorf("after the award: %v", got)
	}
	var again *gavelv1.Assignments
	f.fsm.Read(func(s *raftfsm.State) { again = assignments(s, f.workers[0].id()) })
	again.FarmMillis += 5
	again.Leases[0].LeaseUntilMillis += 5
	if !sameWork(got, again) {
		t.Error("time alone makes a difference")
	}
	again.Leases[0].Again = true
	if sameWork(got, again) {
		t.Error("a recheck makes no difference")
	}
}
