package retention

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Store removes what was not used. cas/disk's is one.
type Store interface {
	Sweep(ctx context.Context, before time.Time, keep func(hash string) bool) (blobs int, bytes int64, err error)
}

// Config is what New needs.
type Config struct {
	// Retain is how long a blob stays after its last use; at least Least.
	Retain time.Duration
	// Dir is shared by all that sweep the same store; it takes a lock.
	Dir   string
	Store Store
	// Needed lists the blobs that must stay, by hash, as of a state which holds whatever
	// was acknowledged before the call.
	Needed func(ctx context.Context) (hashes map[string]bool, err error)
	Log    *slog.Logger
	// Now is the wall clock; time.Now unless set.
	Now func() time.Time
}

// Sweeper sweeps a store from time to time.
type Sweeper struct{ config Config }

// New makes a sweeper.
func New(c Config) (*Sweeper, error) {
	if c.Retain < Least {
		return nil, fmt.Errorf("what is unused would be kept for %v: want at least %v, or forever", c.Retain, Least)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return &Sweeper{c}, nil
}

// UseEvery is how finely the store must record uses.
func UseEvery(retain time.Duration) time.Duration { return min(seldom, retain/usesPerRetain) }

// Run sweeps until ctx ends, the first time after a while: a node that comes up
// has other things to do.
func (s *Sweeper) Run(ctx context.Context) {
	every := min(seldom, s.config.Retain/sweepsPerRetain)
	for t := time.NewTicker(every); ; {
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-t.C:
		}
		blobs, bytes, err := s.Sweep(ctx)
		switch {
		case ctx.Err() != nil:
		case err != nil:
			s.config.Log.Warn("nothing was swept", "why", err)
		case blobs > 0:
			s.config.Log.Info("swept what was not used", "retain", s.config.Retain, "blobs", blobs, "bytes", bytes)
		}
	}
}

// Sweep removes what may go now. Where another coordinator sweeps the same store
// it does nothing.
func (s *Sweeper) Sweep(ctx context.Context) (blobs int, bytes int64, err error) {
	release, ok, err := s.lock()
	if err != nil || !ok {
		return 0, 0, err
	}
	defer release()
	began := s.config.Now()
	needed, err := s.config.Needed(ctx)
	if err != nil {
		return 0, 0, err
	}
	return s.config.Store.Sweep(ctx, began.Add(-s.config.Retain), func(hash string) bool { return needed[hash] })
}

// lock keeps two coordinators of one store from sweeping at once. It does not wait.
func (s *Sweeper) lock() (release func(), ok bool, err error) {
	f, err := os.OpenFile(filepath.Join(s.config.Dir, "sweep.lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, false, fmt.Errorf("locking the store: %w", err)
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, false, f.Close()
	}
	if err != nil {
		return nil, false, errors.Join(fmt.Errorf("locking the store: %w", err), f.Close())
	}
	return func() { _ = f.Close() }, true, nil // and with it goes the lock
}

// Parse reads a time to keep things: "forever" (0), days such as "30d", or Go's
// own form such as "36h". Empty is Default.
func Parse(text string) (time.Duration, error) {
	switch text {
	case "":
		return Default, nil
	case "forever":
		return 0, nil
	}
	d, err := time.ParseDuration(text)
	if days, ok := strings.CutSuffix(text, "d"); ok && err != nil {
		var n int
		if n, err = strconv.Atoi(days); err == nil && n > 0 && n <= maxDays {
			d = time.Duration(n) * 24 * time.Hour
		}
	}
	if err != nil || d < Least {
		return 0, fmt.Errorf("%q is no time to keep things: want forever, days such as 30d, or hours such as 36h, at least %v", text, Least)
	}
	return d, nil
}
