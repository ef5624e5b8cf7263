package diff

import (
	"fmt"
	"strconv"
	"unicode/utf8"
)

// Report is what differs between two trees, or two files. Its JSON form is stable:
// fields are added, never renamed; offsets and sizes are bytes, counted from 0.
type Report struct {
	Schema string `json:"schema"` // "gavel.diff/v1"
	A      string `json:"a"`      // what the sides are called
	B      string `json:"b"`
	// Differences are by path, bytewise; empty exactly if the sides are equal.
	Differences []*Difference `json:"differences"`
	// Omitted counts paths that differ and are not explained here.
	Omitted int `json:"omitted,omitempty"`
	// Causes are all that were found, in order of first appearance; what MayFollow
	// from them is not unknown.
	Causes []Cause `json:"causes"`
	// Diffoscope is what diffoscope printed, where it was asked.
	Diffoscope string `json:"diffoscope,omitempty"`
}

const schema = "gavel.diff/v1"

// Difference is one thing that differs, and what differs within it.
type Difference struct {
	// Name is the path, the member's name in its archive or the section's in its
	// file, as it stands there: quote it before printing.
	Name string `json:"name"`
	// Kind says what Name names: "file", "tar member", "ELF section", …
	Kind string `json:"kind"`
	// Format is what it was read as: "tar", "gzip", "text", "bytes", …
	Format string `json:"format,omitempty"`
	// SizeA and SizeB are the sides' bytes; -1 where a side lacks it.
	SizeA int64 `json:"size_a"`
	SizeB int64 `json:"size_b"`
	// Range is where the bytes part, of what was compared as bytes or lines.
	Range *Range `json:"range,omitempty"`
	// Findings are the causes at this level, the members' are theirs.
	Findings []Finding `json:"findings,omitempty"`
	// MayFollow says that no cause shows here and the differences beside it may be one,
	// as of a table that no program loads and that holds offsets of what it lists.
	MayFollow bool `json:"may_follow,omitempty"`
	// Follows says that the difference is shown to be no other than what follows from
	// the causes here and beside it; a note says how.
	Follows bool `json:"follows,omitempty"`
	// Notes say what was not looked into, and why.
	Notes   []string      `json:"notes,omitempty"`
	Members []*Difference `json:"members,omitempty"`
	// Omitted counts members that differ and are not explained here.
	Omitted int `json:"omitted,omitempty"`
	// forged says that one byte differs for which "forged" is the word, if it is alone.
	forged bool
}

// Range is the part of both sides outside of which they are equal.
type Range struct {
	Offset  int64 `json:"offset"`   // the first byte that differs
	LengthA int64 `json:"length_a"` // from there to the last that differs
	LengthB int64 `json:"length_b"`
	// Differing counts the bytes that differ where both sides are equally long,
	// else those of the longer side's part.
	Differing int64 `json:"differing"`
}

func (r *Range) String() string {
	if r.LengthA == r.LengthB {
		if r.LengthA == 1 {
			return fmt.Sprintf("byte %d", r.Offset)
		}
		return fmt.Sprintf("bytes %d to %d (%d differ)", r.Offset, r.Offset+r.LengthA-1, r.Differing)
	}
	return fmt.Sprintf("from byte %d on (%d / %d bytes)", r.Offset, r.LengthA, r.LengthB)
}

// Same tells whether nothing differs.
func (r *Report) Same() bool { return len(r.Differences) == 0 }

// Leaf is the end of one chain from a path to what differs in it.
type Leaf struct {
	Chain   []*Difference // from the path inwards
	Finding *Finding      // nil where nothing is said at the end
}

// Leaves lists every finding with the chain that leads to it.
func (r *Report) Leaves() []Leaf {
	var out []Leaf
	var walk func(chain []*Difference, d *Difference)
	walk = func(chain []*Difference, d *Difference) {
		chain = append(chain[:len(chain):len(chain)], d)
		for i := range d.Findings {
			out = append(out, Leaf{chain, &d.Findings[i]})
		}
		if len(d.Findings) == 0 && len(d.Members) == 0 {
			out = append(out, Leaf{Chain: chain})
		}
		for _, m := range d.Members {
			walk(chain, m)
		}
	}
	for _, d := range r.Differences {
		walk(nil, d)
	}
	return out
}

// Known tells whether a cause was found for anything.
func (r *Report) Known() bool {
	for _, d := range r.Differences {
		if d.known() {
			return true
		}
	}
	return false
}

// Sentence is the first known cause of the first path that has one, else what is
// known of the first path; "" where nothing differs.
func (r *Report) Sentence() string {
	leaves := r.Leaves()
	if len(leaves) == 0 {
		return ""
	}
	best := leaves[0]
	for _, l := range leaves {
		if l.Finding != nil && l.Finding.known() {
			best = l
			break
		}
	}
	text := ""
	for i, d := range best.Chain {
		if i > 0 {
			text += " → "
		}
		text += Quote(d.Name)
	}
	if best.Finding == nil {
		return text + ": cause unknown"
	}
	return text + ": " + best.Finding.String()
}

// String is the finding as one line without its place's name.
func (f *Finding) String() string {
	text := string(f.Cause)
	if f.Cause == Unknown {
		text = "cause unknown"
	}
	if f.Where != "" {
		text += ", " + f.Where
	}
	if f.A != "" || f.B != "" {
		text += ": " + or(f.A, "nothing") + " / " + or(f.B, "nothing")
	}
	if f.Note != "" {
		if f.A != "" || f.B != "" {
			text += " (" + f.Note + ")"
		} else {
			text += ": " + f.Note
		}
	}
	if f.More > 0 {
		text += fmt.Sprintf(", and %d more like it", f.More)
	}
	return text
}

func or(s, empty string) string {
	if s == "" {
		return empty
	}
	return s
}

// finish fills what follows from the differences.
func (r *Report) finish() *Report {
	r.Schema = schema
	r.Causes = []Cause{}
	if r.Differences == nil {
		r.Differences = []*Difference{}
	}
	seen := make(map[Cause]bool)
	for _, l := range r.Leaves() {
		c := Unknown
		if d := l.Chain[len(l.Chain)-1]; d.MayFollow || d.Follows && l.Finding == nil {
			continue
		}
		if l.Finding != nil {
			c = l.Finding.Cause
		}
		if !seen[c] {
			seen[c] = true
			r.Causes = append(r.Causes, c)
		}
	}
	return r
}

// Quote makes a stranger's text fit for a terminal: it is quoted where anything in
// it could be acted upon or misread, and cut to a length that a person reads.
func Quote(s string) string {
	cut := ""
	if len(s) > maxQuotedBytes {
		n := maxQuotedBytes
		for n > maxQuotedBytes-utf8.UTFMax && !utf8.RuneStart(s[n]) {
			n--
		}
		s, cut = s[:n], "…"
	}
	return QuoteWhole(s) + cut
}

// QuoteWhole is Quote without a bound to the length.
func QuoteWhole(s string) string {
	if quoted := strconv.Quote(s); s == "" || quoted != `"`+s+`"` {
		return quoted
	}
	return s
}
