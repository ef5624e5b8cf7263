package chart

import (
	"bytes"
	"encoding/xml"
	"errors"
	"image/png"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// figures are one of each kind.
func figures() map[string]*Figure {
	names := []string{"lottery-all-pay", "proportional-all-pay", "proportional-winner-pays", "tullock", "all-pay-auction", "winner-take-all", "second-price"}
	first, second := []float64{0.667, 0.667, 0.602, 0.667, 0.75, 1, 1}, []float64{0.333, 0.333, 0.398, 0.333, 0.25, 0, math.NaN()}
	revenue := []float64{1.333, 1.333, 0.985, 1.333, 1.5, 2, 2}
	var alphas, utilities, rates, stakes []float64
	for i := range 200 {
		a := 0.02 + float64(i)*0.002
		alphas = append(alphas, a)
		utilities = append(utilities, (1-1/(a*101)+1/101.0)*(100-60-100*a))
		r := math.Pow(10, float64(i)*2/199)
		rates, stakes = append(rates, r), append(stakes, 77522/1e6*math.Pow(100/r, 1.2))
	}
	return map[string]*Figure{
		"groups": {Title: "Equilibria of 2 bidders with values 4 and 2", Columns: 2, Panels: []Panel{
			{Title: "Who gets how much", X: "share of a unit, or chance of winning", Names: names, Series: []Series{{Name: "value 4", Y: first}, {Name: "value 2", Y: second}}},
			{Title: "What the seller earns", X: "credits", Names: names, Series: []Series{{Name: "revenue", Y: revenue}}},
		}},
		"lines": {Title: "Bidding while a candle burns", Panels: []Panel{{
			X: "α, the part of its value that a bidder adds to the rival's bid", Y: "expected utility, credits",
			Series: []Series{{Name: "expected utility", X: alphas, Y: utilities}},
			Marks:  []Mark{{Name: "the document's α, 0.1", X: 0.1, Y: 27.33}, {Name: "the best α, 0.06262", X: 0.0626, Y: 28.74}},
		}}},
		"log": {Title: "Stake over the sampling rate", Panels: []Panel{{
			X: "builds that are validated, %", Y: "stake, credits", LogX: true, LogY: true,
			Series: []Series{{Name: "stake", X: rates, Y: stakes}}, Marks: []Mark{{Name: "every build", X: 100, Y: 77522 / 1e6}},
		}}},
		"spread": {Title: "10,000 rounds of vickrey with 3 sybils", Panels: []Panel{{
			X: "credits a round", Names: []string{"buyer pays, honest", "buyer pays", "cheat earns, honest", "cheat earns", "gain"},
			Series: []Series{{Name: "mean and 95 % interval", Y: []float64{1.5, 1.52, 0.2, 0.15, -0.05}, Low: []float64{1.4, 1.43, 0.18, 0.13, -0.08}, High: []float64{1.6, 1.61, 0.22, 0.17, -0.02}}},
		}}},
	}
}

func TestFigures(t *testing.T) {
	dir := t.TempDir()
	if keep := os.Getenv("GAVEL_CHARTS"); keep != "" {
		dir = keep
	}
	for name, f := range figures() {
		for _, format := range []string{".png", ".SVG"} {
			path := filepath.Join(dir, name+format)
			if err := Write(path, f); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			first, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if format == ".png" {
				checkPNG(t, name, first)
			} else {
				checkSVG(t, name, first, f)
			}
			if err := Write(path, f); err != nil { // over the old one
				t.Fatal(err)
			}
			if again, err := os.ReadFile(path); err != nil || !bytes.Equal(first, again) {
				t.Errorf("%s%s differs when it is drawn again", name, format)
			}
		}
	}
	if stray, _ := filepath.Glob(filepath.Join(dir, ".chart-*")); len(stray) > 0 {
		t.Errorf("left behind: %v", stray)
	}
}

func checkPNG(t *testing.T, name string, raw []byte) {
	t.Helper()
	img, err := png.Decode(bytes.NewReader(raw))
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	seen := map[[3]uint32]bool{}
	for y := range img.Bounds().Dy() {
		for x := range img.Bounds().Dx() {
			r, g, b, _ := img.At(x, y).RGBA()
			seen[[3]uint32{r >> 8, g >> 8, b >> 8}] = true
		}
	}
	first := colours[0]
	if !seen[[3]uint32{255, 255, 255}] || !seen[[3]uint32{uint32(first.R), uint32(first.G), uint32(first.B)}] {
		t.Errorf("%s: the picture has no ground or no data", name)
	}
}

func checkSVG(t *testing.T, name string, raw []byte, f *Figure) {
	t.Helper()
	d, words := xml.NewDecoder(bytes.NewReader(raw)), ""
	for {
		token, err := d.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if text, ok := token.(xml.CharData); ok {
			words += string(text) + "\n"
		}
	}
	want := []string{f.Title}
	for _, p := range f.Panels {
		want = append(append(want, p.Title, p.X, p.Y), p.Names...)
		if len(p.Series)+len(p.Marks) > 1 {
			for _, s := range p.Series {
				want = append(want, s.Name)
			}
		}
		for _, m := range p.Marks {
			want = append(want, m.Name)
		}
	}
	for _, w := range want {
		if !strings.Contains(words, w) {
			t.Errorf("%s does not say %q", name, w)
		}
	}
}

func TestRefusals(t *testing.T) {
	dir := t.TempDir()
	line := func(change func(*Panel)) *Figure {
		p := Panel{Series: []Series{{X: []float64{1, 2}, Y: []float64{1, 2}}}}
		change(&p)
		return &Figure{Panels: []Panel{p}}
	}
	for name, c := range map[string]struct {
		path string
		f    *Figure
		says string
	}{
		"format":    {"a.pdf", line(func(*Panel) {}), ".svg or .png"},
		"none":      {"png", line(func(*Panel) {}), ".svg or .png"},
		"empty":     {"a.png", &Figure{}, "0 panels"},
		"no series": {"a.png", line(func(p *Panel) { p.Series = nil }), "0 series"},
		"many":      {"a.png", line(func(p *Panel) { p.Series = make([]Series, 9) }), "9 series"},
		"no points": {"a.png", line(func(p *Panel) { p.Series[0] = Series{} }), "0 points"},
		"lengths":   {"a.png", line(func(p *Panel) { p.Series[0].Y = []float64{1} }), "different lengths"},
		"intervals": {"a.png", line(func(p *Panel) { p.Series[0].Low = []float64{1, 2} }), "different lengths"},
		"NaN":       {"a.png", line(func(p *Panel) { p.Series[0].Y[1] = math.NaN() }), "no place"},
		"infinite":  {"a.png", line(func(p *Panel) { p.Series[0].Y[1] = math.Inf(1) }), "no place"},
		"log of 0":  {"a.png", line(func(p *Panel) { p.LogX, p.Series[0].X[0] = true, 0 }), "no place"},
		"mark":      {"a.png", line(func(p *Panel) { p.Marks = []Mark{{"m", math.NaN(), 1}} }), "mark"},
	} {
		path := filepath.Join(dir, c.path)
		if err := Write(path, c.f); !errors.Is(err, ErrChart) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %q", name, err, c.says)
		}
	}
	if list, _ := os.ReadDir(dir); len(list) != 0 {
		t.Errorf("refusals left %v", list)
	}
	if err := Write(filepath.Join(dir, "nowhere", "a.png"), line(func(*Panel) {})); err == nil || errors.Is(err, ErrChart) {
		t.Errorf("into no directory: %v", err)
	}
}

// Flat, tiny, huge and negative numbers all have axes that can be read.
func TestScales(t *testing.T) {
	for _, y := range [][]float64{{0, 0}, {5, 5}, {-3, -1}, {-1e-9, 1e-9}, {1e17, 3e17}, {0.1, 1e6}} {
		for _, log := range []bool{false, y[0] > 0} {
			f := &Figure{Panels: []Panel{{LogY: log, Series: []Series{{Name: "a", X: []float64{1, 2}, Y: y}}}, {Names: []string{"a", "b"}, Series: []Series{{Name: "s", Y: y}}}}}
			if err := Write(filepath.Join(t.TempDir(), "a.png"), f); err != nil {
				t.Errorf("%v: %v", y, err)
			}
			low, high := min(y[0], y[1]), max(y[0], y[1])
			ticks := rounded{}.Ticks(low-1e-9, high+1e-9)
			if log {
				ticks = decades{}.Ticks(low/2, high*2)
			}
			if len(ticks) < 2 || len(ticks) > 18 {
				t.Errorf("%v: %d ticks", y, len(ticks))
			}
		}
	}
}

func TestShortNumbers(t *testing.T) {
	for x, want := range map[float64]string{0: "0", 1: "1", 0.1: "0.1", 1.0 / 3: "0.3333", 27.326732: "27.33", 1234.5: "1234", -0.05: "-0.05", 12345.6: "12,346", -1234567: "-1,234,567", 2e12: "2e+12", 0.00001: "1e-05", 100: "100"} {
		if got := Short(x); got != want {
			t.Errorf("%v is %q, want %q", x, got, want)
		}
	}
}

// A picture that cannot be written was told under the name of a file that nobody
// asked for, ".chart-" and a number.
func TestRefusedFileIsNamed(t *testing.T) {
	dir := t.TempDir()
	f := figures()["lines"]
	taken := filepath.Join(dir, "taken.png")
	if err := os.MkdirAll(filepath.Join(taken, "full"), 0o755); err != nil {
		t.Fatal(err)
	}
	for path, says := range map[string]string{filepath.Join(dir, "missing", "x.svg"): "no such file", taken: "drawing " + taken + ": "} {
		err := Write(path, f)
		if err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), ".chart-") {
			t.Errorf("%s: %v", path, err)
		}
	}
	if stray, _ := filepath.Glob(filepath.Join(dir, ".chart-*")); len(stray) > 0 {
		t.Errorf("left behind: %v", stray)
	}
}
