package main

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

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
	fmt.Fprintf(t.err, format+"\n", args...)
}

// print writes a line of the result.
func (t *terminal) print(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	fmt.Fprintf(t.out, format+"\n", args...)
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

// paint colours text where out is a terminal.
func (t *terminal) paint(colour, text string) string {
	if !t.colour {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
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
