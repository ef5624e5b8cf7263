package diff

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// JSON writes the report as one JSON object and a newline.
func (r *Report) JSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// Text writes the report for a person at a terminal.
func (r *Report) Text(w io.Writer) error {
	out := bufio.NewWriter(w)
	if r.Same() {
		fmt.Fprintf(out, "%s and %s are equal\n", Quote(r.A), Quote(r.B))
		return out.Flush()
	}
	fmt.Fprintf(out, "%s / %s: %s\n", Quote(r.A), Quote(r.B), r.summary())
	for _, d := range r.Differences {
		d.text(out, "  ")
	}
	if r.Omitted > 0 {
		fmt.Fprintf(out, "  and %s not explained here\n", counted(r.Omitted, "more path that differs", "more paths that differ"))
	}
	if r.Diffoscope != "" {
		fmt.Fprintf(out, "\ndiffoscope says:\n%s\n", harmless(r.Diffoscope))
	}
	return out.Flush()
}

// summary says how much differs and why.
func (r *Report) summary() string {
	var known []string
	unknown := false
	for _, c := range r.Causes {
		switch c {
		case Unknown:
			unknown = true
		default:
			known = append(known, string(c))
		}
	}
	text := counted(len(r.Differences)+r.Omitted, "path differs", "paths differ")
	switch {
	case len(known) > 0 && unknown:
		return text + ": " + strings.Join(known, ", ") + ", and what is unknown"
	case len(known) > 0:
		return text + ": " + strings.Join(known, ", ")
	}
	return text + ", no cause is known"
}

func (d *Difference) text(out io.Writer, indent string) {
	fmt.Fprintf(out, "%s%s\n", indent, d.title())
	indent += "  "
	for i := range d.Findings {
		fmt.Fprintf(out, "%s%s\n", indent, d.Findings[i].String())
	}
	for _, n := range d.Notes {
		fmt.Fprintf(out, "%s%s\n", indent, n)
	}
	for _, m := range d.Members {
		m.text(out, indent)
	}
	if d.Omitted > 0 {
		fmt.Fprintf(out, "%sand %s not explained here\n", indent, counted(d.Omitted, "more part that differs", "more parts that differ"))
	}
}

// title names a difference in a line: what it is, how it was read, where it parts.
func (d *Difference) title() string {
	text := Quote(d.Name) + " (" + d.Kind
	if d.Format != "" {
		text += ", " + d.Format
	}
	switch {
	case d.SizeA < 0 && d.SizeB < 0:
	case d.SizeA == d.SizeB:
		text += fmt.Sprintf(", %d bytes", d.SizeA)
	case d.SizeA < 0:
		text += fmt.Sprintf(", absent / %d bytes", d.SizeB)
	case d.SizeB < 0:
		text += fmt.Sprintf(", %d bytes / absent", d.SizeA)
	default:
		text += fmt.Sprintf(", %d / %d bytes", d.SizeA, d.SizeB)
	}
	text += ")"
	if d.Range != nil {
		text += ", " + d.Range.String()
	}
	return text
}

func counted(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// harmless takes out of another program's text what a terminal might act upon.
func harmless(s string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x20 && r != '\n' && r != '\t' || r >= 0x7f && r < 0xa0 {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
}
