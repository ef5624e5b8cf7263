package diff

import (
	"fmt"
	"strconv"
)

// compareFields compares two headers' values by name. Both lists are in the
// format's order, and a value that one side lacks is "".
func (s *session) compareFields(fs, derived *findings, of string, x, y []field) {
	values := make(map[string]*field, len(y))
	for i := range y {
		values[y[i].name] = &y[i]
	}
	for i := range x {
		f := &x[i]
		other, ok := values[f.name]
		if !ok {
			s.compareField(fs, derived, of, f, "")
			continue
		}
		delete(values, f.name)
		s.compareField(fs, derived, of, f, other.value)
	}
	for i := range y {
		if f := &y[i]; values[f.name] == f {
			turned := *f
			turned.value = ""
			s.compareField(fs, derived, of, &turned, f.value)
		}
	}
}

func (s *session) compareField(fs, derived *findings, of string, f *field, other string) {
	if f.value == other {
		return
	}
	out := Finding{Cause: f.cause, Where: f.name, A: quoteValue(f.value), B: quoteValue(other)}
	switch {
	case f.mode:
		out.Note = umask(f.value, other)
	case f.cause == "":
		var judged findings
		if f.value != "" && other != "" {
			s.judge(&judged, f.name, f.value, other)
		}
		switch {
		case len(judged) > 0 && judged[0].Cause != Unknown:
			out = judged[0]
		case f.otherwise != "":
			out.Cause = f.otherwise
		default:
			out.Cause = Unknown
		}
	}
	if out.Note == "" {
		out.Note = f.note
	}
	if f.derived {
		if of != "" {
			out.Where += " of " + Quote(of)
		}
		derived.add(out)
		return
	}
	fs.add(out)
}

// quoteValue is Quote but for what is absent.
func quoteValue(s string) string {
	if s == "" {
		return ""
	}
	return Quote(s)
}

// umask says which umask would make one mode of the other, if one would.
func umask(a, b string) string {
	x, errA := strconv.ParseUint(a, 8, 32)
	y, errB := strconv.ParseUint(b, 8, 32)
	if errA != nil || errB != nil {
		return ""
	}
	switch missing := x ^ y; {
	case missing&^0o077 != 0:
		return ""
	case x&^y == 0 || y&^x == 0:
		return fmt.Sprintf("a umask that differs in %03o makes this", missing)
	}
	return ""
}
