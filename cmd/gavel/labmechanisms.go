package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"gavel/lab"
)

// mechanismColumns are the table of the family: its titles, how wide each is, and
// what is in it.
var mechanismColumns = []struct {
	title string
	width int // in letters; longer text goes on in the next line
	of    func(m *lab.Mechanism) string
}{
	{"MECHANISM", 26, func(m *lab.Mechanism) string { return m.Name + ": " + m.Title }},
	{"WHO CONTROLS", 20, func(m *lab.Mechanism) string { return m.Controls }},
	{"WHAT IS SOLD", 22, func(m *lab.Mechanism) string { return m.Sells }},
	{"WHEN", 16, func(m *lab.Mechanism) string { return m.When }},
	{"PRICE SIGNAL", 22, func(m *lab.Mechanism) string { return m.Signal }},
	{"WINNER", 20, func(m *lab.Mechanism) string { return m.Chosen }},
	{"LANE", 14, func(m *lab.Mechanism) string { return m.Lane }},
}

func labMechanismsCommand() *cobra.Command {
	out := &labOut{}
	c := &cobra.Command{
		Use:   "mechanisms",
		Short: "the whole family of rules",
		Long: `The family of mechanisms that gavel chose its lanes from: ticket lottery, auction of
the finished result, of the slot, of part of a slot, ahead of time, with burning or
smoothing. For each: who controls the outcome, what is sold, when, where the price
signal comes from, how the winner is chosen, and the lane that has it ("lab": none,
it can be tried here). First those in which buyers bid, then those in which sellers do.

  gavel lab mechanisms
  gavel lab mechanisms --json | jq -r '.[] | select(.solvable) | .name'

gavel lab compare solves those that are solvable, gavel lab simulate plays them.`,
		Args: wants(),
		RunE: action(func(_ context.Context, c *cobra.Command, _ []string) error {
			list := lab.Mechanisms()
			return out.print(c, list, func(w *tabwriter.Writer) { writeFamily(w, list) })
		}),
	}
	out.define(c, "")
	return c
}

// writeFamily writes the table. It keeps its columns itself, since cells have
// several lines.
func writeFamily(w io.Writer, list []lab.Mechanism) {
	writeCells(w, func(i int) string { return mechanismColumns[i].title })
	for i := range list {
		m := &list[i]
		switch {
		case i == 0 && !m.Reverse:
			fmt.Fprint(w, "\nBUYERS BID\n\n")
		case m.Reverse && (i == 0 || !list[i-1].Reverse):
			fmt.Fprint(w, "SELLERS BID\n\n")
		}
		writeCells(w, func(i int) string { return mechanismColumns[i].of(m) })
		fmt.Fprintln(w)
	}
}

// writeCells writes one row, in as many lines as its longest cell takes.
func writeCells(w io.Writer, text func(column int) string) {
	cells := make([][]string, len(mechanismColumns))
	lines := 0
	for i, column := range mechanismColumns {
		cells[i] = wrapped(text(i), column.width)
		lines = max(lines, len(cells[i]))
	}
	for line := range lines {
		row := ""
		for i, column := range mechanismColumns {
			cell := ""
			if line < len(cells[i]) {
				cell = cells[i][line]
			}
			row += fmt.Sprintf("%-*s  ", column.width, cell) // pads by letters, not bytes
		}
		fmt.Fprintln(w, strings.TrimRight(row, " "))
	}
}

// wrapped breaks text between words into lines of at most width letters; a longer
// word has a line of its own.
func wrapped(text string, width int) []string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(text) {
		if line != "" && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > width {
			lines, line = append(lines, line), ""
		}
		line = strings.TrimSpace(line + " " + word)
	}
	return append(lines, line)
}
