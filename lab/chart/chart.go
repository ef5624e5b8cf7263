// Package chart draws the laboratory's numbers as pictures that an operator can
// read: grouped bars with the spread of an estimate, and lines with the points
// that matter marked. It knows no mechanism, no farm and no money, computes
// nothing but places on paper, and never changes what it is given. A picture is
// SVG or PNG by its file's name, is the same whenever the numbers are, and takes
// the place of an older one only when it is whole.
package chart

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
)

// ErrChart is wrapped by every refusal: the name or the numbers are at fault.
var ErrChart = errors.New("not a picture that can be drawn")

const (
	// MaxPoints bounds the points of a line and the bars of a panel: more is a
	// smear at the size of a page.
	MaxPoints = 2000

	// MaxSeries bounds the lines or groups of bars of a panel: there are no more
	// colours that differ.
	MaxSeries = 8
)

// Figure is one picture: panels from the top left, row by row.
type Figure struct {
	Title   string
	Columns int // of panels; 0 is 1
	Panels  []Panel
}

// Panel is one plot with its axes. With Names it is of bars, grouped by name and
// lying on their side so that long names can be read; without, of lines.
type Panel struct {
	Title string
	X, Y  string   // axis labels, with units; of bars X is that of their lengths
	Names []string // of the groups of bars, the first on top

	// Series are drawn in order, each in a colour of its own.
	Series []Series
	Marks  []Mark

	// LogX and LogY stretch an axis by powers of ten: all on it is above 0.
	LogX, LogY bool
}

// Series is one line, or one bar for each name.
type Series struct {
	Name string
	X    []float64 // of lines, ascending
	Y    []float64 // of bars NaN draws none
	// Low and High are the ends of an interval around each bar; nil is none.
	Low, High []float64
}

// Mark is a point that matters, shown with a line down to the axis.
type Mark struct {
	Name string
	X, Y float64
}

// Format is what a file of this name holds: svg or png.
func Format(path string) (string, error) {
	switch ext := strings.ToLower(filepath.Ext(path)); ext {
	case ".svg", ".png":
		return ext[1:], nil
	}
	return "", fmt.Errorf("%w: %q: want a file that ends in .svg or .png", ErrChart, path)
}

// Write draws a figure into a file, SVG or PNG by its name. A crash leaves the
// file as it was, or a stray one beside it whose name starts with a dot.
func Write(path string, f *Figure) error {
	format, err := Format(path)
	if err != nil {
		return err
	}
	if err := f.validate(); err != nil {
		return err
	}
	if err := f.replace(path, format); err != nil {
		return fmt.Errorf("drawing %s: %w", path, cause(err))
	}
	return nil
}

// replace draws beside the file and then takes its place.
func (f *Figure) replace(path, format string) error {
	file, err := os.CreateTemp(filepath.Dir(path), ".chart-*")
	if err != nil {
		return err
	}
	defer os.Remove(file.Name()) // gone already if all went well
	defer file.Close()
	if err := f.draw(file, format); err != nil {
		return err
	}
	if err := errors.Join(file.Chmod(0o644), file.Sync(), file.Close()); err != nil {
		return err
	}
	return os.Rename(file.Name(), path)
}

// cause is what a file's error says without the file: it would name the one that is
// drawn into, which nobody asked for.
func cause(err error) error {
	var path *fs.PathError
	var link *os.LinkError
	switch {
	case errors.As(err, &path):
		return path.Err
	case errors.As(err, &link):
		return link.Err
	}
	return err
}

// validate holds a figure to what can be drawn.
func (f *Figure) validate() error {
	if len(f.Panels) == 0 || f.Columns < 0 {
		return fmt.Errorf("%w: a figure of %d panels in %d columns", ErrChart, len(f.Panels), f.Columns)
	}
	for i := range f.Panels {
		if err := f.Panels[i].validate(); err != nil {
			return fmt.Errorf("panel %q: %w", f.Panels[i].Title, err)
		}
	}
	return nil
}

func (p *Panel) validate() error {
	if len(p.Series) == 0 || len(p.Series) > MaxSeries {
		return fmt.Errorf("%w: %d series, want 1 to %d", ErrChart, len(p.Series), MaxSeries)
	}
	for _, s := range p.Series {
		n := len(p.Names)
		if n == 0 {
			n = len(s.X)
		}
		switch {
		case n == 0 || n*len(p.Series) > MaxPoints:
			return fmt.Errorf("%w: %q has %d points, want 1 to %d in all", ErrChart, s.Name, n, MaxPoints)
		case len(s.Y) != n || len(s.Low) != len(s.High) || s.Low != nil && len(s.Low) != n:
			return fmt.Errorf("%w: %q has lists of different lengths", ErrChart, s.Name)
		}
		for i, y := range s.Y {
			if len(p.Names) > 0 && math.IsNaN(y) {
				continue
			}
			if !drawable(y, p.LogY) || len(p.Names) == 0 && !drawable(s.X[i], p.LogX) || s.Low != nil && !(drawable(s.Low[i], false) && drawable(s.High[i], false)) {
				return fmt.Errorf("%w: point %d of %q has no place on the axes", ErrChart, i+1, s.Name)
			}
		}
	}
	for _, m := range p.Marks {
		if !drawable(m.X, p.LogX) || !drawable(m.Y, p.LogY) {
			return fmt.Errorf("%w: mark %q has no place on the axes", ErrChart, m.Name)
		}
	}
	return nil
}

// drawable says whether a number has a place on an axis.
func drawable(x float64, log bool) bool {
	return !math.IsNaN(x) && math.Abs(x) <= 1e18 && (!log || x > 1e-18)
}
