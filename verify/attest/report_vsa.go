package attest

import (
	"fmt"
	"slices"
	"strings"

	vsa "github.com/in-toto/attestation/go/predicates/vsa/v1"

	"gavel/raftfsm/build"
)

// Failed says that the statement is a verification summary whose verifier found
// the file wanting: genuine, and no reason to trust the file.
func (r *Report) Failed() bool { return r.Result == resultFailed }

// claimVerification says in words what a verification summary says.
func (r *Report) claimVerification(v *vsa.VerificationSummary) {
	levels := make([]string, len(v.VerifiedLevels))
	for i, level := range v.VerifiedLevels {
		levels[i] = shown(level)
	}
	r.Claimed = append(r.Claimed,
		"the verifier was "+shown(r.VerifierID),
		fmt.Sprintf("its verification of %s %s, at %s", shown(r.ResourceURI), r.Result, strings.Join(levels, ", ")))
	if t := v.GetTimeVerified(); t != nil {
		r.Claimed = append(r.Claimed, "it verified at "+stamp(t)+" by its own clock")
	}
	if r.Summary != nil {
		r.Simulated = r.Summary.Simulated
		r.claimSummary(r.Summary)
	}
}

// claimSummary says what a Gavel cluster's summary says beyond SLSA's fields.
func (r *Report) claimSummary(s *Summary) {
	claim := func(format string, args ...any) { r.Claimed = append(r.Claimed, fmt.Sprintf(format, args...)) }
	var domains []string
	for _, a := range s.Agreed {
		if name := shown(a.Domain); !slices.Contains(domains, name) {
			domains = append(domains, name)
		}
	}
	kind := s.DomainKind.String()
	switch s.Verdict {
	case build.Agreed, build.Judged:
		claim("the verdict was %v: %d independent parties, by %s, got this result: %s", s.Verdict, len(domains), kind, strings.Join(domains, ", "))
	case build.Unsampled:
		claim("nobody built it again: the lot fell so (%v)", s.Verdict)
	default:
		claim("the verdict was %v: the result is contested", s.Verdict)
	}
	claim("%d validators were asked for, to be drawn among %d eligible parties", s.Validators, s.Domains)
	if s.Status != build.StatusExited || s.ExitCode != 0 {
		claim("the command did not succeed: %v, exit code %d, signal %d", s.Status, s.ExitCode, s.Signal)
	}
	for _, l := range s.LeftOut {
		claim("the provenance of worker %x is left out: %s", l.Worker, shown(l.Why))
	}
	for _, e := range s.Expected {
		if e.Match {
			claim("%s is what somebody else published (SHA-256 %x)", shown(e.Path), e.SHA256)
		} else {
			claim("%s is NOT what somebody else published (SHA-256 %x)", shown(e.Path), e.SHA256)
		}
	}
}

// doubtVerification lists what a summary alone cannot show.
func (r *Report) doubtVerification() []string {
	if r.Summary == nil {
		return []string{
			"that the verifier did verify anything: its word was taken",
			"that the input attestations say what the summary says: they were not checked",
		}
	}
	return []string{
		fmt.Sprintf("that the parties were drawn by lot: the draw's signatures (%d) were not checked", len(r.Summary.Draws)),
		fmt.Sprintf("that the verdict follows from what they committed to: the transcript %x was not checked", r.Summary.Transcript),
		fmt.Sprintf("that each party said so itself: its %d provenance statements were not checked", len(r.Summary.Inputs)),
		"that the parties are independent of each other: whom they belong to is the cluster's word",
	}
}
