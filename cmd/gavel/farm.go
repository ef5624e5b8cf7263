package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"gavel/api"
	"gavel/coordinator"
)

// farmDir is the directory of a farm that `gavel up` made; docs/OPERATING.md
// lists what lies in it.
type farmDir string

func (d farmDir) file() string            { return filepath.Join(string(d), "farm.json") }
func (d farmDir) settings() string        { return filepath.Join(string(d), "up.json") }
func (d farmDir) genesis() string         { return filepath.Join(string(d), "genesis.bin") }
func (d farmDir) keys() string            { return filepath.Join(string(d), "keys") }
func (d farmDir) key(name string) string  { return filepath.Join(d.keys(), name) }
func (d farmDir) store() string           { return filepath.Join(string(d), "store") }
func (d farmDir) node(name string) string { return filepath.Join(string(d), name) }
func (d farmDir) attestations(build string) string {
	return filepath.Join(string(d), "attestations", build)
}

// The files in keys/ besides those of the nodes, which are named after them.
const (
	keyAdmin        = "admin"
	keyCluster      = "cluster"
	keyClusterNext  = "cluster-next" // takes its place once gavel keys rotate has; it may be lacking
	keyRequester    = "requester"
	keyRequesterLog = "requester-log" // X25519, opens the logs
)

// farmFile is farm.json: where the farm is and who may use it.
type farmFile struct {
	// Endpoints are HOST:PORT of the coordinators' gRPC.
	Endpoints []string `json:"endpoints"`
	// Nodes are the processes as `gavel up` started them last.
	Nodes []farmNode `json:"nodes"`
	// Requester is the account that submits.
	Requester farmRequester `json:"requester"`
	// ClusterKey is the path of the cluster's public key.
	ClusterKey string `json:"cluster_key"`
}

type farmNode struct {
	Name    string `json:"name"`
	Role    string `json:"role"` // "coordinator" or "worker"
	PID     int    `json:"pid"`
	Address string `json:"address"` // of its gRPC; workers listen nowhere
}

type farmRequester struct {
	Name    string `json:"name"`
	Account string `json:"account"` // hex
	Key     string `json:"key"`     // path of the signing key
	LogKey  string `json:"log_key"` // path of the key that opens logs
}

// maxFarmFileBytes is far above a farm of some hundred nodes.
const maxFarmFileBytes = 1 << 20

// farmFlag adds --farm.
func farmFlag(c *cobra.Command, dir *string) {
	c.Flags().StringVar(dir, "farm", "", "the farm's directory, as `DIR` of gavel up (default $GAVEL_FARM, else ./farm)")
}

// findFarm settles which farm is meant.
func findFarm(flag string) (farmDir, error) {
	if flag != "" {
		return farmDir(flag), nil
	}
	if dir := os.Getenv("GAVEL_FARM"); dir != "" {
		return farmDir(dir), nil
	}
	if _, err := os.Stat(farmDir("farm").file()); err == nil {
		return "farm", nil
	}
	return "", usage("no farm is named: give --farm DIR or set GAVEL_FARM to the directory of a `gavel up`")
}

// read loads farm.json.
func (d farmDir) read() (*farmFile, error) {
	raw, err := readSmall(d.file(), maxFarmFileBytes)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &exit{code: exitNoFarm, err: fmt.Errorf("there is no farm in %s: nothing was sent. Start one with `gavel up --dir %s`", d, d)}
	}
	if err != nil {
		return nil, refused(fmt.Errorf("reading the farm's particulars: %w", err))
	}
	f := new(farmFile)
	if err := json.Unmarshal(raw, f); err != nil {
		return nil, refused(fmt.Errorf("reading %s: %w; `gavel up --dir %s` writes it anew", d.file(), err, d))
	}
	return f, nil
}

// trust is what dialling this farm must find: its own cluster, and receipts of
// the coordinators that its genesis names.
func (d farmDir) trust(o *api.Options) error {
	g, err := coordinator.LoadGenesis(d.genesis())
	if err != nil {
		return err
	}
	o.Cluster = g.Digest()
	for i := range g.Coordinators {
		o.CoordinatorKeys = append(o.CoordinatorKeys, g.Coordinators[i].Key)
	}
	return nil
}

// readSmall reads a whole file of at most limit bytes.
func readSmall(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(raw)) > limit {
		return nil, fmt.Errorf("%s is larger than %d bytes", path, limit)
	}
	return raw, nil
}

// writeJSON replaces a file whole, so that a reader finds either the old or the new.
func writeJSON(path string, v any) error {
	raw, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("encoding %s: %w", path, err)
	}
	return writeWhole(path, append(raw, '\n'), 0o644)
}

// writeWhole writes beside path and renames: a crash leaves the old file or the new one.
func writeWhole(path string, content []byte, mode fs.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	defer os.Remove(f.Name()) // gone already where all went well
	_, err = io.Copy(f, bytes.NewReader(content))
	if err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	if err := errors.Join(dir.Sync(), dir.Close()); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return nil
}
