package policy

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

const (
	image = "sha256:abababababababababababababababababababababababababababababababab"
	now   = int64(1_700_000_000_000)
	day   = int64(24 * 3_600_000)
)

func key(n byte) [32]byte { return [32]byte{n, 0xee} }

// good is evidence of a build by three operators, with everything checked.
func good() *Evidence {
	return &Evidence{
		Summarised: true, ClusterKey: key(100), Verdict: "agreed", DomainKind: "operator",
		Agreed:   []Party{{"ada", "ada", key(1)}, {"bob", "bob", key(2)}, {"cyd", "cyd", key(3)}},
		Platform: image, Source: "git+https://example.org/p.git@0123456789abcdef0123456789abcdef01234567",
		WallMillis: now - 2*day, NowMillis: now,
		Logged: true, Cosigners: []string{"c1", "c2"}, Witnesses: []string{"w1"}, Recomputed: true, Expected: 2, Matched: 2,
	}
}

func file(rules string) []byte {
	if rules != "" {
		rules = "," + rules
	}
	return []byte(`{"type":"gavel.policy/v1"` + rules + `}`)
}

// Each rule is kept by the evidence as changed by keep, and broken, it alone, as
// changed by breaks.
func TestEachRuleBothWays(t *testing.T) {
	hexKey := func(n byte) string { k := key(n); return hex.EncodeToString(k[:]) }
	printed := func(n byte) string { k := key(n); return "SHA256:" + base64.StdEncoding.EncodeToString(k[:]) }
	nothing := func(*Evidence) {}
	noSummary := func(e *Evidence) { e.Summarised, e.Verdict = false, "" }
	for _, c := range []struct {
		rules        string
		keep, breaks func(*Evidence)
		rule, says   string
	}{
		{`"min_validators":2`, nothing, func(e *Evidence) { e.Agreed = e.Agreed[:2] }, "min_validators", `there are 1 ("ada", "bob")`},
		{`"min_validators":2`, nothing, func(e *Evidence) { e.Agreed[2].Domain = "bob" }, "min_validators", "there are 1"},
		{`"min_validators":1`, nothing, func(e *Evidence) { e.Agreed = nil }, "min_validators", "there are 0"},
		{`"min_validators":1`, nothing, noSummary, "min_validators", "nothing shows any"},
		{`"min_operators":3`, nothing, func(e *Evidence) { e.Agreed[2].Operator = "ada" }, "min_operators", "there are 2"},
		{`"min_operators":3`, noSummary, func(e *Evidence) { e.Agreed[2].Operator = "" }, "min_operators", "there are 2"},
		{`"domain_kind":"operator"`, nothing, func(e *Evidence) { e.DomainKind = "machine" }, "domain_kind", `it is "machine"`},
		{`"domain_kind":"machine"`, func(e *Evidence) { e.DomainKind = "machine" }, func(e *Evidence) { e.DomainKind = "" }, "domain_kind", "it is unknown"},
		{`"images":["host","` + image + `"]`, nothing, func(e *Evidence) { e.Platform = strings.Replace(image, "ab", "ac", 1) }, "images", "none of the 2 roots"},
		{`"images":["host"]`, func(e *Evidence) { e.Platform = "host" }, nothing, "images", "sha256:abab"},
		{`"images":["host"]`, func(e *Evidence) { e.Platform = "host" }, func(e *Evidence) { e.Platform = "" }, "images", "unknown"},
		{`"repositories":["https://example.org/p.git"]`, nothing, func(e *Evidence) { e.Source = "git+https://example.org/q.git@00" }, "repositories", `"https://example.org/q.git"`},
		{`"repositories":["https://example.org/p.git"]`, nothing, func(e *Evidence) { e.Source = "" }, "repositories", "names no commit"},
		{`"repositories":["https://example.org/p.git"]`, nothing, func(e *Evidence) { e.Source = "https://example.org/p.git@00" }, "repositories", "names no commit"},
		{`"builders":["` + hexKey(2) + `"]`, nothing, func(e *Evidence) { e.Agreed[1].Key = key(9) }, "builders", "none of the 3"},
		{`"builders":["` + printed(2) + `"]`, noSummary, func(e *Evidence) { e.Agreed = nil }, "builders", "none of the 0"},
		{`"builders":["` + printed(1) + `","` + printed(2) + `","` + printed(3) + `"],"min_validators":2`, nothing, func(e *Evidence) { e.Agreed[1].Key = key(9) }, "min_validators", "there are 1"},
		{`"clusters":["` + printed(100) + `"]`, nothing, func(e *Evidence) { e.ClusterKey = key(101) }, "clusters", printed(101)},
		{`"clusters":["` + printed(100) + `"]`, nothing, noSummary, "clusters", "there is none"},
		{`"max_age":"3d"`, nothing, func(e *Evidence) { e.WallMillis = now - 4*day }, "max_age", "4 days ago"},
		{`"max_age":"49h30m"`, nothing, func(e *Evidence) { e.WallMillis = now - 50*day/24 }, "max_age", "50h0m0s ago"},
		{`"max_age":"3d"`, func(e *Evidence) { e.WallMillis = now + 60_000 }, func(e *Evidence) { e.WallMillis = now + day }, "max_age", "has not been yet"},
		{`"max_age":"3d"`, nothing, func(e *Evidence) { e.WallMillis = 0 }, "max_age", "nothing says when"},
		{``, nothing, func(e *Evidence) { e.Verdict = "unsampled" }, "verdicts", `"unsampled", allowed are agreed, judged`},
		{``, func(e *Evidence) { e.Verdict = "judged" }, func(e *Evidence) { e.Verdict = "environment-dependent" }, "verdicts", "environment-dependent"},
		{``, noSummary, func(e *Evidence) { e.Verdict = "" }, "verdicts", "unknown"},
		{`"verdicts":["unsampled","agreed"]`, func(e *Evidence) { e.Verdict = "unsampled" }, func(e *Evidence) { e.Verdict = "judged" }, "verdicts", "allowed are unsampled, agreed"},
		{`"verdicts":["agreed"]`, nothing, noSummary, "verdicts", "there is none"},
		{``, nothing, func(e *Evidence) { e.Simulated = true }, "simulated", "one machine's processes"},
		{`"simulated":false`, nothing, func(e *Evidence) { e.Simulated = true }, "simulated", "one machine's processes"},
		{`"simulated":true`, func(e *Evidence) { e.Simulated = true }, func(e *Evidence) { e.Verdict = "" }, "verdicts", ""},
		{`"log_quorum":2`, nothing, func(e *Evidence) { e.Cosigners = []string{"c1", "c1"} }, "log_quorum", `1 have ("c1")`},
		{`"log_quorum":1`, nothing, func(e *Evidence) { e.Logged = false }, "log_quorum", "was not proven"},
		{`"witnesses":1`, nothing, func(e *Evidence) { e.Witnesses = nil }, "witnesses", "0 have"},
		{`"transcript":true`, nothing, func(e *Evidence) { e.Recomputed = false }, "transcript", "were not"},
		{`"transcript":false`, func(e *Evidence) { e.Recomputed = false }, func(e *Evidence) { e.Simulated = true }, "simulated", ""},
		{`"expected":true`, nothing, func(e *Evidence) { e.Matched = 1 }, "expected", "it has 1"},
		{`"expected":true`, nothing, func(e *Evidence) { e.Expected, e.Matched = 0, 0 }, "expected", "0 digests were given"},
	} {
		p, err := Parse(file(c.rules))
		if err != nil {
			t.Errorf("%s: %v", c.rules, err)
			continue
		}
		e := good()
		c.keep(e)
		if got := p.Check(e); len(got) != 0 {
			t.Errorf("%s: good evidence breaks %q", c.rules, got)
		}
		e = good()
		c.breaks(e)
		got := p.Check(e)
		if len(got) != 1 || got[0].Rule != c.rule || !strings.Contains(got[0].Why, c.says) || !strings.HasPrefix(got[0].String(), c.rule+": ") {
			t.Errorf("%s: %q, want %s broken, and %q said", c.rules, got, c.rule, c.says)
		}
	}
}

// A provenance alone, of a real machine, breaks nothing where nothing is demanded.
func TestNothingDemandedNothingBroken(t *testing.T) {
	p, err := Parse(file(""))
	if err != nil {
		t.Fatal(err)
	}
	if got := p.Check(&Evidence{}); len(got) != 0 {
		t.Errorf("%q", got)
	}
	all := `"min_validators":1,"min_operators":1,"domain_kind":"operator","images":["host"],"repositories":["x"],"builders":["` + strings.Repeat("00", 32) +
		`"],"clusters":["` + strings.Repeat("00", 32) + `"],"max_age":"1h","verdicts":["agreed"],"log_quorum":1,"witnesses":1,"transcript":true,"expected":true`
	if p, err = Parse(file(all)); err != nil {
		t.Fatal(err)
	}
	if got := p.Check(&Evidence{}); len(got) != 13 {
		t.Errorf("no evidence at all breaks %d rules: %q", len(got), got)
	}
}

func TestParseRefusals(t *testing.T) {
	for says, raw := range map[string]string{
		"no JSON object":                               `[]`,
		"is no JSON object":                            ``,
		`its type is ""`:                               `{}`,
		`its type is "gavel.policy/v2"`:                `{"type":"gavel.policy/v2"}`,
		`a key "min_validator"`:                        string(file(`"min_validator":2`)),
		`a key "Simulated"`:                            string(file(`"Simulated":true`)),
		`the key "simulated" twice`:                    string(file(`"simulated":false,"simulated":true`)),
		`"images" is null`:                             string(file(`"images":null`)),
		"something follows":                            string(file("")) + "{}",
		"reading its JSON":                             `{"type":"gavel.policy/v1",}`,
		`"simulated" is "yes", want true or false`:     string(file(`"simulated":"yes"`)),
		`"min_validators" is 1.5, want a whole number`: string(file(`"min_validators":1.5`)),
		`"min_operators" is 0`:                         string(file(`"min_operators":0`)),
		`"witnesses" is -1`:                            string(file(`"witnesses":-1`)),
		`"log_quorum" is 10001`:                        string(file(`"log_quorum":10001`)),
		`"verdicts" lists 0`:                           string(file(`"verdicts":[]`)),
		`"builders" lists 0`:                           string(file(`"builders":[]`)),
		`"verdicts" has "too-few"`:                     string(file(`"verdicts":["too-few"]`)),
		`"domain_kind" is "person"`:                    string(file(`"domain_kind":"person"`)),
		`"domain_kind" is ""`:                          string(file(`"domain_kind":""`)),
		`"images" has "debian:12"`:                     string(file(`"images":["debian:12"]`)),
		`"images" has "sha256:AB"`:                     string(file(`"images":["sha256:AB"]`)),
		`"clusters" has "SHA256:x"`:                    string(file(`"clusters":["SHA256:x"]`)),
		`"builders" has "00"`:                          string(file(`"builders":["00"]`)),
		`"max_age" is "soon"`:                          string(file(`"max_age":"soon"`)),
		`"max_age" is "0d", want more`:                 string(file(`"max_age":"0d"`)),
		`"max_age" is "-1h", want more`:                string(file(`"max_age":"-1h"`)),
		`"max_age" is "99999999d", want mor`:           string(file(`"max_age":"99999999d"`)),
		`"max_age" is "d"`:                             string(file(`"max_age":"d"`)),
		"at most":                                      strings.Repeat(" ", MaxFileBytes) + "{}",
	} {
		p, err := Parse([]byte(raw))
		if p != nil || !errors.Is(err, ErrPolicy) || !strings.Contains(err.Error(), says) {
			t.Errorf("%.80s: %v, want an error that says %q", raw, err, says)
		}
	}
}

// Less evidence never breaks fewer rules, and more demands neither.
func TestChecksAreMonotone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		few := rapid.IntRange(1, 5).Draw(t, "few")
		more := few + rapid.IntRange(0, 3).Draw(t, "more")
		e := good()
		e.Agreed = nil
		for i := range rapid.IntRange(0, 8).Draw(t, "parties") {
			e.Agreed = append(e.Agreed, Party{fmt.Sprint("d", rapid.IntRange(0, 4).Draw(t, "domain")), fmt.Sprint("o", rapid.IntRange(0, 4).Draw(t, "operator")), key(byte(i))})
		}
		broken := func(n int, e *Evidence) (rules []string) {
			p, err := Parse(file(fmt.Sprintf(`"min_validators":%d,"min_operators":%d,"log_quorum":%d`, n, n, n)))
			if err != nil {
				t.Fatal(err)
			}
			for _, v := range p.Check(e) {
				rules = append(rules, v.Rule)
			}
			return rules
		}
		first := broken(few, e)
		for _, rule := range first {
			if !slices.Contains(broken(more, e), rule) {
				t.Fatalf("%s is broken at %d and not at %d", rule, few, more)
			}
		}
		less := *e
		less.Agreed = e.Agreed[:len(e.Agreed)/2]
		for _, rule := range first {
			if !slices.Contains(broken(few, &less), rule) {
				t.Fatalf("%s is broken by %d parties and not by %d", rule, len(e.Agreed), len(less.Agreed))
			}
		}
		// The oracle, by hand.
		domains := map[string]bool{}
		for _, party := range e.Agreed {
			domains[party.Domain] = true
		}
		if got, want := slices.Contains(first, "min_validators"), len(domains) < few+1; got != want {
			t.Fatalf("min_validators %d broken %t by %d domains", few, got, len(domains))
		}
	})
}

// A stranger's names must not steer the terminal that shows them.
func TestNamesAreQuoted(t *testing.T) {
	p, err := Parse(file(`"min_operators":2,"images":["host"],"domain_kind":"machine"`))
	if err != nil {
		t.Fatal(err)
	}
	e := good()
	e.Agreed = []Party{{"\x1b[2J", "\x1b[2J" + strings.Repeat("x", 1000), key(1)}}
	e.Platform, e.DomainKind = "\x1b]0;x", "\x1b["
	for _, v := range p.Check(e) {
		if strings.ContainsRune(v.String(), 0x1b) || len(v.Why) > 500 {
			t.Errorf("%q", v)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(file(`"min_validators":2,"min_operators":2,"domain_kind":"operator","images":["host"],"repositories":["https://example.org/p.git"]`))
	f.Add(file(`"builders":["` + strings.Repeat("0a", 32) + `"],"clusters":["` + strings.Repeat("0a", 32) + `"],"max_age":"30d","verdicts":["agreed"]`))
	f.Add(file(`"simulated":true,"log_quorum":2,"witnesses":1,"transcript":true,"expected":true`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		p, err := Parse(raw)
		if err != nil {
			if p != nil || !errors.Is(err, ErrPolicy) {
				t.Fatalf("%v, %v", p, err)
			}
			return
		}
		// Whatever it demands, a simulated and contested result is none that it allows
		// without saying so.
		e := good()
		e.Simulated, e.Verdict = !p.Simulated, "too-few"
		if got := p.Check(e); len(got) == 0 {
			t.Fatalf("%q allows it", raw)
		}
	})
}
