package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"gavel/api/seal"
	"gavel/coordinator"
	"gavel/raftfsm"
	"gavel/raftfsm/build"
	"gavel/raftfsm/escrow"
	"gavel/raftfsm/wire"
	"gavel/verify/keys"
	"gavel/worker"
)

const (
	poolName      = "default"
	requesterName = "requester"
	// drop is what every founding account starts with.
	drop = 10_000 * escrow.One
	// defaultStake is what a worker puts up: hundreds of builds at the default price.
	defaultStake = 5_000 * escrow.One
)

func coordinatorName(i int) string { return fmt.Sprintf("coordinator-%d", i) }
func workerName(i int) string      { return fmt.Sprintf("worker-%d", i) }
func operatorName(i int) string    { return fmt.Sprintf("operator-%d", i) }
func machineName(i int) string     { return fmt.Sprintf("machine-%d", i) }
func sealName(node string) string  { return node + "-seal" }
func configName(node string) string {
	return node + ".json"
}

// createFarm makes a farm's keys and genesis. What an interrupted attempt left is
// made anew: no farm ever ran with it. up.json, written by the caller, ends it.
func createFarm(dir farmDir, s *upSettings) error {
	for _, stale := range []string{dir.keys(), dir.genesis()} {
		if err := os.RemoveAll(stale); err != nil {
			return fmt.Errorf("removing what an interrupted start left: %w", err)
		}
	}
	if err := os.Mkdir(dir.keys(), 0o700); err != nil {
		return fmt.Errorf("making the farm's keys: %w", err)
	}
	g := &raftfsm.Genesis{
		Name: "farm", CreatedWallMillis: time.Now().UnixMilli(), Currency: "credits", Simulated: true,
		Params: build.DefaultParams(), Pools: []build.Pool{{Name: poolName, Lane: build.LaneSpot, Domain: build.DomainOperator}}, Drop: drop,
	}
	var err error
	if g.Params.Treasury, err = s.treasury(); err != nil {
		return err
	}
	if s.Private {
		g.Pools[0].Lane, g.Pools[0].Domain, g.Drop = build.LaneHouse, build.DomainMachine, 0
	}
	if err := foundFarm(dir, s, g); err != nil {
		return fmt.Errorf("making the farm's genesis: %w", err)
	}
	return coordinator.WriteGenesis(dir.genesis(), g)
}

// foundFarm makes everybody's keys and names them in the genesis.
func foundFarm(dir farmDir, s *upSettings, g *raftfsm.Genesis) error {
	newKey := func(name string) (*keys.Signer, error) { return keys.Create(dir.key(name), keys.Ed25519) }
	admin, err := newKey(keyAdmin)
	if err != nil {
		return err
	}
	cluster, err := newKey(keyCluster)
	if err != nil {
		return err
	}
	requester, err := newKey(keyRequester)
	if err != nil {
		return err
	}
	if _, err := newSealKey(dir.key(keyRequesterLog)); err != nil {
		return err
	}
	g.AdminKey, g.ClusterKey = admin.Public, cluster.Public
	g.Founders = []raftfsm.Founder{{Key: requester.Public, Name: requesterName, Role: escrow.Requester}}
	for i := 1; i <= s.Coordinators; i++ {
		m, err := newMember(dir, i)
		if err != nil {
			return err
		}
		g.Coordinators = append(g.Coordinators, m)
	}
	for i := 1; i <= s.Workers; i++ {
		key, err := newKey(workerName(i))
		if err != nil {
			return err
		}
		g.Founders = append(g.Founders, raftfsm.Founder{Key: key.Public, Name: workerName(i), Role: escrow.Worker})
		g.Operators = append(g.Operators, build.Admit{Operator: operatorName(i), Members: []build.Member{{Account: key.ID, Machine: machineName(i)}}})
	}
	slices.SortFunc(g.Coordinators, func(a, b build.Coordinator) int { return wire.Compare32(a.ID, b.ID) })
	slices.SortFunc(g.Operators, func(a, b build.Admit) int { return cmp.Compare(a.Operator, b.Operator) })
	return g.Sign(admin.Sign)
}

func newMember(dir farmDir, i int) (build.Coordinator, error) {
	name := coordinatorName(i)
	key, err := keys.Create(dir.key(name), keys.Ed25519)
	if err != nil {
		return build.Coordinator{}, err
	}
	sealKey, err := seal.GenerateKey()
	if err != nil {
		return build.Coordinator{}, err
	}
	public := sealKey.Public()
	return build.Coordinator{ID: key.ID, Name: name, Operator: fmt.Sprintf("coordinators-%d", i), Key: key.Public, SealKey: public[:]},
		seal.WriteKey(dir.key(sealName(name)), sealKey)
}

// checkNew refuses a directory that holds something else than a farm that was
// interrupted while it was made.
func checkNew(dir farmDir) error {
	entries, err := os.ReadDir(string(dir))
	if err != nil {
		return fmt.Errorf("reading %s: %w", dir, err)
	}
	ours := []string{"keys", "genesis.bin", lockName, nodesLockName}
	for _, e := range entries {
		if !slices.Contains(ours, e.Name()) && !strings.HasPrefix(e.Name(), ".genesis-") && !strings.HasPrefix(e.Name(), ".up.json-") {
			return refused(fmt.Errorf("%s holds %q and no farm: nothing was done. Name a new or empty directory with --dir", dir, e.Name()))
		}
	}
	return nil
}

// writeConfigs writes what each node is told at its start. Nothing in it is
// older than this start, so that a farm whose addresses changed finds itself.
func writeConfigs(dir farmDir, s *upSettings) error {
	abs, err := filepath.Abs(string(dir))
	if err != nil {
		return fmt.Errorf("finding %s: %w", dir, err)
	}
	d := farmDir(abs)
	var peers []coordinator.Peer
	for i := 1; i <= s.Coordinators; i++ {
		peers = append(peers, coordinator.Peer{Name: coordinatorName(i), Address: address(s.Host, s.GRPCPorts[i-1]), RaftAddress: address(s.Host, s.RaftPorts[i-1])})
	}
	next := d.key(keyClusterNext)
	if _, err := os.Stat(next); err != nil {
		next = ""
	}
	for i, p := range peers {
		c := coordinator.Config{
			Name: p.Name, Dir: d.node(p.Name), Genesis: d.genesis(), Key: d.key(p.Name), SealKey: d.key(sealName(p.Name)),
			ClusterKey: d.key(keyCluster), NextClusterKey: next, LogListen: address(s.Host, s.LogPorts[i]),
			Store: d.store(), Retain: s.Retain, Peers: peers, LogFile: filepath.Join(d.node(p.Name), "log"),
		}
		if err := writeConfig(d, p.Name, c); err != nil {
			return err
		}
	}
	for i := 1; i <= s.Workers; i++ {
		if err := writeConfig(d, workerName(i), workerConfig(d, s, i)); err != nil {
			return err
		}
	}
	return nil
}

func writeConfig(d farmDir, node string, config any) error {
	if err := os.Mkdir(d.node(node), 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("making the directory of %s: %w", node, err)
	}
	return writeJSON(filepath.Join(d.node(node), configName(node)), config)
}

func workerConfig(d farmDir, s *upSettings, i int) worker.Config {
	name := workerName(i)
	kind, runtime := s.sandbox(i)
	c := worker.Config{
		Name: name, Dir: d.node(name), KeyFile: d.key(name), Pool: poolName, Operator: operatorName(i), Machine: machineName(i),
		Sandbox: kind, Runtime: runtime, LogFile: filepath.Join(d.node(name), "log"), Misbehave: s.Misbehave[i],
	}
	for _, port := range s.GRPCPorts {
		c.Endpoints = append(c.Endpoints, address(s.Host, port))
	}
	if !s.Private {
		price := worker.Amount(escrow.One + escrow.Credits(i)*escrow.One/10)
		c.Price, c.Stake, c.FinishedPrice = &price, worker.Amount(defaultStake), s.FinishedPrice
		if stake, ok := s.Stake[i]; ok {
			c.Stake = stake
		}
	}
	return c
}
