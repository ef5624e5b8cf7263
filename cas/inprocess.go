package cas

import (
	"context"
	"io"
	"sync"
)

// InProcess serves bulk transfers from a store of this process, where a call
// costs nothing and batching gains nothing.
type InProcess struct{ Store }

// Upload implements Uploader.
func (p InProcess) Upload(ctx context.Context, blobs []Blob, done func(Digest)) error {
	var mu sync.Mutex
	return Parallel(ctx, copyStreams, blobs, func(ctx context.Context, b Blob) error {
		r, err := b.Open()
		if err != nil {
			return err
		}
		defer r.Close()
		if err := p.Put(ctx, b.Digest, r); err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		done(b.Digest)
		return nil
	})
}

// Fetch implements Fetcher.
func (p InProcess) Fetch(ctx context.Context, ds []Digest, sink func(Digest, io.Reader) error) error {
	return Parallel(ctx, copyStreams, Unique(ds), func(ctx context.Context, d Digest) error {
		r, err := p.Open(ctx, d)
		if err != nil {
			return err
		}
		defer r.Close()
		return sink(d, r)
	})
}

// Parallel calls do for every item, at most n at a time. It returns the first
// error, after which ctx of the others ends and no further item is begun.
func Parallel[T any](ctx context.Context, n int, items []T, do func(context.Context, T) error) error {
	outer := ctx
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	work := make(chan T)
	var wg sync.WaitGroup
	for range min(n, len(items)) {
		wg.Go(func() {
			for item := range work {
				if err := do(ctx, item); err != nil {
					cancel(err)
					return
				}
			}
		})
	}
	begun := 0
	for begun < len(items) && ctx.Err() == nil {
		select {
		case work <- items[begun]:
			begun++
		case <-ctx.Done():
		}
	}
	close(work)
	wg.Wait()
	if outer.Err() == nil && ctx.Err() == nil && begun == len(items) {
		return nil
	}
	return context.Cause(ctx)
}
