package policy

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Party is one that got the result in question.
type Party struct {
	Domain   string // in which it counts as one party
	Operator string
	// Key is the SHA-256, in PKIX DER, of the key whose signature under the result
	// was checked; zero where none was.
	Key [32]byte
}

// Evidence is what was found out about one result. Whoever fills it has checked
// the signatures that it speaks of.
type Evidence struct {
	// Summarised says that a cluster's verification summary is part of the evidence;
	// without it Agreed is whoever signed provenance, and there is no verdict.
	Summarised bool
	ClusterKey [32]byte // that signed the summary: SHA-256 of its PKIX DER
	Verdict    string   // as the summary has it
	DomainKind string   // operator or machine; empty where unknown
	Agreed     []Party  // all that got this result, the builder too
	Simulated  bool     // whoever signed says so

	Platform string // "host" or an image's config digest; empty where unknown
	Source   string // git+URL@COMMIT; empty where none is named

	WallMillis int64 // when the build settled, else when it was built, since 1970; 0 where unknown
	NowMillis  int64 // the reader's clock

	// Logged says that the statement's inclusion was checked under a checkpoint that
	// the log's key and Cosigners signed, and Witnesses.
	Logged               bool
	Cosigners, Witnesses []string
	// Recomputed says that draw and verdict were recomputed from a transcript that
	// the farm's group has certified.
	Recomputed bool

	// Expected counts digests that somebody else published for outputs, Matched those
	// that the result has.
	Expected, Matched int
}

// Violation is a rule that evidence does not keep.
type Violation struct {
	Rule string `json:"rule"` // its key in the file
	Why  string `json:"why"`  // a sentence: what is wanted, what was found
}

func (v Violation) String() string { return v.Rule + ": " + v.Why }

// checker gathers violations.
type checker struct {
	policy   *Policy
	evidence *Evidence
	parties  []Party // that count
	found    []Violation
}

// Check returns every rule that the evidence breaks; none means that it is kept.
func (p *Policy) Check(e *Evidence) []Violation {
	c := &checker{policy: p, evidence: e}
	c.count()
	c.agreement()
	c.verdict()
	c.origin()
	c.age()
	c.log()
	return c.found
}

func (c *checker) violated(rule, format string, args ...any) {
	c.found = append(c.found, Violation{rule, fmt.Sprintf(format, args...)})
}

// count leaves only the parties whose keys are allowed.
func (c *checker) count() {
	if c.policy.Builders == nil {
		c.parties = c.evidence.Agreed
		return
	}
	for _, party := range c.evidence.Agreed {
		if slices.Contains(c.policy.Builders, party.Key) {
			c.parties = append(c.parties, party)
		}
	}
	if len(c.parties) == 0 {
		c.violated("builders", "none of the %d that got this result is known by its signature to have one of the %d keys allowed", len(c.evidence.Agreed), len(c.policy.Builders))
	}
}

func distinct(list []Party, of func(Party) string) []string {
	var out []string
	for _, p := range list {
		if name := of(p); name != "" && !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return out
}

func (c *checker) agreement() {
	p, e := c.policy, c.evidence
	if p.MinValidators > 0 {
		domains := distinct(c.parties, func(p Party) string { return p.Domain })
		if got := max(0, len(domains)-1); !e.Summarised {
			c.violated("min_validators", "%d independent rebuilds are wanted, and without a cluster's verification summary nothing shows any", p.MinValidators)
		} else if got < p.MinValidators {
			c.violated("min_validators", "%d independent rebuilds with this result are wanted, there are %d%s", p.MinValidators, got, named(domains))
		}
	}
	if p.MinOperators > 0 {
		if operators := distinct(c.parties, func(p Party) string { return p.Operator }); len(operators) < p.MinOperators {
			c.violated("min_operators", "%d distinct operators with this result are wanted, there are %d%s", p.MinOperators, len(operators), named(operators))
		}
	}
	if p.DomainKind != "" && e.DomainKind != p.DomainKind {
		c.violated("domain_kind", "what counts as one party should be one %s, it is %s", p.DomainKind, orUnknown(e.DomainKind))
	}
}

// maxNamed bounds the names in a sentence.
const maxNamed = 8

func named(list []string) string {
	if len(list) == 0 {
		return ""
	}
	shown := make([]string, 0, maxNamed)
	for _, name := range list[:min(len(list), maxNamed)] {
		shown = append(shown, fmt.Sprintf("%.64q", name))
	}
	if len(list) > maxNamed {
		shown = append(shown, "…")
	}
	return " (" + strings.Join(shown, ", ") + ")"
}

func orUnknown(text string) string {
	if text == "" {
		return "unknown"
	}
	return fmt.Sprintf("%.200q", text)
}

func (c *checker) verdict() {
	p, e := c.policy, c.evidence
	switch allowed := p.verdicts(); {
	case e.Summarised && !slices.Contains(allowed, e.Verdict):
		c.violated("verdicts", "the verdict is %s, allowed are %s", orUnknown(e.Verdict), strings.Join(allowed, ", "))
	case !e.Summarised && p.Verdicts != nil:
		c.violated("verdicts", "a verdict is wanted (%s), and without a cluster's verification summary there is none", strings.Join(allowed, ", "))
	}
	if p.Clusters != nil {
		if !e.Summarised {
			c.violated("clusters", "a verification summary by one of %d clusters is wanted, there is none", len(p.Clusters))
		} else if !slices.Contains(p.Clusters, e.ClusterKey) {
			c.violated("clusters", "the verification summary is signed by %s, which is none of the %d clusters allowed (each is named by its key, not by its id)", fingerprint(e.ClusterKey), len(p.Clusters))
		}
	}
	if e.Simulated && !p.Simulated {
		c.violated("simulated", "the farm was simulated: its machines were one machine's processes, with one owner")
	}
	if p.Transcript && !e.Recomputed {
		c.violated("transcript", "draw and verdict should be recomputed from the transcript, and were not")
	}
	if p.Expected && (e.Expected == 0 || e.Matched != e.Expected) {
		c.violated("expected", "the result should be what somebody else published: %d digests were given, it has %d of them", e.Expected, e.Matched)
	}
}

func fingerprint(key [32]byte) string {
	return "SHA256:" + base64.StdEncoding.EncodeToString(key[:])
}

func (c *checker) origin() {
	p, e := c.policy, c.evidence
	if p.Images != nil && !slices.Contains(p.Images, e.Platform) {
		c.violated("images", "it was built in %s, which is none of the %d roots allowed", orUnknown(e.Platform), len(p.Images))
	}
	if p.Repositories == nil {
		return
	}
	repository, isGit := strings.CutPrefix(e.Source, "git+")
	at := strings.LastIndexByte(repository, '@')
	if !isGit || at < 0 {
		c.violated("repositories", "it names no commit that it was built from")
	} else if !slices.Contains(p.Repositories, repository[:at]) {
		c.violated("repositories", "it was built from %s, which is none of the %d repositories allowed", orUnknown(repository[:at]), len(p.Repositories))
	}
}

func (c *checker) age() {
	p, e := c.policy, c.evidence
	if p.MaxAgeMillis == 0 {
		return
	}
	// A time ahead of the reader's clock is no age at all: one of two clocks is
	// wrong, and by how much nothing tells.
	const clockSkewMillis = 5 * 60_000
	old := e.NowMillis - e.WallMillis
	switch {
	case e.WallMillis == 0:
		c.violated("max_age", "at most %s are allowed, and nothing says when it was built", days(p.MaxAgeMillis))
	case old < -clockSkewMillis:
		c.violated("max_age", "it says that it was built at %s, which has not been yet", stamp(e.WallMillis))
	case old > p.MaxAgeMillis:
		c.violated("max_age", "at most %s are allowed, it is of %s, %s ago", days(p.MaxAgeMillis), stamp(e.WallMillis), days(old))
	}
}

func stamp(millis int64) string { return time.UnixMilli(millis).UTC().Format(time.RFC3339) }

func days(millis int64) string {
	const day = 24 * 3_600_000
	if millis >= 4*day {
		return fmt.Sprintf("%d days", millis/day)
	}
	return (time.Duration(millis) * time.Millisecond).Round(time.Second).String()
}

func (c *checker) log() {
	p, e := c.policy, c.evidence
	for _, r := range []struct {
		rule, who string
		want      int
		got       []string
	}{{"log_quorum", "coordinators", p.LogQuorum, e.Cosigners}, {"witnesses", "witnesses", p.Witnesses, e.Witnesses}} {
		names := slices.Compact(slices.Sorted(slices.Values(r.got)))
		switch {
		case r.want == 0:
		case !e.Logged:
			c.violated(r.rule, "a log's checkpoint signed by %d %s is wanted, and that it is logged was not proven", r.want, r.who)
		case len(names) < r.want:
			c.violated(r.rule, "%d %s should have signed the log's checkpoint, %d have%s", r.want, r.who, len(names), named(names))
		}
	}
}
