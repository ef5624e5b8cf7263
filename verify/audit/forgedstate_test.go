package audit

import (
	"context"
	"errors"
	"testing"

	"gavel/raftfsm/wire"
	"gavel/verify/tlog"
)

// interruptedState is what an audit keeps that is interrupted in the first epoch.
func interruptedState(t *testing.T, src tlog.Source) *resumeState {
	t.Helper()
	k := &kept{}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if _, err := Run(ctx, &interrupting{src, 1, cancel}, Options{Resume: k}); !errors.Is(err, context.Canceled) || k.raw == nil {
		t.Fatalf("interrupted: %v, %d bytes kept", err, len(k.raw))
	}
	return must(readResume(k.raw))
}

// A state under a good digest that is wrong all the same, whoever made it, costs an
// audit no more than the beginning of the log: it neither ends it nor shows in what it
// finds.
func TestForgedStateEndsNoAudit(t *testing.T) {
	src := &overlay{files: begun()}
	good := wire.Encode(interruptedState(t, src))
	for name, forge := range map[string]func(x *resumeState){
		"a leaf more":        func(x *resumeState) { x.Leaves++ },
		"no leaves":          func(x *resumeState) { x.Leaves = 0 },
		"another position":   func(x *resumeState) { x.Position.Size = 256 },
		"no epochs":          func(x *resumeState) { x.Epochs = 0 },
		"an epoch more":      func(x *resumeState) { x.Epochs++ },
		"a later index":      func(x *resumeState) { x.Index += 1000 },
		"no key":             func(x *resumeState) { x.Keys = nil },
		"a key of nobody's":  func(x *resumeState) { x.Keys = append(x.Keys, []byte("key")) },
		"an event of no log": func(x *resumeState) { x.Events = append(x.Events, event{1, []byte("{}")}) },
		"money":              func(x *resumeState) { x.Book.minted++ },
		"half a snapshot":    func(x *resumeState) { x.Snapshot = x.Snapshot[:len(x.Snapshot)/2] },
		"a changed snapshot": func(x *resumeState) { x.Snapshot[len(x.Snapshot)/2] ^= 1 },
		"no transcripts":     func(x *resumeState) { x.Waiting = nil },
		"another transcript": func(x *resumeState) { x.Waiting[0].Bytes[40] ^= 1 },
	} {
		x := must(readResume(sealed(good)))
		if len(x.Waiting) == 0 {
			t.Fatal("no build waits for its certificate there")
		}
		forge(x)
		r, err := Run(t.Context(), src, Options{Resume: &kept{sealed(wire.Encode(x))}})
		if err != nil || !r.Clean() {
			t.Errorf("%s: %v, %+v", name, err, r)
		}
	}
}
