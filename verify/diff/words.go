package diff

import (
	"fmt"
	"math"
	"slices"
)

func printableByte(c byte) bool { return c >= 0x20 && c < 0x7f || c == '\t' }

// words lists the printable strings in bytes, as strings(1) does.
func words(b []byte) []string {
	var out []string
	for i := 0; i < len(b); {
		if !printableByte(b[i]) {
			i++
			continue
		}
		from := i
		for i < len(b) && printableByte(b[i]) {
			i++
		}
		if i-from >= minWordBytes {
			out = append(out, string(b[from:i]))
		}
	}
	return out
}

// dense tells whether bytes are as evenly spread as those of compressed or random
// data, in which strings(1) finds paths and hosts that nobody wrote. Programs and
// their tables have some six bits a byte.
func dense(b []byte) bool {
	if len(b) < minDenseBytes {
		return false
	}
	var count [256]int
	for _, c := range b {
		count[c]++
	}
	bits := 0.0
	for _, n := range count {
		if n > 0 {
			p := float64(n) / float64(len(b))
			bits -= p * math.Log2(p)
		}
	}
	return bits > denseBits
}

// withoutWords is what words leaves.
func withoutWords(b []byte) []byte {
	out := make([]byte, 0, len(b))
	run := 0
	for i := 0; i <= len(b); i++ {
		if i < len(b) && printableByte(b[i]) {
			run++
			continue
		}
		if run < minWordBytes {
			out = append(out, b[i-run:i]...)
		}
		if run = 0; i < len(b) {
			out = append(out, b[i])
		}
	}
	return out
}

// moved says that two sides hold the same strings in another order.
func moved(fs *findings, x, y []string) bool {
	if len(x) < 2 || len(x) != len(y) || slices.Equal(x, y) {
		return false
	}
	var first int
	for first = 0; x[first] == y[first]; first++ {
	}
	a, b := x[first], y[first]
	x, y = slices.Clone(x), slices.Clone(y)
	slices.Sort(x)
	slices.Sort(y)
	if !slices.Equal(x, y) {
		return false
	}
	fs.add(Finding{Cause: Ordering, Where: "order of strings", A: Quote(a), B: Quote(b),
		Note: fmt.Sprintf("the same %d strings in another order, as of a set, a hash table or a directory", len(x))})
	return true
}

// strings explains by the strings that only one side has. lost is what is said of
// those without a cause; nil if all have one.
func (s *session) strings(fs *findings, onlyA, onlyB []string) (lost *Finding, err error) {
	if len(onlyA) != len(onlyB) || len(onlyA) > maxPairs {
		f := Finding{Cause: Unknown, Where: "strings", Note: fmt.Sprintf("%d strings are on the first side only, %d on the second", len(onlyA), len(onlyB))}
		if len(onlyA) > 0 {
			f.A = Quote(onlyA[0])
		}
		if len(onlyB) > 0 {
			f.B = Quote(onlyB[0])
		}
		lost = &f
	}
	for i := 0; i < min(len(onlyA), len(onlyB), maxPairs); i++ {
		if i%100 == 0 && s.ctx.Err() != nil {
			return nil, s.ctx.Err()
		}
		var judged findings
		s.judgeBinary(&judged, "a string", onlyA[i], onlyB[i])
		// Strings that are only garbled code are no evidence, and no news either.
		for _, f := range judged {
			if f.known() {
				fs.add(f)
			} else if lost == nil {
				lost = &f
			}
		}
	}
	return lost, nil
}

// apartStrings are the strings of which a has more than b, in order.
func apartStrings(a, b []string) (out []string) {
	count := make(map[string]int, len(b))
	for _, w := range b {
		count[w]++
	}
	for _, w := range a {
		if count[w] > 0 {
			count[w]--
			continue
		}
		out = append(out, w)
	}
	return out
}
