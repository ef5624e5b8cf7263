package audittest

import (
	"testing"
	"time"

	"gavel/raftfsm/build"
)

// A world must have builds of every lane and every verdict there is, whatever
// the seed; and its money must balance.
func TestWorldHasAllThereIs(t *testing.T) {
	for seed := range uint64(2) {
		begin := time.Now()
		w, err := New(Options{Seed: seed, Builds: 150})
		if err != nil {
			t.Fatal(err)
		}
		all := map[build.State]int{}
		for lane := build.LaneSpot; lane <= build.LaneLottery; lane++ {
			if len(w.Ends[lane]) < 2 {
				t.Errorf("lane %v has builds that ended %v", lane, w.Ends[lane])
			}
			for verdict, n := range w.Ends[lane] {
				all[verdict] += n
			}
		}
		for verdict := build.Agreed; verdict <= build.NoBids; verdict++ {
			if all[verdict] == 0 {
				t.Errorf("no build ended %v", verdict)
			}
		}
		codes := map[uint32]int{}
		for i := range w.Applied {
			for _, o := range w.Applied[i].Outcomes {
				codes[uint32(o.Code)]++
			}
		}
		for _, code := range []build.Code{build.CodeMalformed, build.CodeBadSignature, build.CodeNotAllowed, build.CodeStale, build.CodeFunds, build.CodeNoMatch, build.CodeBadBeacon} {
			if codes[uint32(code)] == 0 {
				t.Errorf("nothing was refused with code %d", code)
			}
		}
		t.Logf("seed %d: %d entries in %v, ends %v, codes %v", seed, len(w.Entries), time.Since(begin), w.Ends, codes)
	}
}
