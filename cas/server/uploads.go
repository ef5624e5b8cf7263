package server

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"gavel/cas"
)

// uploads holds the ByteStream uploads that have begun and not ended. Each keeps
// a Put of the store running and feeds it through a pipe, so that content goes
// to the store as it comes, and an interrupted upload needs nothing but time.
type uploads struct {
	running sync.WaitGroup

	mu    sync.Mutex
	byKey map[uploadKey]*upload // guarded by mu
	count map[[32]byte]int      // of byKey by account; guarded by mu
}

type uploadKey struct {
	account  [32]byte
	instance string
	uuid     string
	digest   cas.Digest
}

// upload is one of them. The stream that attached it owns it until park or drop.
type upload struct {
	key       uploadKey
	content   *io.PipeWriter
	committed atomic.Int64 // bytes the store's Put has taken
	stop      context.CancelFunc
	stored    chan struct{} // closed when Put has returned
	err       error         // what Put returned; set before stored is closed

	attached bool        // guarded by uploads.mu
	parked   time.Time   // guarded by uploads.mu
	expiry   *time.Timer // of a parked one; guarded by uploads.mu
}

func newUploads() *uploads {
	return &uploads{byKey: map[uploadKey]*upload{}, count: map[[32]byte]int{}}
}

// attach continues the upload k or begins it.
func (us *uploads) attach(k uploadKey, to cas.Store) (*upload, error) {
	us.mu.Lock()
	defer us.mu.Unlock()
	if u, ok := us.byKey[k]; ok {
		if u.attached {
			// The stream it was interrupted on may not have noticed yet.
			return nil, status.Error(codes.Unavailable, "another stream is writing this upload; try again")
		}
		u.expiry.Stop()
		u.attached = true
		return u, nil
	}
	if us.count[k.account] >= maxUploadsPerAccount || len(us.byKey) >= maxUploads {
		oldest := us.oldestParked(k.account)
		if oldest == nil {
			return nil, status.Error(codes.ResourceExhausted, "too many uploads at once; finish some first")
		}
		us.remove(oldest)
	}
	ctx, stop := context.WithCancel(context.Background())
	r, w := io.Pipe()
	u := &upload{key: k, content: w, stop: stop, stored: make(chan struct{}), attached: true}
	us.byKey[k] = u
	us.count[k.account]++
	us.running.Go(func() {
		u.err = to.Put(ctx, k.digest, r)
		// Whoever still writes learns why nobody reads.
		r.CloseWithError(errors.Join(errStopped, u.err))
		close(u.stored)
	})
	return u, nil
}

// errStopped marks a write to an upload whose Put has returned.
var errStopped = errors.New("the store takes no more of this upload")

func (us *uploads) oldestParked(account [32]byte) *upload {
	var oldest *upload
	for _, u := range us.byKey {
		if !u.attached && u.key.account == account && (oldest == nil || u.parked.Before(oldest.parked)) {
			oldest = u
		}
	}
	return oldest
}

// park ends a stream's hold of u, which waits for another.
func (us *uploads) park(u *upload) {
	us.mu.Lock()
	defer us.mu.Unlock()
	u.attached, u.parked = false, time.Now()
	u.expiry = time.AfterFunc(resumeWindow, func() {
		us.mu.Lock()
		defer us.mu.Unlock()
		if !u.attached {
			us.remove(u)
		}
	})
}

// drop ends u.
func (us *uploads) drop(u *upload) {
	us.mu.Lock()
	defer us.mu.Unlock()
	us.remove(u)
}

// remove ends u, once or again; mu is held.
func (us *uploads) remove(u *upload) {
	u.stop()
	u.content.CloseWithError(context.Canceled)
	if us.byKey[u.key] != u {
		return
	}
	delete(us.byKey, u.key)
	if us.count[u.key.account]--; us.count[u.key.account] == 0 {
		delete(us.count, u.key.account)
	}
}

func (us *uploads) committed(k uploadKey) int64 {
	us.mu.Lock()
	defer us.mu.Unlock()
	if u, ok := us.byKey[k]; ok {
		return u.committed.Load()
	}
	return 0
}

func (us *uploads) close() {
	us.mu.Lock()
	for _, u := range us.byKey {
		if u.expiry != nil {
			u.expiry.Stop()
		}
		us.remove(u)
	}
	us.mu.Unlock()
	us.running.Wait()
}

// write gives the store what of data, which starts at offset, it does not have
// yet: a client may resend what it does not know to be committed.
func (u *upload) write(data []byte, offset int64) error {
	known := min(u.committed.Load()-offset, int64(len(data)))
	if known == int64(len(data)) {
		return nil // a pipe would wait for a reader even of nothing
	}
	n, err := u.content.Write(data[known:])
	u.committed.Add(int64(n))
	if errors.Is(err, errStopped) {
		<-u.stored
		return u.err
	}
	return err
}

// complete tells the store that this was all and returns what it says.
func (u *upload) complete() error {
	u.content.Close()
	<-u.stored
	return u.err
}
