package transcript_test

import (
	"sync"
	"testing"

	"gavel/raftfsm/build"
	"gavel/verify/audit/audittest"
	"gavel/verify/transcript"
)

// certified is a transcript as its reader gets it.
type certified struct {
	raw    []byte
	digest [32]byte
	cert   build.Certificate
}

// corpus is what a whole market left: real keys, real signatures of the group.
type corpus struct {
	world *audittest.World
	all   []certified
	trust transcript.Trust
}

var market = sync.OnceValues(func() (*corpus, error) {
	w, err := audittest.New(audittest.Options{Builds: 160, Seed: 11})
	if err != nil {
		return nil, err
	}
	c := &corpus{world: w}
	c.collect()
	finds := []string{audittest.FindsSame, audittest.FindsOther, audittest.FindsNothing}
	for _, x := range c.all {
		t, err := build.ReadTranscript(x.raw, x.digest)
		if err != nil {
			return nil, err
		}
		if b := &t.Build; b.Verdict == build.Agreed && len(b.Attempts) == 3 && b.Terms.Vary == 0 && t.Pool.Lane != build.LaneHouse && len(finds) > 0 {
			if _, err := w.Challenge(b.ID, finds[0]); err != nil {
				return nil, err
			}
			finds = finds[1:]
		}
	}
	c.collect()
	return c, nil
})

// collect reads what the world has left so far.
func (c *corpus) collect() {
	c.all = nil
	claims := map[[32]byte]build.Claim{}
	transcripts := map[[32]byte][]byte{}
	for i := range c.world.Applied {
		a := &c.world.Applied[i]
		for _, t := range a.Transcripts {
			transcripts[t.Digest] = t.Bytes
			if read, err := build.ReadTranscript(t.Bytes, t.Digest); err == nil {
				claims[t.Digest] = read.Claim()
			}
		}
		for _, item := range a.Items {
			if x := item.Certified; x != nil {
				c.all = append(c.all, certified{transcripts[x.Transcript], x.Transcript, x.Certificate})
			}
		}
	}
	g := c.world.Genesis
	c.trust = transcript.Trust{
		Cluster: c.world.Cluster, Keys: map[[32]byte][][]byte{},
		Founding:   &transcript.Founding{Simulated: g.Simulated, Params: g.Params, Coordinators: g.Coordinators, Pools: g.Pools},
		Challenged: func(id [32]byte) (build.Claim, bool) { m, ok := claims[id]; return m, ok },
	}
	if t, err := build.ReadTranscript(c.all[0].raw, c.all[0].digest); err == nil {
		c.trust.GroupKeys = [][96]byte{t.GroupKey}
	}
}

func marketOf(t testing.TB) *corpus {
	t.Helper()
	c, err := market()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Every build of a market of all lanes and verdicts is found without fault, with
// the group's signatures checked.
func TestNothingIsFoundInWhatIsRight(t *testing.T) {
	c := marketOf(t)
	ends := map[build.Lane]map[build.State]int{}
	posted, draws := 0, map[string]int{}
	for _, x := range c.all {
		r, err := transcript.Judge(x.raw, x.digest, x.cert, c.trust)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range r.Deviations {
			t.Errorf("%v in a %v pool: %v", r.Facts.Verdict, r.Facts.Lane, d)
		}
		if ends[r.Facts.Lane] == nil {
			ends[r.Facts.Lane] = map[build.State]int{}
		}
		ends[r.Facts.Lane][r.Facts.Verdict]++
		if r.Transcript.Build.Posted {
			posted++
		}
		for _, d := range r.Facts.Draws {
			draws[d.Purpose]++
		}
	}
	all := map[build.State]int{}
	for lane := build.LaneSpot; lane <= build.LaneLottery; lane++ {
		for v, n := range ends[lane] {
			all[v] += n
		}
	}
	for v := build.Agreed; v <= build.NoBids; v++ {
		if all[v] == 0 {
			t.Errorf("no build ended %v", v)
		}
	}
	for _, v := range []build.State{build.Upheld, build.Refuted, build.Undecided} {
		if all[v] == 0 {
			t.Errorf("no challenge ended %v", v)
		}
	}
	t.Logf("%d transcripts, %d at a posted price, ends %v, draws %v", len(c.all), posted, ends, draws)
}
