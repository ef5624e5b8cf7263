package dossier_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"gavel/verify/attest"
	"gavel/verify/dossier"
	"gavel/verify/tlog"
)

// What no dossier can meet is said of the question, not of the dossier.
func TestWhatCanNeverBeMet(t *testing.T) {
	l := books(t)
	b := l.agreed(t)
	for name, change := range map[string]func(*dossier.Trust){
		"a witness too many": func(trust *dossier.Trust) { trust.WitnessQuorum = 1 },
		"fewer than none":    func(trust *dossier.Trust) { trust.WitnessQuorum = -1 },
		"a witness twice": func(trust *dossier.Trust) {
			w := tlog.Cosigner{Name: "example.org/witness", PKIX: l.world.Admin.PKIX}
			trust.Witnesses = []tlog.Cosigner{w, w}
		},
		"a witness of no name": func(trust *dossier.Trust) {
			trust.Witnesses = []tlog.Cosigner{{PKIX: l.world.Admin.PKIX}}
		},
		"a coordinator as witness": func(trust *dossier.Trust) {
			trust.Witnesses = []tlog.Cosigner{{Name: "example.org/witness", PKIX: l.world.Coordinators[0].PKIX}}
		},
		"no point as key":      func(trust *dossier.Trust) { trust.GroupKeys = [][96]byte{{0: 0xaa, 95: 1}} },
		"a key at infinity":    func(trust *dossier.Trust) { trust.GroupKeys = [][96]byte{{0: 0xc0}} },
		"nothing in its place": func(trust *dossier.Trust) { trust.GroupKeys = [][96]byte{{}} },
	} {
		trust := l.trust()
		change(trust)
		if r, err := dossier.Check(l.dossier(t, b), trust); !errors.Is(err, dossier.ErrUnusable) {
			t.Errorf("%s: %v, %v", name, r, err)
		}
	}
}

func TestWitnessesThatDidNotSignAreToldOf(t *testing.T) {
	l := books(t)
	b := l.agreed(t)
	trust := l.trust()
	trust.Witnesses = []tlog.Cosigner{{Name: "example.org/witness", PKIX: signerOf(t, l, b, 0)}}
	r, err := dossier.Check(l.dossier(t, b), trust)
	check(t, err)
	if !r.Verified() || !said(r, r.NotProven, "none of the 1 named cosigned") {
		t.Errorf("%v\n%s", r.Failures, r)
	}
}

// Before a summary was made there was nothing that could have stood.
func TestAsOfBeforeThereWasASummary(t *testing.T) {
	l := books(t)
	b := l.agreed(t)
	made := made(t, l).UnixMilli()
	for millis, verified := range map[int64]bool{made: true, made - 1: false, made + 1: true} {
		trust := l.trust()
		trust.AsOf = time.UnixMilli(millis)
		r, err := dossier.Check(l.dossier(t, b), trust)
		check(t, err)
		if r.Verified() != verified || verified == said(r, r.Failures, "there was no such summary") {
			t.Errorf("%d ms after it was made: %v", millis-made, r.Failures)
		}
	}
}

// Asked what stood before it was made, a builder's own statement passed where the
// farm's summary did not.
func TestAsOfBeforeThereWasAProvenance(t *testing.T) {
	l := books(t)
	f := l.dossier(t, l.agreed(t))
	f.Summary, f.Bundle = f.Bundle, f.Provenances[0]
	asOf := func(f *dossier.Files, key []byte, at time.Time) *dossier.Report {
		trust := l.trust()
		trust.AsOf, trust.Key = at, key
		r, err := dossier.Check(f, trust)
		check(t, err)
		return r
	}
	summed := made(t, l)
	if r := asOf(f, nil, summed); !r.Verified() {
		t.Errorf("as of when it was summed up: %v", r.Failures)
	}
	if r := asOf(f, nil, summed.Add(-time.Millisecond)); !said(r, r.Failures, "there was no such summary") {
		t.Errorf("before it was summed up: %v\n%s", r.Failures, r)
	}
	key := signerOf(t, l, l.agreed(t), 0)
	alone := &dossier.Files{Artifact: f.Artifact, Bundle: f.Bundle}
	ended := asOf(alone, key, summed.AddDate(1, 0, 0)).Bundle.Finished
	if r := asOf(alone, key, ended); !r.Verified() {
		t.Errorf("as of when the build ended: %v", r.Failures)
	}
	if r := asOf(alone, key, ended.Add(-time.Millisecond)); !said(r, r.Failures, "there was no such statement") {
		t.Errorf("before the build ended: %v\n%s", r.Failures, r)
	}
}

// A bundle whose payload was changed is not blamed on a key that nobody gave.
func TestChangedPayloadIsSaidToBeSo(t *testing.T) {
	l := books(t)
	b := l.agreed(t)
	f := l.dossier(t, b)
	old, _ := l.statement(t, b, b.leaves-1)
	f.Bundle = []byte(strings.Replace(string(f.Bundle), base64Of(old), base64Of([]byte(strings.Replace(string(old), "PASSED", "PASSEd", 1))), 1))
	r, err := dossier.Check(f, l.trust())
	check(t, err)
	if r.Verified() || !said(r, r.Failures, "payload or signature were changed") || said(r, r.Failures, "the key given") {
		t.Errorf("%v", r.Failures)
	}
}

func TestRawEnvelopeIsNamed(t *testing.T) {
	l := books(t)
	b := l.agreed(t)
	f := l.dossier(t, b)
	statement, sig := l.statement(t, b, b.leaves-1)
	var err error
	f.Bundle, err = attest.Envelope(statement, sig)
	check(t, err)
	if _, err := dossier.Check(f, l.trust()); !errors.Is(err, dossier.ErrUnusable) || !strings.Contains(err.Error(), "raw DSSE envelope") {
		t.Errorf("got %v", err)
	}
}

// made is when the summary of the agreed build was.
func made(t testing.TB, l *library) time.Time {
	t.Helper()
	r, err := dossier.Check(l.dossier(t, l.agreed(t)), l.trust())
	check(t, err)
	return time.UnixMilli(r.WallMillis)
}
