package service

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"gavel/api"
	gavelv1 "gavel/api/gavel/v1"
	"gavel/coordinator/consensus"
	"gavel/coordinator/duty"
	"gavel/coordinator/publish"
	"gavel/raftfsm"
	"gavel/raftfsm/beacon"
	"gavel/raftfsm/build"
)

// Consensus is this node's part in the Raft cluster; consensus.Node is one.
type Consensus interface {
	Propose(ctx context.Context, commands []build.Command) ([]build.Outcome, uint64, error)
	ProposeHere(ctx context.Context, commands []build.Command) ([]build.Outcome, uint64, error)
	Status() consensus.Status
}

// Duties is what coordinators do for each other; the loops of package duty do it.
type Duties interface {
	// TakePartial takes a peer's partial beacon signature.
	TakePartial(from build.ID, demand raftfsm.Demand, p beacon.Partial) error
	// VouchMismatch signs that a lodged opening does not match, if it does not.
	VouchMismatch(ctx context.Context, buildID, lease build.ID) ([]byte, error)
	// VouchStored signs that the outputs of an attempt are stored, if they are.
	VouchStored(ctx context.Context, buildID, lease build.ID) ([]byte, error)
	// CollectStored gathers t such signatures and has them applied.
	CollectStored(ctx context.Context, buildID, lease build.ID) error
}

// Archive keeps settled builds that have left the replicated state.
type Archive interface {
	// Get returns a build, or an error wrapping duty.ErrNotArchived.
	Get(id build.ID) (*build.Build, error)
}

// Evidence is this node's transparency log; publish.Publisher is one.
type Evidence interface {
	// Lookup returns what the log has of a build, nil where it is not under a
	// published checkpoint.
	Lookup(id build.ID) (*publish.Logged, error)
	// Cosign signs a checkpoint that is consistent with this node's log.
	Cosign(ctx context.Context, checkpoint []byte) (line []byte, err error)
	// ReadFile reads a file of the log, or returns an error wrapping fs.ErrNotExist.
	ReadFile(path string, limit int64) ([]byte, error)
	// LoggedBuilds lists builds that the log has, by item.
	LoggedBuilds(from, to uint64) ([]publish.LoggedBuild, error)
}

// Peer is another coordinator.
type Peer struct {
	ID      build.ID
	Name    string
	Address string // HOST:PORT of its gRPC
	Node    gavelv1.NodeClient
}

// Config is what a Server is made of.
type Config struct {
	Name      string // this coordinator's
	Address   string // HOST:PORT under which it is reached
	Signer    api.Signer
	FSM       *raftfsm.FSM
	Consensus Consensus
	Duties    Duties
	Archive   Archive
	Peers     []Peer
	Blobs     *Blobs
	Evidence  Evidence
	LogURL    string // where the log is served; empty where it is not
	Logs      *Logs
	Log       *slog.Logger
}

// Server implements the Farm and Node services. It is safe for concurrent use.
type Server struct {
	gavelv1.UnimplementedFarmServer
	Config
	id      build.ID // of this coordinator
	cluster build.ID
	pending *gate // calls that wait for Raft or for disks
	streams *gate
	checks  chan struct{} // one place for each submission being checked
	now     func() time.Time
}

// New makes a server.
func New(c Config) *Server {
	s := &Server{
		Config: c, id: build.AccountID(c.Signer.PublicPKIX()), now: time.Now, checks: make(chan struct{}, submissions),
		pending: newGate("calls", maxPending, maxPendingAll), streams: newGate("streams", maxStreams, maxStreamsAll),
	}
	c.FSM.Read(func(st *raftfsm.State) { s.cluster = st.Cluster() })
	return s
}

// Register mounts the Farm and Node services.
func (s *Server) Register(g grpc.ServiceRegistrar) {
	gavelv1.RegisterFarmServer(g, s)
	gavelv1.RegisterNodeServer(g, &node{Server: s})
}

// Caller returns the account whose token came with a call of the Farm service
// or of the blob store.
func (s *Server) Caller(ctx context.Context) ([32]byte, error) {
	key, err := api.Authenticate(ctx, s.cluster, api.AudienceFarm, s.now())
	if err != nil {
		return key, err
	}
	return accountOf(s.FSM, key)
}

// insight says how much of an undecided build a caller may see.
func (s *Server) insight(caller build.ID, b *build.Build, st *raftfsm.State) insight {
	return insight(caller == b.Requester || st.ShareIndex(caller) != 0)
}

// id32 reads an id of a message.
func id32(what string, raw []byte) (build.ID, error) {
	if len(raw) != 32 {
		return build.ID{}, status.Errorf(codes.InvalidArgument, "%s id of %d bytes, want 32", what, len(raw))
	}
	return build.ID(raw), nil
}

// find returns a copy of a build, from the state, this node's archive, or the
// archive of a peer. A build that is not known may still be on its way here.
func (s *Server) find(ctx context.Context, id build.ID) (*build.Build, error) {
	patience := time.NewTimer(appearTimeout)
	defer patience.Stop()
	for {
		changed := s.FSM.Changed()
		if b, err := s.findHere(id); b != nil || err != nil {
			return b, err
		}
		select {
		case <-changed:
			continue
		case <-patience.C:
		case <-ctx.Done():
			return nil, status.FromContextError(ctx.Err()).Err()
		}
		break
	}
	for _, p := range s.Peers {
		if b := s.askArchive(ctx, p, id); b != nil {
			return b, nil
		}
	}
	return nil, status.Errorf(codes.NotFound, "there is no build %x in this farm", id[:])
}

func (s *Server) findHere(id build.ID) (found *build.Build, err error) {
	s.FSM.Read(func(st *raftfsm.State) {
		if b, ok := st.Build(id); ok {
			found = b.Clone()
		}
	})
	if found != nil {
		return found, nil
	}
	found, err = s.Archive.Get(id)
	if errors.Is(err, duty.ErrNotArchived) {
		return nil, nil
	}
	if err != nil {
		return nil, status.Errorf(codes.Internal, "reading the archive: %v", err)
	}
	return found, nil
}
