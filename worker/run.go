package worker

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"

	"gavel/api"
	"gavel/api/action"
	gavelv1 "gavel/api/gavel/v1"
	"gavel/api/seal"
	"gavel/cas/client"
	"gavel/cas/inputs"
	"gavel/raftfsm/build"
	"gavel/raftfsm/escrow"
	"gavel/raftfsm/wire"
	"gavel/sandbox"
	"gavel/verify/keys"
	"gavel/worker/engine"
)

// Run is a worker's life: it begins with what its journal remembers and ends
// when ctx does, with nil; commands under way are then killed, and taken up
// again by the next Run in the same directory. While no coordinator answers it
// waits. An error says what in the configuration, the machine or the farm keeps
// it from working at all.
func Run(ctx context.Context, c Config) (err error) {
	c = c.withDefaults()
	if err := c.validate(); err != nil {
		return fmt.Errorf("checking the worker's configuration: %w", err)
	}
	if c.Dir, err = filepath.Abs(c.Dir); err != nil {
		return fmt.Errorf("finding the worker's directory: %w", err)
	}
	if err := os.MkdirAll(filepath.Join(c.Dir, "sandbox"), 0o755); err != nil {
		return fmt.Errorf("making the worker's directory: %w", err)
	}
	var closers []func() error
	defer func() {
		for _, closeIt := range slices.Backward(closers) {
			err = errors.Join(err, closeIt())
		}
	}()
	file, log, err := openLogFile(c.LogFile, maxLogFileBytes)
	if err != nil {
		return err
	}
	closers = append(closers, file.Close)
	w, err := open(ctx, c, log, &closers)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		log.Error("cannot work", "why", err)
		return err
	}
	w.loop(ctx)
	log.Info("stopped")
	return nil
}

// open gathers what a worker consists of. The sandbox comes first, while this
// process is small: it may start others from it.
func open(ctx context.Context, c Config, log *slog.Logger, closers *[]func() error) (*worker, error) {
	signer, err := keys.Load(ctx, c.KeyFile)
	if err != nil {
		return nil, err
	}
	runner, err := openRunner(ctx, c, signer.ID)
	if err != nil {
		return nil, fmt.Errorf("starting the %s sandbox: %w", c.Sandbox, err)
	}
	*closers = append(*closers, runner.Close)
	rs, err := openJournal(filepath.Join(c.Dir, "journal.db"))
	if err != nil {
		return nil, err
	}
	*closers = append(*closers, rs.Close)
	if err := errors.Join(forgetPromises(rs, time.Now()), estimator{rs}.forget()); err != nil {
		return nil, err
	}
	layout := inputs.Options{UID: runner.Describe().InputUID, GID: runner.Describe().InputGID, Epoch: action.SourceDateEpoch}
	cache, err := inputs.Open(filepath.Join(c.Dir, "cache"), inputs.Config{TreeBytes: c.CacheBytes, BlobBytes: c.CacheBytes})
	if err != nil {
		return nil, err
	}
	*closers = append(*closers, cache.Close)
	farm, err := dial(ctx, c, signer, log)
	if err != nil {
		return nil, err
	}
	*closers = append(*closers, farm.Close)
	store, err := client.New([]grpc.ClientConnInterface{farm.CASConn()}, client.Options{})
	if err != nil {
		return nil, err
	}
	from := &content{Uploader: store, fetcher: store, cache: cache, layout: layout}
	var images *imageFetcher
	if taker, ok := runner.(sandbox.ImageTaker); ok {
		pictures, err := client.New([]grpc.ClientConnInterface{farm.CASConn()}, client.Options{Instance: api.ImagesInstance})
		if err != nil {
			return nil, err
		}
		images = &imageFetcher{find: farmImages(farm), store: pictures, taker: taker, log: log}
	}
	return assemble(ctx, c, log, signer, runner, images, rs, from, farm)
}

func openRunner(ctx context.Context, c Config, owner build.ID) (sandbox.Runner, error) {
	return engine.OpenRunner(ctx, engine.RunnerConfig{
		Kind: c.Sandbox, Runtime: c.Runtime, Dir: c.Dir, ImageBytes: c.ImageBytes, Owner: hex.EncodeToString(owner[:16]), SpareContainer: c.SpareContainer,
	})
}

// commandKey is a signing key as api wants it.
type commandKey struct{ *keys.Signer }

// PublicPKIX implements api.Signer.
func (k commandKey) PublicPKIX() []byte { return k.Public }

// dial finds the farm, however long it takes.
func dial(ctx context.Context, c Config, signer *keys.Signer, log *slog.Logger) (*api.Client, error) {
	for {
		farm, err := api.Dial(ctx, api.Options{Endpoints: c.Endpoints, Signer: commandKey{signer}})
		if err == nil || !errors.Is(err, api.ErrNoCluster) || ctx.Err() != nil {
			return farm, err
		}
		log.Warn("no coordinator answers, tries again", "endpoints", strings.Join(c.Endpoints, ","), "why", err)
	}
}

// ownAccount asks whose account the worker's key speaks for, however long it takes
// until somebody knows.
func ownAccount(ctx context.Context, farm *api.Client, log *slog.Logger) (build.ID, error) {
	for {
		id, err := farm.Account(ctx)
		if err == nil || !errors.Is(err, api.ErrNoCluster) || ctx.Err() != nil {
			return id, err
		}
		log.Warn("no coordinator answers, tries again", "why", err)
	}
}

// assemble puts the parts together.
func assemble(ctx context.Context, c Config, log *slog.Logger, signer *keys.Signer, runner sandbox.Runner, images *imageFetcher, rs records, from blobs, farm *api.Client) (*worker, error) {
	info, err := farm.Info(ctx)
	if err != nil {
		return nil, err
	}
	if err := checkPool(info, c.Pool); err != nil {
		return nil, err
	}
	w := &worker{config: c, key: signer.Public, runner: runner, images: images, log: log, wake: make(chan struct{}, 1)}
	if err := w.readRoots(ctx); err != nil {
		return nil, err
	}
	if w.class, err = engine.Fingerprint(ctx, c.Sandbox, w.offers(sandbox.HostRoot)); err != nil {
		return nil, err
	}
	w.logStart()
	if w.kept, err = openKept(c.Dir, c.CacheBytes, rs, log); err != nil {
		return nil, err
	}
	lodge, err := lodgerFor(info)
	if err != nil {
		return nil, err
	}
	self, err := ownAccount(ctx, farm, log)
	if err != nil {
		return nil, err
	}
	cluster := build.ID(info.Cluster)
	w.connect(cluster, rs, from, farmClient{farm}, lodge, &attester{
		farm: cluster, simulated: info.Simulated, signer: signer, log: log,
		self: &build.Worker{ID: self, Name: c.Name, Operator: c.Operator, Class: w.class},
	})
	return w, nil
}

// connect wires the parts of a worker, honest or, if its configuration says so, not.
func (w *worker) connect(farm build.ID, rs records, from blobs, to cluster, lodge lodger, a *attester) {
	c := &w.config
	id := a.self.ID
	uploads := newSlots(uploadsAtOnce)
	p := parts{cluster: to, lodge: lodge, executor: &sandboxed{blobs: from, runner: w.runner, images: w.images, log: w.log}}
	switch {
	case c.Price != nil:
		p.price = flatPrice(*c.Price)
	case c.PricePerSecond != nil:
		p.price = secondPrice(*c.PricePerSecond)
	}
	p.uploader = &deliverer{cluster: to, journal: rs, blobs: from, kept: w.kept, slots: uploads, log: w.log}
	p.misbehave(c.Misbehave, from, w.log)
	w.cluster, w.uploader = p.cluster, p.uploader
	w.duties = newDuties(w.log, w.nudge)
	w.bidder = &bidder{
		standing: standing{action: (*escrow.Credits)(c.Ask), second: (*escrow.Credits)(c.AskPerSecond), capacity: c.AskCapacity, slots: c.Slots},
		finished: (*escrow.Credits)(c.FinishedPrice),
		id:       id, farm: farm, cluster: p.cluster, journal: rs, kept: w.kept, estimates: estimator{rs}, price: p.price, offers: w.offers, log: w.log,
		offered: func() []string { platforms, _ := w.offered(); return platforms },
	}
	w.workshop = &workshop{
		id: id, farm: farm, cluster: p.cluster, journal: rs, executor: p.executor, blobs: from, attester: a, lodge: p.lodge,
		estimates: estimator{rs}, slots: newSlots(c.Slots), kept: w.kept, log: w.log,
	}
}

func checkPool(info *gavelv1.InfoResponse, name string) error {
	var names []string
	for _, p := range info.Pools {
		if p.Name == name {
			return nil
		}
		names = append(names, p.Name)
	}
	return fmt.Errorf("the farm has no pool %q; it has: %s", name, strings.Join(names, ", "))
}

func (w *worker) logStart() {
	c := &w.config
	platforms, _ := w.offered()
	w.log.Info("started", "name", c.Name, "operator", c.Operator, "pool", c.Pool, "machine", c.Machine, "class", w.class,
		"sandbox", c.Sandbox, "platforms", len(platforms), "slots", c.Slots, "stake", escrow.Credits(c.Stake), "cache_bytes", c.CacheBytes)
	for _, note := range w.runner.Describe().Notes {
		w.log.Warn("sandbox: " + note)
	}
}

// lodgerFor seals to the coordinators that the farm names.
func lodgerFor(info *gavelv1.InfoResponse) (lodger, error) {
	var members []build.Coordinator
	for _, m := range info.Coordinators {
		member := build.Coordinator{Name: m.Name, SealKey: m.SealKey}
		if err := idOf(m.Id, &member.ID); err != nil {
			return nil, fmt.Errorf("coordinator %q: %w", m.Name, err)
		}
		members = append(members, member)
	}
	slices.SortFunc(members, func(a, b build.Coordinator) int { return wire.Compare32(a.ID, b.ID) })
	cluster := build.ID(info.Cluster)
	return func(buildID, lease, commitment build.ID, o *build.Opening) ([]byte, error) {
		return seal.Lodgement(members, cluster, buildID, lease, commitment, o)
	}, nil
}
