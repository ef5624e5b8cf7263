package coordinator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"gavel/api"
	gavelv1 "gavel/api/gavel/v1"
	"gavel/api/seal"
	"gavel/raftfsm"
	"gavel/raftfsm/build"
	"gavel/raftfsm/escrow"
	"gavel/raftfsm/wire"
	"gavel/verify/keys"
)

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// cluster is three nodes of this process, each on its own directory.
type cluster struct {
	t       *testing.T
	configs []Config
	genesis *raftfsm.Genesis
	stops   []func()
}

// freeAddresses are loopback addresses that nobody listened on a moment ago.
func freeAddresses(t *testing.T, n int) (out []string) {
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		check(t, err)
		defer l.Close()
		out = append(out, l.Addr().String())
	}
	return out
}

func newKey(t *testing.T, path string) *keys.Signer {
	s, err := keys.Create(path, keys.Ed25519)
	check(t, err)
	return s
}

// newCluster writes genesis, keys and configurations of n nodes.
func newCluster(t *testing.T, n int) *cluster {
	t.Helper()
	dir := t.TempDir()
	admin, farm := newKey(t, filepath.Join(dir, "admin.key")), newKey(t, filepath.Join(dir, "cluster.key"))
	c := &cluster{t: t, stops: make([]func(), n), genesis: &raftfsm.Genesis{
		Name: "test", Currency: "credits", Params: build.DefaultParams(), Drop: 100 * escrow.One,
		Pools: []build.Pool{{Name: "house", Lane: build.LaneHouse, Domain: build.DomainMachine}}, AdminKey: admin.Public, ClusterKey: farm.Public,
	}}
	addresses := freeAddresses(t, 2*n)
	var peers []Peer
	for i := range n {
		name := fmt.Sprintf("coordinator-%d", i+1)
		key := newKey(t, filepath.Join(dir, name+".key"))
		sealed, err := seal.GenerateKey()
		check(t, err)
		check(t, seal.WriteKey(filepath.Join(dir, name+".seal"), sealed))
		public := sealed.Public()
		c.genesis.Coordinators = append(c.genesis.Coordinators, build.Coordinator{ID: key.ID, Name: name, Operator: name, Key: key.Public, SealKey: public[:]})
		peers = append(peers, Peer{Name: name, Address: addresses[2*i], RaftAddress: addresses[2*i+1]})
	}
	slices.SortFunc(c.genesis.Coordinators, func(a, b build.Coordinator) int { return wire.Compare32(a.ID, b.ID) })
	check(t, c.genesis.Sign(admin.Sign))
	check(t, WriteGenesis(filepath.Join(dir, "genesis"), c.genesis))
	for i := range n {
		raw, err := json.Marshal(Config{
			Name: peers[i].Name, Dir: peers[i].Name, Genesis: "genesis", Key: peers[i].Name + ".key", SealKey: peers[i].Name + ".seal",
			ClusterKey: "cluster.key",
			Store:      "store", Peers: peers,
		})
		check(t, err)
		path := filepath.Join(dir, peers[i].Name+".json")
		check(t, os.WriteFile(path, raw, 0o644))
		config, err := LoadConfig(path)
		check(t, err)
		c.configs = append(c.configs, config)
	}
	return c
}

// start runs a node until stop.
func (c *cluster) start(i int) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- Run(ctx, c.configs[i]) }()
	stopped := false
	c.stops[i] = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-ended; err != nil {
			c.t.Errorf("node %d ended with %v", i, err)
		}
	}
	c.t.Cleanup(c.stops[i])
}

// ready waits until a node says that it can take work.
func (c *cluster) ready(i int) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), 30*time.Second)
	defer cancel()
	conn, err := grpc.NewClient(c.configs[i].self().Address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	check(c.t, err)
	defer conn.Close()
	for {
		stream, err := grpc_health_v1.NewHealthClient(conn).Watch(ctx, &grpc_health_v1.HealthCheckRequest{}, grpc.WaitForReady(true))
		for err == nil {
			var answer *grpc_health_v1.HealthCheckResponse
			if answer, err = stream.Recv(); err == nil && answer.Status == grpc_health_v1.HealthCheckResponse_SERVING {
				return
			}
		}
		if ctx.Err() != nil {
			c.t.Fatalf("node %d is not ready: %v", i, err)
		}
	}
}

func (c *cluster) endpoints() (out []string) {
	for i := range c.configs {
		out = append(out, c.configs[i].self().Address)
	}
	return out
}

// A cluster forms, makes its key, takes commands at any node while one is down,
// and knows after a restart of all what it acknowledged before.
func TestClusterLife(t *testing.T) {
	c := newCluster(t, 3)
	for i := range c.configs {
		c.start(i)
	}
	for i := range c.configs {
		c.ready(i)
	}
	key := newKey(t, filepath.Join(t.TempDir(), "requester.key"))
	var coordinatorKeys [][]byte
	for i := range c.genesis.Coordinators {
		coordinatorKeys = append(coordinatorKeys, c.genesis.Coordinators[i].Key)
	}
	client, err := api.Dial(t.Context(), api.Options{Endpoints: c.endpoints(), Signer: commandKey{key}, Cluster: c.genesis.Digest(), CoordinatorKeys: coordinatorKeys})
	check(t, err)
	defer client.Close()
	if _, err := client.Do(t.Context(), build.TypeOpen, &build.Open{Key: key.Public, Name: "late"}); err != nil {
		t.Fatalf("opening an account: %v", err)
	}
	view, err := client.Farm().Cluster(t.Context(), &gavelv1.ClusterRequest{})
	check(t, err)
	if len(view.Nodes) != 3 || view.Leader == "" || view.Nodes[0].Name != "coordinator-1" {
		t.Errorf("cluster: %v", view)
	}
	leader := slices.IndexFunc(c.configs, func(x Config) bool { return x.Name == view.Leader })

	c.stops[leader]()
	var refused *api.RefusedError
	if _, err := client.Do(t.Context(), build.TypeStake, &build.Stake{Amount: 1}); !errors.As(err, &refused) {
		t.Errorf("a command without its leader: %v", err) // it has no credits: applied, and refused
	}
	view, err = client.Farm().Cluster(t.Context(), &gavelv1.ClusterRequest{})
	check(t, err)
	if view.Nodes[leader].State != "unreachable" {
		t.Errorf("the stopped leader is shown as %v", view.Nodes[leader])
	}
	for i := range c.configs {
		c.stops[i]()
	}
	for i := range c.configs {
		c.start(i)
	}
	for i := range c.configs {
		c.ready(i)
	}
	accounts, err := client.Farm().Accounts(t.Context(), &gavelv1.AccountsRequest{})
	check(t, err)
	if !slices.ContainsFunc(accounts.Accounts, func(a *gavelv1.Account) bool { return a.Name == "late" }) {
		t.Error("the account is gone after a restart")
	}
	if accounts.Total != accounts.Minted-accounts.Burned {
		t.Errorf("the ledger does not balance: %v", accounts)
	}
}

// A node that was restarted knows what was acknowledged before, entry by entry,
// only once the others tell it how much of its log is committed. A farm once
// denied a settled build in that moment: it said how the build stood long ago.
func TestNodeThatIsBehindAnswersNothing(t *testing.T) {
	c := newCluster(t, 3)
	for i := range c.configs {
		c.start(i)
	}
	c.ready(0)
	key := newKey(t, filepath.Join(t.TempDir(), "requester.key"))
	client, err := api.Dial(t.Context(), api.Options{Endpoints: c.endpoints(), Signer: commandKey{key}})
	check(t, err)
	defer client.Close()
	_, err = client.Do(t.Context(), build.TypeOpen, &build.Open{Key: key.Public, Name: "late"})
	check(t, err)
	for i := range c.configs {
		c.stops[i]()
	}
	c.start(0) // alone, it cannot know
	conn, err := grpc.NewClient(c.configs[0].self().Address, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithPerRPCCredentials(api.NewCredentials(c.genesis.Digest(), api.AudienceFarm, commandKey{key})))
	check(t, err)
	defer conn.Close()
	farm := gavelv1.NewFarmClient(conn)
	info, err := farm.Info(t.Context(), &gavelv1.InfoRequest{}, grpc.WaitForReady(true))
	check(t, err)
	if info.Ready {
		t.Error("a node that is behind says that it is ready")
	}
	if answer, err := farm.Accounts(t.Context(), &gavelv1.AccountsRequest{}); status.Code(err) != codes.Unavailable {
		t.Errorf("a node that is behind answered %v, %v", answer, err)
	}
	watch, err := farm.WatchBuild(t.Context(), &gavelv1.GetBuildRequest{Build: make([]byte, 32)})
	check(t, err)
	if _, err := watch.Recv(); status.Code(err) != codes.Unavailable {
		t.Errorf("a node that is behind streamed: %v", err)
	}
	c.start(1)
	c.ready(0)
	accounts, err := farm.Accounts(t.Context(), &gavelv1.AccountsRequest{})
	check(t, err)
	if !slices.ContainsFunc(accounts.Accounts, func(a *gavelv1.Account) bool { return a.Name == "late" }) {
		t.Error("a node that has caught up does not know what was acknowledged")
	}
}

func TestLoadConfigRefuses(t *testing.T) {
	good := Config{Name: "a", Dir: "d", Genesis: "g", Key: "k", ClusterKey: "c", SealKey: "s", Store: "b", Peers: []Peer{{"a", "h:1", "h:2"}}}
	for name, change := range map[string]func(map[string]any){
		"unknown":      func(m map[string]any) { m["colour"] = "red" },
		"store":        func(m map[string]any) { delete(m, "store") },
		"among":        func(m map[string]any) { m["name"] = "b" },
		"HOST:PORT":    func(m map[string]any) { m["peers"].([]any)[0].(map[string]any)["address"] = "h" },
		"cannot unmar": func(m map[string]any) { m["peers"] = 7 },
	} {
		raw, _ := json.Marshal(good)
		var m map[string]any
		check(t, json.Unmarshal(raw, &m))
		change(m)
		raw, _ = json.Marshal(m)
		path := filepath.Join(t.TempDir(), "c.json")
		check(t, os.WriteFile(path, raw, 0o644))
		if _, err := LoadConfig(path); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	path := filepath.Join(t.TempDir(), "c.json")
	raw, _ := json.Marshal(good)
	check(t, os.WriteFile(path, append(raw, '{'), 0o644))
	if _, err := LoadConfig(path); err == nil {
		t.Error("something after the configuration is not refused")
	}
}

func TestGenesisFile(t *testing.T) {
	c := newCluster(t, 1)
	path := c.configs[0].Genesis
	g, err := LoadGenesis(path)
	if err != nil || g.Digest() != c.genesis.Digest() {
		t.Fatalf("reading back: %v", err)
	}
	if err := WriteGenesis(path, c.genesis); err == nil {
		t.Error("a genesis was replaced")
	}
	raw, err := os.ReadFile(path)
	check(t, err)
	for _, at := range []int{0, len(raw) / 2, len(raw) - 1} {
		bad := slices.Clone(raw)
		bad[at] ^= 1
		check(t, os.WriteFile(path, bad, 0o644))
		if _, err := LoadGenesis(path); err == nil {
			t.Errorf("a genesis with byte %d changed is accepted", at)
		}
	}
}

// A node must not start under a name or key that the genesis does not give it.
func TestStartRefusesAForeignKey(t *testing.T) {
	c := newCluster(t, 2)
	config := c.configs[0]
	config.Key = c.configs[1].Key
	if err := Run(t.Context(), config); err == nil || !strings.Contains(err.Error(), "signing key") {
		t.Errorf("another's signing key: %v", err)
	}
	config = c.configs[0]
	config.SealKey = c.configs[1].SealKey
	if err := Run(t.Context(), config); err == nil || !strings.Contains(err.Error(), "seal key") {
		t.Errorf("another's seal key: %v", err)
	}
	config = c.configs[0]
	config.Peers = config.Peers[:1]
	if err := Run(t.Context(), config); err == nil || !strings.Contains(err.Error(), "peers") {
		t.Errorf("a peer too few: %v", err)
	}
}
