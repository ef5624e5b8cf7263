package audit

import "context"

// Resumer keeps the state of an audit that may be interrupted.
type Resumer interface {
	Load() ([]byte, error)
	Save([]byte) error
}

func (a *auditor) resume(context.Context, []uint64) error { return nil }

func (a *auditor) keep(context.Context, *segment) error { return nil }
