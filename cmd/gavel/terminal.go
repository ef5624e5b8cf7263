package main

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"gavel/cas/tree"
)

// terminal is where a subcommand speaks: results to out, all else to err.
type terminal struct {
	out, err io.Writer
	colour   bool // of out
	live     bool // err is a terminal: lines may be written over

	mu sync.Mutex // one line at a time
}

func newTerminal(c *cobra.Command) *terminal {
	colours := os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	return &terminal{
		out: c.OutOrStdout(), err: c.ErrOrStderr(),
		colour: colours && isTerminal(c.OutOrStdout()), live: isTerminal(c.ErrOrStderr()) && os.Getenv("TERM") != "dumb",
	}
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// say writes a line of progress.
func (t *terminal) say(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	fmt.Fprintf(t.err, format+"\n", harmless(args)...)
}

// print writes a line of the result.
func (t *terminal) print(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	fmt.Fprintf(t.out, format+"\n", harmless(args)...)
}

// The colours, as of ECMA-48.
const (
	red    = "31"
	green  = "32"
	yellow = "33"
	blue   = "36"
	bold   = "1"
	dim    = "2"
)

// painted is text that may move a terminal: only paint makes it.
type painted string

// paint colours text where out is a terminal.
func (t *terminal) paint(colour, text string) painted {
	if text = visible(text); !t.colour {
		return painted(text)
	}
	return painted("\x1b[" + colour + "m" + text + "\x1b[0m")
}

// harmless makes strangers' texts among arguments visible: reasons, names, logs.
func harmless(args []any) []any {
	out := slices.Clone(args)
	for i, a := range out {
		switch a := a.(type) {
		case string:
			out[i] = visible(a)
		case error:
			out[i] = visible(a.Error())
		}
	}
	return out
}

// visible escapes what a terminal would act upon or not show, line ends and
// tabulators excepted.
func visible(s string) string {
	shown := func(r rune) bool { return strconv.IsPrint(r) || r == '\n' || r == '\t' }
	if utf8.ValidString(s) && strings.IndexFunc(s, func(r rune) bool { return !shown(r) }) < 0 {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		if shown(r) && (r != utf8.RuneError || n > 1) {
			b.WriteString(s[:n])
		} else {
			quoted := strconv.Quote(s[:n])
			b.WriteString(quoted[1 : len(quoted)-1])
		}
		s = s[n:]
	}
	return b.String()
}

// uploadProgress shows an upload: over and over in one line of a terminal, else
// in one line at its end.
type uploadProgress struct {
	term *terminal
	dir  string
	last tree.Progress
	at   time.Time
}

func (t *terminal) upload(dir string) *uploadProgress { return &uploadProgress{term: t, dir: dir} }

// uploadEvery is how often the line is written over.
const uploadEvery = 100 * time.Millisecond

func (u *uploadProgress) show(p tree.Progress) {
	u.last = p
	if !u.term.live || time.Since(u.at) < uploadEvery {
		return
	}
	u.at = time.Now()
	u.term.mu.Lock()
	defer u.term.mu.Unlock()
	if p.HashedFiles < p.Files {
		fmt.Fprintf(u.term.err, "\r\x1b[Kreading %s: %d of %d files", u.dir, p.HashedFiles, p.Files)
		return
	}
	fmt.Fprintf(u.term.err, "\r\x1b[Kuploading %s: %s of %s", u.dir, megabytes(p.MovedBlobBytes), megabytes(p.BlobBytes))
}

func (u *uploadProgress) end(ok bool) {
	if u.term.live {
		u.term.mu.Lock()
		fmt.Fprint(u.term.err, "\r\x1b[K")
		u.term.mu.Unlock()
	}
	if ok {
		u.term.say("uploaded %s: %s, %s; the farm lacked %s of it", u.dir, count(u.last.Files, "file"), megabytes(u.last.Bytes), megabytes(u.last.MovedBlobBytes))
	}
}
