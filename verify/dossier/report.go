package dossier

import (
	"fmt"
	"strings"

	"gavel/verify/attest"
	"gavel/verify/policy"
)

// Report is what the check of a dossier came to.
type Report struct {
	SHA256   string   `json:"sha256"` // of the file
	Subjects []string `json:"subjects"`
	Build    string   `json:"build,omitempty"`   // hex
	Cluster  string   `json:"cluster,omitempty"` // hex
	Verdict  string   `json:"verdict,omitempty"`
	Level    string   `json:"level,omitempty"` // GAVEL_REPRODUCED_k, GAVEL_UNVERIFIED_SAMPLED or FAILED
	// Domains are the independent parties that got this result, of DomainKind
	// (operator or machine), Operators how many distinct ones they belong to.
	Domains    int    `json:"domains"`
	DomainKind string `json:"domain_kind,omitempty"`
	Operators  int    `json:"operators"`
	Validators int    `json:"validators"` // that were asked for
	Eligible   int    `json:"eligible"`   // parties among whom they were drawn
	Simulated  bool   `json:"simulated"`
	// Log is where the statement stands in the log; nil where that is not proven.
	Log *Logged `json:"log,omitempty"`
	// Bundle is what the bundle's own statement says; nil where its signature fails.
	Bundle *attest.Report `json:"-"`
	// BundleBytes are the bundle as a Request read it.
	BundleBytes []byte `json:"-"`
	// WallMillis is the leader's clock when the build settled; 0 where unknown.
	WallMillis int64 `json:"wall_millis,string"`
	// Violations are the rules of a policy that are broken; Hold fills them in.
	Violations []policy.Violation `json:"violations,omitempty"`
	evidence   policy.Evidence
	named      bool // the reader named the farm or the signer

	// Failures are contradictions and broken rules: with any, nothing is verified.
	Failures  []string `json:"failures"`
	Proven    []string `json:"proven"`
	Claimed   []string `json:"claimed"`
	NotProven []string `json:"not_proven"`
}

// Logged is a statement's place in the log.
type Logged struct {
	Leaf      uint64   `json:"leaf,string"`
	Size      uint64   `json:"size,string"`
	Cosigners []string `json:"cosigners"`
	Witnesses []string `json:"witnesses"`
	// CosignedUnix is when the majority had signed, by the cosigners' clocks.
	CosignedUnix int64 `json:"cosigned_unix,string"`
}

// Verified says that nothing failed.
func (r *Report) Verified() bool { return len(r.Failures) == 0 }

func (r *Report) fail(format string, args ...any) {
	r.Failures = append(r.Failures, fmt.Sprintf(format, args...))
}

func (r *Report) proven(format string, args ...any) {
	r.Proven = append(r.Proven, fmt.Sprintf(format, args...))
}

func (r *Report) claimed(format string, args ...any) {
	r.Claimed = append(r.Claimed, fmt.Sprintf(format, args...))
}

func (r *Report) notProven(format string, args ...any) {
	r.NotProven = append(r.NotProven, fmt.Sprintf(format, args...))
}

// String is the report for a person.
func (r *Report) String() string {
	var b strings.Builder
	for _, part := range []struct {
		title     string
		sentences []string
	}{{"FAILED", r.Failures}, {"proven", r.Proven}, {"claimed by the signers", r.Claimed}, {"not proven", r.NotProven}} {
		if len(part.sentences) == 0 {
			continue
		}
		_, _ = fmt.Fprintf(&b, "%s:\n", part.title)
		for _, s := range part.sentences {
			_, _ = fmt.Fprintf(&b, "  - %s\n", s)
		}
	}
	return b.String()
}
