package draw

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"math/big"
	"math/rand"
	"os"
	"slices"
	"sort"
	"testing"
)

// key is a readable 32-byte id.
func key(n byte) [32]byte { return [32]byte{0: n, 31: n} }

// numbered is a seed for each number, for tests that need many.
func numbered(n uint64) (seed [32]byte) {
	binary.BigEndian.PutUint64(seed[:], n)
	return seed
}

func TestPermutationVectors(t *testing.T) {
	raw, err := os.ReadFile("../../testdata/market.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Cases []struct {
			ID, Rule string
			SeedHex  string `json:"seed_hex"`
			N        int
			Expect   struct{ Permutation []int }
		}
	}
	if err := json.Unmarshal(raw, &file); err != nil {
		t.Fatal(err)
	}
	ran := 0
	for _, c := range file.Cases {
		if c.Rule != "draw" {
			continue
		}
		ran++
		seed, err := hex.DecodeString(c.SeedHex)
		if err != nil {
			t.Fatal(err)
		}
		if got := NewStream([32]byte(seed)).Permutation(c.N); !slices.Equal(got, c.Expect.Permutation) {
			t.Errorf("%s: %v, want %v", c.ID, got, c.Expect.Permutation)
		}
	}
	if ran != 3 {
		t.Errorf("%d draw vectors, want 3", ran)
	}
}

// The numbers of the next two tests were computed by a separate program, from
// the rule's text alone.
func TestBelowVector(t *testing.T) {
	s := NewStream(sha256.Sum256([]byte("gavel draw vector")))
	const half = 1<<63 + 1 // nearly every second word is rejected
	for i, c := range []struct{ n, want uint64 }{
		{half, 2081447800752905871}, {half, 1573538021773637691}, {half, 6028298781614970874},
		{1, 0}, {1_000_000, 895047}, {3, 0}, {1<<64 - 1, 8067764615962159030},
	} {
		if got := s.Below(c.n); got != c.want {
			t.Errorf("number %d, below %d: %d, want %d", i, c.n, got, c.want)
		}
	}
}

var farm = []Candidate{
	{"zebra", key(1)}, {"ant", key(9)}, {"ant", key(4)}, {"ant", key(7)}, {"bee", key(2)}, {"bee", key(3)},
	{"Bee", key(5)}, {"cat", key(8)}, {"cat", key(6)}, {"cat", key(11)}, {"cat", key(10)},
}

func TestDomainsVector(t *testing.T) {
	want := []Candidate{{"Bee", key(5)}, {"zebra", key(1)}, {"cat", key(10)}, {"ant", key(4)}, {"bee", key(3)}}
	if got := Domains(sha256.Sum256([]byte("gavel draw vector")), farm); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if got := Domains([32]byte{}, nil); len(got) != 0 {
		t.Errorf("names out of nobody: %v", got)
	}
}

func TestDomainsIgnoreOrderAndRepeats(t *testing.T) {
	r := rand.New(rand.NewSource(3))
	for n := range uint64(2000) {
		want := Domains(numbered(n), farm)
		given := append(slices.Clone(farm), farm[r.Intn(len(farm))])
		r.Shuffle(len(given), func(i, j int) { given[i], given[j] = given[j], given[i] })
		before := slices.Clone(given)
		if got := Domains(numbered(n), given); !slices.Equal(got, want) {
			t.Fatalf("seed %d: %v in another order gives %v, not %v", n, given, got, want)
		}
		if !slices.Equal(given, before) {
			t.Fatal("the caller's candidates were changed")
		}
	}
}

func TestSampled(t *testing.T) {
	const builds = 1000
	for _, c := range []struct {
		ratePPM uint64
		want    int
	}{{0, 0}, {250_000, 234 /* by the separate program */}, {PPM, builds}, {PPM + 1, builds}} {
		got := 0
		for n := range uint64(builds) {
			if Sampled(numbered(n), c.ratePPM) {
				got++
			}
		}
		if got != c.want {
			t.Errorf("rate %d ppm: %d of %d sampled, want %d", c.ratePPM, got, builds, c.want)
		}
	}
}

func TestBelowNothingPanics(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	NewStream([32]byte{}).Below(0)
}

// naiveStream is the stream as one long byte string, with the rejection bound in unbounded integers.
type naiveStream struct {
	seed  [32]byte
	bytes []byte
	taken int
}

func (s *naiveStream) below(n uint64) uint64 {
	size := new(big.Int).Lsh(big.NewInt(1), 64)
	modulus := new(big.Int).SetUint64(n)
	bound := new(big.Int).Div(size, modulus)
	bound.Mul(bound, modulus)
	for {
		if len(s.bytes) < s.taken+8 {
			var counter [8]byte
			binary.BigEndian.PutUint64(counter[:], uint64(len(s.bytes)/32))
			block := sha256.Sum256(append(s.seed[:], counter[:]...))
			s.bytes = append(s.bytes, block[:]...)
		}
		word := new(big.Int).SetBytes(s.bytes[s.taken : s.taken+8])
		s.taken += 8
		if word.Cmp(bound) < 0 {
			return word.Mod(word, modulus).Uint64()
		}
	}
}

func naiveDomains(seed [32]byte, candidates []Candidate) []Candidate {
	workers := map[string]map[[32]byte]bool{}
	for _, c := range candidates {
		if workers[c.Domain] == nil {
			workers[c.Domain] = map[[32]byte]bool{}
		}
		workers[c.Domain][c.Worker] = true
	}
	var domains []string
	for d := range workers {
		domains = append(domains, d)
	}
	sort.Strings(domains)
	s := &naiveStream{seed: seed}
	for i := 0; i+1 < len(domains); i++ {
		j := i + int(s.below(uint64(len(domains)-i)))
		domains[i], domains[j] = domains[j], domains[i]
	}
	var names []Candidate
	for _, d := range domains {
		var ids [][32]byte
		for id := range workers[d] {
			ids = append(ids, id)
		}
		sort.Slice(ids, func(i, j int) bool { return bytes.Compare(ids[i][:], ids[j][:]) < 0 })
		names = append(names, Candidate{d, ids[s.below(uint64(len(ids)))]})
	}
	return names
}

func FuzzBelow(f *testing.F) {
	f.Add([]byte("seed"), uint64(1<<63+1), uint64(7))
	f.Add([]byte{}, uint64(1), uint64(1<<64-1))
	f.Fuzz(func(t *testing.T, input []byte, n, m uint64) {
		if n == 0 || m == 0 {
			return
		}
		seed := sha256.Sum256(input)
		s, naive := NewStream(seed), &naiveStream{seed: seed}
		for i := range 20 {
			got, want := s.Below(n), naive.below(n)
			if got != want || got >= n {
				t.Fatalf("number %d below %d: %d, want %d", i, n, got, want)
			}
			n, m = m, n
		}
	})
}

func FuzzDomains(f *testing.F) {
	f.Add([]byte("seed"), []byte("\x00a\x00b\x01a\x02c\x02d\x02d"))
	f.Fuzz(func(t *testing.T, input, pairs []byte) {
		var candidates []Candidate
		for len(pairs) >= 2 && len(candidates) < 300 {
			candidates = append(candidates, Candidate{Domain: string(pairs[:1]), Worker: key(pairs[1])})
			pairs = pairs[2:]
		}
		seed := sha256.Sum256(input)
		if got, want := Domains(seed, candidates), naiveDomains(seed, candidates); !slices.Equal(got, want) {
			t.Fatalf("%v draws %v, want %v", candidates, got, want)
		}
	})
}

func TestDomainsAgainstOracle(t *testing.T) {
	const seed = 20260918
	r := rand.New(rand.NewSource(seed))
	t.Logf("seed %d", seed)
	for n := range uint64(20_000) {
		candidates := make([]Candidate, r.Intn(30))
		for i := range candidates {
			candidates[i] = Candidate{Domain: string(rune('a' + r.Intn(12))), Worker: key(byte(r.Intn(40)))}
		}
		if got, want := Domains(numbered(n), candidates), naiveDomains(numbered(n), candidates); !slices.Equal(got, want) {
			t.Fatalf("%v draws %v, want %v", candidates, got, want)
		}
	}
}
