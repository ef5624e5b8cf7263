package chart

import (
	"image/color"
	"math"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// groupWidth is the part of a group's row that its bars fill, barWidth what one
// bar fills at most.
const (
	groupWidth = 0.8
	barWidth   = 0.5
)

// bars are one series of lying bars: the i-th around y = centre[i].
type bars struct {
	centres, lengths []float64
	low, high        []float64 // ends of intervals; nil is none
	width            float64
	colour           color.RGBA
	label            text.Style
}

// addBars draws the groups from the top, each with one bar a series.
func (p *Panel) addBars(plotted *plot.Plot, legend *plot.Legend) {
	n, width := len(p.Names), min(barWidth, groupWidth/float64(len(p.Series)))
	top := width * float64(len(p.Series)) / 2 // of a group, above its middle
	least, most := 0.0, 0.0
	for i, s := range p.Series {
		b := &bars{lengths: s.Y, low: s.Low, high: s.High, width: width, colour: colours[i], label: style(9)}
		b.label.YAlign = draw.YCenter
		for j := range p.Names {
			b.centres = append(b.centres, float64(n-1-j)+top-width*(float64(i)+0.5))
			if x := s.Y[j]; !math.IsNaN(x) {
				least, most = min(least, x), max(most, x)
			}
			if s.Low != nil {
				least, most = min(least, s.Low[j]), max(most, s.High[j])
			}
		}
		plotted.Add(b)
		legend.Add(s.Name, b)
	}
	room := (most - least) / 7 // for the numbers at the ends
	if room == 0 {
		room = 1
	}
	if least < 0 {
		least -= room
	}
	plotted.X.Min, plotted.X.Max = least, most+room
	plotted.Y.Min, plotted.Y.Max = -0.5, float64(n)-0.5
	plotted.Y.Tick.Length, plotted.Y.Width, plotted.Y.Padding = 0, 0, vg.Points(2)
	ticks := make(plot.ConstantTicks, n)
	for j, name := range p.Names {
		ticks[j] = plot.Tick{Value: float64(n - 1 - j), Label: name}
	}
	plotted.Y.Tick.Marker = ticks
}

// Plot implements plot.Plotter.
func (b *bars) Plot(c draw.Canvas, plotted *plot.Plot) {
	x, y := plotted.Transforms(&c)
	for i, length := range b.lengths {
		if math.IsNaN(length) {
			continue
		}
		bottom, top := y(b.centres[i]-b.width*0.46), y(b.centres[i]+b.width*0.46)
		c.FillPolygon(b.colour, []vg.Point{{X: x(0), Y: bottom}, {X: x(length), Y: bottom}, {X: x(length), Y: top}, {X: x(0), Y: top}})
		end, start := length, length
		if b.low != nil {
			b.whisker(c, x(b.low[i]), x(b.high[i]), y(b.centres[i]))
			start, end = min(start, b.low[i]), max(end, b.high[i])
		}
		at := vg.Point{X: x(end) + vg.Points(4), Y: y(b.centres[i])}
		sty := b.label
		if length < 0 {
			at.X, sty.XAlign = x(start)-vg.Points(4), draw.XRight
		}
		c.FillText(sty, at, Short(length))
	}
	c.StrokeLine2(draw.LineStyle{Color: ink, Width: vg.Points(0.7)}, x(0), c.Min.Y, x(0), c.Max.Y)
}

// whisker is the interval of an estimate.
func (b *bars) whisker(c draw.Canvas, low, high, y vg.Length) {
	line, cap := draw.LineStyle{Color: ink, Width: vg.Points(1)}, vg.Points(3)
	c.StrokeLine2(line, low, y, high, y)
	c.StrokeLine2(line, low, y-cap, low, y+cap)
	c.StrokeLine2(line, high, y-cap, high, y+cap)
}

// Thumbnail implements plot.Thumbnailer.
func (b *bars) Thumbnail(c *draw.Canvas) {
	c.FillPolygon(b.colour, []vg.Point{{X: c.Min.X, Y: c.Min.Y}, {X: c.Max.X, Y: c.Min.Y}, {X: c.Max.X, Y: c.Max.Y}, {X: c.Min.X, Y: c.Max.Y}})
}

var (
	_ plot.Plotter     = (*bars)(nil)
	_ plot.Thumbnailer = (*bars)(nil)
	_ plotter.XYer     = plotter.XYs(nil)
)
