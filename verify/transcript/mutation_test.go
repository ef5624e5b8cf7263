package transcript_test

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gavel/raftfsm/build"
	"gavel/raftfsm/wire"
	"gavel/verify/transcript"
)

// mutation is one change of one field.
type mutation struct {
	field string // with indices
	what  string
	apply func()
	undo  func()
}

// mutations walks everything that can be set in a record, and lists changes of each
// field alone.
func mutations(path string, v reflect.Value, visit func(mutation)) {
	change := func(what string, to reflect.Value) {
		old := reflect.New(v.Type()).Elem()
		old.Set(v)
		visit(mutation{path, what, func() { v.Set(to) }, func() { v.Set(old) }})
	}
	switch v.Kind() {
	case reflect.Bool:
		change("flipped", reflect.ValueOf(!v.Bool()).Convert(v.Type()))
	case reflect.Int64:
		for _, d := range []int64{1, -1} {
			change(fmt.Sprintf("%+d", d), reflect.ValueOf(v.Int()+d).Convert(v.Type()))
		}
		if v.Int() != 0 {
			change("zero", reflect.Zero(v.Type()))
		}
	case reflect.Uint8, reflect.Uint32, reflect.Uint64:
		change("+1", reflect.ValueOf(v.Uint()+1).Convert(v.Type()))
		if v.Uint() != 0 {
			change("-1", reflect.ValueOf(v.Uint()-1).Convert(v.Type()))
			change("zero", reflect.Zero(v.Type()))
		}
	case reflect.String:
		change("longer", reflect.ValueOf(v.String()+"x").Convert(v.Type()))
		if v.Len() > 0 {
			change("empty", reflect.Zero(v.Type()))
		}
	case reflect.Array:
		other := reflect.New(v.Type()).Elem()
		other.Set(v)
		other.Index(v.Len() - 1).SetUint(other.Index(v.Len()-1).Uint() ^ 1)
		change("another", other)
		if !v.IsZero() {
			change("zero", reflect.Zero(v.Type()))
		}
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			change("longer", reflect.ValueOf(append(slices.Clone(v.Bytes()), 1)))
			if v.Len() > 0 {
				other := slices.Clone(v.Bytes())
				other[len(other)-1] ^= 1
				change("another", reflect.ValueOf(other))
				change("empty", reflect.Zero(v.Type()))
			}
			return
		}
		mutateList(v, change)
		for i := range v.Len() {
			if n := v.Len(); n > 5 && !strings.HasSuffix(path, "Attempts") && i > 1 && i != n/2 && i < n-2 {
				continue // alike: the first, the last and one between say what all do
			}
			mutations(fmt.Sprintf("%s[%d]", path, i), v.Index(i), visit)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				mutations(strings.TrimPrefix(path+"."+v.Type().Field(i).Name, "."), v.Field(i), visit)
			}
		}
	case reflect.Pointer:
		if v.IsNil() {
			change("made", reflect.New(v.Type().Elem()))
			return
		}
		change("gone", reflect.Zero(v.Type()))
		mutations(path, v.Elem(), visit)
	default:
		panic("a record has a field of kind " + v.Kind().String() + ": " + path)
	}
}

// mutateList drops, repeats and swaps elements.
func mutateList(v reflect.Value, change func(string, reflect.Value)) {
	n := v.Len()
	if n == 0 {
		change("one more", reflect.Append(v, reflect.Zero(v.Type().Elem())))
		return
	}
	cut := func(from, to int) reflect.Value { return v.Slice3(from, to, to) }
	change("without the last", cut(0, n-1))
	change("without the first", cut(1, n))
	change("the last twice", reflect.Append(cut(0, n), v.Index(n-1)))
	for i := range n - 1 {
		swapped := reflect.AppendSlice(reflect.MakeSlice(v.Type(), 0, n), v)
		a, b := swapped.Index(i).Interface(), swapped.Index(i+1).Interface()
		swapped.Index(i).Set(reflect.ValueOf(b))
		swapped.Index(i + 1).Set(reflect.ValueOf(a))
		if !reflect.DeepEqual(a, b) {
			change("two swapped", swapped)
		}
	}
}

var indices = regexp.MustCompile(`\[\d+\]`)

// encoded is a record's bytes; ok is false where a field is beyond what its coder
// writes, and no such bytes can exist.
func encoded(t *build.Transcript) (raw []byte, ok bool) {
	defer func() {
		if recover() != nil {
			ok = false
		}
	}()
	return wire.Encode(t), true
}

// Every change of a field is found by the judge alone, though bytes, digest and
// certificate are consistent with it; or it is of a field that free lists with the
// reason why one build's record cannot show it.
func TestEveryChangeIsFound(t *testing.T) {
	c := marketOf(t)
	trust := c.trust
	trust.Defer = true
	known := map[string]bool{} // pairs of message and signature that the group made
	for _, x := range c.all {
		r, err := transcript.Judge(x.raw, x.digest, x.cert, trust)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range r.Signatures {
			known[string(s.Message)+string(s.Signature[:])] = true
		}
	}
	found, missed := 0, map[string]int{}
	for _, x := range c.chosen(t) {
		tr, err := build.ReadTranscript(x.raw, x.digest)
		if err != nil {
			t.Fatal(err)
		}
		mutations("", reflect.ValueOf(tr).Elem(), func(m mutation) {
			m.apply()
			raw, ok := encoded(tr)
			m.undo()
			if ok && bytes.Equal(raw, x.raw) {
				return // the record does not have the field here
			}
			if !ok || caught(t, raw, trust, known) {
				found++
				return
			}
			key := indices.ReplaceAllString(m.field, "[]")
			if m.what == "two swapped" {
				key += " swapped"
			}
			if _, listed := free[key]; !listed && missed[key] < 2 {
				t.Errorf("%s: %s is not found (%v in a %v pool, auction %d)", m.field, m.what, tr.Build.Verdict, tr.Pool.Lane, tr.Build.AuctionNumber)
			}
			missed[key]++
		})
	}
	for key := range free {
		if missed[key] == 0 {
			t.Errorf("%s is listed as free, and every change of it is found", key)
		}
	}
	total := 0
	for _, key := range slices.Sorted(maps.Keys(missed)) {
		total += missed[key]
		t.Logf("%6d not found: %s", missed[key], key)
	}
	t.Logf("%d changes, %d found, %d of fields that one record cannot show", found+total, found, total)
}

// caught says whether the judge finds fault with bytes that are named and certified
// as they are.
func caught(t *testing.T, raw []byte, trust transcript.Trust, known map[string]bool) bool {
	digest := build.TranscriptDigest(raw)
	r, err := transcript.Judge(raw, digest, build.Certificate{Transcripts: []build.ID{digest}}, trust)
	if err != nil || len(r.Deviations) > 0 {
		return true
	}
	for _, s := range r.Signatures {
		if s.Field != "certificate.Signature" && !known[string(s.Message)+string(s.Signature[:])] {
			return true
		}
	}
	return false
}

// chosen are one transcript of each sort of build.
func (c *corpus) chosen(t testing.TB) (out []certified) {
	seen := map[string]bool{}
	for _, x := range c.all {
		tr, err := build.ReadTranscript(x.raw, x.digest)
		if err != nil {
			t.Fatal(err)
		}
		b := &tr.Build
		states := map[build.AttemptState]bool{}
		for i := range b.Attempts {
			states[b.Attempts[i].State] = true
		}
		sort := fmt.Sprint(tr.Pool.Name, b.Verdict, b.Posted, b.AuctionNumber > 0, len(b.Penalties) > 0, b.Terms.Vary != 0, b.RevealsDone, len(b.Terms.Expect) > 0, b.PriorityCharge > 0, states)
		if !seen[sort] {
			seen[sort] = true
			out = append(out, x)
		}
	}
	return out
}

// Many changes at once make records that no farm would write: the judge must name
// what is wrong, and neither panic nor pass.
func TestManyChangesAtOnce(t *testing.T) {
	c := marketOf(t)
	trust := c.trust
	trust.Defer = true
	rng := rand.New(rand.NewPCG(1, 2))
	for _, x := range c.chosen(t) {
		tr, err := build.ReadTranscript(x.raw, x.digest)
		if err != nil {
			t.Fatal(err)
		}
		var all []mutation
		mutations("", reflect.ValueOf(tr).Elem(), func(m mutation) { all = append(all, m) })
		for range 300 {
			var done []mutation
			for range 2 + rng.IntN(12) {
				m := all[rng.IntN(len(all))]
				m.apply()
				done = append(done, m)
			}
			raw, ok := encoded(tr)
			for _, m := range slices.Backward(done) {
				m.undo()
			}
			if !ok {
				continue
			}
			digest := build.TranscriptDigest(raw)
			if r, err := transcript.Judge(raw, digest, build.Certificate{Transcripts: []build.ID{digest}}, trust); err == nil && len(r.Signatures) == 0 {
				t.Fatal("nothing is left to verify")
			}
		}
		if again := wire.Encode(tr); !bytes.Equal(again, x.raw) {
			t.Fatal("the changes were not undone")
		}
	}
}
