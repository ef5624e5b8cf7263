package diff

import (
	"fmt"
	"path"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// mask finds one kind of thing in a text whose value gives a cause away.
type mask struct {
	cause   Cause
	note    string
	pattern *regexp.Regexp                         // its group, if it has one, is the thing
	holds   func(string) bool                      // whether a match is one; nil: always
	fits    func(before, found, after string) bool // the same, by what is around it
	judge   func(a, b string) Cause                // of two that differ, "" if they show nothing; nil: cause
	remark  func(a, b string) string               // more to say of two that differ
}

const (
	months = `(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]*\.?`
	days   = `(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)[a-z]*`
	time60 = `(?:[01][0-9]|2[0-3]):[0-5][0-9]:(?:[0-5][0-9]|60)(?:[.,][0-9]{1,9})?`
	clock  = `(?:[01][0-9]|2[0-3]):[0-5][0-9](?::(?:[0-5][0-9]|60)(?:[.,][0-9]{1,9})?)?`
	zone   = `(?: ?(?:Z|UTC|GMT|[A-Z]{3,4}|[+-][0-9]{2}:?[0-9]{2}))?`
	year   = `(?:19[7-9][0-9]|20[0-9]{2})`
	month  = `(?:0[1-9]|1[0-2])`
	// element is one of a path: what a shell would not need to quote, and more.
	element = `[^\s/\\"'<>|;:,()\[\]{}=` + "`" + `\x00-\x1f\x7f]`
	day     = `(?:0[1-9]|[12][0-9]|3[01])`
)

// masks are tried in this order: a date within a path is a date, a UUID is no time.
var masks = []mask{
	{cause: Random, note: "a UUID", pattern: regexp.MustCompile(`(?i)\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b`)},
	{cause: BuildID, note: "a build id: a digest that follows from what else differs", pattern: regexp.MustCompile(`(?i)\bbuild[ -]?id[:=]? *"?[-_/=+0-9A-Za-z]{16,}"?`)},
	{cause: Timestamp, note: "a date and time", remark: zoneRemark, pattern: regexp.MustCompile(
		`\b` + year + `[-/.]?` + month + `[-/.]?` + day + `(?:[T _-]?|, )` + clock + zone + // ISO 8601
			`|\b(?:` + days + `,? )?` + months + ` [ 0-3]?[0-9],? (?:` + clock + zone + ` )?` + year + `(?:[ ,]+` + clock + zone + `)?` + // ctime, __DATE__
			`|\b(?:` + days + `,? )?[0-3]?[0-9][ -]` + months + `[ -]` + year + `(?:[ T]` + clock + zone + `)?`)}, // RFC 5322
	{cause: Timestamp, note: "a date", pattern: regexp.MustCompile(`\b` + year + `(?:-` + month + `-` + day + `|/` + month + `/` + day + `|\.` + month + `\.` + day + `)\b|\b` + day + `[./]` + month + `[./]` + year + `\b`)},
	{cause: Timestamp, note: "a date and time in digits", pattern: regexp.MustCompile(`\b` + year + month + day + `(?:[T_-]?(?:[01][0-9]|2[0-3])[0-5][0-9](?:[0-5][0-9])?Z?)?\b`), fits: dateInDigits},
	{cause: Timestamp, note: "a time of day", fits: noAddress, pattern: regexp.MustCompile(`\b` + time60 + zone + `\b`)},
	{cause: Timestamp, note: "seconds since 1970", remark: unixRemark, pattern: regexp.MustCompile(`\b1[0-9]{9}(?:\.[0-9]{1,9})?\b`), holds: plausibleUnix, fits: noAmount},
	{cause: Timestamp, note: "milli-, micro- or nanoseconds since 1970", pattern: regexp.MustCompile(`\b1[0-9]{12}(?:[0-9]{3}){0,2}\b`), holds: plausibleUnix, fits: noAmount},
	{cause: Timestamp, note: "how long something took", pattern: regexp.MustCompile(`\b[0-9]+(?:\.[0-9]+)? ?(?:ns|µs|us|ms|s|secs?|seconds)\b`), fits: tookTime},
	{cause: Random, note: "the compiler's name for a temporary file", pattern: regexp.MustCompile(`\bcc[A-Za-z0-9]{6}\.(?:[os]|ltrans[0-9]*\.[os]|res)\b`)},
	{cause: Random, note: "an address in memory, which is another in each process", pattern: regexp.MustCompile(`\b0x[0-9a-f]{8,16}\b`)},
	{cause: Unknown, note: "an address of the web", pattern: regexp.MustCompile(`\b(?:https?|ftp|ssh|git)://[^\s"'<>\x00]+`)},
	{cause: BuildPath, note: "an absolute path", pattern: regexp.MustCompile(
		`(?:^|[^A-Za-z0-9_.~/\\-]|-[A-Za-z])((?:[A-Za-z]:[\\/]|/)(?:(?:` + element + `+[\\/]+)+` + element + `*|` + element + `{2,}))`), judge: otherPath},
	{cause: HostName, note: "user and host", fits: noMail, pattern: regexp.MustCompile(`\b[A-Za-z_][-A-Za-z0-9_.]*@[A-Za-z0-9][-A-Za-z0-9.]*\b`), judge: otherHost},
	{cause: Locale, note: "a locale", pattern: regexp.MustCompile(`\b(?:C|POSIX|[a-z]{2,3}_[A-Z]{2})(?:\.(?:UTF-?8|utf-?8|ISO-?8859-?[0-9]+|[A-Z0-9-]{3,}))?(?:@[a-z]+)?\b`), holds: isLocale},
	{cause: Locale, note: "a decimal sign", fits: loneNumber, pattern: regexp.MustCompile(`\b[0-9]+[.,][0-9]+\b`), judge: otherSign},
	{cause: Random, note: "a long number in hexadecimal", pattern: regexp.MustCompile(`(?i)\b(?:0x)?[0-9a-f]{16,}\b`), holds: mixed, fits: noDigest, judge: equalLength},
	{cause: Random, note: "looks like random or hashed bytes in base64", pattern: regexp.MustCompile(`[A-Za-z0-9+/_-]{22,}={0,2}`), holds: mixedCase, fits: noDigest, judge: equalLength},
}

// plausibleUnix bounds times to 2001 to 2100 in seconds.
func plausibleUnix(s string) bool {
	whole, _, _ := strings.Cut(s, ".")
	n, err := strconv.ParseInt(whole[:10], 10, 64)
	return err == nil && n >= 1_000_000_000 && n < 4_102_444_800
}

func unixRemark(a, b string) string {
	show := func(s string) string {
		whole, _, _ := strings.Cut(s, ".")
		n, err := strconv.ParseInt(whole, 10, 64)
		if err != nil {
			return "nothing"
		}
		return showTime(time.Unix(n, 0))
	}
	return show(a) + " / " + show(b)
}

// zoneRemark says where two times differ in nothing but whole quarters of hours, as
// the same moment in two time zones does.
func zoneRemark(a, b string) string {
	for _, layout := range []string{"2006-01-02 15:04:05", "2006-01-02T15:04:05", "Jan _2 2006 15:04:05", "Mon Jan _2 15:04:05 2006"} {
		x, errA := time.Parse(layout, a)
		y, errB := time.Parse(layout, b)
		if errA != nil || errB != nil {
			continue
		}
		apart := y.Sub(x).Abs()
		if apart > 0 && apart <= 14*time.Hour && apart%(15*time.Minute) == 0 {
			return fmt.Sprintf("exactly %v apart, as two time zones are", apart)
		}
	}
	return ""
}

// Words that say what a number, an address or a digest is, where it is none that
// differs by itself from build to build.
var (
	dateWord   = regexp.MustCompile(`(?i)(?:\b(?:version|ver|dated?|built|build|snapshot|release|rev|nightly|stamp|generated|updated|of|on|at)[\s:=._-]*"?|[0-9A-Za-z][-_.+~])$`)
	amountWord = regexp.MustCompile(`(?i)(?:\b|_)(?:pass|passw(?:or)?d|pin|phone|tel|fax|account|serial|total|price|credits?|amount|sum|balance|size|bytes|count|id)\b`)
	tookWord   = regexp.MustCompile(`(?i)\b(?:took|taken|elapsed|duration|finished|completed|done|built|passed|real|user|sys)\b|\bin $`)
	waitWord   = regexp.MustCompile(`(?i)(?:\b|_)(?:time-?out|sleep|interval|delay|ttl|deadline|wait|period|limit|expir\w*|retry|age)(?:\b|_)`)
	mailWord   = regexp.MustCompile(`(?i)\b(?:contact|e-?mail|mailto|maintainer|author|signed-off-by|from|to|cc)\b|<$`)
	digestWord = regexp.MustCompile(`(?i)(?:\b|_)(?:(?:pub|priv|api|public|private|secret)?_?-?key|secret|token|pass|passw(?:or)?d|sha-?[0-9]+|md5|digest|checksum|hash|sig|signature|fingerprint|cert|integrity)(?:\b|_)`)
)

// dateInDigits asks of eight digits that they stand where a date does: phone numbers
// and passwords have as many.
func dateInDigits(before, found, after string) bool {
	return !amountWord.MatchString(before) && (len(found) > 8 || before == "" && after == "" || dateWord.MatchString(before))
}

// noAddress tells a time of day from a part of a MAC or IPv6 address.
func noAddress(before, _, after string) bool {
	return !strings.HasSuffix(before, ":") && !strings.HasPrefix(after, ":") || strings.HasPrefix(after, ": ")
}

func noAmount(before, _, after string) bool {
	return !amountWord.MatchString(before) && !amountWord.MatchString(after)
}

// tookTime tells what was measured from what was set.
func tookTime(before, found, _ string) bool {
	return !waitWord.MatchString(before) && (strings.Contains(found, ".") || tookWord.MatchString(before))
}

func noMail(before, _, _ string) bool { return !mailWord.MatchString(before) }

func noDigest(before, _, _ string) bool { return !digestWord.MatchString(before) }

// loneNumber tells a number from two arguments and from a part of a version.
func loneNumber(before, _, after string) bool {
	return (before == "" || strings.ContainsAny(before[len(before)-1:], " \t=:;\"'>")) &&
		(after == "" || strings.ContainsAny(after[:1], " \t;\"'<%")) &&
		strings.Count(before, "(") <= strings.Count(before, ")") && strings.Count(before, "[") <= strings.Count(before, "]")
}

// Where builds are done, and where they are not.
var (
	buildRoot  = regexp.MustCompile(`^(?:[A-Za-z]:)?/(?:private/)?(?:builds?|tmp|var/tmp|var/folders|home|root|work|workspace|usr/src|Users|__w|github/workspace)/`)
	systemRoot = regexp.MustCompile(`^/(?:bin|sbin|lib[0-9]*|etc|dev|proc|sys|boot|usr/(?:bin|sbin|lib[0-9]*|include|share|local))/`)
)

// otherPath asks more of two paths than being two: files have other names for many
// reasons, and one forged byte gives one. It is one thing at two places, or both are
// below directories in which people and machines build.
func otherPath(a, b string) Cause {
	a, b = path.Clean(strings.ReplaceAll(a, `\`, "/")), path.Clean(strings.ReplaceAll(b, `\`, "/"))
	switch {
	case strings.Count(a, "/") < 2 || strings.Count(b, "/") < 2, systemRoot.MatchString(a + "/"), systemRoot.MatchString(b + "/"):
		return ""
	case path.Dir(a) == path.Dir(b) && (path.Ext(a) != "" || path.Ext(b) != ""):
		return ""
	case path.Base(a) == path.Base(b), buildRoot.MatchString(a) && buildRoot.MatchString(b):
		return BuildPath
	}
	return ""
}

func otherHost(a, b string) Cause {
	_, x, _ := strings.Cut(a, "@")
	_, y, _ := strings.Cut(b, "@")
	if x != y {
		return HostName
	}
	return Owner
}

// isLocale asks more of "C" than being a letter.
func isLocale(s string) bool { return s != "C" }

// otherSign says whether two numbers are one but for the sign.
func otherSign(a, b string) Cause {
	if strings.ReplaceAll(a, ",", ".") == strings.ReplaceAll(b, ",", ".") {
		return Locale
	}
	return ""
}

// equalLength tells what is random from what grew.
func equalLength(a, b string) Cause {
	if len(a) == len(b) {
		return Random
	}
	return ""
}

// mixed asks for digits and letters: a long number in decimal is not random.
func mixed(s string) bool {
	s = strings.TrimPrefix(strings.TrimPrefix(s, "0x"), "0X")
	return strings.ContainsAny(s, "0123456789") && strings.ContainsAny(strings.ToLower(s), "abcdef")
}

// mixedCase asks for all kinds of characters, as a long word has not.
func mixedCase(s string) bool {
	var upper, lower, digit int
	for _, c := range s {
		switch {
		case c >= 'A' && c <= 'Z':
			upper++
		case c >= 'a' && c <= 'z':
			lower++
		case c >= '0' && c <= '9':
			digit++
		}
	}
	return upper >= 3 && lower >= 3 && digit >= 2
}
