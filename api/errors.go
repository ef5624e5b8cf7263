package api

import (
	"errors"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"gavel/raftfsm/build"
)

var (
	// ErrNoCluster says that no coordinator could be reached, or none that can
	// act: nothing is known to be lost, try again when the farm runs.
	ErrNoCluster = errors.New("no coordinator of this farm answers")
	// ErrOutcomeUnknown says that a command may or may not have been applied.
	// Repeat it with the same request id, or look at the state it would change.
	ErrOutcomeUnknown = errors.New("outcome unknown")
)

// RefusedError is a command that the farm refused: nothing was changed by it.
type RefusedError struct {
	Code   build.Code
	Detail string // a sentence for a person
}

func (e *RefusedError) Error() string {
	if e.Detail == "" {
		return fmt.Sprintf("the farm refused (code %d)", e.Code)
	}
	return e.Detail
}

// retryable says that another coordinator, or the same one later, may serve the
// call: Unavailable is a node that cannot be reached, Aborted a node that
// answers but has no leader to act with, or whose leader went away meanwhile.
func retryable(err error) bool {
	switch status.Code(err) {
	case codes.Unavailable, codes.Aborted:
		return true
	}
	return false
}
