package diff

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"path"
	"strings"
	"time"
)

// leaf explains two blobs by their bytes: as lines where both are text, else by the
// strings and numbers that differ in them.
func (s *session) leaf(d *Difference, a, b Blob, spans *spans) error {
	d.Range = &spans.Range
	text, err := s.bothText(a, b)
	if err != nil {
		return err
	}
	var fs findings
	switch {
	case text:
		d.setFormat("text")
		if err := s.lines(d, &fs, a, b); err != nil {
			return err
		}
	default:
		d.setFormat("bytes")
		if err := s.binary(d, &fs, a, b, spans); err != nil {
			return err
		}
	}
	if oneByte := spans.Differing == 1 && spans.LengthA == spans.LengthB; oneByte && !fs.known() {
		f, err := s.oneByte(d, a, b, spans.Offset)
		if err != nil {
			return err
		}
		if findings(d.Findings).known() { // it does not unpack, and this is where it was damaged
			f.Cause = Forged
		}
		fs = findings{f}
	}
	if len(fs) == 0 {
		fs = findings{{Cause: Unknown, Where: spans.Range.String()}}
	}
	d.Findings = append(d.Findings, fs...)
	return nil
}

func (d *Difference) setFormat(name string) {
	if d.Format == "" {
		d.Format = name
	}
}

// oneByte is what is said of one byte that differs for no reason that is known. It
// notes in d whether the byte would be a forged one, were it all that differs: a text,
// a digit or what may be a time have other values for many reasons.
func (s *session) oneByte(d *Difference, a, b Blob, at int64) (Finding, error) {
	start := max(0, at&^3) // of the aligned word that it is in
	x, err := s.slice(a, start, 4)
	if err != nil {
		return Finding{}, err
	}
	y, err := s.slice(b, start, 4)
	if err != nil {
		return Finding{}, err
	}
	p, q := x[at-start], y[at-start]
	digits := p >= '0' && p <= '9' && q >= '0' && q <= '9'
	code := d.Kind == sectionKind && d.Name == ".text"
	table := d.Kind == sectionKind && linkerTable.MatchString(d.Name)
	d.forged = d.Format != "text" && !digits && !table && (code || !s.maybeTimes(x, y))
	return Finding{Cause: Unknown, Where: fmt.Sprintf("byte %d", at), A: fmt.Sprintf("0x%02x", p), B: fmt.Sprintf("0x%02x", q),
		Note: "one byte differs, and no known cause shows"}, nil
}

// maybeTimes tells whether two words of four bytes may be seconds of the last ten
// years, less than a year apart.
func (s *session) maybeTimes(x, y []byte) bool {
	const year = 365 * 24 * 60 * 60
	if len(x) < 4 || len(y) < 4 {
		return false
	}
	for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
		a, b := int64(order.Uint32(x)), int64(order.Uint32(y))
		for _, near := range s.around {
			if min(a, b) > near-10*year && max(a, b) <= near+afterSeconds && max(a, b)-min(a, b) < year {
				return true
			}
		}
	}
	return false
}

// nameForged calls one byte forged or corrupted where it is all that differs, down to
// its end.
func nameForged(ds []*Difference, omitted int) {
	for omitted == 0 && len(ds) == 1 {
		d := ds[0]
		if d.forged && len(d.Findings) == 1 && len(d.Members) == 0 {
			d.Findings[0].Cause = Forged
			d.Findings[0].Note += "; it is all that differs, which a changed input can make too"
		}
		if len(d.Findings) > 0 {
			return
		}
		ds, omitted = d.Members, d.Omitted
	}
}

// binary explains bytes that are no text: by the strings that only one side has, and
// where the sides are equally long by the numbers that differ outside of strings.
func (s *session) binary(d *Difference, fs *findings, a, b Blob, spans *spans) error {
	x, y, err := s.window(a, b, &spans.Range)
	if err != nil {
		return err
	}
	if max(spans.LengthA, spans.LengthB) > maxWordsBytes {
		d.Notes = append(d.Notes, fmt.Sprintf("only the first %d bytes from the difference on were looked at", maxWordsBytes))
	}
	if apart := spans.LengthA != spans.LengthB || 2*spans.Differing > spans.LengthA; apart && dense(x) && dense(y) {
		fs.add(s.unknownBytes(x, y, spans, max(0, spans.Offset-contextBytes)))
		d.Notes = append(d.Notes, "its bytes are as compressed, encrypted or random data has them: no string was looked for in them")
		return nil
	}
	wordsA, wordsB := words(x), words(y)
	if moved(fs, wordsA, wordsB) && sameBytes(x, y) {
		return nil
	}
	lost, err := s.strings(fs, apartStrings(wordsA, wordsB), apartStrings(wordsB, wordsA))
	if err != nil {
		return err
	}
	if spans.LengthA != spans.LengthB || spans.more > 0 {
		switch {
		case len(*fs) == 0 && lost != nil:
			fs.add(*lost)
		case len(*fs) > 0 && (lost != nil || !bytes.Equal(bytes.TrimRight(withoutWords(x), "\x00"), bytes.TrimRight(withoutWords(y), "\x00"))):
			rest := Finding{Cause: Unknown, Note: "it differs in more than that: lengths and offsets may follow, other content does not"}
			if lost != nil {
				rest.Where, rest.A, rest.B = lost.Where, lost.A, lost.B
			}
			fs.add(rest)
		}
		return nil
	}
	start := max(0, spans.Offset-contextBytes)
	places, total, first := 0, int64(0), int64(-1)
	for _, r := range spans.list {
		at := int(r.offset - start)
		if at+int(r.length) > len(x) || at+int(r.length) > len(y) {
			break // beyond what is looked at
		}
		if inStrings(x, y, at, int(r.length)) && (lost == nil || s.place(fs, x, y, at, int(r.length), start)) || s.numberAt(fs, x, y, at, int(r.length), start) {
			continue
		}
		if places++; first < 0 {
			first = r.offset
		}
		total += r.length
	}
	switch {
	case places == 0:
	case len(*fs) == 0:
		fs.add(s.unknownBytes(x, y, spans, start))
	default:
		fs.add(Finding{Cause: Unknown, Where: fmt.Sprintf("from byte %d on", first),
			Note: fmt.Sprintf("%s, %s in all, without a cause that is known", counted(places, "more place", "more places"), counted(int(total), "byte", "bytes"))})
	}
	return nil
}

// sameBytes tells whether two sides have the same bytes in another order.
func sameBytes(x, y []byte) bool {
	var count [256]int
	for _, c := range x {
		count[c]++
	}
	for _, c := range y {
		count[c]--
	}
	return count == [256]int{}
}

// window is what both sides have around what differs, as far as it is looked at.
func (s *session) window(a, b Blob, r *Range) (x, y []byte, err error) {
	start := max(0, r.Offset-contextBytes)
	if x, err = s.slice(a, start, min(r.Offset-start+r.LengthA+contextBytes, maxWordsBytes)); err != nil {
		return nil, nil, err
	}
	y, err = s.slice(b, start, min(r.Offset-start+r.LengthB+contextBytes, maxWordsBytes))
	return x, y, err
}

func (s *session) unknownBytes(x, y []byte, spans *spans, start int64) Finding {
	show := func(b []byte) string {
		from := min(len(b), int(spans.Offset-start))
		return fmt.Sprintf("%x", b[from:min(len(b), from+int(min(spans.LengthA, 16)))])
	}
	return Finding{Cause: Unknown, Where: spans.Range.String(), A: show(x), B: show(y)}
}

// place explains one run of n bytes at x[at:], which lies at base+at in the whole,
// by the strings that it is in.
func (s *session) place(fs *findings, x, y []byte, at, n int, base int64) bool {
	var judged findings
	s.judgeBinary(&judged, fmt.Sprintf("byte %d", base+int64(at)), stringAt(x, at, n), stringAt(y, at, n))
	if !judged.known() {
		return false
	}
	addAll(fs, judged)
	return true
}

// numberAt explains it as a number that is a time.
func (s *session) numberAt(fs *findings, x, y []byte, at, n int, base int64) bool {
	f, ok := s.number(x, y, at, n, base)
	if ok {
		f.Where = fmt.Sprintf("byte %d", base+int64(at))
		fs.add(f)
	}
	return ok
}

// judgeBinary judges two strings found among bytes. Some bytes before them may look
// like letters, and what ends with them is known, so that a path may hold spaces.
func (s *session) judgeBinary(fs *findings, where, a, b string) {
	const strayBytes = 4
	i, j := strings.IndexByte(a, '/'), strings.IndexByte(b, '/')
	if i < 0 || j < 0 || i > strayBytes || j > strayBytes || len(a) > maxPairBytes || len(b) > maxPairBytes {
		s.judge(fs, where, a, b)
		return
	}
	x, y := a[i:], b[j:]
	restX, restY, _ := s.unmask(where, x, y)
	// A path, and not a command with words after it.
	isPath := func(s string) bool {
		return strings.Count(s, "/") > 1 && !strings.Contains(path.Base(s), " ")
	}
	switch {
	case restX == restY && x != y:
		s.judge(fs, where, x, y)
	case x != y && isPath(x) && isPath(y) && otherPath(x, y) == BuildPath:
		fs.add(Finding{Cause: BuildPath, Where: where, A: Quote(x), B: Quote(y), Note: "absolute paths"})
	default:
		s.judge(fs, where, a, b)
	}
}

// inStrings tells whether a run of bytes lies in printable strings on both sides;
// NUL may end the shorter.
func inStrings(x, y []byte, at, n int) bool {
	for i := at; i < at+n; i++ {
		if !printableByte(x[i]) && x[i] != 0 || !printableByte(y[i]) && y[i] != 0 {
			return false
		}
	}
	return len(stringAt(x, at, n)) >= minWordBytes && len(stringAt(y, at, n)) >= minWordBytes
}

func stringAt(b []byte, at, n int) string {
	from, to := at, at
	for from > 0 && at-from < contextBytes && printableByte(b[from-1]) {
		from--
	}
	for to < len(b) && (to-at < n+contextBytes) && printableByte(b[to]) {
		to++
	}
	return string(b[from:to])
}

// How near to a time that is known a number must be to be taken for one. Of four
// bytes that are random, one in 550 is within it.
const (
	beforeSeconds = 90 * 24 * 60 * 60
	afterSeconds  = 24 * 60 * 60
)

// number reads aligned words around a run of bytes as Unix times: seconds in four
// or eight bytes, or milli-, micro- or nanoseconds in eight, of either byte order.
func (s *session) number(x, y []byte, at, n int, base int64) (Finding, bool) {
	for _, width := range []int64{8, 4} {
		from := (base+int64(at))&^(width-1) - base
		if from < 0 || int64(at+n) > from+width || from+width > int64(len(x)) || from+width > int64(len(y)) {
			continue
		}
		p, q := x[from:from+width], y[from:from+width]
		for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
			for _, unit := range []int64{1, 1e3, 1e6, 1e9} {
				if width == 4 && unit > 1 {
					break
				}
				a, okA := s.unix(p, order, unit)
				b, okB := s.unix(q, order, unit)
				if okA && okB {
					return Finding{Cause: Timestamp, A: showTime(a), B: showTime(b), Note: fmt.Sprintf("a Unix time in %d bytes, %s", width, strings.ToLower(order.String()))}, true
				}
			}
		}
	}
	return Finding{}, false
}

func (s *session) unix(raw []byte, order binary.ByteOrder, unit int64) (time.Time, bool) {
	var v uint64
	if len(raw) == 4 {
		v = uint64(order.Uint32(raw))
	} else {
		v = order.Uint64(raw)
	}
	if v>>63 != 0 {
		return time.Time{}, false
	}
	seconds := int64(v) / unit
	for _, near := range s.around {
		if seconds >= near-beforeSeconds && seconds <= near+afterSeconds {
			return time.Unix(seconds, int64(v)%unit*(1e9/unit)), true
		}
	}
	return time.Time{}, false
}
