package dossier

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"gavel/verify/attest"
	"gavel/verify/keys"
	"gavel/verify/policy"
	"gavel/verify/tlog"
)

// BadRequest is what is wrong with a request: nothing was checked.
type BadRequest struct {
	// Malformed says that it is no request; else something that it names cannot be read.
	Malformed bool
	Err       error
}

func (b *BadRequest) Error() string { return b.Err.Error() }

// Unwrap is the cause.
func (b *BadRequest) Unwrap() error { return b.Err }

func malformed(format string, args ...any) error {
	return &BadRequest{true, fmt.Errorf(format, args...)}
}

func unreadable(format string, args ...any) error {
	return &BadRequest{false, fmt.Errorf(format, args...)}
}

// Bounds of the small files that a request names.
const (
	maxKeyBytes     = 64 << 10
	maxGenesisBytes = 64 << 20
)

// Request is a check as a command line asks for it. Paths are as given; what is
// empty is not asked for.
type Request struct {
	Bundle, File string
	Key          string // public key in PEM
	Genesis      string
	Cluster      string   // id in hex
	GroupKey     string   // in hex
	With         string   // where the rest lies; empty: beside Bundle
	Alone        bool     // nothing beside Bundle is looked at
	Policy       string   // demands
	AsOf         string   // a date, or RFC 3339
	Witnesses    []string // NAME=KEY
	Quorum       int      // of witnesses
}

// Check reads what the request names and checks it, until ctx ends: a file may be
// endless, or a pipe that nobody writes to.
func (r *Request) Check(ctx context.Context) (*Report, error) {
	type result struct {
		report *Report
		err    error
	}
	done := make(chan result, 1)
	go func() {
		report, err := r.check()
		done <- result{report, err}
	}()
	select {
	case x := <-done:
		return x.report, x.err
	case <-ctx.Done():
		return nil, unreadable("interrupted before all was read: %w", ctx.Err())
	}
}

func (r *Request) check() (*Report, error) {
	t, err := r.trust()
	if err != nil {
		return nil, err
	}
	dir := r.With
	switch {
	case r.Alone && len(t.Key) == 0:
		return nil, malformed("whose attestation? --alone needs --key KEY, a public key in PEM")
	case r.Alone:
		dir = ""
	case dir == "":
		dir = filepath.Dir(r.Bundle)
	}
	files, beside, err := Load(r.Bundle, dir)
	if err != nil {
		return nil, unreadable("%w", err)
	}
	if t.Genesis == nil {
		t.Genesis = beside
	}
	if r.Cluster != "" {
		if raw, err := hex.DecodeString(r.Cluster); err != nil || len(raw) != 32 {
			return nil, malformed("--cluster %q: want the cluster's id of 64 hex digits, as gavel cluster status shows it", r.Cluster)
		}
		if t.Genesis == nil {
			return nil, unreadable("no genesis lies beside the bundle: name it with --genesis FILE")
		}
		if got := t.Genesis.Digest(); hex.EncodeToString(got[:]) != strings.ToLower(r.Cluster) {
			report := &Report{}
			report.fail("the genesis is that of cluster %x, not of %s: this is another farm's", got, r.Cluster)
			return report, nil
		}
		t.Pinned = true
	}
	if t.Genesis == nil && len(t.Key) == 0 {
		return nil, malformed("whose attestation? No genesis lies beside the bundle: give --genesis FILE, or --key KEY, a public key in PEM")
	}
	if files.Artifact, err = digestOfFile(r.File); err != nil {
		return nil, unreadable("reading the file: %w", err)
	}
	report, err := Check(files, t)
	if err != nil {
		return nil, unreadable("%w", err)
	}
	report.BundleBytes = files.Bundle
	return report, r.hold(report, files, t.AsOf)
}

func digestOfFile(path string) ([32]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return [32]byte{}, err
	}
	digest, err := attest.DigestOf(f)
	return digest, errors.Join(err, f.Close())
}

// trust reads whose word counts.
func (r *Request) trust() (*Trust, error) {
	t := &Trust{WitnessQuorum: r.Quorum}
	var err error
	if r.Key != "" {
		if t.Key, err = ReadPublicKey(r.Key); err != nil {
			return nil, err
		}
	}
	if r.Genesis != "" {
		raw, err := readPart(r.Genesis, maxGenesisBytes)
		if err != nil {
			return nil, unreadable("reading the genesis: %w", err)
		}
		if t.Genesis, err = ReadGenesis(raw); err != nil {
			return nil, unreadable("%s: %w", r.Genesis, err)
		}
		t.Pinned = true
	}
	if r.GroupKey != "" {
		raw, err := hex.DecodeString(r.GroupKey)
		if err != nil || len(raw) != 96 {
			return nil, malformed("--group-key wants 192 hex digits, as gavel cluster status shows them")
		}
		t.GroupKeys = [][96]byte{[96]byte(raw)}
	}
	for _, w := range r.Witnesses {
		name, path, ok := strings.Cut(w, "=")
		if !ok {
			return nil, malformed("--witness %q: want NAME=KEY", w)
		}
		pkix, err := ReadPublicKey(path)
		if err != nil {
			return nil, err
		}
		t.Witnesses = append(t.Witnesses, tlog.Cosigner{Name: name, PKIX: pkix})
	}
	if r.AsOf != "" {
		if t.AsOf, err = time.Parse(time.RFC3339, r.AsOf); err != nil {
			day, err := time.Parse(time.DateOnly, r.AsOf)
			if err != nil {
				return nil, malformed("--as-of %q: want a date as 2026-01-31, or a time as 2026-01-31T12:00:00Z", r.AsOf)
			}
			t.AsOf = day.Add(24*time.Hour - time.Second) // the end of that day
		}
		if t.AsOf.IsZero() { // which would ask for nothing
			return nil, malformed("--as-of %q: no farm is as old as that", r.AsOf)
		}
	}
	return t, nil
}

// ReadPublicKey reads a public key in PEM, as PKIX DER.
func ReadPublicKey(path string) ([]byte, error) {
	pem, err := readPart(path, maxKeyBytes)
	if err != nil {
		return nil, unreadable("reading the key: %w", err)
	}
	public, err := keys.ParsePublic(pem)
	if err != nil {
		return nil, unreadable("%s: %w", path, err)
	}
	return keys.PKIX(public)
}

// hold applies the policy, if there is one, as of the time that is asked about.
func (r *Request) hold(report *Report, files *Files, asOf time.Time) error {
	if r.Policy == "" {
		return nil
	}
	raw, err := readPart(r.Policy, policy.MaxFileBytes)
	if err != nil {
		return unreadable("reading the policy: %w", err)
	}
	rules, err := policy.Parse(raw)
	if err != nil {
		return unreadable("%s: %w", r.Policy, err)
	}
	if asOf.IsZero() {
		asOf = time.Now()
	}
	report.Hold(rules, asOf)
	if give := r.lacking(report, files); len(give) > 0 {
		report.fail("rules of the policy want the farm's record of the build: give %s", strings.Join(give, ", and "))
	}
	return nil
}

// lacking is what has to be given besides for the rules that are broken for want of it.
func (r *Request) lacking(report *Report, files *Files) (give []string) {
	broken := func(rules ...string) bool {
		return slices.ContainsFunc(report.Violations, func(v policy.Violation) bool { return slices.Contains(rules, v.Rule) })
	}
	logged := broken("transcript", "log_quorum", "witnesses")
	summed := logged || broken("min_validators", "verdicts", "clusters", "domain_kind", "expected")
	switch {
	case !(summed && !report.evidence.Summarised || logged && len(files.Transcript) == 0):
	case r.Alone:
		give = append(give, "BUNDLE without --alone, beside the rest that gavel submit saved")
	default:
		give = append(give, "--with DIR, where gavel submit saved the build's "+FileSummary+", "+FileTranscript+" and the rest")
	}
	if logged && r.Cluster == "" && r.Genesis == "" {
		give = append(give, "--cluster ID or --genesis FILE, the farm's as you know it from elsewhere")
	}
	return give
}
