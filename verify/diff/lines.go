package diff

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// bothText tells whether both sides are text that is compared by lines.
func (s *session) bothText(a, b Blob) (bool, error) {
	if a.Size() > maxTextBytes || b.Size() > maxTextBytes {
		return false, nil
	}
	for _, limit := range []int64{readBytes, maxTextBytes} { // most that is no text shows it early
		for _, side := range []Blob{a, b} {
			raw, err := s.slice(side, 0, limit)
			if err != nil {
				return false, err
			}
			if bytes.IndexByte(raw, 0) >= 0 || int64(len(raw)) == side.Size() && !utf8.Valid(raw) {
				return false, nil
			}
		}
	}
	return true, nil
}

// lines explains two texts by the lines in which they differ.
func (s *session) lines(d *Difference, fs *findings, a, b Blob) error {
	rawA, err := s.readAll(a, maxTextBytes)
	if err != nil {
		return err
	}
	rawB, err := s.readAll(b, maxTextBytes)
	if err != nil {
		return err
	}
	n, rawA, rawB := middle(rawA, rawB)
	x, y := split(rawA), split(rawB)
	if len(x) > maxLines || len(y) > maxLines {
		x, y = x[:min(len(x), maxLines)], y[:min(len(y), maxLines)]
		d.Notes = append(d.Notes, fmt.Sprintf("of the lines from the first difference on, only the first %d were looked at", maxLines))
	}
	if s.reordered(fs, n, x, y) {
		return nil
	}
	hunks := align(n, x, y)
	if len(hunks) > maxPairs {
		d.Notes = append(d.Notes, fmt.Sprintf("of %d lines that differ, only the first %d were looked at", len(hunks), maxPairs))
		hunks = hunks[:maxPairs]
	}
	for _, h := range hunks {
		if s.ctx.Err() != nil {
			break
		}
		s.judgeLines(fs, h)
	}
	return s.ctx.Err()
}

// middle cuts off the whole lines that both texts begin and end with; n of them at
// the beginning.
func middle(a, b []byte) (n int, restA, restB []byte) {
	from := 0
	for from < len(a) && from < len(b) && a[from] == b[from] {
		from++
	}
	from = bytes.LastIndexByte(a[:from], '\n') + 1
	n = bytes.Count(a[:from], []byte("\n"))
	a, b = a[from:], b[from:]
	end := 0
	for end < len(a) && end < len(b) && a[len(a)-1-end] == b[len(b)-1-end] {
		end++
	}
	// The first line of the common end may be a part of one.
	if line := bytes.IndexByte(a[len(a)-end:], '\n'); line >= 0 {
		end -= line + 1
	} else {
		end = 0
	}
	return n, a[:len(a)-end], b[:len(b)-end]
}

// split keeps the line ends: a last line without one is another line.
func split(raw []byte) []string {
	out := strings.SplitAfterN(string(raw), "\n", maxLines+2)
	if out[len(out)-1] == "" {
		out = out[:len(out)-1]
	}
	return out
}

// hunk is a line that differs from the one in its place; a nil side has none.
type hunk struct {
	line int // of the first side, from 1
	a, b *string
}

func (s *session) judgeLines(fs *findings, h hunk) {
	where := fmt.Sprintf("line %d", h.line)
	switch {
	case h.a == nil:
		fs.add(Finding{Cause: Unknown, Where: where, B: Quote(*h.b), Note: "the line is on the second side only"})
	case h.b == nil:
		fs.add(Finding{Cause: Unknown, Where: where, A: Quote(*h.a), Note: "the line is on the first side only"})
	default:
		a, b := strings.TrimRight(*h.a, "\r\n"), strings.TrimRight(*h.b, "\r\n")
		if a == b {
			fs.add(Finding{Cause: Unknown, Where: where, A: Quote((*h.a)[len(a):]), B: Quote((*h.b)[len(b):]), Note: "the lines end differently"})
			return
		}
		s.judge(fs, where, a, b)
	}
}

// align pairs the lines of two texts that begin at line n+1 and have no common
// beginning or end: by a longest common subsequence where that is affordable.
func align(n int, x, y []string) []hunk {
	if len(x) == len(y) || len(x) > maxAlignLines || len(y) > maxAlignLines {
		return inOrder(n, x, y)
	}
	length := make([][]int32, len(x)+1)
	for i := range length {
		length[i] = make([]int32, len(y)+1)
	}
	for i := len(x) - 1; i >= 0; i-- {
		for j := len(y) - 1; j >= 0; j-- {
			if x[i] == y[j] {
				length[i][j] = length[i+1][j+1] + 1
			} else {
				length[i][j] = max(length[i+1][j], length[i][j+1])
			}
		}
	}
	var out []hunk
	i, j := 0, 0
	flush := func(toI, toJ int) {
		out = append(out, inOrder(n+i, x[i:toI], y[j:toJ])...)
		i, j = toI, toJ
	}
	p, q := 0, 0
	for p < len(x) && q < len(y) {
		switch {
		case x[p] == y[q]:
			flush(p, q)
			p, q = p+1, q+1
			i, j = p, q
		case length[p+1][q] >= length[p][q+1]:
			p++
		default:
			q++
		}
	}
	flush(len(x), len(y))
	return out
}

// inOrder pairs the first with the first.
func inOrder(n int, x, y []string) []hunk {
	var out []hunk
	for k := 0; k < max(len(x), len(y)); k++ {
		h := hunk{line: n + k + 1}
		if k < len(x) {
			h.a = &x[k]
		}
		if k < len(y) {
			h.b = &y[k]
		}
		if h.a != nil && h.b != nil && *h.a == *h.b {
			continue
		}
		out = append(out, h)
	}
	return out
}

// reordered says that the same lines stand in another order, and what made it where
// the lines show that.
func (s *session) reordered(fs *findings, n int, x, y []string) bool {
	if len(x) < 2 || len(x) != len(y) {
		return false
	}
	// A last line may lack its end, wherever it was moved to.
	trim := func(lines []string) []string {
		out := make([]string, len(lines))
		for i, l := range lines {
			out[i] = strings.TrimRight(l, "\n")
		}
		return out
	}
	a, b := trim(x), trim(y)
	sortedA, sortedB := slices.Clone(a), slices.Clone(b)
	slices.Sort(sortedA)
	slices.Sort(sortedB)
	if slices.Equal(a, b) {
		return false
	}
	if !slices.Equal(sortedA, sortedB) {
		same := sameLinesOfAList(a, b)
		if same {
			fs.add(Finding{Cause: Ordering, Where: fmt.Sprintf("lines %d to %d", n+1, n+len(x)), A: Quote(a[0]), B: Quote(b[0]), Note: partsMoved(len(a))})
		}
		return same
	}
	f := Finding{Cause: Ordering, Where: fmt.Sprintf("lines %d to %d", n+1, n+len(x)), A: Quote(a[0]), B: Quote(b[0]),
		Note: fmt.Sprintf("the same %d lines in another order", len(x))}
	switch note := collation(a, b); {
	case note != "":
		f.Cause, f.Note = Locale, f.Note+"; "+note
	case interleaved(a, b):
		f.Cause, f.Note = Parallelism, f.Note+"; the lines of each job are in order, but the jobs interleave differently"
	}
	fs.add(f)
	return true
}

// job is how a line names the one of several that wrote it: "[3] ", "make[2]: ",
// "worker 1: ", "2> ".
var job = regexp.MustCompile(`^\s*(?:\[[^\]\s]{1,32}\]|[A-Za-z]+\[[0-9]+\]:|(?i:job|worker|thread|task|shard)[ #-]?[0-9]+\b|[0-9]+>)`)

// interleaved tells whether two orders of the same lines are those of jobs that ran
// at the same time: each job's own lines are in one order on both sides.
func interleaved(a, b []string) bool {
	lines := func(of []string) map[string][]string {
		out := make(map[string][]string)
		for _, l := range of {
			j := job.FindString(l)
			if j == "" {
				return nil
			}
			out[j] = append(out[j], l)
		}
		return out
	}
	x, y := lines(a), lines(b)
	if len(x) < 2 || len(x) != len(y) {
		return false
	}
	several := false
	for j, l := range x {
		several = several || len(l) > 1
		if !slices.Equal(l, y[j]) {
			return false
		}
	}
	return several
}
