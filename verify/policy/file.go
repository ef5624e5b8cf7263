package policy

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
)

// ErrPolicy says that a file is no policy: the sentence says which of its lines to
// change.
var ErrPolicy = errors.New("not a usable policy")

// Type marks a policy's file.
const Type = "gavel.policy/v1"

// Policy is a list of demands; see Parse for the file.
type Policy struct {
	MinValidators int // independent parties besides the first that got the result
	MinOperators  int // distinct operators among all parties that got it
	DomainKind    string
	Images        []string
	Repositories  []string
	Builders      [][32]byte // SHA-256 of keys in PKIX DER
	Clusters      [][32]byte
	MaxAgeMillis  int64
	Verdicts      []string // nil for defaultVerdicts
	Simulated     bool
	LogQuorum     int
	Witnesses     int
	Transcript    bool
	Expected      bool
}

func (p *Policy) verdicts() []string {
	if p.Verdicts == nil {
		return defaultVerdicts
	}
	return p.Verdicts
}

// defaultVerdicts are those by which a result was built again and found right.
var defaultVerdicts = []string{"agreed", "judged"}

// knownVerdicts are those that deliver a result.
var knownVerdicts = []string{"agreed", "judged", "unsampled", "non-deterministic", "environment-dependent"}

// Parse reads a policy: a JSON object whose keys, each at most once, are
//
//	"type"            "gavel.policy/v1"; required
//	"min_validators"  independent parties besides the builder that got the same result
//	"min_operators"   distinct operators among all that got it, the builder's too
//	"domain_kind"     "operator" or "machine": what counts as one party
//	"images"          the roots it may be built in: "sha256:…" or "host"
//	"repositories"    URLs whose commits it may be built from (gavel submit --source)
//	"builders"        keys, as "SHA256:…" or hex: only parties count that signed with
//	                  one of them, and whose signature is at hand
//	"clusters"        keys of which one must have signed the verification summary
//	"max_age"         such as "30d" or "12h", by the clock of the cluster's leader
//	"verdicts"        those allowed; "agreed" and "judged" unless given
//	"simulated"       true allows farms whose machines are one machine's processes
//	"log_quorum"      coordinators that must have cosigned the log's checkpoint
//	"witnesses"       witnesses that must have
//	"transcript"      true wants the draw and the verdict recomputed from the transcript,
//	                  under a group key that is known, or by a summary that is logged
//	"expected"        true wants the result to be what somebody else published
//
// Errors wrap ErrPolicy.
func Parse(raw []byte) (*Policy, error) {
	p, err := parse(raw)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrPolicy, err)
	}
	return p, nil
}

func parse(raw []byte) (*Policy, error) {
	if len(raw) > MaxFileBytes {
		return nil, fmt.Errorf("it has %d bytes, at most %d are read", len(raw), MaxFileBytes)
	}
	p := &Policy{}
	var kind, age string
	var builders, clusters []string
	given, err := object(raw, map[string]any{
		"type": &kind, "min_validators": &p.MinValidators, "min_operators": &p.MinOperators, "domain_kind": &p.DomainKind, "images": &p.Images,
		"repositories": &p.Repositories, "builders": &builders, "clusters": &clusters, "max_age": &age, "verdicts": &p.Verdicts, "simulated": &p.Simulated,
		"log_quorum": &p.LogQuorum, "witnesses": &p.Witnesses, "transcript": &p.Transcript, "expected": &p.Expected,
	})
	if err != nil {
		return nil, err
	}
	if kind != Type {
		return nil, fmt.Errorf("its type is %q, want %s", kind, Type)
	}
	if given["builders"] {
		if p.Builders, err = keyIDs("builders", builders); err != nil {
			return nil, err
		}
	}
	if given["clusters"] {
		if p.Clusters, err = keyIDs("clusters", clusters); err != nil {
			return nil, err
		}
	}
	if given["max_age"] {
		if p.MaxAgeMillis, err = parseAge(age); err != nil {
			return nil, err
		}
	}
	return p, p.validate(given)
}

// object reads a JSON object into fields by their exact names.
func object(raw []byte, fields map[string]any) (given map[string]bool, err error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	if open, err := d.Token(); err != nil || open != json.Delim('{') {
		return nil, errors.Join(errors.New("it is no JSON object"), err)
	}
	given = make(map[string]bool)
	for d.More() {
		token, err := d.Token()
		if err != nil {
			return nil, fmt.Errorf("reading its JSON: %w", err)
		}
		name, _ := token.(string) // keys are strings, or Token says otherwise
		field, known := fields[name]
		switch {
		case !known:
			return nil, fmt.Errorf("it has a key %q, which this version does not know", name)
		case given[name]:
			return nil, fmt.Errorf("it has the key %q twice", name)
		}
		given[name] = true
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return nil, fmt.Errorf("reading %q: %w", name, err)
		}
		if string(value) == "null" {
			return nil, fmt.Errorf("%q is null; leave it out", name)
		}
		if err := json.Unmarshal(value, field); err != nil {
			return nil, fmt.Errorf("%q is %.80s, want %s", name, value, wants(field))
		}
	}
	if _, err := d.Token(); err != nil {
		return nil, fmt.Errorf("reading its JSON: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows its JSON object")
	}
	return given, nil
}

// wants says in words what a field takes.
func wants(field any) string {
	switch field.(type) {
	case *string:
		return "text"
	case *bool:
		return "true or false"
	case *[]string:
		return "a list of texts"
	}
	return "a whole number that is not negative, without quotes, point or exponent"
}

// keyIDs reads keys as people compare them, "SHA256:" and base64, or as hex.
func keyIDs(name string, list []string) ([][32]byte, error) {
	out := make([][32]byte, len(list))
	for i, text := range list {
		raw, err := hex.DecodeString(text)
		if b64, ok := strings.CutPrefix(text, "SHA256:"); ok {
			raw, err = base64.StdEncoding.DecodeString(b64)
		}
		if err != nil || len(raw) != len(out[i]) {
			return nil, fmt.Errorf("%q has %q, want a key's SHA-256 as gavel keys show prints it", name, text)
		}
		out[i] = [32]byte(raw)
	}
	return out, nil
}

// parseAge reads "30d" or what Go calls a duration.
func parseAge(text string) (int64, error) {
	var millis int64
	if days, ok := strings.CutSuffix(text, "d"); ok {
		n, err := strconv.ParseInt(days, 10, 32)
		if err != nil {
			return 0, fmt.Errorf(`"max_age" is %q, want such as "30d" or "12h"`, text)
		}
		millis = n * 24 * 3_600_000
	} else {
		d, err := time.ParseDuration(text)
		if err != nil {
			return 0, fmt.Errorf(`"max_age" is %q, want such as "30d" or "12h"`, text)
		}
		millis = d.Milliseconds()
	}
	if millis <= 0 || millis > maxAgeMillis {
		return 0, fmt.Errorf(`"max_age" is %q, want more than nothing and at most a hundred years`, text)
	}
	return millis, nil
}

func (p *Policy) validate(given map[string]bool) error {
	for name, n := range map[string]int{"min_validators": p.MinValidators, "min_operators": p.MinOperators, "log_quorum": p.LogQuorum, "witnesses": p.Witnesses} {
		if given[name] && (n < 1 || n > maxCount) {
			return fmt.Errorf("%q is %d, want 1 to %d, or leave it out", name, n, maxCount)
		}
	}
	for name, n := range map[string]int{
		"images": len(p.Images), "repositories": len(p.Repositories), "builders": len(p.Builders), "clusters": len(p.Clusters), "verdicts": len(p.Verdicts),
	} {
		if given[name] && (n == 0 || n > maxListed) {
			return fmt.Errorf("%q lists %d, want 1 to %d: an empty list would allow nothing; leave it out to allow all", name, n, maxListed)
		}
	}
	if given["domain_kind"] && p.DomainKind != "operator" && p.DomainKind != "machine" {
		return fmt.Errorf(`"domain_kind" is %q, want operator or machine`, p.DomainKind)
	}
	for _, v := range p.Verdicts {
		if !slices.Contains(knownVerdicts, v) {
			return fmt.Errorf(`"verdicts" has %q, which delivers no result; there are %s`, v, strings.Join(knownVerdicts, ", "))
		}
	}
	for _, image := range p.Images {
		digest, isDigest := strings.CutPrefix(image, "sha256:")
		if raw, err := hex.DecodeString(digest); image != "host" && (!isDigest || err != nil || len(raw) != 32 || digest != hex.EncodeToString(raw)) {
			return fmt.Errorf(`"images" has %q, want host or sha256: and 64 lower-case hex digits: names move`, image)
		}
	}
	return nil
}
