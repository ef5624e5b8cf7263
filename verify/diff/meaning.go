package diff

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// keyed are words that say what the value after them is.
var keyed = []struct {
	cause Cause
	note  string
	key   *regexp.Regexp
}{
	{HostName, "named so beside it", regexp.MustCompile(`(?i)\b(?:host|host[-_ ]?name|build[-_ ]?host|node[-_ ]?name|machine[-_ ]?name|computer[-_ ]?name|built[-_ ]?on|uname)\b`)},
	{Owner, "named so beside it", regexp.MustCompile(`(?i)\b(?:user|user[-_ ]?name|log[-_ ]?name|build[-_ ]?user|built[-_ ]?by|builder|owner|uid|gid)\b`)},
	{Parallelism, "named so beside it", regexp.MustCompile(`(?i)\b(?:jobs|nproc|ncpus?|cpus?|cores|n?threads|workers|shards|gomaxprocs|parallel(?:ism)?)\b|(?:^|\s)-j\b`)},
	{Locale, "named so beside it", regexp.MustCompile(`\b(?:LANG|LANGUAGE|LC_[A-Z]+|locale|charset|collation)\b`)},
	{Timestamp, "named so beside it", regexp.MustCompile(`(?i)\b(?:time[-_ ]?stamp|build[-_ ]?(?:time|date)|mtime|SOURCE_DATE_EPOCH|TZ|timezone|time zone)\b`)},
	{Permission, "named so beside it", regexp.MustCompile(`(?i)\b(?:umask|permissions?)\b`)},
	{Toolchain, "named so beside it", regexp.MustCompile(`(?i)\b(?:GCC|clang|rustc|javac|Created-By|Build-Jdk(?:-Spec)?|GNU (?:C|AS|ld)\b|-trimpath|-ldflags|-gcflags|-buildmode|CGO_[A-Z]+|GOAMD64|GOARCH|GOOS|compiler|toolchain)\b|^go\s+go1\.`)},
	{BuildID, "named so beside it", regexp.MustCompile(`(?i)\bbuild[-_ ]?id\b`)},
	{Random, "named so beside it", regexp.MustCompile(`(?i)\b(?:uuid|guid|nonce|salt|seed|random)\b`)},
	{Random, "a number that the kernel chose", regexp.MustCompile(`(?i)\b(?:pid|process id|thread id|tid)\b`)},
}

// comparison is how shells and programs compare.
var comparison = regexp.MustCompile(`(?:^|\s)-(?:eq|ne|[lg][te])\b|[=!<>]=|[<>]`)

// words judges two texts that differ in one word, or in a few, by the words before
// it: "host: a" and "host: b" differ in a host name.
func (s *session) words(a, b string) (Cause, string, bool) {
	prefix, x, y := apart(a, b)
	for _, k := range keyed {
		at := k.key.FindAllStringIndex(prefix, -1)
		if len(at) == 0 || k.cause == Parallelism && !number(x, y) {
			continue
		}
		last := at[len(at)-1]
		between := prefix[last[1]:]
		if k.cause != Toolchain && k.cause != Timestamp && strings.ContainsAny(strings.TrimSpace(x)+strings.TrimSpace(y), " \t;|&") || comparison.MatchString(between) {
			continue // the value of a key is one word, and what a key is compared with is none
		}
		// The key's own value: nothing but signs, or the value's equal beginning, between.
		if len(strings.FieldsFunc(between, func(r rune) bool { return strings.ContainsRune(" \t:=\"'<>,()/", r) })) <= 1 {
			return k.cause, k.note, true
		}
	}
	if jobsFlag.MatchString(x) && jobsFlag.MatchString(y) {
		return Parallelism, "a flag for a number of jobs", true
	}
	return "", "", false
}

// apart is what two texts begin with, and what of each is neither that nor their
// common end; whole words.
func apart(a, b string) (prefix, x, y string) {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	for n > 0 && wordByte(a[n-1]) {
		n--
	}
	m := 0
	for m < len(a)-n && m < len(b)-n && a[len(a)-1-m] == b[len(b)-1-m] {
		m++
	}
	for m > 0 && wordByte(a[len(a)-m]) {
		m--
	}
	return a[:n], a[n : len(a)-m], b[n : len(b)-m]
}

func wordByte(c byte) bool {
	return c == '_' || c == '-' || c == '.' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= 0x80
}

var jobsFlag = regexp.MustCompile(`^--?(?:j|jobs|threads|cpus|parallel)=?[0-9]+$`)

// number tells whether both are short decimal numbers.
func number(x, y string) bool {
	digits := func(s string) bool {
		s = strings.TrimSpace(s)
		return s != "" && len(s) <= 7 && strings.Trim(s, "0123456789") == ""
	}
	return digits(x) && digits(y)
}

// meaning judges by names that the caller knows: a word that differs and is the
// name of a machine or a user.
func (s *session) meaning(where, a, b string) (Cause, string, bool) {
	if len(s.opts.HostNames) == 0 && len(s.opts.Users) == 0 {
		return "", "", false
	}
	_, x, y := apart(a, b)
	if x == "" || y == "" {
		return "", "", false
	}
	for _, side := range []string{x, y} {
		switch {
		case slices.Contains(s.opts.HostNames, side):
			return HostName, fmt.Sprintf("%s is a name of a machine that took part", Quote(side)), true
		case slices.Contains(s.opts.Users, side):
			return Owner, fmt.Sprintf("%s is a user that took part", Quote(side)), true
		}
	}
	return "", "", false
}

// collation says whether two orders of the same names are those of two locales: one
// bytewise, the other as a dictionary has it, without regard to case and signs.
func collation(a, b []string) string {
	if len(a) < 3 {
		return ""
	}
	dictionary := func(s string) string {
		return strings.ToLower(strings.Map(func(r rune) rune {
			if strings.ContainsRune("-_./ ", r) {
				return -1
			}
			return r
		}, s))
	}
	bytewise := func(x []string) bool { return slices.IsSorted(x) }
	folded := func(x []string) bool {
		return slices.IsSortedFunc(x, func(p, q string) int { return strings.Compare(dictionary(p), dictionary(q)) })
	}
	switch {
	case bytewise(a) && !bytewise(b) && folded(b), bytewise(b) && !bytewise(a) && folded(a):
		return "one side is sorted by bytes, the other as a dictionary is, as two locales sort"
	}
	return ""
}
