package build

import (
	"fmt"
	"math/bits"
	"strings"

	"gavel/raftfsm/escrow"
	"gavel/raftfsm/wire"
)

// Dimensions is a set of properties of the environment that a build is repeated
// under: of terms those in which validators depart from the fixed environment, of
// findings those that were tried or found to matter.
type Dimensions uint32

// The dimensions. Numbers are on the wire and never change.
const (
	VaryPath      Dimensions = 1 << iota // the directory in which the tree lies
	VaryHostname                         // the host's name
	VaryUID                              // user and group
	VaryUmask                            // the mask of new files' modes
	VaryLocale                           // LC_ALL
	VaryTimeZone                         // TZ
	VaryClock                            // the time of day
	VaryCPUs                             // how many CPUs there are
	VaryOrder                            // the order in which directories list their entries
	VaryAddresses                        // address randomisation

	VaryAll = VaryAddresses<<1 - 1
)

// dimensionNames are as --vary takes them, in the order of their bits.
var dimensionNames = []string{"path", "hostname", "uid", "umask", "locale", "timezone", "clock", "cpus", "order", "addresses"}

// Names lists the set's members in the order of their bits.
func (d Dimensions) Names() []string {
	names := make([]string, 0, bits.OnesCount32(uint32(d)))
	for i, n := range dimensionNames {
		if d&(1<<i) != 0 {
			names = append(names, n)
		}
	}
	return names
}

func (d Dimensions) String() string {
	if d == 0 {
		return "nothing"
	}
	return strings.Join(d.Names(), ", ")
}

// ParseDimensions reads names, or "all".
func ParseDimensions(names []string) (Dimensions, error) {
	var d Dimensions
next:
	for _, name := range names {
		if name == "all" {
			d |= VaryAll
			continue
		}
		for i, n := range dimensionNames {
			if n == name {
				d |= 1 << i
				continue next
			}
		}
		return 0, fmt.Errorf("%q can not be varied; want all, or some of %s", name, strings.Join(dimensionNames, ", "))
	}
	return d, nil
}

// Each calls f with each member alone.
func (d Dimensions) Each(f func(one Dimensions)) {
	for rest := d; rest != 0; rest &= rest - 1 {
		f(rest & -rest)
	}
}

// Finding is what building once more in another environment showed its author.
type Finding uint8

// The findings.
const (
	FindNothing     Finding = 0 // it was not tried
	FindSame        Finding = 1 // the same result
	FindDepends     Finding = 2 // another result; each dimension in Broke changes it alone
	FindTogether    Finding = 3 // another result, but no dimension changes it alone
	FindUnstable    Finding = 4 // two builds in one environment differ, even with clock and addresses held
	FindUnfinished  Finding = 5 // another result, and the time did not suffice to find out why, or a limit was hit
	maxFindingKnown         = FindUnfinished
)

var findingNames = []string{"not tried", "same", "depends", "depends on several together", "unstable", "unfinished"}

func (f Finding) String() string {
	if int(f) < len(findingNames) {
		return findingNames[f]
	}
	return fmt.Sprintf("finding-%d", uint8(f))
}

// Findings is an author's report on varied builds. It decides nothing about
// money: a lie in it costs its author nothing and gains it nothing.
type Findings struct {
	Finding Finding
	Tried   Dimensions // what was varied together; a machine cannot vary everything
	Broke   Dimensions // of FindDepends
}

// Code is the canonical encoding.
func (f *Findings) Code(c *wire.Coder) {
	c.U8((*uint8)(&f.Finding))
	c.U32((*uint32)(&f.Tried))
	c.U32((*uint32)(&f.Broke))
	if c.Decoding() && c.Err() == nil {
		if why := f.malformed(); why != "" {
			c.Refuse("findings of varied builds: %s", why)
		}
	}
}

func (f *Findings) malformed() string {
	switch {
	case f.Finding > maxFindingKnown:
		return "an unknown finding"
	case f.Tried&^VaryAll != 0 || f.Broke&^f.Tried != 0:
		return "a dimension that was not tried"
	case (f.Finding == FindNothing) != (f.Tried == 0):
		return "a finding without a trial, or the reverse"
	case (f.Finding == FindDepends) != (f.Broke != 0):
		return "a dependence without a dimension, or the reverse"
	}
	return ""
}

// Blind is the nonce under which a result with findings is committed to: the
// opening's own where there are none, else
//
//	H("findings" ‖ nonce ‖ finding ‖ tried ‖ broke)
//
// so that whoever proposes an opening cannot change its author's findings.
func (f Findings) Blind(nonce ID) ID {
	if f == (Findings{}) {
		return nonce
	}
	return wire.NewHasher("findings").Fixed(nonce).U64(uint64(f.Finding)).U64(uint64(f.Tried)).U64(uint64(f.Broke)).Sum()
}

// VariedBuilds is how many times as long as building once a seat of a varied
// build may take: a fixed and a varied build; where they differ two in an environment
// held still, one for each dimension alone, and where none explains it a fixed one again.
const VariedBuilds = 5 + 10

// varies says whether the author of an attempt builds in other environments too.
// A panel's seat does, because it must not be told from a validator's.
func (b *Build) varies(round Round, seat uint32) bool {
	return b.Terms.Vary != 0 && round != RoundRecheck && seat != 0
}

// VariedBy is in what the author of an attempt departs from the fixed environment.
func (b *Build) VariedBy(a *Attempt) Dimensions {
	if !b.varies(a.Round, a.Seat) {
		return 0
	}
	return b.Terms.Vary
}

// seatFee is what an attempt of a round earns its author: f for each build it
// takes in any case.
func (b *Build) seatFee(p *Params, round Round, seat uint32) escrow.Credits {
	if b.varies(round, seat) {
		return 2 * p.ValidatorFee
	}
	return p.ValidatorFee
}

// Reported are the findings that an attempt's author was asked for: nobody is
// believed about what it had no part in, or for builds that vary nothing.
func (b *Build) Reported(a *Attempt) Findings {
	if a.State != AttemptOpened || a.Opening.Findings.Tried&^b.VariedBy(a) != 0 {
		return Findings{}
	}
	return a.Opening.Findings
}

// Varied is what validators of the build have varied, one or another.
func (b *Build) Varied() (d Dimensions) {
	for i := range b.Attempts {
		d |= b.Reported(&b.Attempts[i]).Tried
	}
	return d
}

// Dependence says on what a build's result was found to depend, and by whom.
type Dependence struct {
	Dimension Dimensions // one
	Found     uint32     // authors whose findings name it
	Tried     uint32     // authors who varied it
}

// Dependences collects the findings of a decided build, in the order of dimensions.
func (b *Build) Dependences() []Dependence {
	var all []Dependence
	VaryAll.Each(func(one Dimensions) {
		d := Dependence{Dimension: one}
		for i := range b.Attempts {
			f := b.Reported(&b.Attempts[i])
			if f.Tried&one == 0 {
				continue
			}
			d.Tried++
			if f.Broke&one != 0 {
				d.Found++
			}
		}
		if d.Found > 0 {
			all = append(all, d)
		}
	})
	return all
}
