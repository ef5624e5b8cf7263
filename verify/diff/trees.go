package diff

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Trees compares two trees path by path, under the names nameA and nameB. An error
// means that one could not be read, or that ctx ended.
func Trees(ctx context.Context, nameA, nameB string, a, b Tree, o Options) (*Report, error) {
	x, err := a.Entries(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading the first side: %w", err)
	}
	y, err := b.Entries(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading the second side: %w", err)
	}
	if len(o.Around) == 0 {
		o.Around = []time.Time{time.Now()}
	}
	r := &Report{A: nameA, B: nameB}
	w := &treeWalk{report: r, a: a, b: b, o: o}
	for i, j := 0, 0; i < len(x) || j < len(y); {
		switch {
		case j == len(y) || i < len(x) && x[i].Path < y[j].Path:
			w.add(oneSided(&x[i], "only the first side has it", true))
			i++
		case i == len(x) || y[j].Path < x[i].Path:
			w.add(oneSided(&y[j], "only the second side has it", false))
			j++
		default:
			if err := w.entry(ctx, &x[i], &y[j]); err != nil {
				return nil, err
			}
			i++
			j++
		}
	}
	nameForged(r.Differences, r.Omitted)
	r.finish()
	if o.Diffoscope && !r.Same() {
		if err := w.diffoscope(ctx); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// treeWalk is a comparison of two trees under way.
type treeWalk struct {
	report *Report
	a, b   Tree
	o      Options
	files  [][2]*Entry // those with other content, for diffoscope
}

func (w *treeWalk) full() bool { return len(w.report.Differences) >= maxPaths }

func (w *treeWalk) add(d *Difference) {
	if w.full() {
		w.report.Omitted++
		return
	}
	w.report.Differences = append(w.report.Differences, d)
}

func oneSided(e *Entry, note string, first bool) *Difference {
	d := &Difference{Name: e.Path, Kind: e.Kind.String(), SizeA: -1, SizeB: -1, Findings: []Finding{{Cause: Content, Note: note}}}
	if e.Kind == File && first {
		d.SizeA = e.Size
	} else if e.Kind == File {
		d.SizeB = e.Size
	}
	return d
}

// entry compares what lies at one path on both sides.
func (w *treeWalk) entry(ctx context.Context, x, y *Entry) error {
	if x.Kind != y.Kind {
		w.add(&Difference{Name: x.Path, Kind: "path", SizeA: -1, SizeB: -1,
			Findings: []Finding{{Cause: Unknown, Where: "type", A: x.Kind.String(), B: y.Kind.String()}}})
		return nil
	}
	var fs findings
	switch {
	case x.Mode >= 0 && y.Mode >= 0 && !w.o.ResultModes:
		if x.Mode != y.Mode {
			fs.add(modes(x.Mode, y.Mode))
		}
	case x.Executable != y.Executable:
		fs.add(Finding{Cause: Permission, Where: "mode", A: executable(x.Executable), B: executable(y.Executable)})
	}
	s := newSession(ctx, w.o)
	if x.Target != y.Target {
		s.judge(&fs, linkTarget, x.Target, y.Target)
	}
	d, err := w.content(ctx, s, x, y)
	if err != nil {
		return fmt.Errorf("comparing %s: %w", Quote(x.Path), err)
	}
	if d == nil && len(fs) > 0 {
		d = &Difference{Name: x.Path, Kind: x.Kind.String(), SizeA: -1, SizeB: -1}
	}
	if d != nil {
		d.Findings = append(fs, d.Findings...)
		w.add(d)
	}
	return nil
}

// content compares two files, nil if they are equal or no files.
func (w *treeWalk) content(ctx context.Context, s *session, x, y *Entry) (d *Difference, err error) {
	if x.Kind != File || x.Digest != "" && x.Digest == y.Digest && x.Size == y.Size {
		return nil, nil
	}
	if w.full() && x.Digest != "" && y.Digest != "" {
		return &Difference{}, nil // counted, not read
	}
	a, err := w.a.Open(ctx, x)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, a.Close()) }()
	b, err := w.b.Open(ctx, y)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	if w.full() { // counted, not explained
		spans, err := s.differ(a, b)
		if spans == nil || err != nil {
			return nil, err
		}
		return &Difference{}, nil
	}
	for _, e := range []*Entry{x, y} {
		if !e.Mtime.IsZero() {
			s.around = append(s.around, e.Mtime.Unix())
		}
	}
	if d, err = s.compare(x.Path, "file", a, b, 0); d != nil {
		w.files = append(w.files, [2]*Entry{x, y})
	}
	return d, err
}

// modes is the difference of two modes, which a umask explains or not.
func modes(x, y int) Finding {
	f := Finding{Cause: Permission, Where: "mode", A: fmt.Sprintf("%04o", x), B: fmt.Sprintf("%04o", y)}
	if f.Note = umask(f.A, f.B); (x^y)&^0o777 != 0 {
		f.Note = "setuid, setgid or sticky, which no umask sets"
	}
	return f
}

func executable(x bool) string {
	if x {
		return "executable"
	}
	return "not executable"
}
