package audit

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// String is the report for a person.
func (r *Report) String() string {
	var b strings.Builder
	say := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	list := func(title string, lines []string) {
		if len(lines) == 0 {
			return
		}
		say("%s:", title)
		for _, l := range lines {
			say("  - %s", l)
		}
	}
	if r.Origin != "" {
		say("log %s of cluster %s", r.Origin, r.Cluster)
		say("checkpoint of %d leaves, root %s, cosigned by %s", r.Leaves, r.Root, orNobody(r.Cosigners))
	}
	if r.Resumed > 0 {
		say("%d leaves were compared by an earlier audit, and not again", r.Resumed)
	}
	say("replayed: %s, %d entries, %d commands", epochs(r.Epochs), r.Entries, r.Commands)
	say("recomputed: %d auctions, %d draws, %d transfers", r.Auctions, r.Draws, r.Transfers)
	say("builds: %d with a result, %d without", r.Builds, r.Undelivered)
	if r.Withdrawn > 0 {
		say("withdrawn since: the results of %d", r.Withdrawn)
	}
	if r.Receipts > 0 {
		say("receipts: %d, each with its command in the log", r.Receipts)
	}
	list("warnings", r.Warnings)
	switch {
	case r.Clean() && r.Unpublished > 0:
		say("nothing deviates in what is published; the entries of %s are not", epochs(r.Unpublished))
	case r.Clean():
		say("nothing deviates")
	default:
		say("DEVIATIONS: %d", uint64(len(r.Deviations))+r.MoreDeviations)
		for i := range r.Deviations {
			say("  - %s", r.Deviations[i].String())
		}
		if r.MoreDeviations > 0 {
			say("  - and %d more", r.MoreDeviations)
		}
	}
	if r.Stopped != "" {
		say("deriving stopped %s: what follows from there was checked in form alone", r.Stopped)
	}
	list("not proven", r.NotProven)
	return b.String()
}

func epochs(n uint64) string {
	if n == 1 {
		return "1 epoch"
	}
	return fmt.Sprintf("%d epochs", n)
}

func orNobody(names []string) string {
	if len(names) == 0 {
		return "nobody"
	}
	return strings.Join(names, ", ")
}

// Bar shows an audit's progress: over and over in one line of a terminal, else a
// line now and then, as logs of CI want it.
type Bar struct {
	out  io.Writer
	live bool
	last time.Time
	any  bool
}

// NewBar writes to out, which is a terminal if live.
func NewBar(out io.Writer, live bool) *Bar { return &Bar{out: out, live: live, last: time.Now()} }

// How often a bar is written.
const (
	barEvery  = 100 * time.Millisecond
	lineEvery = 5 * time.Second
	barWidth  = 30
)

// Show tells how far the audit is.
func (b *Bar) Show(p Progress) {
	every := lineEvery
	if b.live {
		every = barEvery
	}
	if time.Since(b.last) < every || p.Size == 0 {
		return
	}
	b.last, b.any = time.Now(), true
	done := fmt.Sprintf("%d of %d leaves, %d builds, %d deviations", p.Leaves, p.Size, p.Builds, p.Deviations)
	if !b.live {
		fmt.Fprintf(b.out, "audited %s\n", done)
		return
	}
	full := int(p.Leaves * barWidth / p.Size)
	fmt.Fprintf(b.out, "\r\x1b[Kauditing [%s%s] %d %%  %s", strings.Repeat("#", full), strings.Repeat(".", barWidth-full), p.Leaves*100/p.Size, done)
}

// End clears the bar.
func (b *Bar) End() {
	if b.live && b.any {
		fmt.Fprint(b.out, "\r\x1b[K")
	}
}
