package cas

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync/atomic"
	"testing"
	"testing/iotest"
)

func TestVerify(t *testing.T) {
	want := []byte("hello, content-addressed world")
	d := Of(want)
	flipped := bytes.Clone(want)
	flipped[len(flipped)-1] ^= 1
	broken := errors.New("broken disk")
	for _, c := range []struct {
		name string
		from io.Reader
		err  error
	}{
		{"right", bytes.NewReader(want), nil},
		{"right, by bytes", iotest.OneByteReader(bytes.NewReader(want)), nil},
		{"right, data with EOF", iotest.DataErrReader(bytes.NewReader(want)), nil},
		{"flipped bit", bytes.NewReader(flipped), ErrDigestMismatch},
		{"short", bytes.NewReader(want[:10]), ErrDigestMismatch},
		{"empty", bytes.NewReader(nil), ErrDigestMismatch},
		{"long", io.MultiReader(bytes.NewReader(want), bytes.NewReader([]byte("x"))), ErrDigestMismatch},
		{"read error", io.MultiReader(bytes.NewReader(want[:10]), iotest.ErrReader(broken)), broken},
		{"read error at the end", io.MultiReader(bytes.NewReader(want), iotest.ErrReader(broken)), broken},
	} {
		got, err := io.ReadAll(Verify(d, c.from))
		if !errors.Is(err, c.err) {
			t.Errorf("%s: error %v, want %v", c.name, err, c.err)
		}
		if c.err == nil && !bytes.Equal(got, want) {
			t.Errorf("%s: read %q", c.name, got)
		}
		if c.err != nil && len(got) >= len(want) {
			t.Errorf("%s: all %d bytes were handed out before they were verified", c.name, len(got))
		}
	}
	if _, err := io.ReadAll(Verify(Empty, bytes.NewReader([]byte("x")))); !errors.Is(err, ErrDigestMismatch) {
		t.Errorf("content for the empty blob: %v", err)
	}
	// Who reads exactly the size and stops must be safe as well.
	if _, err := io.ReadFull(Verify(d, bytes.NewReader(flipped)), make([]byte, d.Size)); !errors.Is(err, ErrDigestMismatch) {
		t.Errorf("exact read of flipped content: %v", err)
	}
}

func TestParallel(t *testing.T) {
	items := make([]int, 1000)
	var ran, now, peak atomic.Int64
	err := Parallel(t.Context(), 4, items, func(context.Context, int) error {
		if n := now.Add(1); n > peak.Load() {
			peak.Store(n)
		}
		ran.Add(1)
		now.Add(-1)
		return nil
	})
	if err != nil || ran.Load() != 1000 || peak.Load() > 4 {
		t.Errorf("%v after %d runs, %d at once", err, ran.Load(), peak.Load())
	}
	stop := errors.New("stop")
	ran.Store(0)
	err = Parallel(t.Context(), 4, items, func(ctx context.Context, _ int) error {
		if ran.Add(1) == 10 {
			return stop
		}
		return ctx.Err()
	})
	if err != stop || ran.Load() > 20 {
		t.Errorf("%v after %d runs", err, ran.Load())
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Parallel(ctx, 4, items, func(context.Context, int) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("under an ended context: %v", err)
	}
	if err := Parallel(t.Context(), 4, nil, func(context.Context, int) error { return stop }); err != nil {
		t.Errorf("of nothing: %v", err)
	}
}
