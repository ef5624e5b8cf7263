package diff

import (
	_ "embed"
	"html/template"
	"io"
)

//go:embed page.html
var pageText string

// page escapes all that comes from outside, by the place that it stands in.
var page = template.Must(template.New("page").Funcs(template.FuncMap{
	"quote": Quote, "harmless": harmless,
	"title":   func(d *Difference) string { return d.title() },
	"line":    func(f Finding) string { return f.String() },
	"known":   func(f Finding) bool { return f.known() },
	"summary": func(r *Report) string { return r.summary() },
}).Parse(pageText))

// HTML writes the report as one page that needs nothing else: no script, no style,
// image or font from anywhere.
func (r *Report) HTML(w io.Writer) error { return Page(w, r) }

// Page writes several reports as one page.
func Page(w io.Writer, reports ...*Report) error { return page.Execute(w, reports) }
