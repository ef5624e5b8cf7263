package worker

import (
	"context"
	"testing"

	"gavel/api/seal"
	"gavel/raftfsm/build"
	"gavel/raftfsm/escrow"
)

// serveAs runs a lease of a worker with a misbehaviour and returns its opening.
func serveAs(t *testing.T, kind string, builder bool) (*bench, *build.Opening) {
	t.Helper()
	b := newBench(t, func(c *Config) { c.Misbehave = kind })
	return b, b.serve("l", builder)
}

func (b *bench) serve(name string, builder bool) *build.Opening {
	b.t.Helper()
	if err := b.w.workshop.serve(b.t.Context(), b.parsed(b.lease(name, builder))); err != nil {
		b.t.Fatal(err)
	}
	c := b.commits()
	return b.opening(c[len(c)-1])
}

// A forger's result differs from the honest one, and from its own earlier one,
// as a builder; as a validator it is honest. Its commitment opens all the same:
// only a rebuild can find it out.
func TestForgerForgesWhatItBuilds(t *testing.T) {
	_, honest := serveAs(t, "", true)
	b, first := serveAs(t, MisbehaveForge, true)
	second := b.serve("again", true)
	validating := b.serve("validate", false)
	if first.Summary.Content == honest.Summary.Content || second.Summary.Content == honest.Summary.Content || first.Summary.Content == second.Summary.Content {
		t.Error("forged results must differ from the honest one and from each other")
	}
	if first.Summary.Shape != honest.Summary.Shape {
		t.Error("a forgery must look like the honest result")
	}
	if validating.Summary != honest.Summary {
		t.Error("as a validator the forger is honest")
	}
	m, dir, err := b.w.kept.open(id("l"))
	if err != nil || m.Summarise() != first.Summary {
		t.Fatalf("kept %v, %v", m, err)
	}
	if err := b.w.uploader.(*deliverer).send(t.Context(), m, dir); err != nil {
		t.Errorf("the forged bytes cannot be uploaded as evidence: %v", err)
	}
	price, err := b.w.bidder.price.Price(0)
	if err != nil || price != escrow.Credits(*b.config.Price)/10 {
		t.Errorf("the forger bids %v, %v", price, err)
	}
}

func TestIdlerAndCopierDoNotBuildAsValidators(t *testing.T) {
	_, honest := serveAs(t, "", false)
	for _, kind := range []string{MisbehaveLazy, MisbehaveCopy} {
		b, o := serveAs(t, kind, false)
		if b.runner.count() != 0 || o.Summary == honest.Summary {
			t.Errorf("%s: built %d times", kind, b.runner.count())
		}
		if len(b.farm.of(build.TypeStart)) != 1 {
			t.Errorf("%s: must look as if it built", kind)
		}
		if o := b.serve("won", true); b.runner.count() != 1 || o.Summary != honest.Summary {
			t.Errorf("%s: as a builder it is honest", kind)
		}
		o = b.serve("next", false)
		if copied := o.Summary == honest.Summary; copied != (kind == MisbehaveCopy) {
			t.Errorf("%s: after building the same action: copied %v", kind, copied)
		}
	}
}

func TestWithholderUploadsNothing(t *testing.T) {
	b, o := serveAs(t, MisbehaveWithhold, true)
	for _, evidence := range []bool{false, true} {
		if err := b.w.uploader.Upload(t.Context(), upload{lease: id("l"), build: id("build"), result: o.Summary.Digest(), evidence: evidence}); err != nil {
			t.Error(err)
		}
	}
	if b.uploads() != 0 || len(b.farm.delivered) != 0 {
		t.Error("something was uploaded")
	}
}

func TestGarblerLodgesWhatNobodyOpens(t *testing.T) {
	b := newBench(t, func(c *Config) { c.Misbehave = MisbehaveGarble })
	l := b.parsed(b.lease("l", false))
	if err := b.w.workshop.serve(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	m := b.commits()[0]
	for i, k := range b.sealKeys {
		if _, err := seal.OpenLodgement(k, i, len(b.sealKeys), b.cluster, m.Build, m.Lease, m.Commitment, m.Lodged); err == nil {
			t.Errorf("coordinator %d opens it", i)
		}
	}
}

func TestCrasherDiesOnceItsCommandBegan(t *testing.T) {
	b := newBench(t, func(c *Config) { c.Misbehave = MisbehaveCrash })
	c := b.w.cluster.(*crasher)
	died := 0
	c.die = func() { died++ }
	ref := &build.LeaseRef{}
	for _, kind := range []build.Type{build.TypeBid, build.TypeHeartbeat} {
		if _, err := c.Do(context.Background(), kind, ref); err != nil || died != 0 {
			t.Fatalf("died at %v (%v)", kind, err)
		}
	}
	if _, err := c.Do(context.Background(), build.TypeStart, ref); err != nil || died != 1 {
		t.Fatalf("died %d times (%v)", died, err)
	}
}
