package cas

import (
	"context"
	"errors"
	"fmt"
	"io"
)

// ErrNotFound is wrapped when a blob is not there, or not there for the one who
// asks: upload it, or ask whoever has it.
var ErrNotFound = errors.New("not found")

// ErrDigestMismatch is wrapped when bytes do not have the digest they were
// announced with. They are not stored; sending the same again is pointless.
var ErrDigestMismatch = errors.New("content does not have its digest")

// ErrTooLarge is wrapped when something exceeds a limit named in the error.
var ErrTooLarge = errors.New("too large")

// Store keeps blobs. Implementations are safe for concurrent use, hold Empty
// always, and check digest and size both ways.
type Store interface {
	// Missing returns those of ds that the store does not hold, in order and
	// without repeats.
	Missing(ctx context.Context, ds []Digest) ([]Digest, error)
	// Open returns the blob's content, or an error wrapping ErrNotFound. The last
	// byte is handed out only once all have been verified; a Read that finds
	// them wrong fails instead.
	Open(ctx context.Context, d Digest) (io.ReadCloser, error)
	// Put stores exactly the content of r, read to its end, if it has the digest
	// d; otherwise nothing and an error wrapping ErrDigestMismatch. Storing a
	// blob that exists is harmless and reads r all the same. When Put returns
	// nil the blob is as durable as the store is.
	Put(ctx context.Context, d Digest, r io.Reader) error
}

// Blob is content to upload.
type Blob struct {
	Digest Digest
	// Open starts reading at the first byte; an upload that is retried calls it again.
	Open func() (io.ReadCloser, error)
}

// Uploader takes many blobs at once.
type Uploader interface {
	Missing(ctx context.Context, ds []Digest) ([]Digest, error)
	// Upload stores all blobs or returns an error. It calls done after each, one
	// call at a time.
	Upload(ctx context.Context, blobs []Blob, done func(Digest)) error
}

// Fetcher hands out many blobs at once.
type Fetcher interface {
	// Fetch calls sink once for each distinct digest of ds, with a verifying
	// reader (see Store.Open), from several goroutines at once and in no
	// particular order. It returns the first error, also of sink.
	Fetch(ctx context.Context, ds []Digest, sink func(Digest, io.Reader) error) error
}

// NotFound is the error for a blob that is not there.
func NotFound(d Digest) error { return fmt.Errorf("blob %s: %w", d, ErrNotFound) }

// Unique returns ds without repeats, in order of first appearance.
func Unique(ds []Digest) []Digest {
	seen := make(map[Digest]struct{}, len(ds))
	out := make([]Digest, 0, len(ds))
	for _, d := range ds {
		if _, dup := seen[d]; !dup {
			seen[d] = struct{}{}
			out = append(out, d)
		}
	}
	return out
}
