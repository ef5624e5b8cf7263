package service

import (
	"context"
	"crypto"
	"errors"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"gavel/api/action"
	gavelv1 "gavel/api/gavel/v1"
	"gavel/cas"
	"gavel/coordinator/publish"
	"gavel/raftfsm"
	"gavel/raftfsm/build"
	"gavel/raftfsm/wire"
	"gavel/verify/attest"
	"gavel/verify/keys"
)

// Attestations returns the signed statements of a decided build, one for each
// opened first or panel attempt whose result its requester can read. They name
// command and environment, so they are the requester's and the coordinators'.
func (s *Server) Attestations(ctx context.Context, in *gavelv1.GetBuildRequest) (*gavelv1.AttestationsResponse, error) {
	caller, b, leave, err := s.ask(ctx, s.pending, in.Build)
	if err != nil {
		return nil, err
	}
	defer leave()
	var who insight
	s.FSM.Read(func(st *raftfsm.State) { who = s.insight(caller, b, st) })
	if who != insider || b.Contest != nil && caller == b.Requester && caller != b.Inputs() { // a challenger is a stranger to what it doubts
		return nil, status.Error(codes.PermissionDenied, "a build's statements are its requester's: they name command and environment")
	}
	out := &gavelv1.AttestationsResponse{}
	if b.Verdict == 0 {
		return out, nil
	}
	logged, err := s.Evidence.Lookup(b.ID)
	if err != nil {
		return nil, status.Errorf(codes.Internal, "reading the log: %v", err)
	}
	if logged != nil {
		if err := s.showLogged(out, logged); err != nil {
			return nil, status.Errorf(codes.Internal, "reading the log: %v", err)
		}
	}
	a, err := s.Blobs.Action(ctx, b.Inputs(), cas.OfSum(b.Terms.ActionDigest, int64(b.Terms.ActionBytes)))
	if errors.Is(err, cas.ErrNotFound) && logged != nil {
		return out, nil // lost with the store: the log's part outlives it
	}
	if err != nil {
		return nil, status.Errorf(codes.Internal, "reading the action: %v", err)
	}
	for i := range b.Attempts {
		attempt := &b.Attempts[i]
		if attempt.Round == build.RoundRecheck || !readable(b, attempt) {
			continue
		}
		var entry *attest.LogEntry
		if logged != nil {
			entry = logged.Provenances[i]
		}
		shown, err := s.attestation(ctx, a, b, attempt, entry)
		if err != nil {
			// An author's signature that fails is its own loss; the others' stand.
			s.Log.Warn("attestation left out", "build", shortID(b.ID), "worker", shortID(attempt.Worker), "error", err)
			continue
		}
		out.Attestations = append(out.Attestations, shown)
	}
	return out, nil
}

// showLogged adds what the transparency log has of a build.
func (s *Server) showLogged(out *gavelv1.AttestationsResponse, logged *publish.Logged) error {
	var g *raftfsm.Genesis
	s.FSM.Read(func(st *raftfsm.State) { g = st.Genesis() })
	out.Logged, out.Transcript, out.TrustedRoot, out.Genesis = true, logged.Transcript, string(logged.TrustedRoot), wire.Encode(g)
	out.Manifest, out.Status = logged.Manifest, string(logged.Status)
	if logged.Summary == nil {
		return nil
	}
	statement, sig, err := attest.ReadEnvelope(logged.Envelope)
	if err != nil {
		return err
	}
	r, err := attest.ReadLeaf(logged.Summary.Body)
	if err != nil {
		return err
	}
	public, err := keys.ParsePKIX(r.PKIX)
	if err != nil {
		return err
	}
	bundle, err := attest.AssembleLogged(statement, sig, public, logged.Summary)
	if err != nil {
		return err
	}
	out.SummaryBundle, out.SummaryEnvelope = string(bundle), string(logged.Envelope)
	out.ClusterKey = string(keys.PEM(r.PKIX))
	return nil
}

// attestation derives what the author must have signed and bundles it with its
// signature, and with its entry of the log if it has one.
func (s *Server) attestation(ctx context.Context, a *action.Action, b *build.Build, attempt *build.Attempt, entry *attest.LogEntry) (*gavelv1.Attestation, error) {
	m, err := s.Blobs.Manifest(ctx, b.Inputs(), manifestDigest(attempt))
	if err != nil {
		return nil, err
	}
	var by action.Author
	var known [][]byte
	s.FSM.Read(func(st *raftfsm.State) {
		if w, ok := st.Worker(attempt.Worker); ok {
			by = action.AuthorOf(s.cluster, b.ID, attempt, *w, st.Genesis().Simulated)
		}
		known = st.KeysAt(attempt.Worker, attempt.CommittedAt)
	})
	if by.Worker == nil || len(known) == 0 {
		return nil, fmt.Errorf("worker %x is not registered", attempt.Worker)
	}
	statement, err := a.Provenance(by, m).Statement()
	if err != nil {
		return nil, err
	}
	bundle, pkix, err := assemble(statement, attempt.Opening.Signature, known, entry)
	if err != nil {
		return nil, err
	}
	return &gavelv1.Attestation{
		Name: by.Worker.Name, Role: string(by.Role), Bundle: string(bundle), PublicKey: string(keys.PEM(pkix)), Result: raw(attempt.Result()),
	}, nil
}

// assemble bundles a statement with its author's signature, under the one of the
// keys that it had when it committed that made it, and with its entry of the log if
// it has one.
func assemble(statement, signature []byte, known [][]byte, entry *attest.LogEntry) (bundle, pkix []byte, err error) {
	for _, pkix := range known {
		var public crypto.PublicKey
		if public, err = keys.ParsePKIX(pkix); err != nil {
			return nil, nil, err
		}
		if entry == nil {
			bundle, err = attest.Assemble(statement, signature, public)
		} else {
			bundle, err = attest.AssembleLogged(statement, signature, public, entry)
		}
		if err == nil {
			return bundle, pkix, nil
		}
	}
	return nil, nil, err
}
