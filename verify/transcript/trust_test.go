package transcript_test

import (
	"slices"
	"strings"
	"testing"

	"gavel/raftfsm/beacon"
	"gavel/raftfsm/build"
	"gavel/raftfsm/wire"
	"gavel/verify/transcript"
)

func fields(r *transcript.Report) (out []string) {
	for _, d := range r.Deviations {
		out = append(out, d.Field)
	}
	return out
}

// one is an agreed build of a spot pool.
func (c *corpus) one(t *testing.T) certified {
	t.Helper()
	for _, x := range c.all {
		if tr, err := build.ReadTranscript(x.raw, x.digest); err == nil && tr.Build.Verdict == build.Agreed && tr.Pool.Lane == build.LaneSpot {
			return x
		}
	}
	t.Fatal("the market has no agreed build in a spot pool")
	return certified{}
}

// What is trusted decides: another key, cluster or genesis is named, and so is a
// certificate of something else.
func TestTrust(t *testing.T) {
	c := marketOf(t)
	x := c.one(t)
	for name, k := range map[string]struct {
		change func(*certified, *transcript.Trust)
		want   []string
	}{
		"nothing":         {func(*certified, *transcript.Trust) {}, nil},
		"another cluster": {func(_ *certified, trust *transcript.Trust) { trust.Cluster[0]++ }, []string{"Cluster"}},
		"another digest":  {func(x *certified, _ *transcript.Trust) { x.digest[0]++ }, []string{"digest"}},
		"not listed": {func(x *certified, _ *transcript.Trust) {
			x.cert.Transcripts = slices.DeleteFunc(slices.Clone(x.cert.Transcripts), func(id build.ID) bool { return id == x.digest })
		}, []string{"certificate.Transcripts", "certificate.Signature"}},
		"listed twice": {func(x *certified, _ *transcript.Trust) {
			x.cert.Transcripts = append(slices.Clone(x.cert.Transcripts), x.digest)
		}, []string{"certificate.Transcripts", "certificate.Signature"}},
		"no certificate": {func(x *certified, _ *transcript.Trust) { x.cert = build.Certificate{} }, []string{"certificate.Transcripts", "certificate.Signature"}},
		"too long a certificate": {func(x *certified, _ *transcript.Trust) {
			x.cert.Transcripts = make([]build.ID, build.MaxCertified+1)
		}, []string{"certificate.Transcripts"}},
		"a forged certificate": {func(x *certified, _ *transcript.Trust) { x.cert.Signature[7] ^= 1 }, []string{"certificate.Signature"}},
		"not simulated": {func(_ *certified, trust *transcript.Trust) {
			f := *trust.Founding
			f.Simulated = !f.Simulated
			trust.Founding = &f
		}, []string{"Simulated"}},
		"other parameters": {func(_ *certified, trust *transcript.Trust) {
			f := *trust.Founding
			f.Params.ValidatorFee++
			trust.Founding = &f
		}, []string{"Params"}},
		"other coordinators": {func(_ *certified, trust *transcript.Trust) {
			f := *trust.Founding
			f.Coordinators = f.Coordinators[1:]
			trust.Founding = &f
		}, []string{"Coordinators"}},
		"other pools": {func(_ *certified, trust *transcript.Trust) {
			f := *trust.Founding
			f.Pools = slices.Clone(f.Pools)
			for i := range f.Pools {
				f.Pools[i].Class = "plan9"
			}
			trust.Founding = &f
		}, []string{"Pool"}},
	} {
		x, trust := x, c.trust
		k.change(&x, &trust)
		r, err := transcript.Judge(x.raw, x.digest, x.cert, trust)
		if err != nil {
			t.Fatal(err)
		}
		if got := fields(r); !slices.Equal(got, k.want) {
			t.Errorf("%s: %v, want %v", name, got, k.want)
		}
	}
}

// A key that nobody trusts makes the key and every signature under it a finding.
func TestUntrustedKey(t *testing.T) {
	c := marketOf(t)
	x, trust := c.one(t), c.trust
	var other beacon.GroupKey
	if err := wire.Decode(wire.Encode((*beacon.GroupKey)(&trust.GroupKeys[0])), &other); err != nil {
		t.Fatal(err)
	}
	other[5] ^= 1 // no point of the curve
	trust.GroupKeys = [][96]byte{other}
	r, err := transcript.Judge(x.raw, x.digest, x.cert, trust)
	if err != nil {
		t.Fatal(err)
	}
	if got := fields(r); len(got) != 1+len(r.Signatures) || got[0] != "GroupKey" {
		t.Errorf("%v", got)
	}
}

// After a handover the old key's draws hold under the old key, and a later
// certificate under the new one; the new key vouches for no draw of before.
func TestHandover(t *testing.T) {
	c := marketOf(t)
	x, trust := c.one(t), c.trust
	later := trust.GroupKeys[0]
	later[5] ^= 1
	for name, k := range map[string]struct {
		keys [][96]byte
		want int
	}{
		"a key before it": {[][96]byte{later, trust.GroupKeys[0]}, 0},
		"a key after it":  {[][96]byte{trust.GroupKeys[0], later}, 0},
	} {
		trust.GroupKeys = k.keys
		r, err := transcript.Judge(x.raw, x.digest, x.cert, trust)
		if err != nil || len(r.Deviations) != k.want {
			t.Errorf("%s: %v, %v", name, r.Deviations, err)
		}
	}
}

// What the reader does not have is said, and found no fault with.
func TestWithoutEvidence(t *testing.T) {
	c := marketOf(t)
	bare := transcript.Trust{GroupKeys: c.trust.GroupKeys}
	for _, x := range c.chosen(t) {
		r, err := transcript.Judge(x.raw, x.digest, x.cert, bare)
		if err != nil || len(r.Deviations) > 0 {
			t.Fatalf("%v, %v", r.Deviations, err)
		}
		text := strings.Join(r.NotProven, "\n")
		for _, want := range []string{"which cluster", "the genesis was not given"} {
			if !strings.Contains(text, want) {
				t.Errorf("%q is not in\n%s", want, text)
			}
		}
		if r.Facts.Contest != nil && !strings.Contains(text, "challenged transcript") {
			t.Errorf("nothing is said of the challenged transcript:\n%s", text)
		}
		if len(r.NotChecked) == 0 || len(r.Proven) == 0 {
			t.Error("nothing is said to be proven, or not checked")
		}
	}
}

// Signatures that are left to the caller are all those of the build, each good.
func TestDeferredSignatures(t *testing.T) {
	c := marketOf(t)
	trust := c.trust
	trust.Defer = true
	var msgs [][]byte
	var sigs []beacon.Signature
	for _, x := range c.all {
		r, err := transcript.Judge(x.raw, x.digest, x.cert, trust)
		if err != nil {
			t.Fatal(err)
		}
		if len(r.Signatures) != 1+len(r.Facts.Draws) {
			t.Errorf("%d signatures for %d draws and a certificate", len(r.Signatures), len(r.Facts.Draws))
		}
		for _, s := range r.Signatures {
			msgs, sigs = append(msgs, s.Message), append(sigs, beacon.Signature(s.Signature))
		}
	}
	if err := beacon.VerifyBatch(beacon.GroupKey(trust.GroupKeys[0]), msgs, sigs); err != nil {
		t.Errorf("of %d signatures: %v", len(sigs), err)
	}
}

// The facts that a policy asks for, of one build that was forged and judged.
func TestFacts(t *testing.T) {
	c := marketOf(t)
	seen := map[build.State]bool{}
	for _, x := range c.all {
		r, err := transcript.Judge(x.raw, x.digest, x.cert, c.trust)
		if err != nil {
			t.Fatal(err)
		}
		f := &r.Facts
		seen[f.Verdict] = true
		if f.Transcript != x.digest || f.Cluster != c.trust.Cluster || !f.Simulated || f.Validators < 2 {
			t.Errorf("%+v", f)
		}
		switch f.Verdict {
		case build.Agreed:
			if len(f.Agreed) != f.Validators+1 || f.Domains != f.Validators+1 || f.Seats != f.Validators || !f.Agreed[0].Builder || f.Winner != f.Agreed[0].Worker {
				t.Errorf("agreed: %+v", f)
			}
			if f.DomainKind == build.DomainMachine && f.Operators != 1 || f.DomainKind == build.DomainOperator && f.Operators != f.Domains {
				t.Errorf("%d operators of %d %vs", f.Operators, f.Domains, f.DomainKind)
			}
		case build.Unsampled:
			if f.Domains != 1 || f.Sampling != build.SampledOut || f.SamplePPM == 1_000_000 {
				t.Errorf("unsampled: %+v", f)
			}
		case build.Judged:
			if f.PanelSeats < 3 || f.Domains < 3 {
				t.Errorf("judged: %+v", f)
			}
		case build.Upheld, build.Refuted, build.Undecided:
			if f.Contest == nil || f.Delivers || f.PanelSeats < 3 {
				t.Errorf("%v: %+v", f.Verdict, f)
			}
		case build.Expired, build.Cancelled, build.NoBids, build.TooFew, build.Failed, build.Unverified:
			if f.Delivers || len(f.Agreed) > 0 {
				t.Errorf("%v: %+v", f.Verdict, f)
			}
		}
	}
	if len(seen) < 14 {
		t.Errorf("verdicts seen: %v", seen)
	}
}
