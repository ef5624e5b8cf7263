package chart

import (
	"image/color"
	"io"
	"math"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
	"gonum.org/v1/plot/vg/vgsvg"
)

// The paper: sizes in inches, resolution of PNG in dots an inch.
const (
	panelWidth  = 9 * vg.Inch
	lineHeight  = 5 * vg.Inch
	narrowWidth = 6.5 * vg.Inch // of panels beside each other
	margin      = 0.15 * vg.Inch
	titleHeight = 0.45 * vg.Inch
	legendLimit = 3 * vg.Inch // its width
	dotsPerInch = 110
)

// colours differ also for those who do not tell red from green (Okabe, Ito 2008).
var colours = [MaxSeries]color.RGBA{
	{0, 114, 178, 255}, {230, 159, 0, 255}, {0, 158, 115, 255}, {204, 121, 167, 255},
	{86, 180, 233, 255}, {213, 94, 0, 255}, {110, 110, 110, 255}, {180, 170, 30, 255},
}

var (
	ink   = color.RGBA{40, 40, 40, 255}
	faint = color.RGBA{222, 222, 222, 255}
)

// dashes tell lines apart where colours do not, as on a page printed in grey.
var dashes = [...][]vg.Length{nil, {vg.Points(7), vg.Points(3)}, {vg.Points(2), vg.Points(2)}, {vg.Points(9), vg.Points(2), vg.Points(2), vg.Points(2)}}

// height is what a panel needs to be read.
func (p *Panel) height() vg.Length {
	if len(p.Names) == 0 {
		return lineHeight
	}
	bars := vg.Length(len(p.Names) * len(p.Series))
	return min(max(1.4*vg.Inch+bars*vg.Points(12)+vg.Length(len(p.Names))*vg.Points(9), 2.5*vg.Inch), 40*vg.Inch)
}

// draw writes the figure.
func (f *Figure) draw(w io.Writer, format string) error {
	columns := min(max(f.Columns, 1), len(f.Panels))
	width := panelWidth
	if columns > 1 {
		width = vg.Length(columns) * narrowWidth
	}
	height := margin
	if f.Title != "" {
		height += titleHeight
	}
	var rows []vg.Length
	for i := 0; i < len(f.Panels); i += columns {
		row := vg.Length(0)
		for j := i; j < min(i+columns, len(f.Panels)); j++ {
			row = max(row, f.Panels[j].height())
		}
		rows = append(rows, row)
		height += row
	}
	var paper vg.CanvasWriterTo
	if format == "png" {
		paper = vgimg.PngCanvas{Canvas: vgimg.NewWith(vgimg.UseWH(width, height), vgimg.UseDPI(dotsPerInch))}
	} else {
		paper = vgsvg.New(width, height)
	}
	canvas := draw.New(paper)
	canvas.SetColor(color.White) // SVG has no ground of its own
	canvas.Fill(canvas.Rectangle.Path())
	top := canvas.Max.Y
	if f.Title != "" {
		style := style(15)
		style.XAlign, style.YAlign = draw.XCenter, draw.YCenter
		canvas.FillText(style, vg.Point{X: canvas.Center().X, Y: top - titleHeight/2}, f.Title)
		top -= titleHeight
	}
	for i := range f.Panels {
		row, column := i/columns, vg.Length(i%columns)
		if i > 0 && column == 0 {
			top -= rows[row-1]
		}
		cell := draw.Canvas{Canvas: canvas, Rectangle: vg.Rectangle{
			Min: vg.Point{X: column*width/vg.Length(columns) + margin, Y: top - rows[row] + margin},
			Max: vg.Point{X: (column+1)*width/vg.Length(columns) - margin, Y: top},
		}}
		if err := f.Panels[i].draw(cell); err != nil {
			return err
		}
	}
	_, err := paper.WriteTo(w)
	return err
}

// style is text of a size in points.
func style(size float64) text.Style {
	f := font.Font{Typeface: plot.DefaultFont.Typeface, Variant: "Sans", Size: vg.Points(size)}
	return text.Style{Color: ink, Font: f, Handler: plot.DefaultTextHandler}
}

// restyle gives text another font, and leaves how it is turned and aligned.
func restyle(s *text.Style, size float64) { s.Font, s.Color = style(size).Font, ink }

// draw draws a panel and, to the right of it, its legend.
func (p *Panel) draw(c draw.Canvas) error {
	plotted := plot.New()
	plotted.Title.Text, plotted.X.Label.Text, plotted.Y.Label.Text = p.Title, p.X, p.Y
	restyle(&plotted.Title.TextStyle, 12)
	plotted.Title.Padding = vg.Points(6)
	for _, axis := range []*plot.Axis{&plotted.X, &plotted.Y} {
		restyle(&axis.Label.TextStyle, 11)
		restyle(&axis.Tick.Label, 10)
		axis.Label.Padding = vg.Points(5)
		axis.Tick.Marker = rounded{}
	}
	grid := plotter.NewGrid()
	grid.Vertical.Color, grid.Horizontal.Color = faint, faint
	plotted.Add(grid)
	legend := plot.NewLegend()
	legend.TextStyle.Font, legend.TextStyle.Color = style(10).Font, ink
	legend.Top, legend.Left = true, true
	legend.Padding = vg.Points(4)
	legend.ThumbnailWidth = 0.3 * vg.Inch
	if len(p.Names) > 0 {
		grid.Horizontal.Color = nil
		p.addBars(plotted, &legend)
	} else if err := p.addLines(plotted, &legend); err != nil {
		return err
	}
	if len(p.Series)+len(p.Marks) > 1 {
		side := c
		side.Min.X = c.Max.X - p.legendWidth(&legend)
		side.Max.Y -= 0.4 * vg.Inch
		legend.Draw(side)
		c.Max.X = side.Min.X - margin
	}
	plotted.Draw(c)
	return nil
}

// legendWidth is what the longest name takes.
func (p *Panel) legendWidth(legend *plot.Legend) vg.Length {
	widest := vg.Length(0)
	for _, s := range p.Series {
		widest = max(widest, legend.TextStyle.Width(s.Name))
	}
	for _, m := range p.Marks {
		widest = max(widest, legend.TextStyle.Width(m.Name))
	}
	return min(widest+legend.ThumbnailWidth+margin, legendLimit)
}

func (p *Panel) addLines(plotted *plot.Plot, legend *plot.Legend) error {
	if p.LogX {
		plotted.X.Scale, plotted.X.Tick.Marker = plot.LogScale{}, decades{}
	}
	if p.LogY {
		plotted.Y.Scale, plotted.Y.Tick.Marker = plot.LogScale{}, decades{}
	}
	bottom := math.Inf(1)
	for i, s := range p.Series {
		points := make(plotter.XYs, len(s.X))
		for j := range s.X {
			points[j] = plotter.XY{X: s.X[j], Y: s.Y[j]}
			bottom = min(bottom, s.Y[j])
		}
		line, err := plotter.NewLine(points)
		if err != nil {
			return err
		}
		line.Color, line.Width, line.Dashes = colours[i], vg.Points(2), dashes[i%len(dashes)]
		plotted.Add(line)
		legend.Add(s.Name, line)
		if len(points) > 30 {
			continue
		}
		dots, err := plotter.NewScatter(points)
		if err != nil {
			return err
		}
		dots.GlyphStyle = draw.GlyphStyle{Color: colours[i], Radius: vg.Points(2.5), Shape: draw.CircleGlyph{}}
		plotted.Add(dots)
	}
	if !p.LogY && bottom >= 0 {
		plotted.Y.Min = 0 // a share is seen against nothing
	}
	for i, m := range p.Marks {
		colour := colours[(len(p.Series)+i)%MaxSeries]
		down, err := plotter.NewLine(plotter.XYs{{X: m.X, Y: m.Y}, {X: m.X, Y: plotted.Y.Min}})
		if err != nil {
			return err
		}
		down.Color, down.Width, down.Dashes = colour, vg.Points(1.5), dashes[1]
		dot, err := plotter.NewScatter(plotter.XYs{{X: m.X, Y: m.Y}})
		if err != nil {
			return err
		}
		dot.GlyphStyle = draw.GlyphStyle{Color: colour, Radius: vg.Points(4.5), Shape: draw.CircleGlyph{}}
		plotted.Add(down, dot)
		legend.Add(m.Name, dot)
	}
	return nil
}
