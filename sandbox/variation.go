package sandbox

import (
	"path"
	"regexp"
	"strings"
)

// Variation is how one run departs, on purpose, from the environment that all
// runs share: a validator builds once more in another, to find what a result
// depends on. The zero value departs in nothing; so does each zero field.
type Variation struct {
	// WorkRoot is where the input tree lies, below the constant WorkRoot: a clean
	// absolute path such as "/build/v3/tree".
	WorkRoot string
	// Hostname is 1 to 63 of a-z, 0-9 and "-".
	Hostname string
	// UID is the command's user and group, 1 to 65534. The inputs belong to it.
	UID int
	// Umask is one of the command's, up to 0o777.
	Umask uint32
	// Locale is LC_ALL, TimeZone is TZ.
	Locale, TimeZone string
	// Clock is what the command sees of the time of day; nil is the machine's.
	Clock *Clock
	// CPUs is how many CPUs the command sees and may use. 0: as Limits.CPUMillis
	// says, rounded up, or all of the machine's.
	CPUs int
	// ReverseOrder lists the directories of the input tree in the reverse of the
	// order in which they would be listed. (A directory of one entry has one order.)
	ReverseOrder bool
	// CopiedInputs copies the input tree instead of laying a writable layer over it,
	// as another user or order does in any case: two runs that differ in one of those
	// then differ in nothing else.
	CopiedInputs bool
	// FixedAddresses turns address randomisation off.
	FixedAddresses bool
}

// Clock is a time of day of the sandbox's own: what programs read as
// CLOCK_REALTIME, and as the times of files that were written since the command
// started. Those files' times on the file system, and so in outputs' metadata, and
// clocks that only measure, stay the machine's.
type Clock struct {
	// StartSeconds is what it shows when the command starts, seconds since 1970.
	StartSeconds int64
	// StepSeconds is by how much it advances at once: with 60 it stands still for a
	// minute, so that two runs read the same. 0 runs smoothly.
	StepSeconds int64
}

// Bounds on a Variation.
const (
	maxVariedPath  = 200          // leaves the command nearly all of PATH_MAX
	maxVariedValue = 100          // of a locale or time zone
	maxClock       = 1<<32 - 1    // 2106; above it file systems disagree
	maxClockStep   = 24 * 60 * 60 // a day
)

var hostnames = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// workRoots are paths that need no quoting in mount options, anywhere.
var workRoots = regexp.MustCompile(`^/build(/[A-Za-z0-9_.-]+)+$`)

// Varies says whether v departs in anything.
func (v Variation) Varies() bool { return v != Variation{} }

// filled returns v with the fixed environment's values in its zero fields.
// Clock, CPUs and the switches stay as they are.
func (v Variation) filled() Variation {
	text := func(s *string, d string) {
		if *s == "" {
			*s = d
		}
	}
	text(&v.WorkRoot, WorkRoot)
	text(&v.Hostname, Hostname)
	text(&v.Locale, locale)
	text(&v.TimeZone, timeZone)
	if v.UID == 0 {
		v.UID = UID
	}
	if v.Umask == 0 {
		v.Umask = Umask
	}
	return v
}

// Surroundings is s.Variation with the fixed environment's values where it
// departs in nothing: what a runner gives the command. CPUs is 0 for all.
func (s Spec) Surroundings() Variation {
	v := s.Variation.filled()
	if v.CPUs == 0 && s.Limits.CPUMillis > 0 {
		v.CPUs = int((s.Limits.CPUMillis + 999) / 1000)
	}
	return v
}

// Dir is the absolute path at which s's command starts.
func (s Spec) Dir() string { return path.Join(s.Surroundings().WorkRoot, s.WorkDir) }

func (v Variation) validate() error {
	if v.WorkRoot != "" && (len(v.WorkRoot) > maxVariedPath || path.Clean(v.WorkRoot) != v.WorkRoot || !workRoots.MatchString(v.WorkRoot)) {
		return refuse("the path %q of a variation is not a clean one below %s of letters, digits, \"_\", \".\" and \"-\"", v.WorkRoot, WorkRoot)
	}
	if v.Hostname != "" && !hostnames.MatchString(v.Hostname) {
		return refuse("the host name %q of a variation is not 1 to 63 of a-z, 0-9 and \"-\"", v.Hostname)
	}
	for _, f := range []struct{ name, value string }{{"locale", v.Locale}, {"time zone", v.TimeZone}} {
		if len(f.value) > maxVariedValue || strings.ContainsRune(f.value, 0) {
			return refuse("the %s %q of a variation is no value of a variable", f.name, f.value)
		}
	}
	if c := v.Clock; c != nil && (c.StartSeconds < 0 || c.StartSeconds > maxClock || c.StepSeconds < 0 || c.StepSeconds > maxClockStep) {
		return refuse("the clock of a variation starts at %d and steps by %d seconds; want 0 to %d and 0 to %d", c.StartSeconds, c.StepSeconds, int64(maxClock), maxClockStep)
	}
	for _, f := range []struct {
		name       string
		value, max int64
	}{{"user", int64(v.UID), UID}, {"umask", int64(v.Umask), 0o777}, {"number of CPUs", int64(v.CPUs), maxCPUMillis / 1000}} {
		if f.value < 0 || f.value > f.max {
			return refuse("the %s of a variation is %d; want 0 to %d", f.name, f.value, f.max)
		}
	}
	return nil
}
