package service

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"crypto/hpke"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"

	"gavel/api"
	"gavel/api/action"
	"gavel/api/seal"
	"gavel/cas"
	"gavel/cas/client"
	"gavel/cas/disk"
	"gavel/cas/scope"
	"gavel/cas/server"
	"gavel/cas/tree"
	"gavel/coordinator/consensus"
	"gavel/coordinator/duty"
	"gavel/coordinator/images"
	"gavel/coordinator/publish"
	"gavel/coordinator/retention"
	"gavel/raftfsm"
	"gavel/raftfsm/auction"
	"gavel/raftfsm/beacon"
	"gavel/raftfsm/build"
	"gavel/raftfsm/escrow"
	"gavel/raftfsm/wire"
	"gavel/verify/attest"
)

// signer is an Ed25519 key made from a name.
type signer struct{ key ed25519.PrivateKey }

func keyOf(name string) signer {
	seed := sha256.Sum256([]byte(name))
	return signer{ed25519.NewKeyFromSeed(seed[:])}
}

func (s signer) PublicPKIX() []byte {
	der, err := x509.MarshalPKIXPublicKey(s.key.Public())
	if err != nil {
		panic(err)
	}
	return der
}
func (s signer) Sign(msg []byte) ([]byte, error) { return ed25519.Sign(s.key, msg), nil }
func (s signer) id() build.ID                    { return build.AccountID(s.PublicPKIX()) }

// party is a participant with a client of its own.
type party struct {
	signer
	*api.Client
	blobs    *client.Client
	pictures *client.Client // of images
}

// farm is a cluster of one coordinator, with everybody's keys, served over
// loopback. Raft and the coordinator's loops are the test's.
type farm struct {
	t         *testing.T
	server    *Server
	fsm       *raftfsm.FSM
	seal      *seal.PrivateKey
	share     beacon.Share
	address   string
	imageDir  string // of the registry
	store     *disk.Store
	kept      *disk.Store
	requester *party
	stranger  *party
	workers   []*party

	mu      sync.Mutex // guards what follows
	index   uint64
	entries [][]byte
	archive map[build.ID]*build.Build
	log     *publish.Publisher // what requesters are shown of
	down    error              // what Propose answers instead
	tries   int
}

const workersOfFarm = 5

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newFarm(t *testing.T) *farm {
	t.Helper()
	f := &farm{t: t, archive: make(map[build.ID]*build.Build)}
	var err error
	f.seal, err = seal.GenerateKey()
	check(t, err)
	g := f.genesis()
	f.fsm, err = raftfsm.New(g)
	check(t, err)
	f.generateKeys(g)
	dir := t.TempDir()
	f.store, err = disk.Open(filepath.Join(dir, "blobs"), disk.Options{Cache: true, RecordUse: retention.UseEvery(retention.Default)})
	check(t, err)
	f.kept, err = disk.Open(filepath.Join(dir, "kept"), disk.Options{Cache: true})
	check(t, err)
	accounts, err := scope.OpenAccounts(filepath.Join(dir, "accounts"))
	check(t, err)
	logs, err := OpenLogs(filepath.Join(dir, "logs"))
	check(t, err)
	f.imageDir = filepath.Join(dir, "images")
	registry, err := images.Open(f.imageDir)
	check(t, err)
	pictures, err := disk.Open(filepath.Join(dir, "pictures"), disk.Options{Cache: true})
	check(t, err)
	served := Store{f.store, f.kept}
	blobs := NewBlobs(served, accounts, registry, pictures, f.fsm)
	f.server = New(Config{
		Name: "coordinator-1", Signer: keyOf("coordinator"), FSM: f.fsm, Consensus: f, Duties: f, Archive: f,
		Blobs: blobs, Evidence: evidence{f: f}, Logs: logs, Log: slog.New(slog.DiscardHandler),
	})
	s := grpc.NewServer(grpc.MaxRecvMsgSize(api.MaxMessageBytes))
	f.server.Register(s)
	storage := server.New(server.Config{
		Instance: server.Instance{Store: served, Access: blobs.Access()}, AccountFrom: f.server.Caller, Log: slog.New(slog.DiscardHandler),
		Instances: map[string]server.Instance{api.ImagesInstance: {Store: pictures, Access: blobs.ImageAccess()}},
	})
	storage.Register(s)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	f.address = l.Addr().String()
	go s.Serve(l)
	t.Cleanup(func() { s.Stop(); storage.Close() })
	f.requester, f.stranger = f.dial("requester"), f.dial("stranger")
	for i := range workersOfFarm {
		f.workers = append(f.workers, f.dial(workerName(i)))
		f.register(i)
	}
	return f
}

// evidence is a farm's log, which has nothing until a test sets one.
type evidence struct {
	Evidence
	f *farm
}

func (e evidence) Lookup(id build.ID) (*publish.Logged, error) {
	e.f.mu.Lock()
	log := e.f.log
	e.f.mu.Unlock()
	if log == nil {
		return nil, nil
	}
	return log.Lookup(id)
}

func workerName(i int) string { return fmt.Sprintf("worker-%d", i+1) }

func (f *farm) genesis() *raftfsm.Genesis {
	c, public := keyOf("coordinator"), f.seal.Public()
	g := &raftfsm.Genesis{
		Name: "test", Currency: "credits", Simulated: true, Params: build.DefaultParams(), Drop: 10_000 * escrow.One,
		Pools: []build.Pool{
			{Name: "house", Lane: build.LaneHouse, Domain: build.DomainMachine},
			{Name: "spot", Lane: build.LaneSpot, Domain: build.DomainOperator},
		},
		Coordinators: []build.Coordinator{{ID: c.id(), Name: "coordinator-1", Operator: "c", Key: c.PublicPKIX(), SealKey: public[:]}},
		AdminKey:     keyOf("admin").PublicPKIX(), ClusterKey: keyOf("cluster").PublicPKIX(),
	}
	for _, name := range []string{"requester", "stranger"} {
		g.Founders = append(g.Founders, raftfsm.Founder{Key: keyOf(name).PublicPKIX(), Name: name, Role: escrow.Requester})
	}
	for i := range workersOfFarm {
		g.Founders = append(g.Founders, raftfsm.Founder{Key: keyOf(workerName(i)).PublicPKIX(), Name: workerName(i), Role: escrow.Worker})
		g.Operators = append(g.Operators, build.Admit{Operator: fmt.Sprintf("operator-%d", i+1), Members: []build.Member{{Account: keyOf(workerName(i)).id(), Machine: fmt.Sprintf("machine-%d", i+1)}}})
	}
	slices.SortFunc(g.Operators, func(a, b build.Admit) int { return cmp.Compare(a.Operator, b.Operator) })
	check(f.t, g.Sign(keyOf("admin").Sign))
	return g
}

// generateKeys runs the ceremony of a cluster of one.
func (f *farm) generateKeys(g *raftfsm.Genesis) {
	var c beacon.Ceremony
	f.fsm.Read(func(s *raftfsm.State) { c = s.Ceremony() })
	dealing, err := beacon.NewDealing(rand.Reader, c, 1)
	check(f.t, err)
	d, err := dealing.Deal([]hpke.PublicKey{f.seal.HPKE().PublicKey()})
	check(f.t, err)
	f.apply(f.command(keyOf("coordinator"), build.TypeDeal, &build.Deal{Deal: wire.Encode(d)}))
	f.apply(f.command(keyOf("coordinator"), build.TypeComplain, &build.Complain{}))
	secret, err := beacon.OpenShare(c, d, 1, f.seal.HPKE())
	check(f.t, err)
	f.fsm.Read(func(s *raftfsm.State) {
		f.share, err = beacon.CombineShares(1, []beacon.Secret{secret}, s.Keys().Group.Shares[0])
	})
	check(f.t, err)
}

func (f *farm) dial(name string) *party {
	f.t.Helper()
	p := &party{signer: keyOf(name)}
	var err error
	p.Client, err = api.Dial(f.t.Context(), api.Options{Endpoints: []string{f.address}, Signer: p.signer, Patience: 2 * time.Second})
	check(f.t, err)
	f.t.Cleanup(func() { p.Client.Close() })
	p.blobs, err = client.New([]grpc.ClientConnInterface{p.CASConn()}, client.Options{})
	check(f.t, err)
	p.pictures, err = client.New([]grpc.ClientConnInterface{p.CASConn()}, client.Options{Instance: api.ImagesInstance})
	check(f.t, err)
	return p
}

func (f *farm) register(i int) {
	f.t.Helper()
	_, err := f.workers[i].Do(f.t.Context(), build.TypeRegister, &build.Register{
		Key: f.workers[i].PublicPKIX(), Name: workerName(i), Pool: "house", Operator: fmt.Sprintf("operator-%d", i+1),
		Machine: fmt.Sprintf("machine-%d", i+1), Class: "linux/amd64/v3", Platforms: []string{"host"}, Slots: 1,
	})
	check(f.t, err)
}

// command signs a command as its sender would.
func (f *farm) command(by signer, t build.Type, payload wire.Record) build.Command {
	m := build.Command{Version: build.Version, Type: t, Payload: wire.Encode(payload)}
	if !t.Signed() {
		return m
	}
	m.Sender = by.id()
	rand.Read(m.Request[:])
	f.fsm.Read(func(s *raftfsm.State) {
		m.ValidUntilMillis = s.Now() + 60_000
		m.Signature, _ = by.Sign(m.SigningBytes(s.Cluster()))
	})
	return m
}

// apply is Raft: one entry, applied.
func (f *farm) apply(commands ...build.Command) []build.Outcome {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.index++
	f.entries = append(f.entries, wire.Encode(&build.Batch{Commands: commands}))
	return f.fsm.Apply(f.index, f.entries[f.index-1])
}

// Propose implements Consensus.
func (f *farm) Propose(_ context.Context, commands []build.Command) ([]build.Outcome, uint64, error) {
	f.mu.Lock()
	f.tries++
	down := f.down
	f.mu.Unlock()
	if down != nil {
		return nil, 0, down
	}
	out := f.apply(commands...)
	return out, f.index, nil
}

// ProposeHere implements Consensus.
func (f *farm) ProposeHere(ctx context.Context, commands []build.Command) ([]build.Outcome, uint64, error) {
	return f.Propose(ctx, commands)
}

// Status implements Consensus.
func (f *farm) Status() consensus.Status {
	return consensus.Status{State: "leader", Term: 1, Leader: consensus.Peer{Name: "coordinator-1"}}
}

// TakePartial implements Duties.
func (f *farm) TakePartial(build.ID, raftfsm.Demand, beacon.Partial) error { return nil }

// VouchMismatch implements Duties.
func (f *farm) VouchMismatch(context.Context, build.ID, build.ID) ([]byte, error) {
	return nil, fmt.Errorf("it matches")
}

// VouchStored implements Duties.
func (f *farm) VouchStored(context.Context, build.ID, build.ID) ([]byte, error) {
	return []byte{1}, nil
}

// CollectStored implements Duties: t is one.
func (f *farm) CollectStored(_ context.Context, id, lease build.ID) error {
	m := build.Vouched{Build: id, Lease: lease}
	f.fsm.Read(func(s *raftfsm.State) {
		b, _ := s.Build(id)
		m.Digest = b.Attempt(lease).Result()
		sig, _ := keyOf("coordinator").Sign(build.VouchBytes(build.TypeStored, s.Cluster(), id, lease, m.Digest))
		m.Vouches = []build.Vouch{{Coordinator: keyOf("coordinator").id(), Signature: sig}}
	})
	if out := f.apply(f.command(signer{}, build.TypeStored, &m))[0]; out.Code != build.Done {
		return fmt.Errorf("%s", out.Detail)
	}
	return nil
}

// Get implements Archive.
func (f *farm) Get(id build.ID) (*build.Build, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if b, ok := f.archive[id]; ok {
		return b, nil
	}
	return nil, duty.ErrNotArchived
}

// draw makes every beacon signature that is demanded, until none is.
func (f *farm) draw() {
	f.t.Helper()
	for {
		var commands []build.Command
		f.fsm.Read(func(s *raftfsm.State) {
			for _, d := range s.Demands() {
				msg := d.Message(s.Cluster())
				sig, err := s.Keys().Group.Combine(msg, []beacon.Partial{f.share.Sign(msg)})
				check(f.t, err)
				commands = append(commands, build.Command{Version: build.Version, Type: build.TypeBeacon, Payload: wire.Encode(&build.Beacon{Purpose: d.Purpose, Build: d.Build, Round: d.Round, Signature: sig})})
			}
		})
		if len(commands) == 0 {
			return
		}
		for _, o := range f.apply(commands...) {
			if o.Code != build.Done {
				f.t.Fatalf("beacon: %s", o.Detail)
			}
		}
	}
}

// openAll opens every lodged opening that may be.
func (f *farm) openAll() {
	f.t.Helper()
	var duties []raftfsm.OpeningDuty
	var cluster build.ID
	f.fsm.Read(func(s *raftfsm.State) { duties, cluster = s.Openings(), s.Cluster() })
	for _, d := range duties {
		o, err := seal.OpenLodgement(f.seal, 0, 1, cluster, d.Build, d.Lease, d.Commitment, d.Lodged)
		check(f.t, err)
		if out := f.apply(f.command(signer{}, build.TypeOpening, &build.OpeningOf{Build: d.Build, Lease: d.Lease, Opening: *o}))[0]; out.Code != build.Done {
			f.t.Fatalf("opening: %s", out.Detail)
		}
	}
}

// project is a small action with its blobs.
type project struct {
	action action.Action
	blobs  [][]byte
	bytes  uint64
}

func newProject(t *testing.T, content string, env ...attest.EnvVar) *project {
	t.Helper()
	file := []byte(content)
	name, err := tree.NewComponent("main.c")
	check(t, err)
	dir := tree.Directory{Files: []tree.FileNode{{Name: name, Digest: cas.Of(file)}}}
	root, err := dir.Encode()
	check(t, err)
	p := &project{bytes: uint64(len(file)), action: action.Action{
		InputRoot: cas.Of(root), Argv: []string{"make"}, Env: env, Outputs: []string{"app"}, Root: "host", TimeoutMillis: 60_000,
	}}
	p.encode(t, file, root)
	return p
}

// encode writes the action over the tree's blobs.
func (p *project) encode(t *testing.T, tree ...[]byte) {
	t.Helper()
	raw, command, err := p.action.Encode()
	check(t, err)
	p.blobs = append(slices.Clone(tree), command, raw)
}

// in makes it a build in an image of the farm's store.
func (p *project) in(t *testing.T, root string, imageBytes uint64) {
	t.Helper()
	p.action.Root = root
	p.bytes += imageBytes
	p.encode(t, p.blobs[:2]...)
}

func (p *project) terms(f *farm, pool string) build.Terms {
	t := build.Terms{
		Pool: pool, ActionDigest: p.action.Digest.Sum(), ActionBytes: uint64(p.action.Digest.Size), Platform: p.action.Root,
		TimeoutMillis: p.action.TimeoutMillis, InputBytes: p.bytes, Validators: 1, SamplePPM: 1_000_000, DeadlineMillis: 3_600_000,
	}
	if pool == "spot" {
		params := build.DefaultParams()
		t.Reserve = 10 * escrow.One
		t.Value = auction.Constant(t.Reserve)
		t.Budget = t.MinBudget(&params)
	}
	return t
}

func upload(t *testing.T, by *party, blobs ...[]byte) {
	t.Helper()
	for _, raw := range blobs {
		check(t, by.put(t.Context(), raw))
	}
}

func (p *party) put(ctx context.Context, raw []byte) error {
	return p.blobs.Upload(ctx, []cas.Blob{blobOf(raw)}, func(cas.Digest) {})
}

// submit uploads a project and submits it.
func (f *farm) submit(p *project, pool string) build.ID {
	f.t.Helper()
	upload(f.t, f.requester, p.blobs...)
	receipt, err := f.requester.Do(f.t.Context(), build.TypeSubmit, &build.Submit{Terms: p.terms(f, pool)})
	check(f.t, err)
	return build.ID(receipt.Subject)
}

// lease returns who holds an active lease of a build, in order of assignment.
func (f *farm) leases(id build.ID) (holders []*party, leases []build.ID) {
	f.fsm.Read(func(s *raftfsm.State) {
		b, _ := s.Build(id)
		for i := range b.Attempts {
			if a := &b.Attempts[i]; a.Active() {
				leases = append(leases, a.Lease(id))
				for _, w := range f.workers {
					if w.id() == a.Worker {
						holders = append(holders, w)
					}
				}
			}
		}
	})
	return holders, leases
}

// result is a result with one file as output.
func result(content string) *build.Manifest {
	return &build.Manifest{Status: build.StatusExited, Outputs: []build.Output{
		{Path: "app", Type: build.OutputFile, Executable: true, Digest: sha256.Sum256([]byte(content)), Size: uint64(len(content))},
	}}
}

// commit builds: the worker starts and commits to a result, whose statement it signs.
func (f *farm) commit(p *project, w *party, id, lease build.ID, m *build.Manifest, role attest.Role) {
	f.t.Helper()
	_, err := w.Do(f.t.Context(), build.TypeStart, &build.LeaseRef{Build: id, Lease: lease})
	check(f.t, err)
	o := build.Opening{Summary: m.Summarise(), StartedWallMillis: 1000, FinishedWallMillis: 2000}
	rand.Read(o.Nonce[:])
	by := action.Author{Cluster: w.Cluster(), Build: id, Role: role, Simulated: true, StartedWallMillis: 1000, FinishedWallMillis: 2000}
	var coordinators []build.Coordinator
	f.fsm.Read(func(s *raftfsm.State) {
		worker, _ := s.Worker(w.id())
		copied := *worker
		by.Worker, coordinators = &copied, s.Genesis().Coordinators
	})
	statement, err := p.action.Provenance(by, m).Statement()
	check(f.t, err)
	o.Signature, err = w.Sign(attest.Payload(statement))
	check(f.t, err)
	commitment := o.Commitment(w.Cluster(), w.id(), id)
	lodged, err := seal.Lodgement(coordinators, w.Cluster(), id, lease, commitment, &o)
	check(f.t, err)
	_, err = w.Do(f.t.Context(), build.TypeCommit, &build.Commit{Build: id, Lease: lease, Commitment: commitment, Lodged: lodged})
	check(f.t, err)
}
