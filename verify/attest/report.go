package attest

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	slsa "github.com/in-toto/attestation/go/predicates/provenance/v1"
	intoto "github.com/in-toto/attestation/go/v1"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/timestamppb"

	"gavel/verify/keys"
)

// Report is what one verified bundle shows, in words.
type Report struct {
	Subjects []string `json:"subjects"` // the names under which the statement speaks of the file
	SHA256   string   `json:"sha256"`   // of the file, in hex
	Key      string   `json:"key"`      // the fingerprint of the key that signed
	// BuilderID, BuildType and InvocationID are the signer's claims; of Gavel's
	// statements the invocation is the build's id.
	BuilderID    string `json:"builder_id"`
	BuildType    string `json:"build_type"`
	InvocationID string `json:"invocation_id"`
	Simulated    bool   `json:"simulated"`   // the signer's own label
	LogEntries   int    `json:"log_entries"` // entries that the bundle carries, unchecked
	// Proven holds for whoever trusts SHA-256 and the signature scheme. Claimed
	// is the signer's word. NotProven is what a reader might take for granted.
	Proven    []string `json:"proven"`
	Claimed   []string `json:"claimed"`
	NotProven []string `json:"not_proven"`
}

// parsedStatement is a statement with its predicate decoded.
type parsedStatement struct {
	statement  *intoto.Statement
	provenance *slsa.Provenance
}

// parsePredicate decodes SLSA provenance. Unknown fields are ignored, as SLSA's
// parsing rules want.
func parsePredicate(st *intoto.Statement) (*parsedStatement, error) {
	raw, err := protojson.Marshal(st.Predicate)
	if err != nil {
		return nil, fmt.Errorf("reading its predicate: %w", err)
	}
	p := new(slsa.Provenance)
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(raw, p); err != nil {
		return nil, fmt.Errorf("reading its predicate: %w", err)
	}
	if err := p.Validate(); err != nil {
		return nil, fmt.Errorf("SLSA: %w", err)
	}
	return &parsedStatement{st, p}, nil
}

func newReport(st *parsedStatement, names []string, artifact, key [32]byte, logEntries int) *Report {
	definition, run := st.provenance.BuildDefinition, st.provenance.RunDetails
	r := &Report{
		Subjects: names, SHA256: hexDigest(artifact), Key: keys.Fingerprint(key), LogEntries: logEntries,
		BuilderID: run.Builder.Id, BuildType: definition.BuildType, InvocationID: run.GetMetadata().GetInvocationId(),
	}
	internal := definition.GetInternalParameters().GetFields()
	r.Simulated = internal["simulated"].GetBoolValue() || strings.HasPrefix(r.BuilderID, SimulatedBuilderIDPrefix)
	r.prove(len(st.statement.Subject))
	r.claim(run, internal["role"].GetStringValue())
	r.doubt()
	return r
}

func (r *Report) prove(subjects int) {
	quoted := make([]string, len(r.Subjects))
	for i, name := range r.Subjects {
		quoted[i] = shown(name)
	}
	r.Proven = []string{
		fmt.Sprintf("the owner of key %s signed this provenance statement", r.Key),
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
	if r.Simulated {
		r.Claimed = append(r.Claimed, "the farm was SIMULATED: its workers were processes of one machine and one owner")
	}
}

// doubt lists what a single bundle cannot show.
func (r *Report) doubt() {
	log := "the bundle carries no log entry"
	if r.LogEntries > 0 {
		log = fmt.Sprintf("the log entries that the bundle carries (%d) were not checked", r.LogEntries)
	}
	r.NotProven = []string{
		"that the key belongs to whom you think: it was taken as given",
		"that the statement is in a public log: " + log,
		"that the builder was chosen by auction or draw and not by itself",
		"that anyone else built it and got the same file",
		"that what it claims of command, inputs and machine is true: rebuild it to see",
		"that the file does no harm",
	}
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
