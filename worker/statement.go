package worker

import (
	"errors"
	"fmt"
	"log/slog"

	"gavel/api/action"
	"gavel/raftfsm/build"
	"gavel/verify/attest"
	"gavel/verify/keys"
)

// attester signs what a product claims to be. The coordinators derive the same
// statement from the action, the build's record and the opening.
type attester struct {
	farm      build.ID
	simulated bool
	self      *build.Worker // name, operator and class as it registers them
	signer    *keys.Signer
	log       *slog.Logger
}

// sign returns the signature over the provenance, or none where the result holds
// what no statement can say.
func (a *attester) sign(j *job, p *product, o *build.Opening) ([]byte, error) {
	statement, err := a.statement(j, p, o)
	if errors.Is(err, attest.ErrProvenance) {
		a.log.Warn("result is committed to without a statement", "build", full(j.Build), "why", err)
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("stating the provenance: %w", err)
	}
	return attest.Sign(statement, a.signer)
}

func (a *attester) statement(j *job, p *product, o *build.Opening) ([]byte, error) {
	by := action.Author{
		Cluster: a.farm, Build: j.Build, Worker: a.self, Role: attest.RoleValidator, Simulated: a.simulated,
		StartedWallMillis: o.StartedWallMillis, FinishedWallMillis: o.FinishedWallMillis,
	}
	if j.Builder {
		by.Role = attest.RoleBuilder
	}
	return p.Action.Provenance(by, p.Manifest).Statement()
}
