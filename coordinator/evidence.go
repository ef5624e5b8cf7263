package coordinator

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"

	"golang.org/x/net/netutil"

	"gavel/cas/disk"
	"gavel/cas/scope"
	"gavel/coordinator/consensus"
	"gavel/coordinator/images"
	"gavel/coordinator/publish"
	"gavel/coordinator/retention"
	"gavel/coordinator/service"
	"gavel/raftfsm"
	"gavel/verify/keys"
	"gavel/verify/tlog"
)

// stores are the farm's blobs and images, and who may do what with them.
type stores struct {
	blobs    *disk.Store // without what is kept
	served   service.Store
	pictures *disk.Store
	access   *service.Blobs
}

func (n *node) openStores() (*stores, error) {
	dir := n.config.Store
	retain, err := retention.Parse(n.config.Retain)
	if err != nil {
		return nil, err
	}
	blobs, err := disk.Open(filepath.Join(dir, "blobs"), disk.Options{RecordUse: retention.UseEvery(retain)})
	if err != nil {
		return nil, err
	}
	n.onStop(blobs.Close)
	kept, err := disk.Open(filepath.Join(dir, "kept"), disk.Options{})
	if err != nil {
		return nil, err
	}
	n.onStop(kept.Close)
	accounts, err := scope.OpenAccounts(filepath.Join(dir, "accounts"))
	if err != nil {
		return nil, err
	}
	registry, err := images.Open(filepath.Join(dir, "images"))
	if err != nil {
		return nil, err
	}
	pictures, err := disk.Open(filepath.Join(dir, "images", "blobs"), disk.Options{})
	if err != nil {
		return nil, err
	}
	n.onStop(pictures.Close)
	served := service.Store{Store: blobs, Kept: kept}
	return &stores{blobs, served, pictures, service.NewBlobs(served, accounts, registry, pictures, n.fsm)}, nil
}

// openEvidence opens this node's log before the first entry is applied, and
// serves it.
func (n *node) openEvidence(ctx context.Context, g *raftfsm.Genesis, signer *keys.Signer, links *peers, files *stores) error {
	var cluster []*keys.Signer
	for _, ref := range []string{n.config.ClusterKey, n.config.NextClusterKey} {
		if ref == "" {
			continue
		}
		key, err := keys.Load(ctx, ref)
		if err != nil {
			return fmt.Errorf("loading the cluster key: %w", err)
		}
		cluster = append(cluster, key)
	}
	witnesses, err := n.config.witnesses()
	if err != nil {
		return err
	}
	n.evidence, err = publish.Open(publish.Config{
		Witnesses: witnesses,
		Genesis:   g, Self: signer.ID, Dir: n.config.Dir, Cluster: cluster, Signer: signer, State: n.fsm, Blobs: files.access, Peers: links, Log: n.log,
	})
	if err != nil {
		return err
	}
	n.onStop(n.evidence.Close)
	n.fsm.Observe(n.evidence.Take)
	if n.config.LogListen == "" {
		return nil
	}
	listener, err := net.Listen("tcp", n.config.LogListen)
	if err != nil {
		return fmt.Errorf("listening for readers of the log: %w; is another farm running on this port?", err)
	}
	web := &http.Server{
		Handler: tlog.Handler(publish.LogDir(n.config.Dir)), ReadHeaderTimeout: httpHeaderTimeout, ReadTimeout: httpTimeout, WriteTimeout: httpTimeout,
		IdleTimeout: idlePing, MaxHeaderBytes: maxHTTPHeaderBytes,
	}
	go func() {
		if err := web.Serve(netutil.LimitListener(listener, maxHTTPConnections)); !errors.Is(err, http.ErrServerClosed) {
			n.failed <- fmt.Errorf("serving the log: %w", err)
		}
	}()
	n.onStop(web.Close)
	return nil
}

// witnesses are those whom this node asks.
func (c *Config) witnesses() (out []*tlog.WitnessClient, err error) {
	for _, w := range c.Witnesses {
		raw, err := readBounded(w.Key, maxConfigBytes)
		if err != nil {
			return nil, fmt.Errorf("reading the key of witness %s: %w", w.Name, err)
		}
		public, err := keys.ParsePublic(raw)
		if err != nil {
			return nil, fmt.Errorf("the key of witness %s: %w", w.Name, err)
		}
		pkix, err := keys.PKIX(public)
		if err != nil {
			return nil, fmt.Errorf("the key of witness %s: %w", w.Name, err)
		}
		out = append(out, &tlog.WitnessClient{URL: w.URL, Witness: tlog.Cosigner{Name: w.Name, PKIX: pkix}})
	}
	return out, nil
}

// logURL is where others reach this node's log.
func (c *Config) logURL() string {
	if c.LogURL == "" && c.LogListen != "" {
		return "http://" + c.LogListen
	}
	return c.LogURL
}

// beginSweeping removes from the store what is no longer retained, from time to time.
func (n *node) beginSweeping(files *stores, raft *consensus.Node) error {
	retain, err := retention.Parse(n.config.Retain)
	if err != nil || retain == 0 {
		return err
	}
	sweeper, err := retention.New(retention.Config{
		Retain: retain, Dir: n.config.Store, Store: files.blobs, Log: n.log,
		Needed: func(ctx context.Context) (map[string]bool, error) {
			// The state must hold what any coordinator has acknowledged.
			if _, _, err := raft.Propose(ctx, nil); err != nil {
				return nil, fmt.Errorf("no leader confirms which builds are under way: %w", err)
			}
			return files.access.Needed(ctx)
		},
	})
	if err == nil {
		n.begin(sweeper.Run)
	}
	return err
}
