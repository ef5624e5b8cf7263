package worker

import (
	"time"

	"gavel/raftfsm/build"
	"gavel/raftfsm/wire"
)

// promise puts r under an auction: the newest kept result of an action, which
// stays from then on as long as r says. It promises nothing where there is none,
// or where all that is promised would exceed what may be kept.
func (k *kept) promise(auction, action build.ID, r *finishedRecord, now time.Time, commit func(*build.Opening) build.ID) (bool, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	lease, a, found, err := k.newest(action)
	if err != nil || !found {
		return false, err
	}
	fits, err := k.fits(lease, now)
	if err != nil {
		return false, err
	}
	if !fits {
		k.log.Info("no finished result is bid: those promised already take all the room", "build", full(r.Build), "limit_bytes", k.limit)
		return false, nil
	}
	r.From, r.Commitment = lease, commit(&a.Opening)
	return true, k.journal.Put(shelfFinished, auction, r)
}

// newest finds the newest kept result of an action that ended of itself: one that
// ran into a limit here may end otherwise elsewhere.
func (k *kept) newest(action build.ID) (lease build.ID, r attemptRecord, found bool, err error) {
	err = k.journal.Each(shelfAttempts, func(key build.ID, raw []byte) error {
		var a attemptRecord
		if err := wire.Decode(raw, &a); err != nil {
			return err
		}
		if a.Action == action && a.Opening.Summary.Status == build.StatusExited && (!found || a.WallMillis > r.WallMillis) {
			lease, r, found = key, a, true
		}
		return nil
	})
	return lease, r, found, err
}

// fits says whether the promised results stay within the limit with one more.
// tidy cannot remove them, so that nothing else would bound them. k.mu is held.
func (k *kept) fits(lease build.ID, now time.Time) (bool, error) {
	pins, err := k.pinned(now)
	if err != nil {
		return false, err
	}
	pins[lease] = true
	var bytes int64
	err = k.journal.Each(shelfAttempts, func(key build.ID, raw []byte) error {
		if !pins[key] {
			return nil
		}
		var a attemptRecord
		if err := wire.Decode(raw, &a); err != nil {
			return err
		}
		bytes += a.bytes()
		return nil
	})
	return bytes <= k.limit && len(pins) <= keptBuilds, err
}

// pinned are the leases whose results are promised to auctions that the worker
// may still win, or has won. k.mu is held.
func (k *kept) pinned(now time.Time) (map[build.ID]bool, error) {
	out := make(map[build.ID]bool)
	err := eachPromise(k.journal, func(auction build.ID, f *finishedRecord) {
		if _, won := k.awarded[auction]; won || now.UnixMilli() < f.UntilMillis {
			out[f.From] = true
		}
	})
	return out, err
}

// release removes promises that are kept or broken: the worker had a part in
// their build, and the farm has not spoken of it for a while. Of the builds that
// others won the farm says nothing; their promises wait for their time. k.mu is held.
func (k *kept) release(now time.Time, busy map[build.ID]bool) error {
	awarded := make(map[build.ID]time.Time)
	var over []build.ID
	err := eachPromise(k.journal, func(auction build.ID, f *finishedRecord) {
		last, had := k.awarded[auction]
		switch {
		case busy[f.Build]:
			awarded[auction] = now
		case had && now.Sub(last) < keptAfterSettled:
			awarded[auction] = last
		case had:
			over = append(over, auction)
		}
	})
	if err != nil {
		return err
	}
	if err := k.journal.Delete(shelfFinished, over...); err != nil {
		return err
	}
	k.awarded = awarded
	return nil
}
