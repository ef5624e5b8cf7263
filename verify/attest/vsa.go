package attest

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	intoto "github.com/in-toto/attestation/go/v1"

	"gavel/raftfsm/beacon"
	"gavel/raftfsm/build"
)

// PredicateVSA is the predicate type of a verification summary.
const PredicateVSA = "https://slsa.dev/verification_summary/v1"

// VerifierIDPrefix begins verifier.id; the cluster's id in hex follows.
const VerifierIDPrefix = "https://gavel.dev/cluster/v1/"

// What names a build, the rules of a pool, and an attestation in a summary.
const (
	buildURI       = "gavel:build/"
	poolURI        = "gavel:pool/"
	attestationURI = "gavel:attestation/"
)

// What a verification came to.
const (
	resultPassed = "PASSED"
	resultFailed = "FAILED"
)

// slsaVersion is the specification's whose rules for custom levels are kept.
const slsaVersion = "1.1"

type summaryStatement struct {
	Type          string           `json:"_type"`
	Predicate     summaryPredicate `json:"predicate"`
	PredicateType string           `json:"predicateType"`
	Subject       []descriptor     `json:"subject"`
}

type resource struct {
	Digest digestSet `json:"digest"`
	URI    string    `json:"uri"`
}

// summaryPredicate is SLSA's, with extension fields of ours as its parsing rules
// name them. 64-bit integers are decimal strings.
type summaryPredicate struct {
	Agreed             []agreement   `json:"gavel_agreed"`
	Certificate        certificate   `json:"gavel_certificate"`
	DomainKind         string        `json:"gavel_domain_kind"`
	Domains            uint32        `json:"gavel_domains"`
	Draws              []draw        `json:"gavel_draws"`
	Expected           []expectation `json:"gavel_expected"`
	GroupKey           string        `json:"gavel_group_key"`
	LeftOut            []leftOut     `json:"gavel_left_out"`
	Platform           string        `json:"gavel_platform"`
	Result             outcome       `json:"gavel_result"`
	Simulated          bool          `json:"gavel_simulated"`
	Transcript         string        `json:"gavel_transcript"`
	Validators         uint32        `json:"gavel_validators"`
	Verdict            string        `json:"gavel_verdict"`
	InputAttestations  []resource    `json:"inputAttestations"`
	Policy             resource      `json:"policy"`
	ResourceURI        string        `json:"resourceUri"`
	SLSAVersion        string        `json:"slsaVersion"`
	TimeVerified       string        `json:"timeVerified"`
	VerificationResult string        `json:"verificationResult"`
	VerifiedLevels     []string      `json:"verifiedLevels"`
	Verifier           builder       `json:"verifier"`
}

type agreement struct {
	Domain   string `json:"domain"`
	Operator string `json:"operator"`
	Worker   string `json:"worker"`
}

type leftOut struct {
	Why    string `json:"why"`
	Worker string `json:"worker"`
}

type outcome struct {
	Digest   string `json:"digest"` // what commitments open to
	ExitCode uint32 `json:"exitCode"`
	Manifest string `json:"manifest"`
	Signal   uint32 `json:"signal"`
	Status   string `json:"status"`
}

type draw struct {
	Message   string `json:"message"`
	Purpose   string `json:"purpose"`
	Round     uint64 `json:"round,string"`
	Signature string `json:"signature"`
	Subject   string `json:"subject"`
}

type certificate struct {
	Signature   string   `json:"signature"`
	Transcripts []string `json:"transcripts"`
}

type expectation struct {
	Match  bool   `json:"match"`
	Path   string `json:"path"`
	SHA256 string `json:"sha256"`
}

// Statement is s as an in-toto Statement v1 in RFC 8785 JSON: what the cluster's
// key signs, and every coordinator and auditor derives again. Errors wrap
// ErrSummary.
func (s *Summary) Statement() ([]byte, error) {
	if err := s.validate(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSummary, err)
	}
	return canonical(summaryStatement{
		Type: intoto.StatementTypeUri, Subject: described(s.Subjects), PredicateType: PredicateVSA, Predicate: s.predicate(),
	}, true)
}

func (s *Summary) predicate() summaryPredicate {
	p := summaryPredicate{
		Verifier: builder{ID: VerifierIDPrefix + hexDigest(s.Cluster)}, TimeVerified: wallTime(s.WallMillis),
		ResourceURI: buildURI + hexDigest(s.Build), Policy: resource{URI: poolURI + s.Pool, Digest: digestSet{hexDigest(s.PolicySHA256)}},
		InputAttestations: []resource{}, VerificationResult: resultPassed, VerifiedLevels: []string{s.Level()}, SLSAVersion: slsaVersion,
		Verdict: s.Verdict.String(), Validators: s.Validators, Domains: s.Domains, DomainKind: s.DomainKind.String(),
		Agreed: []agreement{}, LeftOut: []leftOut{}, Platform: s.Platform,
		Result:   outcome{Status: s.Status.String(), ExitCode: s.ExitCode, Signal: s.Signal, Digest: hexDigest(s.Result), Manifest: hexDigest(s.Manifest)},
		GroupKey: hex.EncodeToString(s.GroupKey[:]), Draws: []draw{}, Transcript: hexDigest(s.Transcript),
		Certificate: certificate{Transcripts: []string{}, Signature: hex.EncodeToString(s.Certificate.Signature[:])},
		Expected:    []expectation{}, Simulated: s.Simulated,
	}
	if !s.Passed() {
		p.VerificationResult = resultFailed
	}
	for _, d := range s.Inputs {
		p.InputAttestations = append(p.InputAttestations, resource{URI: attestationURI + hexDigest(d), Digest: digestSet{hexDigest(d)}})
	}
	for _, a := range s.Agreed {
		p.Agreed = append(p.Agreed, agreement{Domain: a.Domain, Operator: a.Operator, Worker: hexDigest(a.Worker)})
	}
	for _, l := range s.LeftOut {
		p.LeftOut = append(p.LeftOut, leftOut{Worker: hexDigest(l.Worker), Why: l.Why})
	}
	for _, d := range s.Draws {
		message := beacon.Message(s.Cluster, d.Purpose, d.Subject, d.Round)
		p.Draws = append(p.Draws, draw{
			Purpose: d.Purpose, Subject: hexDigest(d.Subject), Round: d.Round, Message: hex.EncodeToString(message), Signature: hex.EncodeToString(d.Signature[:]),
		})
	}
	for _, t := range s.Certificate.Transcripts {
		p.Certificate.Transcripts = append(p.Certificate.Transcripts, hexDigest(t))
	}
	for _, e := range s.Expected {
		p.Expected = append(p.Expected, expectation{Path: e.Path, SHA256: hexDigest(e.SHA256), Match: e.Match})
	}
	return p
}

// ParseSummary reads back what Statement wrote, byte for byte: whatever says
// something else, something more or the same differently is refused. Errors wrap
// ErrSummary.
func ParseSummary(statement []byte) (*Summary, error) {
	s, err := parseSummary(statement)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSummary, err)
	}
	return s, nil
}

func parseSummary(raw []byte) (*Summary, error) {
	if len(raw) > MaxBundleBytes {
		return nil, fmt.Errorf("it has %d bytes, at most %d are read", len(raw), MaxBundleBytes)
	}
	var st summaryStatement
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&st); err != nil {
		return nil, fmt.Errorf("reading its JSON: %w", err)
	}
	r := &hexReader{}
	s := r.summary(&st)
	if r.err != nil {
		return nil, r.err
	}
	again, err := s.Statement()
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(raw, again) {
		return nil, errors.New("it is not in the one form that a cluster writes")
	}
	return s, nil
}

// hexReader reads fields until the first that cannot be read.
type hexReader struct{ err error }

func (r *hexReader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf(format, args...)
	}
}

func (r *hexReader) bytes(out []byte, text string) {
	if n, err := hex.Decode(out, []byte(cutTo(text, 2*len(out)))); err != nil || n != len(out) || len(text) != 2*n {
		r.fail("%s is not %d bytes in hex", shown(text), len(out))
	}
}

func cutTo(text string, n int) string { return text[:min(n, len(text))] }

func (r *hexReader) digest(text string) (out [32]byte) {
	r.bytes(out[:], text)
	return out
}

func (r *hexReader) after(prefix, text string) string {
	rest, ok := strings.CutPrefix(text, prefix)
	if !ok {
		r.fail("%s does not begin with %s", shown(text), prefix)
	}
	return rest
}

// summary fills in what the statement says; what follows from the rest (type,
// levels, messages of draws) is left to the comparison with what is written again.
func (r *hexReader) summary(st *summaryStatement) *Summary {
	p := &st.Predicate
	s := &Summary{
		Cluster: r.digest(r.after(VerifierIDPrefix, p.Verifier.ID)), Build: r.digest(r.after(buildURI, p.ResourceURI)),
		Simulated: p.Simulated, WallMillis: r.millis(p.TimeVerified),
		Pool: r.after(poolURI, p.Policy.URI), PolicySHA256: r.digest(p.Policy.Digest.SHA256), Platform: p.Platform,
		Verdict: delivering[p.Verdict], Validators: p.Validators, Domains: p.Domains, DomainKind: build.DomainOperator,
		Status: r.status(p.Result.Status), ExitCode: p.Result.ExitCode, Signal: p.Result.Signal,
		Result: r.digest(p.Result.Digest), Manifest: r.digest(p.Result.Manifest), Transcript: r.digest(p.Transcript),
	}
	if p.DomainKind == build.DomainMachine.String() {
		s.DomainKind = build.DomainMachine
	}
	r.bytes(s.GroupKey[:], p.GroupKey)
	r.bytes(s.Certificate.Signature[:], p.Certificate.Signature)
	for _, f := range st.Subject {
		s.Subjects = append(s.Subjects, Subject{f.Name, r.digest(f.Digest.SHA256)})
	}
	for _, a := range p.Agreed {
		s.Agreed = append(s.Agreed, Agreement{a.Domain, a.Operator, r.digest(a.Worker)})
	}
	for _, l := range p.LeftOut {
		s.LeftOut = append(s.LeftOut, LeftOut{r.digest(l.Worker), l.Why})
	}
	for _, i := range p.InputAttestations {
		s.Inputs = append(s.Inputs, r.digest(i.Digest.SHA256))
	}
	for _, d := range p.Draws {
		proof := build.DrawProof{Subject: r.digest(d.Subject), Purpose: d.Purpose, Round: d.Round}
		r.bytes(proof.Signature[:], d.Signature)
		s.Draws = append(s.Draws, proof)
	}
	for _, t := range p.Certificate.Transcripts {
		s.Certificate.Transcripts = append(s.Certificate.Transcripts, r.digest(t))
	}
	for _, e := range p.Expected {
		s.Expected = append(s.Expected, Expectation{e.Path, r.digest(e.SHA256), e.Match})
	}
	return s
}

func (r *hexReader) millis(text string) int64 {
	t, err := time.Parse(wallLayout, text)
	if err != nil {
		r.fail("%s is no time", shown(text))
	}
	return t.UnixMilli()
}

// status reads a status' name; of what is none, the comparison with what is
// written again complains.
func (r *hexReader) status(name string) build.Status {
	for s := build.StatusExited; s <= build.StatusMissingOutput; s++ {
		if s.String() == name {
			return s
		}
	}
	r.fail("unknown status %s", strconv.Quote(cutTo(name, maxClaimBytes)))
	return 0
}
