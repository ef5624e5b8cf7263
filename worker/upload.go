package worker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"

	gavelv1 "gavel/api/gavel/v1"
	"gavel/cas"
	"gavel/cas/tree"
	"gavel/raftfsm/build"
	"gavel/worker/engine"
)

// upload is outputs that the farm asks for, after the verdict.
type upload struct {
	lease, build, result build.ID
	evidence             bool // not for delivery: to explain a difference
}

func uploadOf(m *gavelv1.Upload) (upload, error) {
	u := upload{evidence: m.Evidence}
	return u, errors.Join(idOf(m.Lease, &u.lease), idOf(m.Build, &u.build), idOf(m.Result, &u.result))
}

// uploader hands outputs out.
type uploader interface {
	// Upload returns nil when nothing more is to be done.
	Upload(ctx context.Context, u upload) error
}

// deliverer uploads kept outputs. Nothing else in this package writes to the
// farm's store.
type deliverer struct {
	cluster cluster
	journal records
	blobs   blobs
	kept    *kept
	slots   *slots
	log     *slog.Logger
}

// Upload implements uploader.
func (d *deliverer) Upload(ctx context.Context, u upload) error {
	if !u.evidence {
		var r attemptRecord
		if found, err := d.journal.Get(shelfAttempts, u.lease, &r); err != nil {
			return err
		} else if found {
			// Who delivers holds a lease, as who builds does.
			defer heartbeat{d.cluster, d.log}.start(ctx, u.build, u.lease, r.LeaseMillis, true)()
		}
	}
	release, err := d.slots.take(ctx)
	if err != nil {
		return err
	}
	defer release()
	m, dir, err := d.kept.open(u.lease)
	if err != nil {
		d.log.Error("outputs that are asked for are gone", "build", full(u.build), "lease", short(u.lease), "why", err)
		return nil
	}
	summary := m.Summarise()
	if summary.Digest() != u.result {
		d.log.Error("another result is asked for than this worker has", "build", full(u.build), "lease", short(u.lease))
		return nil
	}
	if err := d.send(ctx, m, dir); err != nil {
		return err
	}
	if err := d.cluster.Deliver(ctx, u.build, u.lease); err != nil {
		return err
	}
	d.log.Info("outputs uploaded", "build", full(u.build), "lease", short(u.lease), "evidence", u.evidence, "bytes", summary.OutputBytes)
	return nil
}

// send puts the manifest and then its files into the farm's store, which takes
// no blob that a manifest does not name.
func (d *deliverer) send(ctx context.Context, m *build.Manifest, dir string) error {
	raw := m.Bytes()
	blob := cas.Blob{Digest: cas.Of(raw), Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(raw)), nil }}
	if err := d.blobs.Upload(ctx, []cas.Blob{blob}, func(cas.Digest) {}); err != nil {
		return fmt.Errorf("uploading the manifest: %w", err)
	}
	limits := tree.Options{Limits: tree.Limits{Entries: build.MaxOutputs}}
	return tree.UploadFiles(ctx, d.blobs, dir, engine.Entries(m), limits)
}
