package build

import (
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"gavel/raftfsm/wire"
)

func TestDimensionsAreReadAsTheyAreWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := Dimensions(rapid.Uint32Range(0, uint32(VaryAll)).Draw(t, "dimensions"))
		if got, err := ParseDimensions(d.Names()); err != nil || got != d {
			t.Fatalf("%v became %v, %v", d, got, err)
		}
		var again Dimensions
		d.Each(func(one Dimensions) {
			if one&(one-1) != 0 || again&one != 0 {
				t.Fatalf("%v holds %v", d, one)
			}
			again |= one
		})
		if again != d {
			t.Fatalf("the members of %v are %v", d, again)
		}
	})
	if d, err := ParseDimensions([]string{"all"}); err != nil || d != VaryAll || len(d.Names()) != 10 {
		t.Errorf("all is %v, %v", d, err)
	}
	if _, err := ParseDimensions([]string{"hostname", "host"}); err == nil || !strings.Contains(err.Error(), `"host"`) {
		t.Errorf("an unknown name: %v", err)
	}
}

// What no honest author reports is no encoding at all.
func TestFindingsOfNobody(t *testing.T) {
	for name, f := range map[string]Findings{
		"unknown finding":              {maxFindingKnown + 1, VaryAll, 0},
		"a dimension of no version":    {FindSame, VaryAll + 1, 0},
		"broke what was not tried":     {FindDepends, VaryPath, VaryClock},
		"same of nothing":              {FindSame, 0, 0},
		"nothing, but tried":           {FindNothing, VaryPath, 0},
		"depends on nothing":           {FindDepends, VaryPath, 0},
		"the same, but on a dimension": {FindSame, VaryPath, VaryPath},
	} {
		if err := wire.Decode(wire.Encode(&f), &Findings{}); err == nil {
			t.Errorf("%s is decoded", name)
		}
	}
	for _, f := range []Findings{{}, {FindSame, VaryAll, 0}, {FindDepends, VaryAll, VaryClock}, {FindUnfinished, VaryPath, 0}} {
		var got Findings
		if err := wire.Decode(wire.Encode(&f), &got); err != nil || got != f {
			t.Errorf("%+v became %+v, %v", f, got, err)
		}
	}
}

// Whoever proposes an opening can change nothing of it, its findings included.
func TestCommitmentBindsFindings(t *testing.T) {
	o := Opening{Summary: sampleManifest().Summarise(), Nonce: fill(8)}
	seen := map[ID]Findings{}
	for _, f := range []Findings{{}, {FindSame, VaryAll, 0}, {FindSame, VaryPath, 0}, {FindDepends, VaryAll, VaryClock}, {FindDepends, VaryAll, VaryPath}, {FindUnstable, VaryAll, 0}} {
		o.Findings = f
		c := o.Commitment(fill(3), fill(6), fill(5))
		if other, dup := seen[c]; dup {
			t.Errorf("%+v and %+v have one commitment", f, other)
		}
		seen[c] = f
	}
	o.Findings = Findings{}
	if o.Commitment(fill(3), fill(6), fill(5)) != Commitment(fill(3), o.Summary.Digest(), fill(6), fill(5), fill(8)) {
		t.Error("without findings the nonce is not the opening's own")
	}
}

func TestDependencesCountAuthors(t *testing.T) {
	author := func(state AttemptState, f Findings) Attempt {
		return Attempt{State: state, Round: RoundFirst, Opening: Opening{Findings: f}}
	}
	liar := author(AttemptOpened, Findings{FindDepends, VaryAll, VaryUID}) // the builder, whom nobody asked
	again := author(AttemptOpened, Findings{FindDepends, VaryAll, VaryUID})
	again.Round, again.Seat = RoundRecheck, 1
	b := Build{Terms: Terms{Vary: VaryAll}, Attempts: []Attempt{
		liar, again,
		author(AttemptOpened, Findings{FindDepends, VaryAll, VaryClock | VaryPath}),
		author(AttemptOpened, Findings{FindDepends, VaryAll &^ VaryCPUs, VaryClock}),
		author(AttemptOpened, Findings{FindSame, VaryPath, 0}),
		author(AttemptSilent, Findings{FindDepends, VaryAll, VaryCPUs}),
	}}
	for i := 2; i < len(b.Attempts); i++ {
		b.Attempts[i].Seat = uint32(i - 1)
	}
	want := []Dependence{{VaryPath, 1, 3}, {VaryClock, 2, 2}}
	if got := b.Dependences(); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got := b.Varied(); got != VaryAll {
		t.Errorf("varied: %v", got)
	}
	b.Terms.Vary = VaryPath // nobody is believed about more than was asked for
	if got := b.Dependences(); len(got) != 0 {
		t.Errorf("got %+v", got)
	}
	b.Terms.Vary = 0
	if got := b.Dependences(); len(got) != 0 || b.Varied() != 0 {
		t.Errorf("a build that varies nothing depends on %+v", got)
	}
}

// A seat of the panel must not be told from one of the first round.
func TestPanelVariesLikeTheFirstRound(t *testing.T) {
	b := Build{Terms: Terms{Vary: VaryClock}}
	for _, c := range []struct {
		round Round
		seat  uint32
		want  Dimensions
	}{{RoundFirst, 0, 0}, {RoundFirst, 1, VaryClock}, {RoundRecheck, 0, 0}, {RoundRecheck, 1, 0}, {RoundPanel, 1, VaryClock}} {
		if got := b.VariedBy(&Attempt{Round: c.round, Seat: c.seat}); got != c.want {
			t.Errorf("%v seat %d varies %v, want %v", c.round, c.seat, got, c.want)
		}
	}
}

// An earlier result answers only for what was really varied.
func TestCacheAnswersForWhatWasVaried(t *testing.T) {
	b := Build{Terms: Terms{Vary: VaryPath | VaryClock, Validators: 1}, State: Settled, Verdict: Agreed, Delivers: true, Domains: 9, Attempts: []Attempt{
		{Round: RoundFirst, Seat: 1, State: AttemptOpened, Opening: Opening{Findings: Findings{FindSame, VaryPath, 0}}}}}
	for vary, want := range map[Dimensions]bool{0: true, VaryPath: true, VaryClock: false, VaryPath | VaryClock: false} {
		if got := b.Answers(&Terms{Cached: true, Validators: 1, Vary: vary}, false); got != want {
			t.Errorf("varying %v is answered: %v", vary, got)
		}
	}
}

func TestVariedBuildsCostAndTakeMore(t *testing.T) {
	p := DefaultParams()
	plain := Terms{Reserve: 5, Validators: 2}
	varied := plain
	varied.Vary = VaryClock
	// k seats and a panel of 2k+1 do one more build each.
	if more := varied.MinBudget(&p) - plain.MinBudget(&p); more != 7*p.ValidatorFee {
		t.Errorf("a varied build may cost %v more", more)
	}
	e := &Env{Params: &p}
	b := Build{Terms: Terms{TimeoutMillis: 1000, Vary: VaryClock}}
	once := 1000 + p.GraceMillis
	for _, c := range []struct {
		round Round
		seat  uint32
		want  int64
	}{{RoundFirst, 0, once}, {RoundFirst, 1, once + 14_000}, {RoundRecheck, 1, once}, {RoundPanel, 1, once + 14_000}} {
		if got := b.bound(e, c.round, c.seat); got != c.want {
			t.Errorf("%v seat %d may take %d ms, want %d", c.round, c.seat, got, c.want)
		}
	}
}

func TestImagesOffered(t *testing.T) {
	w := Worker{Platforms: []string{"host", PlatformImages, "sha256:aa"}}
	for platform, want := range map[string]bool{"host": true, "sha256:bb": true, "sha256:aa": true, "other": false} {
		if w.Offers(platform) != want {
			t.Errorf("%s: %v", platform, !want)
		}
	}
	w.Platforms = []string{"sha256:aa"}
	if w.Offers("sha256:bb") || w.Offers("host") {
		t.Error("a worker offers what it does not have")
	}
}
