package transcript

import (
	"fmt"

	"gavel/raftfsm/build"
	"gavel/raftfsm/wire"
)

// at is an attempt and its place in the record.
type at struct {
	*build.Attempt
	index int
}

func (a at) field(name string) string { return attemptField(a.index, name) }

// committed says that the attempt's author published a commitment.
func (a at) committed() bool {
	switch a.State {
	case build.AttemptCommitted, build.AttemptOpened, build.AttemptMismatched:
		return true
	}
	return false
}

func (a at) opened() bool { return a.State == build.AttemptOpened }

// result is the digest of what an opened attempt built:
// H("result" ‖ status ‖ exit code ‖ signal ‖ shape ‖ content ‖ manifest bytes ‖ output bytes).
func (a at) result() [32]byte {
	s := &a.Opening.Summary
	return wire.NewHasher("result").U64(uint64(s.Status)).U64(uint64(s.ExitCode)).U64(uint64(s.Signal)).
		Fixed(s.Shape).Fixed(s.Content).U64(s.ManifestBytes).U64(s.OutputBytes).Sum()
}

// limited says that the machine, not the command, may have decided.
func (a at) limited() bool {
	return a.Opening.Summary.Status == build.StatusTimeout || a.Opening.Summary.Status == build.StatusOOM
}

// sorted are a build's attempts by what they are for, in the order in which they
// were assigned.
type sorted struct {
	builders []at // seat 0 of the first round: the winner, behind those that let the build down
	seats    []at // the validators'
	rechecks []at
	panel    []at
	winner   *at // the builder that committed
}

// sortAttempts tells rounds and seats apart, and holds each attempt to what holds
// for any.
func (j *judge) sortAttempts() {
	before := map[[32]byte]uint32{}
	for i := range j.b.Attempts {
		a := at{&j.b.Attempts[i], i}
		switch {
		case a.Round == build.RoundFirst && a.Seat == 0:
			j.attempts.builders = append(j.attempts.builders, a)
		case a.Round == build.RoundFirst:
			j.attempts.seats = append(j.attempts.seats, a)
		case a.Round == build.RoundRecheck:
			j.attempts.rechecks = append(j.attempts.rechecks, a)
		case a.Round == build.RoundPanel:
			j.attempts.panel = append(j.attempts.panel, a)
		default:
			j.deviatef(a.field("Round"), "0, 1 or 2", "%d", uint8(a.Round))
		}
		if i > 0 {
			j.chronological(at{&j.b.Attempts[i-1], i - 1}, a)
		}
		expect(j, a.field("Ordinal"), before[a.Worker], a.Ordinal)
		before[a.Worker]++
		if domain, ok := j.domainOf(a.Worker); ok {
			expect(j, a.field("Domain"), domain, a.Domain)
		}
		j.attempt(a)
	}
	if n := len(j.attempts.builders); n > 0 {
		if last := j.attempts.builders[n-1]; last.State != build.AttemptSilent {
			j.attempts.winner = &last
		}
	}
	for i, a := range j.attempts.builders {
		if i+1 < len(j.attempts.builders) {
			expect(j, a.field("State"), build.AttemptSilent, a.State)
		} else if a.State != build.AttemptSilent && !a.committed() {
			j.deviate(a.field("State"), "silent, or committed", stateName(a.State))
		}
	}
	if len(j.b.Attempts) > 0 {
		j.proven("%d openings match what their authors had committed to before anybody else's was known", j.openings())
	}
}

// chronological holds attempts to the order of their assignment: builders, seats,
// rechecks, the panel.
func (j *judge) chronological(before, a at) {
	stage := func(a at) int {
		if a.Round == build.RoundFirst && a.Seat > 0 {
			return 1
		}
		return 2 * int(a.Round)
	}
	if stage(before) > stage(a) {
		j.deviate(a.field("Round"), "no earlier than "+before.Round.String()+": attempts are in the order of their assignment", a.Round.String())
	}
	j.after(a.field("AssignedAt"), a.AssignedAt, "the attempt before", before.AssignedAt)
}

// together holds attempts that one command assigned to one time.
func (j *judge) together(list []at) {
	for _, a := range list {
		expect(j, a.field("AssignedAt"), list[0].AssignedAt, a.AssignedAt)
	}
}

// attempt checks one attempt by itself: its state, times and opening.
func (j *judge) attempt(a at) {
	switch a.State {
	case build.AttemptCommitted, build.AttemptOpened, build.AttemptMismatched, build.AttemptSilent, build.AttemptReleased:
	default:
		j.deviate(a.field("State"), "one in which nothing is under way", stateName(a.State))
	}
	expect(j, a.field("Hold"), [32]byte{}, a.Hold)
	expect(j, a.field("Lodged"), 0, len(a.Lodged))
	if a.committed() {
		if a.Commitment == ([32]byte{}) {
			j.deviate(a.field("Commitment"), "a commitment", "none")
		}
	} else {
		expect(j, a.field("Commitment"), [32]byte{}, a.Commitment)
		expect(j, a.field("CommittedAt"), 0, a.CommittedAt)
		expect(j, a.field("Class"), "", a.Class)
	}
	if a.opened() {
		j.opening(a)
	} else {
		expect(j, a.field("Stored"), false, a.Stored)
		expect(j, a.field("UploadTried"), false, a.UploadTried)
	}
	if a.Round == build.RoundRecheck {
		expect(j, a.field("Stored"), false, a.Stored)
		expect(j, a.field("UploadTried"), false, a.UploadTried)
	}
}

// opening recomputes a commitment from what it hid:
// H("commit" ‖ cluster ‖ result digest ‖ worker ‖ build ‖ nonce), the nonce binding
// findings and times where there are any.
func (j *judge) opening(a at) {
	o := &a.Opening
	nonce := o.Nonce
	if f := o.Findings; f != (build.Findings{}) {
		nonce = wire.NewHasher("findings").Fixed(nonce).U64(uint64(f.Finding)).U64(uint64(f.Tried)).U64(uint64(f.Broke)).Sum()
	}
	if o.StartedWallMillis != 0 || o.FinishedWallMillis != 0 {
		nonce = wire.NewHasher("measured").Fixed(nonce).I64(o.StartedWallMillis).I64(o.FinishedWallMillis).Sum()
	}
	want := wire.NewHasher("commit").Fixed(j.t.Cluster).Fixed(a.result()).Fixed(a.Worker).Fixed(j.b.ID).Fixed(nonce).Sum()
	expect(j, a.field("Commitment"), want, a.Commitment)
	if len(o.Signature) == 0 {
		j.notProven("that %s attested its result: its opening carries no signature", j.who(a.Worker))
	}
}

func (j *judge) openings() (n int) {
	for i := range j.b.Attempts {
		if j.b.Attempts[i].State == build.AttemptOpened {
			n++
		}
	}
	return n
}

// who names a participant for a person.
func (j *judge) who(id [32]byte) string {
	for i := range j.t.Parties {
		if p := &j.t.Parties[i]; p.ID == id && p.Name != "" {
			return fmt.Sprintf("%q", p.Name)
		}
	}
	return show(id)[:16]
}
