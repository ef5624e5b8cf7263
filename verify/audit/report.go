package audit

import (
	"encoding/hex"
	"errors"
	"fmt"
)

// ErrUnusable says that there is nothing that could be audited: give another
// directory or address.
var ErrUnusable = errors.New("not a log that can be audited")

// Deviation is a place where the log is not what it must be.
type Deviation struct {
	// Leaf is the index in the log of the leaf concerned, null for what belongs to
	// none, such as the checkpoint or a file that nothing calls for.
	Leaf  *uint64 `json:"leaf"`
	Field string  `json:"field"`
	Want  string  `json:"want"` // by the replay, or by everything else
	Got   string  `json:"got"`  // by the log
}

// String is the deviation for a person.
func (d *Deviation) String() string {
	where := "beside the log"
	if d.Leaf != nil {
		where = fmt.Sprintf("leaf %d", *d.Leaf)
	}
	return fmt.Sprintf("%s: %s: want %s, got %s", where, d.Field, d.Want, d.Got)
}

// Report is what an audit found. Counts are of what was checked.
type Report struct {
	Cluster   string   `json:"cluster"` // id, in hex: the digest of the genesis
	Origin    string   `json:"origin"`  // the log's name
	Root      string   `json:"root"`    // of the checkpoint, in hex
	Cosigners []string `json:"cosigners"`
	Simulated bool     `json:"simulated"`

	Leaves      uint64 `json:"leaves"`
	Builds      uint64 `json:"builds"` // delivered: verification summaries
	Undelivered uint64 `json:"undelivered_builds"`
	Withdrawn   uint64 `json:"withdrawn_builds"` // whose result a challenge refuted
	Epochs      uint64 `json:"epochs"`
	Entries     uint64 `json:"entries"` // of the replicated log
	Commands    uint64 `json:"commands"`
	Auctions    uint64 `json:"auctions"`  // cleared: of builds, of batch epochs, of leases
	Draws       uint64 `json:"draws"`     // made from a signature of the group
	Transfers   uint64 `json:"transfers"` // movements of money
	Receipts    uint64 `json:"receipts"`  // found in the log
	// Resumed is how many leaves an earlier audit had compared, 0 for none. It is no
	// part of what was found.
	Resumed uint64 `json:"-"`
	// Unpublished epochs are at the tail: their entries are still secret.
	Unpublished uint64 `json:"unpublished_epochs"`

	Deviations     []Deviation `json:"deviations"`
	MoreDeviations uint64      `json:"more_deviations,omitempty"`
	// Stopped says where and why deriving ended before the log did.
	Stopped   string   `json:"stopped,omitempty"`
	Warnings  []string `json:"warnings"`
	NotProven []string `json:"not_proven"`
}

// Clean says that nothing deviates.
func (r *Report) Clean() bool { return len(r.Deviations) == 0 }

// deviate adds a deviation of a leaf.
func (r *Report) deviate(leaf uint64, field, want, got string) {
	r.add(Deviation{Leaf: &leaf, Field: field, Want: want, Got: got})
}

// beside adds a deviation of something that is no leaf.
func (r *Report) beside(field, want, got string) {
	r.add(Deviation{Field: field, Want: want, Got: got})
}

func (r *Report) add(d Deviation) {
	if len(r.Deviations) >= MaxDeviations {
		r.MoreDeviations++
		return
	}
	d.Field, d.Want, d.Got = shown(d.Field), shown(d.Want), shown(d.Got)
	r.Deviations = append(r.Deviations, d)
}

func (r *Report) warn(format string, args ...any) {
	r.Warnings = append(r.Warnings, fmt.Sprintf(format, args...))
}

// shown is a stranger's text for a report: short, printable.
func shown(s string) string {
	short := false
	if len(s) > maxShown {
		s, short = s[:maxShown], true
	}
	for _, c := range []byte(s) {
		if c < ' ' || c > '~' {
			s = fmt.Sprintf("%q", s)
			break
		}
	}
	if short {
		s += "…"
	}
	return s
}

func hexOf(b [32]byte) string { return hex.EncodeToString(b[:]) }
