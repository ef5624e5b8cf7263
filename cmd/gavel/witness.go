package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"gavel/verify/dossier"
	"gavel/verify/keys"
	"gavel/verify/tlog"
)

func witnessCommand() *cobra.Command {
	var dir, name, key, listen string
	var genesis []string
	c := &cobra.Command{
		Use:   "witness --dir D --name NAME --key KEY --genesis FILE",
		Short: "cosign the checkpoints of farms' logs",
		Long: `Runs a witness (C2SP tlog-witness) until SIGTERM: it cosigns a checkpoint of a farm's log
only if it extends the one that it cosigned last, so that a farm cannot show two logs.
Give FILE, the genesis of each farm that it is to watch, and have the farm's coordinators
list it as one of their "witnesses". Whoever trusts it verifies with
--witness NAME=KEY.pub --witness-quorum 1.
When a farm's cluster gets a new key (gavel keys history), start it again with that as well:
--genesis FILE,NEW.pub.

  gavel keys new witness.key
  gavel witness --dir witness --name example.org/witness --key witness.key --genesis farm/genesis.bin`,
		Args: wants(),
		RunE: action(func(ctx context.Context, c *cobra.Command, _ []string) error {
			if dir == "" || name == "" || key == "" || len(genesis) == 0 {
				return usage("a witness needs --dir, --name, --key and at least one --genesis")
			}
			signer, err := keys.Load(ctx, key)
			if err != nil {
				return refused(err)
			}
			if err := os.MkdirAll(dir, 0o700); err != nil {
				return refused(fmt.Errorf("making the witness' directory: %w", err))
			}
			lock, err := lockWitness(dir)
			if err != nil {
				return refused(err)
			}
			defer func() { _ = lock.Close() }() // nothing was written to it
			w, err := tlog.OpenWitness(filepath.Clean(dir), tlog.Cosigner{Name: name, PKIX: signer.Public}, signer.Sign, time.Now)
			if err != nil {
				return refused(err)
			}
			for _, farm := range genesis {
				if err := watch(w, farm); err != nil {
					return err
				}
			}
			return serveWitness(ctx, newTerminal(c), w, listen)
		}),
	}
	f := c.Flags()
	f.StringVar(&dir, "dir", "", "the `DIR` where it remembers what it cosigned")
	f.StringVar(&name, "name", "", "its `NAME` on checkpoints, such as example.org/witness")
	f.StringVar(&key, "key", "", "its signing `KEY`: a file, or a KMS URI")
	f.StringArrayVar(&genesis, "genesis", nil, "the genesis `FILE` of a farm whose log it watches, and behind commas later cluster keys in PEM; repeat it")
	f.StringVar(&listen, "listen", "127.0.0.1:7390", "`HOST:PORT` on which it takes checkpoints")
	return c
}

// lockWitness makes this process the one witness in dir: each keeps what it cosigned
// last in mind, so that two could cosign two logs.
func lockWitness(dir string) (*os.File, error) {
	lock, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("locking the witness' directory: %w", err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = lock.Close()
		return nil, fmt.Errorf("a witness runs in %s already, and two could cosign two logs: stop it first", dir)
	}
	return lock, nil
}

// watch has w watch one farm: its genesis, and keys that its cluster got since.
func watch(w *tlog.Witness, farm string) error {
	path, later, _ := strings.Cut(farm, ",")
	raw, err := readSmall(path, maxGenesisBytes)
	if err != nil {
		return refused(fmt.Errorf("reading the genesis: %w", err))
	}
	g, err := dossier.ReadGenesis(raw)
	if err != nil {
		return refused(fmt.Errorf("%s: %w", path, err))
	}
	trusted := [][]byte{g.ClusterKey}
	for path := range strings.FieldsFuncSeq(later, func(r rune) bool { return r == ',' }) {
		pkix, err := readPublicKey(path)
		if err != nil {
			return err
		}
		trusted = append(trusted, pkix)
	}
	if err := w.Watch(tlog.Origin(g.Digest()), trusted...); err != nil {
		return refused(err)
	}
	return nil
}

// serveWitness takes checkpoints until ctx ends.
func serveWitness(ctx context.Context, term *terminal, w *tlog.Witness, address string) error {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return refused(fmt.Errorf("listening for checkpoints: %w", err))
	}
	const timeout = 10 * time.Second // a request is a few kilobytes
	web := &http.Server{Handler: tlog.WitnessHandler(w), ReadTimeout: timeout, WriteTimeout: timeout, MaxHeaderBytes: 16 << 10}
	failed := make(chan error, 1)
	go func() { failed <- web.Serve(l) }()
	term.say("witness ready http://%s", l.Addr())
	select {
	case err := <-failed:
		return fmt.Errorf("serving: %w", err)
	case <-ctx.Done():
	}
	return ignoreServerClosed(web.Close())
}

func ignoreServerClosed(err error) error {
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}
