package api

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"net"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	gavelv1 "gavel/api/gavel/v1"
	"gavel/raftfsm/build"
	"gavel/raftfsm/wire"
)

// edSigner signs with an Ed25519 key made from a seed.
type edSigner struct{ key ed25519.PrivateKey }

func newSigner(seed byte) edSigner {
	s := sha256.Sum256([]byte{seed})
	return edSigner{ed25519.NewKeyFromSeed(s[:])}
}

func (s edSigner) PublicPKIX() []byte {
	der, err := x509.MarshalPKIXPublicKey(s.key.Public())
	if err != nil {
		panic(err)
	}
	return der
}

func (s edSigner) Sign(msg []byte) ([]byte, error) { return ed25519.Sign(s.key, msg), nil }

// cluster is the id of the fake farm's cluster.
var cluster = sha256.Sum256([]byte("a farm"))

// fakeFarm is one coordinator: it applies every command it has not seen, unless
// told to misbehave.
type fakeFarm struct {
	gavelv1.UnimplementedFarmServer
	signer  edSigner
	keys    [][]byte // of all coordinators
	address string

	mu      sync.Mutex
	millis  int64                       // farm time; 0 is 1000
	applied map[string]int              // how often each command's bytes came
	send    func(try int) (done, error) // try counts from 1, over all commands
	sends   int
	watch   func(int, grpc.ServerStreamingServer[gavelv1.Build]) error
	watches int
	logs    func(int, grpc.ServerStreamingServer[gavelv1.LogChunk]) error
	reads   int
	chunks  []*gavelv1.AppendLogRequest
	appends int
}

type done struct {
	outcome build.Outcome
	forge   bool
}

// Self knows nobody, and takes every key for a first one.
func (f *fakeFarm) Self(ctx context.Context, _ *gavelv1.SelfRequest) (*gavelv1.SelfResponse, error) {
	id, err := Authenticate(ctx, cluster, AudienceFarm, time.Now())
	return &gavelv1.SelfResponse{Account: id[:], Known: true}, err
}

func (f *fakeFarm) Info(context.Context, *gavelv1.InfoRequest) (*gavelv1.InfoResponse, error) {
	f.mu.Lock()
	info := &gavelv1.InfoResponse{Cluster: cluster[:], FarmMillis: cmp.Or(f.millis, 1000)}
	f.mu.Unlock()
	for _, k := range f.keys {
		id := build.AccountID(k)
		info.Coordinators = append(info.Coordinators, &gavelv1.Coordinator{Id: id[:], PublicKey: k})
	}
	return info, nil
}

func (f *fakeFarm) Send(ctx context.Context, in *gavelv1.SendRequest) (*gavelv1.Receipt, error) {
	if _, err := Authenticate(ctx, cluster, AudienceFarm, time.Now()); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sends++
	f.applied[string(in.Command)]++
	var d done
	if f.send != nil {
		var err error
		if d, err = f.send(f.sends); err != nil {
			return nil, err
		}
	}
	signer := f.signer
	if d.forge {
		signer = newSigner(99)
	}
	return NewReceipt(cluster, signer, in.Command, 7, d.outcome)
}

func (f *fakeFarm) WatchBuild(_ *gavelv1.GetBuildRequest, s grpc.ServerStreamingServer[gavelv1.Build]) error {
	f.mu.Lock()
	f.watches++
	n := f.watches
	f.mu.Unlock()
	return f.watch(n, s)
}

func (f *fakeFarm) ReadLog(_ *gavelv1.ReadLogRequest, s grpc.ServerStreamingServer[gavelv1.LogChunk]) error {
	f.mu.Lock()
	f.reads++
	n := f.reads
	f.mu.Unlock()
	return f.logs(n, s)
}

func (f *fakeFarm) AppendLog(s grpc.ClientStreamingServer[gavelv1.AppendLogRequest, gavelv1.AppendLogResponse]) error {
	f.mu.Lock()
	f.appends++
	first := f.appends == 1
	f.mu.Unlock()
	for {
		m, err := s.Recv()
		if err != nil {
			return s.SendAndClose(&gavelv1.AppendLogResponse{Chunks: uint64(len(f.chunks))})
		}
		if m.Offset == uint64(len(f.chunks)) {
			f.chunks = append(f.chunks, m)
		}
		if first && len(f.chunks) == 2 {
			return status.Error(codes.Unavailable, "going down")
		}
	}
}

// startFarm serves n fake coordinators on loopback.
func startFarm(t *testing.T, n int) []*fakeFarm {
	t.Helper()
	var farms []*fakeFarm
	var keys [][]byte
	for i := range n {
		f := &fakeFarm{signer: newSigner(byte(i)), applied: make(map[string]int)}
		keys = append(keys, f.signer.PublicPKIX())
		farms = append(farms, f)
	}
	for _, f := range farms {
		f.keys = keys
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		f.address = l.Addr().String()
		s := grpc.NewServer()
		gavelv1.RegisterFarmServer(s, f)
		go s.Serve(l)
		t.Cleanup(s.Stop)
	}
	return farms
}

// deadEndpoint is an address where nobody listens.
func deadEndpoint(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func dialFarm(t *testing.T, endpoints ...string) *Client {
	t.Helper()
	c, err := Dial(t.Context(), Options{Endpoints: endpoints, Signer: newSigner(50), Patience: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

var payload wire.Record = &build.Stake{Amount: 5}
