package transcript

import (
	"encoding/hex"
	"fmt"

	"gavel/raftfsm/build"
)

// Deviation is a field of the record that is not what the rules make of the rest.
type Deviation struct {
	Field string // as in build.Transcript, such as "Build.Attempts[2].Slashed"
	Want  string // what the rules say
	Got   string // what the record has
}

func (d Deviation) String() string {
	return fmt.Sprintf("%s: want %s, got %s", d.Field, d.Want, d.Got)
}

// Signature is one of the group's signatures that the build rests on.
type Signature struct {
	Field     string
	Message   []byte
	Signature [48]byte
}

// Report is what a judgement came to.
type Report struct {
	Transcript *build.Transcript
	Facts      Facts
	Deviations []Deviation
	// Signatures are the group's: verified, or with Trust.Defer the caller's to verify.
	Signatures []Signature
	// Proven says in sentences what was recomputed; it means nothing where there
	// are deviations. NotProven is what the reader would have to be given more for,
	// NotChecked what one build's record cannot show: a replay of the log does.
	Proven, NotProven, NotChecked []string
}

func (j *judge) deviate(field, want, got string) {
	j.report.Deviations = append(j.report.Deviations, Deviation{field, want, got})
}

func (j *judge) deviatef(field, want, got string, args ...any) {
	j.deviate(field, want, fmt.Sprintf(got, args...))
}

func (j *judge) proven(format string, args ...any) {
	j.report.Proven = append(j.report.Proven, fmt.Sprintf(format, args...))
}

func (j *judge) notProven(format string, args ...any) {
	j.report.NotProven = append(j.report.NotProven, fmt.Sprintf(format, args...))
}

func (j *judge) notChecked(format string, args ...any) {
	j.report.NotChecked = append(j.report.NotChecked, fmt.Sprintf(format, args...))
}

// expect names a field that differs from what it must be.
func expect[T comparable](j *judge, field string, want, got T) bool {
	if want == got {
		return true
	}
	j.deviate(field, show(want), show(got))
	return false
}

// show is a value for a person, whatever is in it.
func show(v any) string {
	switch v := v.(type) {
	case [16]byte:
		return hex.EncodeToString(v[:])
	case [32]byte:
		return hex.EncodeToString(v[:])
	case [48]byte:
		return hex.EncodeToString(v[:])
	case [96]byte:
		return hex.EncodeToString(v[:])
	case string:
		return fmt.Sprintf("%q", v)
	case build.AttemptState:
		return stateName(v)
	}
	return fmt.Sprint(v)
}

// stateName is AttemptState.String for states that no decoder has held to their range.
func stateName(s build.AttemptState) string {
	if s > build.AttemptReleased {
		return fmt.Sprintf("state-%d", uint8(s))
	}
	return s.String()
}

func attemptField(i int, name string) string { return fmt.Sprintf("Build.Attempts[%d].%s", i, name) }

func bidField(i int, name string) string { return fmt.Sprintf("Build.Bids[%d].%s", i, name) }
