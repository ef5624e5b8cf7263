package worker

import (
	"crypto/sha256"
	"fmt"
	"slices"

	"gavel/raftfsm/build"
	"gavel/raftfsm/escrow"
)

// estimator guesses how long a build will take from how long others took: the
// median of the same action's past durations, else of the platform's, else
// defaultEstimateMillis; never more than the build's timeout. A worker may not
// read an action before it has a lease, so its digest is all there is to go by.
type estimator struct{ rs records }

func platformKey(platform string) build.ID {
	return sha256.Sum256([]byte("platform/" + platform))
}

// estimate returns milliseconds from a free slot to a commitment.
func (e estimator) estimate(action build.ID, platform string, timeoutMillis int64) (int64, error) {
	guess := int64(defaultEstimateMillis)
	for _, key := range []build.ID{action, platformKey(platform)} {
		var r durationRecord
		found, err := e.rs.Get(shelfDurations, key, &r)
		if err != nil {
			return 0, err
		}
		if found && len(r.Millis) > 0 {
			guess = median(r.Millis)
			break
		}
	}
	return min(guess, timeoutMillis), nil
}

// usual is how long a build of the slowest of some platforms takes, in
// milliseconds: the median of what was learned, defaultUnitMillis of nothing.
func (e estimator) usual(platforms []string) (int64, error) {
	slowest := int64(0)
	for _, p := range platforms {
		var r durationRecord
		found, err := e.rs.Get(shelfDurations, platformKey(p), &r)
		if err != nil {
			return 0, err
		}
		if found && len(r.Millis) > 0 {
			slowest = max(slowest, median(r.Millis))
		}
	}
	if slowest == 0 {
		return defaultUnitMillis, nil
	}
	return slowest, nil
}

// learn remembers how long a build took.
func (e estimator) learn(action build.ID, platform string, millis int64) error {
	for _, key := range []build.ID{action, platformKey(platform)} {
		var r durationRecord
		if _, err := e.rs.Get(shelfDurations, key, &r); err != nil {
			return err
		}
		r.Millis = append(r.Millis, millis)
		r.Millis = r.Millis[max(0, len(r.Millis)-estimateSamples):]
		if err := e.rs.Put(shelfDurations, key, &r); err != nil {
			return err
		}
	}
	return nil
}

// forget holds the number of remembered actions to its bound. Keys are digests,
// so that those that go are as good as drawn by lot.
func (e estimator) forget() error {
	var keys []build.ID
	err := e.rs.Each(shelfDurations, func(key build.ID, _ []byte) error {
		keys = append(keys, key)
		return nil
	})
	if err != nil || len(keys) <= estimateActions {
		return err
	}
	return e.rs.Delete(shelfDurations, keys[estimateActions:]...)
}

// median returns the lower median.
func median(v []int64) int64 {
	s := slices.Sorted(slices.Values(v))
	return s[(len(s)-1)/2]
}

// pricer says what a build is bid for.
type pricer interface {
	Price(estimateMillis int64) (escrow.Credits, error)
}

// flatPrice is the same for every build.
type flatPrice escrow.Credits

// Price implements pricer.
func (p flatPrice) Price(int64) (escrow.Credits, error) { return escrow.Credits(p), nil }

// secondPrice is a rate for a second.
type secondPrice escrow.Credits

// Price implements pricer; it rounds up, so that a bid covers its cost.
func (p secondPrice) Price(estimateMillis int64) (escrow.Credits, error) {
	c, err := escrow.Credits(p).MulDivCeil(estimateMillis, 1000)
	if err != nil {
		return 0, fmt.Errorf("pricing %d ms at %s credits a second: %w", estimateMillis, escrow.Credits(p), err)
	}
	return c, nil
}
