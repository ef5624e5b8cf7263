package api

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	gavelv1 "gavel/api/gavel/v1"
)

// failover is a grpc.ClientConnInterface over several coordinators. A unary
// call that one cannot serve is repeated at the next, until patience is at an
// end; a stream is only opened so, what breaks later is its owner's.
type failover struct {
	patience time.Duration

	mu        sync.Mutex // guards what follows
	endpoints []string
	conns     []*grpc.ClientConn // nil until first used
	current   int
	creds     *Credentials // nil for anonymous callers and until the cluster is known
	closed    bool
}

var errClosed = status.Error(codes.Canceled, "client is closed")

func newFailover(endpoints []string, patience time.Duration) *failover {
	return &failover{patience: patience, endpoints: endpoints, conns: make([]*grpc.ClientConn, len(endpoints))}
}

// learn adds endpoints that the cluster names, after those that the caller gave.
func (f *failover) learn(endpoints []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, e := range endpoints {
		known := e == ""
		for _, have := range f.endpoints {
			known = known || have == e
		}
		if !known && len(f.endpoints) < MaxEndpoints {
			f.endpoints, f.conns = append(f.endpoints, e), append(f.conns, nil)
		}
	}
}

func (f *failover) authenticate(c *Credentials) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.creds = c
}

// pick returns the current connection, where it stands and what to add to calls.
func (f *failover) pick(method string) (*grpc.ClientConn, int, []grpc.CallOption, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil, 0, nil, errClosed
	}
	if f.conns[f.current] == nil {
		conn, err := dial(f.endpoints[f.current])
		if err != nil {
			return nil, f.current, nil, status.Errorf(codes.Unavailable, "%s: %v", f.endpoints[f.current], err)
		}
		f.conns[f.current] = conn
	}
	var opts []grpc.CallOption
	if f.creds != nil && method != gavelv1.Farm_Info_FullMethodName {
		opts = append(opts, grpc.PerRPCCredentials(f.creds))
	}
	return f.conns[f.current], f.current, opts, nil
}

func dial(endpoint string) (*grpc.ClientConn, error) {
	return grpc.NewClient(endpoint,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: keepaliveTime, Timeout: keepaliveTimeout}),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: reconnect, MinConnectTimeout: infoTimeout}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(MaxAnswerBytes), grpc.MaxCallSendMsgSize(MaxMessageBytes)))
}

// leave moves on from endpoint at, unless another call already did, and says
// whether that ends a round.
func (f *failover) leave(at int) (roundEnds bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.current == at {
		f.current = (at + 1) % len(f.endpoints)
	}
	return at == len(f.endpoints)-1
}

// each runs try on one coordinator after another until it succeeds or fails for
// good. perTry bounds a try, 0 does not; a try cut off so counts as unavailable.
func (f *failover) each(ctx context.Context, method string, perTry time.Duration, try func(context.Context, *grpc.ClientConn, []grpc.CallOption) error) error {
	deadline := time.Now().Add(f.patience)
	pause := backoffFirst
	var last error // the last answer that another coordinator might better
	for {
		conn, at, opts, err := f.pick(method)
		if err == nil {
			err = attempt(ctx, perTry, func(ctx context.Context) error { return try(ctx, conn, opts) })
		}
		if isCut(err) && errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return f.giveUp(cmp.Or(last, err))
		}
		if err == nil || !retryable(err) {
			return err
		}
		last = err
		roundEnds := f.leave(at)
		if ctx.Err() != nil || !time.Now().Before(deadline) || roundEnds && wait(ctx, pause) != nil {
			return f.giveUp(last)
		}
		if roundEnds {
			pause = min(2*pause, backoffLast)
		}
	}
}

func attempt(ctx context.Context, limit time.Duration, try func(context.Context) error) error {
	if limit == 0 {
		return try(ctx)
	}
	bounded, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err := try(bounded)
	if err != nil && bounded.Err() != nil && ctx.Err() == nil {
		return status.Errorf(codes.Unavailable, "no answer within %v", limit)
	}
	return err
}

func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// unservedError ends a call that no coordinator could serve; it unwraps to
// ErrNoCluster and to the last answer.
type unservedError struct {
	endpoints []string
	last      error
}

func (e *unservedError) Error() string {
	at := strings.Join(e.endpoints, ", ")
	if status.Code(e.last) == codes.Aborted {
		return fmt.Sprintf("the farm at %s cannot act now: %s; more than half of its coordinators must run (see `gavel cluster status`)", at, status.Convert(e.last).Message())
	}
	return fmt.Sprintf("%v at %s: is `gavel up` running? (%s)", ErrNoCluster, at, status.Convert(e.last).Message())
}

func (e *unservedError) Unwrap() []error { return []error{ErrNoCluster, e.last} }

// GRPCStatus tells gRPC clients built on this one, that of the blob store above
// all, not to repeat the call once more: it was repeated until patience ended.
func (e *unservedError) GRPCStatus() *status.Status {
	return status.New(codes.DeadlineExceeded, e.Error())
}

func (f *failover) giveUp(last error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return &unservedError{endpoints: append([]string(nil), f.endpoints...), last: last}
}

// tryLimit says how long one try of a unary method may take. Others may
// honestly take long (Deliver reads every output), and a dead connection is
// found by keepalive.
func tryLimit(method string) time.Duration {
	switch method {
	case gavelv1.Farm_Info_FullMethodName:
		return infoTimeout
	case gavelv1.Farm_Send_FullMethodName:
		return sendTimeout
	}
	return 0
}

// Invoke makes a unary call.
func (f *failover) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	return f.each(ctx, method, tryLimit(method), func(ctx context.Context, conn *grpc.ClientConn, extra []grpc.CallOption) error {
		return conn.Invoke(ctx, method, args, reply, append(extra, opts...)...)
	})
}

// NewStream opens a stream.
func (f *failover) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	var stream grpc.ClientStream
	err := f.each(ctx, method, 0, func(ctx context.Context, conn *grpc.ClientConn, extra []grpc.CallOption) error {
		var err error
		stream, err = conn.NewStream(ctx, desc, method, append(extra, opts...)...)
		return err
	})
	return stream, err
}

func (f *failover) close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	var errs []error
	for i, conn := range f.conns {
		if conn != nil {
			errs = append(errs, conn.Close())
			f.conns[i] = nil
		}
	}
	return errors.Join(errs...)
}
