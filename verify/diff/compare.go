package diff

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"
)

// Options are what a caller may ask for beyond a comparison; the zero value is good.
type Options struct {
	// Around are times at which the sides may have been made: four or eight bytes
	// that hold a Unix time are taken for one only near them. Empty means now.
	Around []time.Time
	// HostNames and Users are names that may have got into a side, such as this
	// machine's. A word that differs and is one of them is shown to be one.
	HostNames, Users []string
	// ResultModes has no more count of a mode than whether a file is executable, as in
	// the results of a farm.
	ResultModes bool
	// Diffoscope also runs diffoscope and attaches what it prints; it must be
	// installed then.
	Diffoscope bool
	// MaxDecompressedBytes lowers the bound on all that is decompressed.
	MaxDecompressedBytes int64
}

// Files compares two files, which have the names nameA and nameB for a reader; it
// returns nil if they are equal. An error means that they could not be read, or
// that ctx ended.
func Files(ctx context.Context, nameA, nameB string, a, b Blob, o Options) (*Difference, error) {
	if len(o.Around) == 0 {
		o.Around = []time.Time{time.Now()}
	}
	s := newSession(ctx, o)
	d, err := s.compare(nameA, "file", a, b, 0)
	if d != nil {
		nameForged([]*Difference{d}, 0)
	}
	if d != nil && nameA != nameB {
		d.Notes = append(d.Notes, "compared with "+Quote(nameB))
	}
	return d, err
}

// compare explains how two blobs differ, nil if they do not.
func (s *session) compare(name, kind string, a, b Blob, depth int) (*Difference, error) {
	spans, err := s.differ(a, b)
	if err != nil || spans == nil {
		return nil, err
	}
	d := &Difference{Name: name, Kind: kind, SizeA: a.Size(), SizeB: b.Size()}
	if err := s.explain(d, a, b, spans, depth); err != nil {
		return nil, err
	}
	return d, nil
}

// explain looks into two blobs that differ, and falls back on their bytes.
func (s *session) explain(d *Difference, a, b Blob, spans *spans, depth int) error {
	fa, err := s.detect(a)
	if err != nil {
		return err
	}
	fb, err := s.detect(b)
	if err != nil {
		return err
	}
	switch {
	case fa == nil && fb == nil:
	case fa != fb && (fa == nil || fb == nil || !fa.packs || !fb.packs):
		d.Notes = append(d.Notes, fmt.Sprintf("not looked inside: one side is %s, the other %s", formatName(fa), formatName(fb)))
	case depth >= maxDepth:
		d.Notes = append(d.Notes, fmt.Sprintf("not looked inside: it is %s at depth %d, and %d is the limit", fa.name, depth, maxDepth))
	default:
		if done, err := s.inside(d, fa, fb, a, b, spans, depth); err != nil || done {
			return err
		}
	}
	return s.leaf(d, a, b, spans)
}

// inside compares the members of two archives. It is not done where they could not
// be read, or where what differs lies outside of all members.
func (s *session) inside(d *Difference, fa, fb *format, a, b Blob, spans *spans, depth int) (done bool, err error) {
	x, errA := s.open(fa, a)
	y, errB := s.open(fb, b)
	defer x.close()
	defer y.close()
	if err := s.ctx.Err(); err != nil {
		return false, err
	}
	var fs findings
	switch {
	case errA != nil && errB != nil:
		d.Notes = append(d.Notes, fmt.Sprintf("not looked inside: neither side reads as %s: %s", fa.name, Quote(errA.Error())))
		return false, nil
	case errA != nil || errB != nil:
		side, f, broken := "first", fa, errA
		if broken == nil {
			side, f, broken = "second", fb, errB
		}
		note := fmt.Sprintf("the %s side does not read as %s: %s", side, f.name, Quote(broken.Error()))
		if errors.Is(broken, errBound) {
			d.Notes = append(d.Notes, "not looked inside: "+note)
			return false, nil
		}
		d.Format = f.name
		fs.add(Finding{Cause: Forged, Note: note})
		d.Findings = fs
		return false, nil
	}
	d.Format = fa.name
	if fa != fb {
		d.Format += " / " + fb.name
		d.Findings = append(d.Findings, Finding{Cause: Compression, Where: "format", A: fa.name, B: fb.name})
		x.fields, y.fields = nil, nil // of two formats
	}
	if err := s.compareArchives(d, x, y, spans, depth); err != nil {
		return false, err
	}
	return len(d.Findings) > 0 || len(d.Members) > 0, nil
}

// open reads an archive's list of members. Many decoders here are others', made for
// input that is well meant: where one gives up by a panic, that is its answer.
func (s *session) open(f *format, b Blob) (out *archive, err error) {
	defer recovered(&err)
	return f.read(s, b)
}

// recovered turns a panic of a decoder into its error.
func recovered(err *error) {
	switch r := recover().(type) {
	case nil:
	case runtime.Error:
		*err = fmt.Errorf("its decoder failed: %v", r)
	case error:
		*err = fmt.Errorf("its decoder failed: %w", r)
	default:
		*err = fmt.Errorf("its decoder failed: %v", r)
	}
}
