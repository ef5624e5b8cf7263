package attest

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	slsa "github.com/in-toto/attestation/go/predicates/provenance/v1"
	vsa "github.com/in-toto/attestation/go/predicates/vsa/v1"
	intoto "github.com/in-toto/attestation/go/v1"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"gavel/verify/keys"
)

// Report is what one verified statement shows, in words.
type Report struct {
	Predicate string   `json:"predicate"` // PredicateSLSA or PredicateVSA
	Subjects  []string `json:"subjects"`  // the names under which the statement speaks of the file
	SHA256    string   `json:"sha256"`    // of the file, in hex
	Key       string   `json:"key"`       // the fingerprint of the key that signed
	// BuilderID, BuildType and InvocationID are the signer's claims in a
	// provenance; of Gavel's statements the invocation is the build's id.
	BuilderID    string `json:"builder_id,omitempty"`
	BuildType    string `json:"build_type,omitempty"`
	InvocationID string `json:"invocation_id,omitempty"`
	// Finished is when the build ended, by the signer's clock; zero where a provenance
	// does not say, and in a verification summary.
	Finished time.Time `json:"-"`
	// VerifierID, ResourceURI, Result (PASSED or FAILED) and Levels are the
	// signer's claims in a verification summary.
	VerifierID  string   `json:"verifier_id,omitempty"`
	ResourceURI string   `json:"resource_uri,omitempty"`
	Result      string   `json:"result,omitempty"`
	Levels      []string `json:"levels,omitempty"`
	Simulated   bool     `json:"simulated"`   // the signer's own label
	LogEntries  int      `json:"log_entries"` // entries that the bundle carries, unchecked
	// Proven holds for whoever trusts SHA-256 and the signature scheme. Claimed
	// is the signer's word. NotProven is what a reader might take for granted.
	Proven    []string `json:"proven"`
	Claimed   []string `json:"claimed"`
	NotProven []string `json:"not_proven"`

	// What further checks go on from. Log is held to Statement, Signature and PKIX
	// (the signer's key in DER), but not to any log; Summary is set for a Gavel
	// cluster's verification summary.
	Statement, Signature, PKIX []byte    `json:"-"`
	Log                        *LogEntry `json:"-"`
	Summary                    *Summary  `json:"-"`
}

// parsedStatement is a statement with its predicate decoded: one of the two.
type parsedStatement struct {
	statement    *intoto.Statement
	provenance   *slsa.Provenance
	verification *vsa.VerificationSummary
	summary      *Summary // of a Gavel cluster's verification
}

// decodePredicate ignores unknown fields, as SLSA's parsing rules want.
func decodePredicate(st *intoto.Statement, into proto.Message) error {
	raw, err := protojson.Marshal(st.Predicate)
	if err != nil {
		return fmt.Errorf("reading its predicate: %w", err)
	}
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(raw, into); err != nil {
		return fmt.Errorf("reading its predicate: %w", err)
	}
	return nil
}

func parseProvenance(st *intoto.Statement) (*parsedStatement, error) {
	p := new(slsa.Provenance)
	if err := decodePredicate(st, p); err != nil {
		return nil, err
	}
	if err := p.Validate(); err != nil {
		return nil, fmt.Errorf("SLSA: %w", err)
	}
	return &parsedStatement{statement: st, provenance: p}, nil
}

// parseVerification decodes a verification summary: anybody's by SLSA's rules, a
// Gavel cluster's strictly.
func parseVerification(st *intoto.Statement, payload []byte) (*parsedStatement, error) {
	v := new(vsa.VerificationSummary)
	if err := decodePredicate(st, v); err != nil {
		return nil, err
	}
	if v.GetVerifier().GetId() == "" || v.ResourceUri == "" || len(v.VerifiedLevels) == 0 {
		return nil, errors.New("SLSA: a verification summary names its verifier, a resource and a level")
	}
	if v.VerificationResult != resultPassed && v.VerificationResult != resultFailed {
		return nil, fmt.Errorf("SLSA: its result is %s, want %s or %s", shown(v.VerificationResult), resultPassed, resultFailed)
	}
	out := &parsedStatement{statement: st, verification: v}
	if strings.HasPrefix(v.Verifier.Id, VerifierIDPrefix) {
		var err error
		if out.summary, err = ParseSummary(payload); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func newReport(st *parsedStatement, names []string, artifact, key [32]byte) *Report {
	r := &Report{
		Predicate: st.statement.PredicateType, Subjects: names, SHA256: hexDigest(artifact), Key: keys.Fingerprint(key), Summary: st.summary,
	}
	kind := "provenance statement"
	if v := st.verification; v != nil {
		kind = "verification summary"
		r.VerifierID, r.ResourceURI, r.Result, r.Levels = v.Verifier.Id, v.ResourceUri, v.VerificationResult, v.VerifiedLevels
		r.claimVerification(v)
	} else {
		definition, run := st.provenance.BuildDefinition, st.provenance.RunDetails
		r.BuilderID, r.BuildType, r.InvocationID = run.Builder.Id, definition.BuildType, run.GetMetadata().GetInvocationId()
		internal := definition.GetInternalParameters().GetFields()
		r.Simulated = internal["simulated"].GetBoolValue() || strings.HasPrefix(r.BuilderID, SimulatedBuilderIDPrefix)
		if finished := run.GetMetadata().GetFinishedOn(); finished != nil {
			r.Finished = finished.AsTime()
		}
		r.claim(run, internal["role"].GetStringValue())
	}
	if r.Simulated {
		r.Claimed = append(r.Claimed, "the farm was SIMULATED: its workers were processes of one machine and one owner")
	}
	r.prove(kind, len(st.statement.Subject))
	return r
}

func (r *Report) prove(kind string, subjects int) {
	quoted := make([]string, len(r.Subjects))
	for i, name := range r.Subjects {
		quoted[i] = shown(name)
	}
	r.Proven = []string{
		fmt.Sprintf("the owner of key %s signed this %s", r.Key, kind),
		fmt.Sprintf("the file with SHA-256 %s is its subject %s (of %d)", r.SHA256, strings.Join(quoted, ", "), subjects),
	}
}

func (r *Report) claim(run *slsa.RunDetails, role string) {
	r.Claimed = append(r.Claimed, "the builder was "+shown(r.BuilderID))
	if r.BuildType == BuildType && role != "" {
		r.Claimed = append(r.Claimed, "it built as "+shown(role)+" of build "+shown(r.InvocationID))
	} else if r.InvocationID != "" {
		r.Claimed = append(r.Claimed, "the invocation was "+shown(r.InvocationID))
	}
	if started, finished := run.GetMetadata().GetStartedOn(), run.GetMetadata().GetFinishedOn(); started != nil && finished != nil {
		r.Claimed = append(r.Claimed, "it built from "+stamp(started)+" to "+stamp(finished)+" by its own clock")
	}
}

// doubt lists what a single statement cannot show.
func (r *Report) doubt() {
	log := "the bundle carries no log entry"
	switch {
	case r.Log != nil:
		log = fmt.Sprintf("the log entry that the bundle carries (leaf %d) is about this statement, but neither its proof nor its checkpoint was checked", r.Log.Index)
	case r.LogEntries > 0:
		log = fmt.Sprintf("the log entries that the bundle carries (%d) were not checked", r.LogEntries)
	}
	r.NotProven = []string{
		"that the key belongs to whom you think: it was taken as given",
		"that the statement is in a public log: " + log,
	}
	if r.Predicate == PredicateVSA {
		r.NotProven = append(r.NotProven, r.doubtVerification()...)
	} else {
		r.NotProven = append(r.NotProven,
			"that the builder was chosen by auction or draw and not by itself",
			"that anyone else built it and got the same file",
			"that what it claims of command, inputs and machine is true: rebuild it to see")
	}
	r.NotProven = append(r.NotProven, "that the file does no harm")
}

// String is the report for a person, a line for each sentence.
func (r *Report) String() string {
	var b strings.Builder
	for _, part := range []struct {
		title     string
		sentences []string
	}{{"proven", r.Proven}, {"claimed by the signer", r.Claimed}, {"not proven", r.NotProven}} {
		_, _ = fmt.Fprintf(&b, "%s:\n", part.title)
		for _, s := range part.sentences {
			_, _ = fmt.Fprintf(&b, "  - %s\n", s)
		}
	}
	return b.String()
}

func stamp(t *timestamppb.Timestamp) string { return t.AsTime().Format(time.RFC3339) }

// shown is a stranger's text for a terminal: short, and quoted where it is not
// plain printable text, so that it can neither flood nor steer it.
func shown(s string) string {
	cut := s
	if len(cut) > maxClaimBytes {
		cut = cut[:maxClaimBytes] + "…"
	}
	if quoted := strconv.Quote(cut); s == "" || quoted != `"`+cut+`"` {
		return quoted
	}
	return cut
}
