package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"unicode/utf8"
)

// screen shows the demonstration: lines that stay, and on a terminal one line
// below them that says what is going on right now.
type screen struct {
	w      io.Writer
	colour bool
	live   bool // a line may be written over

	mu    sync.Mutex
	shown bool // a passing line stands there
}

// newScreen is standard output, or standard error where the former is for JSON.
func newScreen(term *terminal, asJSON bool) *screen {
	w := term.out
	if asJSON {
		w = term.err
	}
	live := isTerminal(w) && os.Getenv("TERM") != "dumb"
	return &screen{w: w, colour: live && os.Getenv("NO_COLOR") == "", live: live}
}

// labelWidth is that of the longest label.
const labelWidth = 9

func (s *screen) paint(colour, text string) string {
	if !s.colour || text == "" {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}

// line writes a line that stays. A failing terminal fails nothing else: the
// exit status tells how the demonstration went.
func (s *screen) line(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clear()
	fmt.Fprintln(s.w, strings.TrimRight(text, " "))
}

// clear removes the passing line; the caller holds mu.
func (s *screen) clear() {
	if s.shown {
		fmt.Fprint(s.w, "\r\x1b[K")
		s.shown = false
	}
}

// passing writes a line that the next one replaces, on a terminal only.
func (s *screen) passing(text string) {
	if !s.live || text == "" {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clear()
	fmt.Fprintf(s.w, "  %*s  %s", labelWidth, "", s.paint(dim, text))
	s.shown = true
}

func (s *screen) heading(format string, args ...any) {
	s.line("")
	s.line(s.paint(bold, fmt.Sprintf(format, args...)))
}

// step is what just happened, under a label.
func (s *screen) step(label, format string, args ...any) {
	s.painted(blue, label, fmt.Sprintf(format, args...))
}

func (s *screen) painted(colour, label, text string) {
	for i, line := range wrap(text) {
		if i > 0 {
			label = ""
		}
		s.line("  " + s.paint(colour, label) + spaces(labelWidth-len(label)) + "  " + line)
	}
}

// because is why it matters, below a step.
func (s *screen) because(text string) {
	for _, line := range wrap(text) {
		s.painted("", "", s.paint(dim, line))
	}
}

// textWidth is that of a line beside its label.
const textWidth = 100

// wrap breaks text between words.
func wrap(text string) (lines []string) {
	for utf8.RuneCountInString(text) > textWidth {
		at := strings.LastIndexByte(string([]rune(text)[:textWidth+1]), ' ')
		if at <= 0 || strings.TrimSpace(text[:at]) == "" {
			break
		}
		lines = append(lines, text[:at])
		text = text[at+1:]
	}
	return append(lines, text)
}

// warn tells what should not have happened.
func (s *screen) warn(format string, args ...any) {
	s.painted(yellow, "warning", fmt.Sprintf(format, args...))
}

func spaces(n int) string { return strings.Repeat(" ", max(0, n)) }
