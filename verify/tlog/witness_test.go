package tlog

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

func fixedTime() time.Time { return time.Unix(1700000000, 0) }

// watched is a witness of one log of 600 entries.
type watched struct {
	dir    string
	log    *Log
	key    *signer
	self   *signer
	all    [][]byte
	w      *Witness
	signed func(n int) []byte
}

func newWatched(t testing.TB, self *signer) *watched {
	t.Helper()
	x := &watched{dir: t.TempDir(), log: open(t, t.TempDir()), key: newLogKey(t), self: self, all: someEntries(0, 600)}
	if _, err := x.log.Append(x.all); err != nil {
		t.Fatal(err)
	}
	x.signed = func(n int) []byte { return x.key.sign(t, Checkpoint{x.key.origin, uint64(n), naive(x.all[:n])}) }
	x.restart(t, unsynced{})
	return x
}

func (x *watched) restart(t testing.TB, files filesystem) {
	t.Helper()
	w, err := openWitness(x.dir, Cosigner{x.self.origin, x.self.pkix}, x.self.do, fixedTime, files)
	if err == nil {
		err = w.Watch(x.key.origin, x.key.pkix)
	}
	if err != nil {
		t.Fatal(err)
	}
	x.w = w
}

func (x *watched) update(old, n int) ([]byte, error) {
	path, err := x.log.Consistency(uint64(old), uint64(n))
	if err != nil {
		return nil, err
	}
	return x.w.Update(uint64(old), path, x.signed(n))
}

func TestWitness(t *testing.T) {
	for _, self := range []*signer{newEd25519(t, "witness.example/w"), newP256(t, "witness.example/w")} {
		x := newWatched(t, self)
		at := 0
		for _, n := range []int{0, 0, 1, 1, 256, 300, 599, 600, 600} {
			line, err := x.update(at, n)
			if err != nil {
				t.Fatalf("%d to %d: %v", at, n, err)
			}
			if err := (Cosigner{self.origin, self.pkix}).Verify(x.signed(n), line); err != nil {
				t.Errorf("size %d: %v", n, err)
			}
			at = n
			x.restart(t, unsynced{})
			if c, err := x.w.Latest(x.key.origin); err != nil || c.Size != uint64(n) || c.Root != naive(x.all[:n]) {
				t.Errorf("after a restart: %+v, %v", c, err)
			}
		}
	}
}

func TestWitnessRefuses(t *testing.T) {
	x := newWatched(t, newEd25519(t, "witness.example/w"))
	if _, err := x.update(0, 300); err != nil {
		t.Fatal(err)
	}
	path, err := x.log.Consistency(300, 600)
	if err != nil {
		t.Fatal(err)
	}
	other := naive(someEntries(7, 600))
	stranger := newLogKey(t)
	var conflict *ConflictError
	for name, c := range map[string]struct {
		old    uint64
		path   [][32]byte
		signed []byte
		check  func(error) bool
	}{
		"older":           {200, nil, x.signed(250), func(err error) bool { return errors.As(err, &conflict) && conflict.Size == 300 && !conflict.SameSize }},
		"from 0":          {0, nil, x.signed(600), func(err error) bool { return errors.As(err, &conflict) && conflict.Size == 300 && !conflict.SameSize }},
		"back":            {300, nil, x.signed(250), func(err error) bool { return errors.Is(err, ErrMalformed) }},
		"another history": {300, path, x.key.sign(t, Checkpoint{x.key.origin, 600, other}), func(err error) bool { return errors.Is(err, ErrProof) }},
		"no proof":        {300, nil, x.signed(600), func(err error) bool { return errors.Is(err, ErrProof) }},
		"other proof":     {300, path[1:], x.signed(600), func(err error) bool { return errors.Is(err, ErrProof) }},
		"same size":       {300, nil, x.key.sign(t, Checkpoint{x.key.origin, 300, other}), func(err error) bool { return errors.As(err, &conflict) && conflict.SameSize }},
		"proof of itself": {300, path, x.signed(300), func(err error) bool { return errors.Is(err, ErrProof) }},
		"other key":       {300, path, stranger.sign(t, Checkpoint{x.key.origin, 600, naive(x.all)}), func(err error) bool { return errors.Is(err, ErrSignature) }},
		"other log": {0, nil, newEd25519(t, "other.log").sign(t, Checkpoint{"other.log", 600, naive(x.all)}),
			func(err error) bool { return errors.Is(err, ErrUnknownLog) }},
		"no note": {300, path, []byte("x"), func(err error) bool { return errors.Is(err, ErrMalformed) }},
	} {
		if line, err := x.w.Update(c.old, c.path, c.signed); line != nil || !c.check(err) {
			t.Errorf("%s: %q, %v", name, line, err)
		}
		if c, err := x.w.Latest(x.key.origin); err != nil || c.Size != 300 {
			t.Fatalf("%s: it moved to %+v", name, c)
		}
	}
	if _, err := x.update(300, 600); err != nil {
		t.Error(err)
	}
	// A log may have changed its key.
	next := newLogKey(t)
	later := Checkpoint{x.key.origin, 600, naive(x.all)}
	if _, err := x.w.Update(600, nil, next.sign(t, later)); !errors.Is(err, ErrSignature) {
		t.Errorf("a new key: %v", err)
	}
	if err := x.w.Watch(x.key.origin, x.key.pkix, next.pkix); err != nil {
		t.Fatal(err)
	}
	for _, k := range []*signer{x.key, next} {
		if _, err := x.w.Update(600, nil, k.sign(t, later)); err != nil {
			t.Errorf("one of two keys: %v", err)
		}
	}
	if err := x.w.Watch("a b", x.key.pkix); err == nil {
		t.Error("a log without a name is watched")
	}
	if err := x.w.Watch("other.log", newP256(t, "x").pkix); err == nil {
		t.Error("a log with a P-256 key is watched")
	}
	if _, err := x.w.Latest("other.log"); !errors.Is(err, ErrUnknownLog) {
		t.Errorf("latest of another log: %v", err)
	}
	if err := os.WriteFile(filepath.Join(x.dir, memory(x.key.origin)), []byte("torn"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := x.w.Watch(x.key.origin, x.key.pkix); !errors.Is(err, ErrDamaged) {
		t.Errorf("a witness goes on without its memory: %v", err)
	}
}

// Whatever step fails and whatever a power cut takes back: once a signature was
// handed out, no other history of that size is ever cosigned.
func TestCrashAtEveryStepOfUpdate(t *testing.T) {
	x := newWatched(t, newEd25519(t, "witness.example/w"))
	forked := x.key.sign(t, Checkpoint{x.key.origin, 400, naive(someEntries(7, 400))})
	for how := range ways {
		for _, cut := range powerCuts {
			for step := 1; ; step++ {
				x.dir = t.TempDir()
				c := &crashing{}
				x.restart(t, c)
				if _, err := x.update(0, 300); err != nil {
					t.Fatal(err)
				}
				c.at, c.how = c.steps+step, how
				line, err := x.update(300, 400)
				finished := c.steps < c.at
				if (err == nil) != finished {
					t.Fatalf("step %d: %q, %v", step, line, err)
				}
				if err != nil {
					if _, err := x.update(300, 400); err == nil {
						t.Fatalf("step %d: it cosigns although it cannot remember", step)
					}
				}
				c.powerCut(t, cut.lost)
				x.restart(t, unsynced{})
				latest, latestErr := x.w.Latest(x.key.origin)
				if latestErr != nil || latest.Size != 300 && latest.Size != 400 || line != nil && latest.Size != 400 {
					t.Fatalf("step %d: after a signature %q it remembers %+v, %v", step, line, latest, latestErr)
				}
				if _, err := x.w.Update(latest.Size, nil, forked); err == nil {
					t.Fatalf("step %d: two histories", step)
				}
				if _, err := x.update(int(latest.Size), 400); err != nil {
					t.Fatalf("step %d: again: %v", step, err)
				}
				if finished {
					break
				}
			}
		}
	}
}

func TestWitnessOverHTTP(t *testing.T) {
	x := newWatched(t, newEd25519(t, "witness.example/w"))
	server := httptest.NewServer(http.StripPrefix("/w", WitnessHandler(x.w)))
	defer server.Close()
	client := &WitnessClient{URL: server.URL + "/w/", Witness: Cosigner{x.self.origin, x.self.pkix}}
	for _, n := range []int{1, 300, 300, 600} {
		if n == 600 {
			client = &WitnessClient{URL: server.URL + "/w", Witness: client.Witness} // which knows nothing yet
		}
		line, err := client.Cosign(t.Context(), x.signed(n), x.log.Consistency)
		if err != nil {
			t.Fatal(err)
		}
		trust := Trust{Origin: x.key.origin, LogKey: x.key.pkix, Witnesses: []Cosigner{client.Witness}, WitnessQuorum: 1}
		if o, err := trust.Open(add(t, x.signed(n), line)); err != nil || o.Size != uint64(n) {
			t.Errorf("%d: %v", n, err)
		}
	}
	var conflict *ConflictError
	if _, err := client.Cosign(t.Context(), x.signed(300), x.log.Consistency); !errors.As(err, &conflict) || conflict.Size != 600 || conflict.SameSize {
		t.Errorf("an older checkpoint: %v", err)
	}
	forked := x.key.sign(t, Checkpoint{x.key.origin, 600, naive(someEntries(7, 600))})
	if _, err := client.Cosign(t.Context(), forked, x.log.Consistency); !errors.As(err, &conflict) || !conflict.SameSize {
		t.Errorf("another history: %v", err)
	}
	if _, err := (&WitnessClient{URL: server.URL + "/w", Witness: Cosigner{"witness.example/w", newEd25519(t, "x").pkix}}).Cosign(t.Context(), x.signed(600), x.log.Consistency); !errors.Is(err, ErrSignature) {
		t.Errorf("another witness answers: %v", err)
	}
	proof, err := x.log.Consistency(600, 600)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		body   []byte
		status int
		answer string
	}{
		"good":        {formatAddCheckpoint(600, proof, x.signed(600)), 200, "— witness.example/w "},
		"conflict":    {formatAddCheckpoint(0, nil, x.signed(600)), 409, "600\n"},
		"unknown log": {formatAddCheckpoint(0, nil, newEd25519(t, "other.log").sign(t, Checkpoint{"other.log", 1, naive(nil)})), 404, "not watched"},
		"other key":   {formatAddCheckpoint(0, nil, newLogKey(t).sign(t, Checkpoint{x.key.origin, 1, naive(nil)})), 403, "signature"},
		"back":        {formatAddCheckpoint(600, nil, x.signed(300)), 400, "larger"},
		"bad proof":   {formatAddCheckpoint(600, [][32]byte{{}}, x.signed(600)), 422, "proof"},
		"nonsense":    {[]byte("x"), 400, "malformed"},
		"flood":       {bytes.Repeat([]byte("x"), 1<<20), 400, "too long"},
	} {
		response, err := http.Post(server.URL+"/w/add-checkpoint", "", bytes.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		answer, _ := io.ReadAll(response.Body)
		_ = response.Body.Close()
		if response.StatusCode != c.status || !strings.Contains(string(answer), c.answer) || strings.Contains(string(answer), x.dir) {
			t.Errorf("%s: %s %q", name, response.Status, answer)
		}
		if size := response.Header.Get("Content-Type") == "text/x.tlog.size"; size != (c.status == 409) {
			t.Errorf("%s: content type %q", name, response.Header.Get("Content-Type"))
		}
	}
	if response, err := http.Get(server.URL + "/w/add-checkpoint"); err != nil || response.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("GET: %v, %v", response, err)
	}
}

// The race of the specification: two checkpoints at once never leave the smaller
// one remembered.
func TestWitnessUpdatesAreAtomic(t *testing.T) {
	x := newWatched(t, newEd25519(t, "witness.example/w"))
	var all sync.WaitGroup
	for i := range 40 {
		all.Go(func() { _, _ = x.update(0, 100+i) })
	}
	all.Wait()
	latest, err := x.w.Latest(x.key.origin)
	if err != nil {
		t.Fatal(err)
	}
	cosigned := 0
	for i := range 40 {
		if latest.Size == uint64(100+i) {
			cosigned++
		}
	}
	if cosigned != 1 {
		t.Errorf("latest is %+v", latest)
	}
}

// The example of https://c2sp.org/tlog-witness.
const witnessExample = `old 20852014
PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=
jrJZDmY8Y7SyJE0MWLpLozkIVMSMZcD5kvuKxPC3swk=
5+pKlUdi2LeF/BcMHBn+Ku6yhPGNCswZZD1X/6QgPd8=
/6WVhPs2CwSsb5rYBH5cjHV/wSmA79abXAwhXw3Kj/0=

example.com/behind-the-sofa
20852163
CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
— example.com/behind-the-sofa opLqBQsREYCgu6xQkYQwJr9fo45a62DN9EdmHXnZdXNqlcVGlCum2Wks+49/V6267UEjw6QUXTS5Rovnzv++qbSzm9Q=
`

func TestAddCheckpointFormat(t *testing.T) {
	old, path, signed, err := parseAddCheckpoint([]byte(witnessExample))
	if err != nil || old != 20852014 || len(path) != 4 || !strings.HasPrefix(string(signed), "example.com/") {
		t.Fatalf("%d, %d hashes, %q, %v", old, len(path), signed, err)
	}
	if c, err := ReadUnverified(signed); err != nil || c.Size != 20852163 {
		t.Errorf("%+v, %v", c, err)
	}
	if again := formatAddCheckpoint(old, path, signed); string(again) != witnessExample {
		t.Errorf("written again it is %q", again)
	}
	hash := strings.Split(witnessExample, "\n")[1] + "\n"
	for _, bad := range []string{"", "\n", "old 1\n", "old 01\n\nx", "old -1\n\nx", "old +1\n\nx", "old \n\nx", "new 1\n\nx", "old 1 \n\nx", "old 18446744073709551616\n\nx",
		"old 1\nAAAA\n\nx", "old 1\n" + strings.Repeat(hash, 64) + "\nx", "old 1\r\n\nx", "old 1\n" + hash[:43] + "\n\nx", "old 1\n" + strings.Replace(hash, "w=", "x=", 1) + "\nx"} {
		if _, _, _, err := parseAddCheckpoint([]byte(bad)); !errors.Is(err, ErrMalformed) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if _, path, _, err := parseAddCheckpoint(fmt.Appendf(nil, "old 1\n%s\nx", strings.Repeat(hash, 63))); err != nil || len(path) != 63 {
		t.Errorf("63 hashes: %v", err)
	}
}
