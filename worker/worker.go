package worker

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	gavelv1 "gavel/api/gavel/v1"
	"gavel/raftfsm/build"
	"gavel/raftfsm/escrow"
	"gavel/sandbox"
)

// worker follows the farm's assignments.
type worker struct {
	config   Config
	key      []byte // PKIX DER
	class    string
	cluster  cluster
	runner   sandbox.Runner
	images   *imageFetcher // nil where the runner takes no images
	bidder   *bidder
	workshop *workshop
	uploader uploader
	kept     *kept
	duties   *duties
	log      *slog.Logger

	wake   chan struct{}                       // holds a token when assignments or tasks have changed
	latest atomic.Pointer[gavelv1.Assignments] // the newest by farm time

	mu        sync.Mutex
	platforms []string // roots offered now, sorted
	offer     uint64   // grows whenever platforms change
	told      uint64   // the offer that the farm knows; 0 before this process has registered
}

// nudge asks the loop to look again.
func (w *worker) nudge() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// loop does what is asked until ctx ends; then it waits for what is under way to end.
func (w *worker) loop(ctx context.Context) {
	var background sync.WaitGroup
	background.Go(func() { w.follow(ctx) })
	background.Go(func() { w.watchRoots(ctx) })
	background.Go(func() { w.housekeep(ctx) })
	due := time.NewTimer(0)
	defer due.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-w.wake:
		case <-due.C:
		}
		due.Stop()
		if a := w.latest.Load(); a != nil && ctx.Err() == nil {
			if next := w.duties.follow(ctx, w.asked(a)); next > 0 {
				due.Reset(next)
			}
		}
	}
	w.duties.wait()
	background.Wait()
}

// follow keeps latest up to date.
func (w *worker) follow(ctx context.Context) {
	for ctx.Err() == nil {
		for a, err := range w.cluster.Work(ctx) {
			if err != nil {
				if ctx.Err() == nil {
					w.log.Warn("the farm does not say what is asked", "why", err)
				}
				break
			}
			w.hear(a)
		}
		pause(ctx, feedPause)
	}
}

// hear takes assignments, unless they are older than those it has: after a
// reconnection a coordinator that lags may speak of leases as if they were not
// yet given.
func (w *worker) hear(a *gavelv1.Assignments) {
	if have := w.latest.Load(); have != nil && a.FarmMillis < have.FarmMillis {
		w.log.Info("old assignments passed over", "farm_ms", a.FarmMillis, "have_ms", have.FarmMillis)
		return
	}
	w.latest.Store(a)
	w.nudge()
}

// asked turns assignments into duties. Ill-formed ones are logged and left out.
func (w *worker) asked(a *gavelv1.Assignments) []duty {
	var ds []duty
	// Once in each life, since class, slots or fee may have changed meanwhile.
	if told, offer := w.hasTold(); !a.Registered || told == 0 {
		ds = append(ds, duty{key: dutyKey{kind: dutyRegister}, run: w.register})
	} else if a.Absent || told != offer {
		key := dutyKey{kind: dutyHello} // another offer is another duty
		binary.BigEndian.PutUint64(key.id[:], offer)
		ds = append(ds, duty{key: key, run: w.hello})
	}
	ds = w.askedLeases(ds, a)
	ds = w.askedBids(ds, a)
	ds = w.askedAsks(ds, a)
	return w.askedUploads(ds, a)
}

func (w *worker) askedLeases(ds []duty, a *gavelv1.Assignments) []duty {
	for _, m := range a.Leases {
		l, err := leaseOf(m, a.FarmMillis)
		if err != nil {
			w.log.Error("ill-formed lease", "why", err)
			continue
		}
		ds = append(ds, duty{key: dutyKey{dutyLease, l.id}, run: func(ctx context.Context) error { return w.workshop.serve(ctx, l) }})
	}
	return ds
}

func (w *worker) askedBids(ds []duty, a *gavelv1.Assignments) []duty {
	taken := max(len(a.Leases), w.duties.busy(dutyLease))
	for _, m := range a.Auctions {
		c, err := callOf(m, a.FarmMillis, escrow.Credits(a.Stake), taken, w.config.Slots)
		if err != nil {
			w.log.Error("ill-formed auction", "why", err)
			continue
		}
		if !m.Committed {
			ds = append(ds, duty{key: dutyKey{dutyBid, c.auction}, once: true, run: func(ctx context.Context) error { return w.bidder.bid(ctx, c) }})
		}
	}
	for _, raw := range a.Reveals {
		var id build.ID
		if err := idOf(raw, &id); err != nil {
			w.log.Error("ill-formed auction to open", "why", err)
			continue
		}
		ds = append(ds, duty{key: dutyKey{dutyReveal, id}, run: func(ctx context.Context) error { return w.bidder.reveal(ctx, id) }})
	}
	return ds
}

// askedUploads puts deliveries first: evidence waits until none is left to do.
func (w *worker) askedUploads(ds []duty, a *gavelv1.Assignments) []duty {
	var evidence []duty
	delivering := w.duties.busy(dutyDeliver) > 0
	for _, m := range a.Uploads {
		u, err := uploadOf(m)
		if err != nil {
			w.log.Error("ill-formed upload", "why", err)
			continue
		}
		d := duty{key: dutyKey{dutyDeliver, u.lease}, run: func(ctx context.Context) error { return w.uploader.Upload(ctx, u) }}
		if u.evidence {
			d.key.kind, d.once = dutyEvidence, true
			evidence = append(evidence, d)
			continue
		}
		ds = append(ds, d)
		delivering = delivering || !w.duties.did(d.key)
	}
	if delivering {
		evidence = slices.DeleteFunc(evidence, func(d duty) bool { return !w.duties.did(d.key) })
	}
	return append(ds, evidence...)
}

// register makes the worker known, with its stake.
func (w *worker) register(ctx context.Context) error {
	platforms, offer := w.offered()
	c := &w.config
	_, err := w.cluster.Do(ctx, build.TypeRegister, &build.Register{
		Key: w.key, Name: c.Name, Pool: c.Pool, Operator: c.Operator, Machine: c.Machine, Class: w.class,
		Platforms: platforms, MinFee: escrow.Credits(c.MinFee), Slots: uint32(c.Slots), Stake: escrow.Credits(c.Stake),
	})
	if err != nil {
		return fmt.Errorf("registering in pool %q as %q of operator %q with a stake of %s credits: %w", c.Pool, c.Name, c.Operator, escrow.Credits(c.Stake), err)
	}
	w.mu.Lock()
	w.told = offer
	w.mu.Unlock()
	w.log.Info("registered", "name", c.Name, "pool", c.Pool, "operator", c.Operator, "class", w.class, "platforms", platforms)
	return nil
}

// hasTold returns the offer that the farm knows and the one that there is.
func (w *worker) hasTold() (told, offer uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.told, w.offer
}

// hello says that the worker is there and what it offers.
func (w *worker) hello(ctx context.Context) error {
	platforms, offer := w.offered()
	m := &build.Update{Platforms: platforms, MinFee: escrow.Credits(w.config.MinFee)}
	if _, err := w.cluster.Do(ctx, build.TypeUpdate, m); err != nil {
		return fmt.Errorf("telling the farm what is offered: %w", err)
	}
	w.mu.Lock()
	w.told = offer
	w.mu.Unlock()
	w.log.Info("said hello", "platforms", platforms)
	return nil
}

func (w *worker) offered() ([]string, uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.platforms, w.offer
}

func (w *worker) offers(platform string) bool {
	platforms, _ := w.offered()
	as := build.Worker{Platforms: platforms}
	return as.Offers(platform)
}

// readRoots asks the runner what it can serve.
func (w *worker) readRoots(ctx context.Context) error {
	roots, err := w.runner.Roots(ctx)
	if err != nil {
		return fmt.Errorf("asking the sandbox for its roots: %w", err)
	}
	roots = slices.Clone(roots)
	if w.images != nil {
		roots = append(roots, build.PlatformImages)
	}
	slices.Sort(roots)
	if len(roots) > build.MaxPlatforms {
		w.log.Warn("more roots than a worker can offer; the first are offered", "roots", len(roots), "offered", build.MaxPlatforms)
		roots = roots[:build.MaxPlatforms]
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.offer == 0 || !slices.Equal(roots, w.platforms) {
		w.platforms = roots
		w.offer++
		w.nudge()
	}
	return nil
}

func (w *worker) watchRoots(ctx context.Context) {
	for pause(ctx, rootsEvery) {
		if err := w.readRoots(ctx); err != nil && ctx.Err() == nil {
			w.log.Warn("roots are not refreshed", "why", err)
		}
	}
}

// housekeep removes outputs that nobody can ask for any more.
func (w *worker) housekeep(ctx context.Context) {
	for pause(ctx, housekeepEvery) {
		a := w.latest.Load()
		if a == nil {
			continue
		}
		asked, busy := named(a)
		if err := w.kept.tidy(time.Now(), asked, busy); err != nil {
			w.log.Warn("housekeeping failed", "why", err)
		}
	}
}

// named are the leases and builds that assignments speak of: their results are,
// or may yet be, asked for.
func named(a *gavelv1.Assignments) (leases, builds map[build.ID]bool) {
	leases, builds = make(map[build.ID]bool), make(map[build.ID]bool)
	add := func(to map[build.ID]bool, raw []byte) {
		var id build.ID
		if idOf(raw, &id) == nil {
			to[id] = true
		}
	}
	for _, l := range a.Leases {
		add(leases, l.Lease)
	}
	for _, u := range a.Uploads {
		add(leases, u.Lease)
	}
	for _, raw := range a.Awarded {
		add(builds, raw)
	}
	return leases, builds
}
