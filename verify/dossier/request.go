package dossier

import (
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"gavel/verify/attest"
	"gavel/verify/keys"
	"gavel/verify/policy"
	"gavel/verify/tlog"
)

// ErrRequest says that a request names something that cannot be read or meant:
// nothing was checked.
var ErrRequest = errors.New("nothing was checked")

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

// Check reads what the request names and checks it.
func (r *Request) Check() (*Report, error) {
	t, err := r.trust()
	if err != nil {
		return nil, err
	}
	dir := r.With
	switch {
	case r.Alone && len(t.Key) == 0:
		return nil, fmt.Errorf("%w: whose attestation? Alone it needs a key", ErrRequest)
	case r.Alone:
		dir = ""
	case dir == "":
		dir = filepath.Dir(r.Bundle)
	}
	files, beside, err := Load(r.Bundle, dir)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRequest, err)
	}
	if t.Genesis == nil {
		t.Genesis = beside
	}
	switch {
	case r.Cluster != "" && t.Genesis == nil:
		return nil, fmt.Errorf("%w: no genesis lies beside the bundle: name it", ErrRequest)
	case t.Genesis == nil && len(t.Key) == 0:
		return nil, fmt.Errorf("%w: whose attestation? No genesis lies beside the bundle: name one, or a key", ErrRequest)
	case r.Cluster != "":
		if raw, err := hex.DecodeString(r.Cluster); err != nil || len(raw) != 32 {
			return nil, fmt.Errorf("%w: %q is no cluster's id: it has 64 hex digits", ErrRequest, r.Cluster)
		}
		if got := t.Genesis.Digest(); hex.EncodeToString(got[:]) != strings.ToLower(r.Cluster) {
			report := &Report{}
			report.fail("the genesis is that of cluster %x, not of %s", got, r.Cluster)
			return report, nil
		}
		t.Pinned = true
	}
	if files.Artifact, err = digestOfFile(r.File); err != nil {
		return nil, fmt.Errorf("%w: reading the file: %w", ErrRequest, err)
	}
	report, err := Check(files, t)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRequest, err)
	}
	return report, r.hold(report, t.AsOf)
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
		if t.Key, err = publicKey(r.Key); err != nil {
			return nil, err
		}
	}
	if r.Genesis != "" {
		raw, err := readPart(r.Genesis)
		if err != nil {
			return nil, fmt.Errorf("%w: reading the genesis: %w", ErrRequest, err)
		}
		if t.Genesis, err = ReadGenesis(raw); err != nil {
			return nil, fmt.Errorf("%w: %s: %w", ErrRequest, r.Genesis, err)
		}
		t.Pinned = true
	}
	if r.GroupKey != "" {
		raw, err := hex.DecodeString(r.GroupKey)
		if err != nil || len(raw) != 96 {
			return nil, fmt.Errorf("%w: a group key has 192 hex digits", ErrRequest)
		}
		t.GroupKeys = [][96]byte{[96]byte(raw)}
	}
	for _, w := range r.Witnesses {
		name, path, ok := strings.Cut(w, "=")
		if !ok {
			return nil, fmt.Errorf("%w: witness %q: want NAME=KEY", ErrRequest, w)
		}
		pkix, err := publicKey(path)
		if err != nil {
			return nil, err
		}
		t.Witnesses = append(t.Witnesses, tlog.Cosigner{Name: name, PKIX: pkix})
	}
	if r.AsOf != "" {
		if t.AsOf, err = time.Parse(time.RFC3339, r.AsOf); err != nil {
			day, err := time.Parse(time.DateOnly, r.AsOf)
			if err != nil {
				return nil, fmt.Errorf("%w: %q is no date as 2026-01-31, and no time as 2026-01-31T12:00:00Z", ErrRequest, r.AsOf)
			}
			t.AsOf = day.Add(24*time.Hour - time.Second) // the end of that day
		}
	}
	return t, nil
}

func publicKey(path string) ([]byte, error) {
	pem, err := readPart(path)
	if err != nil {
		return nil, fmt.Errorf("%w: reading the key: %w", ErrRequest, err)
	}
	public, err := keys.ParsePublic(pem)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrRequest, path, err)
	}
	return keys.PKIX(public)
}

// hold applies the policy, if there is one, as of the time that is asked about.
func (r *Request) hold(report *Report, asOf time.Time) error {
	if r.Policy == "" {
		return nil
	}
	raw, err := readPart(r.Policy)
	if err != nil {
		return fmt.Errorf("%w: reading the policy: %w", ErrRequest, err)
	}
	rules, err := policy.Parse(raw)
	if err != nil {
		return fmt.Errorf("%w: %s: %w", ErrRequest, r.Policy, err)
	}
	if asOf.IsZero() {
		asOf = time.Now()
	}
	report.Hold(rules, asOf)
	return nil
}
