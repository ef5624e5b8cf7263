package diff

import (
	"path"
	"regexp"
	"slices"
	"strings"
)

// judge says why two texts differ, by what they hold: it takes out of both what
// looks like a time, then what looks like a path, and so on, until what is left is
// equal. What was taken out and differs are the causes. where is the text's place;
// it may give a word's meaning away too ("user", "host").
func (s *session) judge(fs *findings, where, a, b string) {
	if len(a) > maxPairBytes || len(b) > maxPairBytes {
		if s.judgeOrder(fs, where, a, b) {
			return
		}
		a, b = clipPair(a, b)
	}
	if c, note, ok := s.meaning(where, a, b); ok {
		fs.add(Finding{Cause: c, Where: where, A: quoteValue(a), B: quoteValue(b), Note: note})
		return
	}
	if s.judgeOrder(fs, where, a, b) {
		return
	}
	switch {
	case compilerVersion.MatchString(a) && compilerVersion.MatchString(b):
		fs.add(Finding{Cause: Toolchain, Where: where, A: Quote(a), B: Quote(b), Note: "a compiler names itself"})
		return
	case isTarget(where) && path.Base(a) != path.Base(b):
		fs.add(Finding{Cause: Unknown, Where: where, A: Quote(a), B: Quote(b)})
		return
	}
	x, y, found := s.unmask(where, a, b)
	addAll(fs, found)
	if x != y {
		fs.add(s.remainder(where, x, y))
	}
}

// judgeOrder names an order, if that is all that differs.
func (s *session) judgeOrder(fs *findings, where, a, b string) bool {
	note := sameParts(a, b)
	if note != "" {
		fs.add(Finding{Cause: Ordering, Where: where, A: Quote(a), B: Quote(b), Note: note})
	}
	return note != ""
}

// compilerVersion is how a compiler or linker names itself in what it made.
var compilerVersion = regexp.MustCompile(`^(?:GCC: \(|clang version |rustc version |Linker: |(?:[A-Z]\w+ )?clang version )`)

// linkTarget names the place of a link's target: what it points to is another thing
// where its last name is another.
const linkTarget = "target of the link"

func isTarget(where string) bool { return strings.HasPrefix(where, linkTarget) }

// unmask takes out of two texts what the masks find, until they are equal, and says
// what of that differs.
func (s *session) unmask(where, a, b string) (restA, restB string, found findings) {
	x, y := masked{text: a}, masked{text: b}
	for i := range masks {
		m := &masks[i]
		beforeX, beforeY := x.text, y.text
		x.take(m)
		y.take(m)
		f, ok := m.finding(where, x.taken, y.taken)
		if !ok { // equal, or no evidence: it stays for others to see
			x.text, y.text = beforeX, beforeY
			continue
		}
		if found = append(found, f); x.text == y.text {
			break
		}
	}
	return x.text, y.text, found
}

// remainder judges what no mask took out.
func (s *session) remainder(where, a, b string) Finding {
	f := Finding{Cause: Unknown, Where: where}
	if note := sameParts(a, b); note != "" {
		f.Cause, f.Note = Ordering, note
	} else if c, note, ok := s.words(a, b); ok {
		f.Cause, f.Note = c, note
	}
	f.A, f.B = quoteAround(a, b), quoteAround(b, a)
	return f
}

func addAll(fs *findings, more findings) {
	for _, f := range more {
		fs.add(f)
	}
}

// clipPair cuts two texts down to what surrounds the first place where they part.
func clipPair(a, b string) (string, string) {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	from := max(0, n-maxPairBytes/4)
	m := 0
	for m < len(a)-n && m < len(b)-n && a[len(a)-1-m] == b[len(b)-1-m] {
		m++
	}
	cut := func(s string) string {
		return s[from:min(len(s), from+maxPairBytes, len(s)-m+maxPairBytes/4)]
	}
	return cut(a), cut(b)
}

// masked is a text of which parts were taken out.
type masked struct {
	text  string
	taken []string // by the last mask
}

// elided stands for what was taken out; it occurs in no text that is judged
// as one, and no mask matches it.
const elided = "\x00"

// take replaces every match, or what its group matches.
func (m *masked) take(by *mask) {
	m.taken = nil
	var out strings.Builder
	last := 0
	for _, at := range by.pattern.FindAllStringSubmatchIndex(m.text, -1) {
		from, to := at[0], at[1]
		if len(at) > 2 && at[2] >= 0 {
			from, to = at[2], at[3]
		}
		found := m.text[from:to]
		if by.holds != nil && !by.holds(found) || by.fits != nil && !by.fits(m.text[max(0, from-aroundBytes):from], found, m.text[to:min(len(m.text), to+aroundBytes)]) {
			continue
		}
		m.taken = append(m.taken, found)
		out.WriteString(m.text[last:from])
		out.WriteString(elided)
		last = to
	}
	if last > 0 {
		m.text = out.String() + m.text[last:]
	}
}

// finding is about the first two that differ, if one of those that differ shows the
// cause. Where one side has more of them nobody knows which belong together, and where
// both have the same ones they only changed places.
func (m *mask) finding(where string, x, y []string) (f Finding, ok bool) {
	if len(x) != len(y) || slices.Equal(slices.Sorted(slices.Values(x)), slices.Sorted(slices.Values(y))) {
		return f, false
	}
	for i, a := range x {
		b := y[i]
		if a == b {
			continue
		}
		c := m.cause
		if m.judge != nil {
			c = m.judge(a, b)
		}
		if c == "" {
			continue
		}
		f = Finding{Cause: c, Where: where, A: quoteValue(a), B: quoteValue(b), Note: m.note}
		if m.remark != nil {
			if r := m.remark(a, b); r != "" {
				f.Note += "; " + r
			}
		}
		return f, true
	}
	return f, false
}

// quoteAround shows the part of a that differs from b, with some of what is before.
func quoteAround(a, b string) string {
	a, b = strings.ReplaceAll(a, elided, "…"), strings.ReplaceAll(b, elided, "…")
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	const before = 24
	if n <= before || len(a) <= maxQuotedBytes {
		return Quote(a)
	}
	return "…" + Quote(a[n-before:])
}
