package api

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	gavelv1 "gavel/api/gavel/v1"
	"gavel/raftfsm/build"
	"gavel/raftfsm/wire"
)

func TestDoPassesOverADeadEndpoint(t *testing.T) {
	farms := startFarm(t, 1)
	c := dialFarm(t, deadEndpoint(t), farms[0].address)
	r, err := c.Do(t.Context(), build.TypeStake, payload)
	if err != nil {
		t.Fatal(err)
	}
	if r.Index != 7 || r.Code != 0 {
		t.Errorf("receipt %v", r)
	}
}

// A command whose outcome is unknown is repeated byte for byte, here at another
// coordinator, so that it is applied once.
func TestDoRepeatsTheSameBytes(t *testing.T) {
	farms := startFarm(t, 2)
	for i, code := range []codes.Code{codes.Aborted, codes.Unavailable} {
		farms[i].send = func(try int) (done, error) {
			if try < 3 {
				return done{}, status.Error(code, "no leader")
			}
			return done{}, nil
		}
	}
	c := dialFarm(t, farms[0].address, farms[1].address)
	if _, err := c.Do(t.Context(), build.TypeStake, payload); err != nil {
		t.Fatal(err)
	}
	all := make(map[string]int)
	for _, f := range farms {
		for k, n := range f.applied {
			all[k] += n
		}
	}
	if len(all) != 1 {
		t.Fatalf("%d distinct commands were sent, want 1", len(all))
	}
	for raw, n := range all {
		var m build.Command
		if err := wire.Decode([]byte(raw), &m); err != nil {
			t.Fatal(err)
		}
		if err := wire.VerifySignature(newSigner(50).PublicPKIX(), m.SigningBytes(cluster), m.Signature); err != nil {
			t.Error(err)
		}
		if n < 3 || m.ValidUntilMillis <= 1000 || m.ValidUntilMillis > 1000+3_600_000 {
			t.Errorf("sent %d times, valid until %d", n, m.ValidUntilMillis)
		}
	}
}

// A worker that dialled a coordinator which had just come back kept its farm time
// of long ago, and for ten minutes sent nothing but what had run out: honest
// workers lost bonds that way. A stale refusal makes the client ask again.
func TestDoForgetsAnOldFarmTime(t *testing.T) {
	farms := startFarm(t, 1)
	f := farms[0]
	f.send = func(int) (done, error) {
		var newest int64
		for raw := range f.applied {
			var m build.Command
			if err := wire.Decode([]byte(raw), &m); err != nil {
				return done{}, err
			}
			newest = max(newest, m.ValidUntilMillis)
		}
		if newest < 10_000_000 {
			return done{outcome: build.Refuse(build.CodeStale, "the command was valid until farm time %d", newest)}, nil
		}
		return done{}, nil
	}
	c := dialFarm(t, f.address)
	_, err := c.Do(t.Context(), build.TypeStake, payload)
	var refused *RefusedError
	if !errors.As(err, &refused) || refused.Code != build.CodeStale || len(f.applied) != 1 {
		t.Fatalf("while the farm is where the client thinks it is: %v, %d commands", err, len(f.applied))
	}
	f.mu.Lock()
	f.millis = 10_000_000
	f.mu.Unlock()
	if _, err := c.Do(t.Context(), build.TypeStake, payload); err != nil {
		t.Errorf("after the farm had caught up: %v", err)
	}
	if millis, err := c.FarmMillis(t.Context()); err != nil || millis != 10_000_000 {
		t.Errorf("the client thinks that it is %d: %v", millis, err)
	}
}

func TestDoErrors(t *testing.T) {
	for name, c := range map[string]struct {
		answer done
		err    error
		check  func(error) bool
	}{
		"refused": {answer: done{outcome: build.Refuse(build.CodeFunds, "too poor")}, check: func(err error) bool {
			var r *RefusedError
			return errors.As(err, &r) && r.Code == build.CodeFunds && r.Error() == "too poor"
		}},
		"forged receipt": {answer: done{forge: true}, check: func(err error) bool {
			return errors.Is(err, ErrReceipt) && errors.Is(err, ErrOutcomeUnknown)
		}},
		"bad request": {err: status.Error(codes.InvalidArgument, "nonsense"), check: func(err error) bool {
			return !errors.Is(err, ErrOutcomeUnknown) && strings.Contains(err.Error(), "nonsense")
		}},
		"no leader": {err: status.Error(codes.Aborted, "no leader"), check: func(err error) bool {
			return errors.Is(err, ErrOutcomeUnknown) && errors.Is(err, ErrNoCluster) && strings.Contains(err.Error(), "cannot act now")
		}},
	} {
		t.Run(name, func(t *testing.T) {
			farms := startFarm(t, 1)
			farms[0].send = func(int) (done, error) { return c.answer, c.err }
			client := dialFarm(t, farms[0].address)
			client.conn.patience = 200 * time.Millisecond
			_, err := client.Do(t.Context(), build.TypeStake, payload)
			if err == nil || !c.check(err) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestDialSaysThatNobodyIsThere(t *testing.T) {
	dead := deadEndpoint(t)
	_, err := Dial(t.Context(), Options{Endpoints: []string{dead}, Patience: 100 * time.Millisecond})
	if !errors.Is(err, ErrNoCluster) || !strings.Contains(err.Error(), "gavel up") || !strings.Contains(err.Error(), dead) {
		t.Errorf("patience at an end: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err = Dial(ctx, Options{Endpoints: []string{dead}}); !errors.Is(err, ErrNoCluster) {
		t.Errorf("context at an end: %v", err)
	}
	farms := startFarm(t, 1)
	if _, err = Dial(t.Context(), Options{Endpoints: []string{farms[0].address}, Cluster: [32]byte{1}}); err == nil || !strings.Contains(err.Error(), "another farm") {
		t.Errorf("another cluster: %v", err)
	}
}

func TestCallsNeedAToken(t *testing.T) {
	farms := startFarm(t, 1)
	c, err := Dial(t.Context(), Options{Endpoints: []string{farms[0].address}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Farm().Send(t.Context(), &gavelv1.SendRequest{}); status.Code(err) != codes.Unauthenticated {
		t.Errorf("anonymous Send: %v", err)
	}
}

// A stream that breaks is opened again without a word, and never goes back.
func TestWatchBuildReconnects(t *testing.T) {
	farms := startFarm(t, 1)
	farms[0].watch = func(n int, s grpc.ServerStreamingServer[gavelv1.Build]) error {
		send := func(versions ...uint64) {
			for _, v := range versions {
				s.Send(&gavelv1.Build{Version: v})
			}
		}
		if n == 1 {
			send(1, 3)
			return status.Error(codes.Unavailable, "killed")
		}
		send(2, 4)
		return nil
	}
	c := dialFarm(t, farms[0].address)
	var got []uint64
	for b, err := range c.WatchBuild(t.Context(), [32]byte{1}) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, b.Version)
	}
	if len(got) != 3 || got[0] != 1 || got[1] != 3 || got[2] != 4 {
		t.Errorf("versions %v, want 1 3 4", got)
	}
	farms[0].watch = func(int, grpc.ServerStreamingServer[gavelv1.Build]) error {
		return status.Error(codes.NotFound, "no such build")
	}
	for _, err := range c.WatchBuild(t.Context(), [32]byte{1}) {
		if status.Code(err) != codes.NotFound {
			t.Errorf("got %v", err)
		}
	}
}

// A consumer that stops ends the stream at the server too.
func TestWatchBuildStops(t *testing.T) {
	farms := startFarm(t, 1)
	ended := make(chan struct{})
	farms[0].watch = func(_ int, s grpc.ServerStreamingServer[gavelv1.Build]) error {
		s.Send(&gavelv1.Build{Version: 1})
		<-s.Context().Done()
		close(ended)
		return nil
	}
	c := dialFarm(t, farms[0].address)
	for range c.WatchBuild(t.Context(), [32]byte{1}) {
		break
	}
	<-ended
}

func TestReadLogRepeatsNothing(t *testing.T) {
	farms := startFarm(t, 1)
	farms[0].logs = func(n int, s grpc.ServerStreamingServer[gavelv1.LogChunk]) error {
		s.Send(&gavelv1.LogChunk{Lease: []byte("a"), Offset: 0})
		s.Send(&gavelv1.LogChunk{Lease: []byte("a"), Offset: 1})
		if n == 1 {
			return status.Error(codes.Unavailable, "killed")
		}
		s.Send(&gavelv1.LogChunk{Lease: []byte("b"), Offset: 0})
		return nil
	}
	c := dialFarm(t, farms[0].address)
	var got string
	for chunk, err := range c.ReadLog(t.Context(), [32]byte{1}, true) {
		if err != nil {
			t.Fatal(err)
		}
		got += string(chunk.Lease) + string(rune('0'+chunk.Offset)) + " "
	}
	if got != "a0 a1 b0 " {
		t.Errorf("chunks %q", got)
	}
}

func TestAppendLogRepeatsWhatDidNotArrive(t *testing.T) {
	farms := startFarm(t, 1)
	c := dialFarm(t, farms[0].address)
	held, err := c.AppendLog(t.Context(), [32]byte{1}, [32]byte{2}, 0, [][]byte{{0}, {1}, {2}})
	if err != nil || held != 3 {
		t.Fatalf("held %d, %v", held, err)
	}
	for i, m := range farms[0].chunks {
		if m.Offset != uint64(i) || m.Data[0] != byte(i) {
			t.Errorf("chunk %d: %v", i, m)
		}
	}
}
