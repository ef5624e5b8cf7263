// Package coordinator is one node of a farm's cluster, put together: Raft, the
// duties of a coordinator, and the gRPC service. It owns the node's configuration
// and files, its connections to its peers, and the order in which things start
// and stop; it decides nothing itself and never touches the replicated state. It
// keeps two invariants: nothing is served before what it is served from runs, and
// nothing is closed before what uses it has ended.
package coordinator

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"

	"gavel/coordinator/retention"
	"gavel/raftfsm"
	"gavel/raftfsm/wire"
)

// Config says what a node is. It is read from a JSON file; unknown keys are
// refused, and relative paths are relative to that file.
type Config struct {
	// Name is this node's, one of the coordinators of the genesis and of Peers.
	Name string `json:"name"`
	// Dir is this node's own directory: Raft's log and snapshots, its share of the
	// beacon, its archive. One process at a time may use it.
	Dir string `json:"dir"`
	// Genesis is the file with the signed genesis, the same on every node.
	Genesis string `json:"genesis"`
	// Key is this node's signing key: a file, or a KMS key by its URI.
	Key string `json:"key"`
	// ClusterKey is the cluster's signing key, of which every coordinator has a copy:
	// it signs checkpoints of the log and verification summaries. A file or a KMS URI.
	ClusterKey string `json:"cluster_key"`
	// NextClusterKey is a second one that takes its place once `gavel keys rotate`
	// has: the log goes on without a pause.
	NextClusterKey string `json:"next_cluster_key,omitempty"`
	// LogListen is the HOST:PORT on which the transparency log is served over HTTP;
	// empty serves it to other coordinators only.
	LogListen string `json:"log_listen,omitempty"`
	// LogURL is where others reach LogListen; empty is http:// and LogListen.
	LogURL string `json:"log_url,omitempty"`
	// Witnesses are asked to cosign the log's checkpoints (C2SP tlog-witness). The log
	// does not wait for one that is away.
	Witnesses []Witness `json:"witnesses,omitempty"`
	// SealKey is the file with this node's X25519 key, to which openings and
	// shares are encrypted.
	SealKey string `json:"seal_key"`
	// Store is the directory with the farm's blobs and logs. The coordinators of
	// one machine share it.
	Store string `json:"store"`
	// Retain is how long what nobody uses stays in Store: inputs, and outputs of builds
	// that the state no longer holds. "forever", days such as "30d" (the default), or
	// hours such as "36h".
	Retain string `json:"retain,omitempty"`
	// Listen is the HOST:PORT that gRPC listens on; empty is the address in Peers.
	Listen string `json:"listen,omitempty"`
	// RaftListen is the HOST:PORT that Raft listens on; empty is the address in Peers.
	RaftListen string `json:"raft_listen,omitempty"`
	// Peers are all coordinators, this one among them.
	Peers []Peer `json:"peers"`
	// LogFile takes the node's log, appended; empty is node.log in Dir.
	LogFile string `json:"log_file,omitempty"`
}

// Witness is somebody outside of the farm who cosigns checkpoints of its log.
type Witness struct {
	// Name is that of the witness' key on checkpoints.
	Name string `json:"name"`
	// Key is the file with its public key in PEM.
	Key string `json:"key"`
	// URL is where it takes add-checkpoint.
	URL string `json:"url"`
}

// Peer is where a coordinator is reached.
type Peer struct {
	// Name is the coordinator's in the genesis.
	Name string `json:"name"`
	// Address is the HOST:PORT of its gRPC.
	Address string `json:"address"`
	// RaftAddress is the HOST:PORT of its Raft.
	RaftAddress string `json:"raft_address"`
}

// LoadConfig reads and checks a configuration file.
func LoadConfig(path string) (Config, error) {
	var c Config
	raw, err := readBounded(path, maxConfigBytes)
	if err != nil {
		return c, fmt.Errorf("reading configuration: %w", err)
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(&c); err != nil {
		return c, fmt.Errorf("reading configuration %s: %w", path, err)
	}
	if d.More() {
		return c, fmt.Errorf("reading configuration %s: something follows the configuration", path)
	}
	base := filepath.Dir(path)
	for _, p := range []*string{&c.Dir, &c.Genesis, &c.SealKey, &c.Store, &c.LogFile} {
		if *p != "" && !filepath.IsAbs(*p) {
			*p = filepath.Join(base, *p)
		}
	}
	// A key that is no file is a KMS URI.
	for _, key := range []*string{&c.Key, &c.ClusterKey, &c.NextClusterKey} {
		if file := filepath.Join(base, *key); *key != "" && !filepath.IsAbs(*key) && exists(file) {
			*key = file
		}
	}
	for i := range c.Witnesses {
		if key := &c.Witnesses[i].Key; *key != "" && !filepath.IsAbs(*key) {
			*key = filepath.Join(base, *key)
		}
	}
	if err := c.validate(); err != nil {
		return c, fmt.Errorf("configuration %s: %w", path, err)
	}
	return c, nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func readBounded(path string, limit int64) ([]byte, error) {
	info, err := os.Stat(path)
	if err == nil && info.Size() > limit {
		err = fmt.Errorf("%s has %d bytes, at most %d", path, info.Size(), limit)
	}
	if err != nil {
		return nil, err
	}
	return os.ReadFile(path)
}

func (c *Config) validate() error {
	for _, f := range []struct{ key, value string }{
		{"name", c.Name}, {"dir", c.Dir}, {"genesis", c.Genesis}, {"key", c.Key}, {"cluster_key", c.ClusterKey}, {"seal_key", c.SealKey}, {"store", c.Store},
	} {
		if f.value == "" {
			return fmt.Errorf("%q is missing", f.key)
		}
	}
	for _, w := range c.Witnesses {
		if u, err := url.Parse(w.URL); w.Name == "" || w.Key == "" || err != nil || u.Host == "" {
			return fmt.Errorf("witness %q: want a name, the file of a key, and a URL", w.Name)
		}
	}
	if _, err := retention.Parse(c.Retain); err != nil {
		return fmt.Errorf("retain: %w", err)
	}
	self := false
	for _, p := range c.Peers {
		for _, address := range []string{p.Address, p.RaftAddress} {
			if _, _, err := net.SplitHostPort(address); err != nil {
				return fmt.Errorf("peer %q: %q is not HOST:PORT", p.Name, address)
			}
		}
		self = self || p.Name == c.Name
	}
	if !self {
		return fmt.Errorf("%q is not among the peers", c.Name)
	}
	return nil
}

// self is this node's own entry in Peers; validate has made sure of it.
func (c *Config) self() Peer {
	for _, p := range c.Peers {
		if p.Name == c.Name {
			return p
		}
	}
	return Peer{}
}

// LoadGenesis reads a genesis file, the canonical bytes, and checks its signature.
func LoadGenesis(path string) (*raftfsm.Genesis, error) {
	raw, err := readBounded(path, maxGenesisBytes)
	if err != nil {
		return nil, fmt.Errorf("reading genesis: %w", err)
	}
	g := new(raftfsm.Genesis)
	if err := wire.Decode(raw, g); err != nil {
		return nil, fmt.Errorf("reading genesis %s: %w", path, err)
	}
	if err := g.Validate(); err != nil {
		return nil, fmt.Errorf("reading genesis %s: %w", path, err)
	}
	return g, nil
}

// WriteGenesis writes a genesis file that is not there yet: a cluster has one
// genesis for ever. A crash leaves either no file at path or all of it.
func WriteGenesis(path string, g *raftfsm.Genesis) (err error) {
	if err := g.Validate(); err != nil {
		return fmt.Errorf("writing genesis: %w", err)
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".genesis-*")
	if err != nil {
		return fmt.Errorf("writing genesis: %w", err)
	}
	defer os.Remove(f.Name())
	_, err = f.Write(wire.Encode(g))
	if err == nil {
		err = errors.Join(f.Chmod(0o644), f.Sync())
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Link(f.Name(), path) // unlike a rename it replaces nothing
	}
	if err != nil {
		return fmt.Errorf("writing genesis: %w", err)
	}
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("writing genesis: %w", err)
	}
	return errors.Join(d.Sync(), d.Close())
}
