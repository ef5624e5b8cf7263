package sandbox

import (
	"strconv"
	"strings"
)

// SearchPath is the PATH of every command. A runner whose root keeps a tool
// elsewhere appends that directory, never puts it in front.
const SearchPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// The fixed environment's values of LC_ALL and TZ.
const (
	locale   = "C.UTF-8"
	timeZone = "UTC"
)

// Environment is the exact environment of s's command: the fixed variables in
// their order, then s.Env in its order. A variable named twice keeps only its
// last value, at its last place, because programs disagree on which of two counts.
// pathTail are directories to append to the fixed PATH.
func Environment(s Spec, pathTail ...string) []string {
	v := s.Surroundings()
	all := append([]string{
		"PATH=" + strings.Join(append([]string{SearchPath}, pathTail...), ":"),
		"HOME=/tmp",
		"TMPDIR=/tmp",
		"HOSTNAME=" + v.Hostname,
		"TZ=" + v.TimeZone,
		"LC_ALL=" + v.Locale,
		"SOURCE_DATE_EPOCH=" + strconv.FormatInt(s.SourceDateEpoch, 10),
	}, s.Env...)
	last := make(map[string]int, len(all))
	for i, kv := range all {
		name, _, _ := strings.Cut(kv, "=")
		last[name] = i
	}
	env := all[:0]
	for i, kv := range all {
		name, _, _ := strings.Cut(kv, "=")
		if last[name] == i {
			env = append(env, kv)
		}
	}
	return env
}
