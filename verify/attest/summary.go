package attest

import (
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"

	"gavel/raftfsm/build"
	"gavel/raftfsm/wire"
)

// ErrSummary says that bytes are no verification summary of ours, or that what
// they are made of cannot be stated.
var ErrSummary = errors.New("not a verification summary of a cluster")

// Subject is a file that a statement is about.
type Subject struct {
	Name   string
	SHA256 [32]byte
}

// SubjectsOf lists a result's regular files, or its manifest if there are none.
func SubjectsOf(m *build.Manifest) []Subject {
	var out []Subject
	for i := range m.Outputs {
		if o := &m.Outputs[i]; o.Type == build.OutputFile {
			out = append(out, Subject{o.Path, o.Digest})
		}
	}
	if out == nil {
		return []Subject{{ManifestSubject, m.Summarise().Content}}
	}
	return out
}

// Agreement is a party whose opened result is the delivered one.
type Agreement struct {
	Domain   string // in which it counts as one party
	Operator string
	Worker   [32]byte // SHA-256 of its key's PKIX DER
}

// LeftOut is a party whose result is the delivered one and whose provenance is
// not among the inputs.
type LeftOut struct {
	Worker [32]byte
	Why    string
}

// Expectation is an output's digest that somebody else published.
type Expectation struct {
	Path   string
	SHA256 [32]byte
	Match  bool // the delivered result has exactly this file
}

// Summary is all that a verification summary (VSA) is made of: what the cluster
// says of a build whose result it delivers. Result and levels are not in it, as
// they follow from the verdict and from who agreed.
type Summary struct {
	Cluster, Build [32]byte
	Simulated      bool
	WallMillis     int64 // of the settlement, since 1970; informative

	Pool         string
	PolicySHA256 [32]byte // of the canonical pool and parameters: the rules that applied
	Platform     string   // "host" or an image's config digest, as the terms have it

	Verdict    build.State // one that delivers: Agreed, Judged, NonDeterministic, EnvironmentDependent or Unsampled
	Validators uint32      // k, as asked for
	Domains    uint32      // N, the independent parties that were eligible
	DomainKind build.Domain
	Agreed     []Agreement // sorted by domain, then worker
	LeftOut    []LeftOut
	// Inputs are the SHA-256 of the raw DSSE envelopes of every provenance that was
	// used, in the order of the log's leaves.
	Inputs [][32]byte

	Status           build.Status
	ExitCode, Signal uint32
	Result           [32]byte  // what commitments open to
	Manifest         [32]byte  // SHA-256 of the canonical manifest
	Subjects         []Subject // the delivered files, as in each provenance

	GroupKey    [96]byte // of the beacon, compressed, in G2
	Draws       []build.DrawProof
	Transcript  [32]byte
	Certificate build.Certificate
	Expected    []Expectation // sorted by path
}

// Reproduced is k of GAVEL_REPRODUCED_k: how many independent parties besides the
// first got the delivered result, by a verdict that says it is right.
func (s *Summary) Reproduced() int {
	if s.Verdict != build.Agreed && s.Verdict != build.Judged {
		return 0
	}
	domains := make(map[string]bool, len(s.Agreed))
	for i := range s.Agreed {
		domains[s.Agreed[i].Domain] = true
	}
	return max(0, len(domains)-1)
}

// The verified levels. Unsampled says that nobody built it again, by lot.
const (
	LevelReproducedPrefix = "GAVEL_REPRODUCED_"
	LevelUnsampled        = "GAVEL_UNVERIFIED_SAMPLED"
	levelFailed           = resultFailed // as SLSA wants where nothing was verified
)

// Passed says whether the summary's result is PASSED.
func (s *Summary) Passed() bool { return s.Level() != levelFailed }

// Level is the one verified level: GAVEL_REPRODUCED_k, GAVEL_UNVERIFIED_SAMPLED
// or FAILED.
func (s *Summary) Level() string {
	switch k := s.Reproduced(); {
	case s.Verdict == build.Unsampled:
		return LevelUnsampled
	case k > 0:
		return fmt.Sprintf("%s%d", LevelReproducedPrefix, k)
	}
	return levelFailed
}

// delivering are the verdicts that a summary may be about, by name.
var delivering = map[string]build.State{}

func init() {
	for _, v := range []build.State{build.Agreed, build.Judged, build.NonDeterministic, build.EnvironmentDependent, build.Unsampled} {
		delivering[v.String()] = v
	}
}

func (s *Summary) validate() error {
	if _, ok := delivering[s.Verdict.String()]; !ok {
		return fmt.Errorf("the verdict is %v, which delivers nothing", s.Verdict)
	}
	if s.DomainKind != build.DomainOperator && s.DomainKind != build.DomainMachine {
		return fmt.Errorf("unknown kind of domain %d", s.DomainKind)
	}
	if s.WallMillis < 0 || s.WallMillis > maxWallMillis {
		return fmt.Errorf("wall clock is %d ms since 1970, want 0 to %d", s.WallMillis, int64(maxWallMillis))
	}
	if len(s.Subjects) == 0 {
		return errors.New("it is about no file")
	}
	if !slices.IsSortedFunc(s.Agreed, compareAgreements) {
		return errors.New("the parties that agreed are not sorted by domain and worker")
	}
	for i := range s.Expected {
		if i > 0 && s.Expected[i-1].Path >= s.Expected[i].Path {
			return errors.New("the expected outputs are not in ascending order")
		}
	}
	for _, text := range s.texts() {
		if !utf8.ValidString(text) {
			return fmt.Errorf("text %q is not UTF-8", text)
		}
	}
	return nil
}

func compareAgreements(a, b Agreement) int {
	switch {
	case a.Domain < b.Domain:
		return -1
	case a.Domain > b.Domain:
		return 1
	}
	return wire.Compare32(a.Worker, b.Worker)
}

// texts are all strings that JSON must carry as they are.
func (s *Summary) texts() []string {
	out := []string{s.Pool, s.Platform}
	for i := range s.Agreed {
		out = append(out, s.Agreed[i].Domain, s.Agreed[i].Operator)
	}
	for i := range s.LeftOut {
		out = append(out, s.LeftOut[i].Why)
	}
	for i := range s.Subjects {
		out = append(out, s.Subjects[i].Name)
	}
	for i := range s.Draws {
		out = append(out, s.Draws[i].Purpose)
	}
	for i := range s.Expected {
		out = append(out, s.Expected[i].Path)
	}
	return out
}
