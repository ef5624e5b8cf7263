package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	gavelv1 "gavel/api/gavel/v1"
)

// isCut says that a call ended because its caller's context did.
func isCut(err error) bool {
	code := status.Code(err)
	return code == codes.Canceled || code == codes.DeadlineExceeded
}

// receive reads a server stream to its end, opening it again wherever it breaks
// for want of a coordinator. It ends without an error at the server's own end
// of stream; or with one when the server refuses, ctx ends, or patience is at an
// end without a single message having come.
func receive[M any](ctx context.Context, patience time.Duration, open func(context.Context) (grpc.ServerStreamingClient[M], error), yield func(*M, error) bool) {
	ctx, cancel := context.WithCancel(ctx) // ends the stream when the consumer stops
	defer cancel()
	broken, pause := time.Now(), backoffFirst
	for {
		stream, err := open(ctx)
		for err == nil {
			var m *M
			if m, err = stream.Recv(); err == nil {
				broken, pause = time.Time{}, backoffFirst
				if !yield(m, nil) {
					return
				}
			}
		}
		if errors.Is(err, io.EOF) {
			return
		}
		if broken.IsZero() {
			broken = time.Now()
		}
		again := retryable(err) || errors.Is(err, ErrNoCluster)
		if ctx.Err() != nil || !again || (patience > 0 && time.Since(broken) > patience) {
			yield(nil, err)
			return
		}
		if wait(ctx, pause) != nil {
			yield(nil, ctx.Err())
			return
		}
		pause = min(2*pause, backoffLast)
	}
}

// WatchBuild yields a build as it stands and after every change, until it has
// settled; then the sequence ends. Where the cluster is away it waits, and
// yields one error when patience is at an end.
func (c *Client) WatchBuild(ctx context.Context, id [32]byte) iter.Seq2[*gavelv1.Build, error] {
	return func(yield func(*gavelv1.Build, error) bool) {
		var version uint64
		receive(ctx, c.conn.patience, func(ctx context.Context) (grpc.ServerStreamingClient[gavelv1.Build], error) {
			return c.farm.WatchBuild(ctx, &gavelv1.GetBuildRequest{Build: id[:]})
		}, func(b *gavelv1.Build, err error) bool {
			// A coordinator that lags may answer after one that did not: never go back.
			if err == nil && b.Version < version {
				return true
			}
			if err != nil {
				return yield(nil, fmt.Errorf("watching build %x: %w", id[:4], err))
			}
			version = b.Version
			return yield(b, nil)
		})
	}
}

// Work yields all that is asked of this worker, at once and after every change.
// It waits for a cluster that is away for as long as ctx lasts; the one error it
// yields is the last thing.
func (c *Client) Work(ctx context.Context) iter.Seq2[*gavelv1.Assignments, error] {
	return func(yield func(*gavelv1.Assignments, error) bool) {
		receive(ctx, 0, func(ctx context.Context) (grpc.ServerStreamingClient[gavelv1.Assignments], error) {
			return c.farm.Work(ctx, &gavelv1.WorkRequest{})
		}, yield)
	}
}

// ReadLog yields the chunks of a build's log in order, each once, and with
// follow goes on until no more can come. A chunk of another lease begins anew:
// a successor's log, from offset 0.
func (c *Client) ReadLog(ctx context.Context, id [32]byte, follow bool) iter.Seq2[*gavelv1.LogChunk, error] {
	return func(yield func(*gavelv1.LogChunk, error) bool) {
		next := make(map[string]uint64) // by lease: what came before a stream broke is not repeated
		receive(ctx, c.conn.patience, func(ctx context.Context) (grpc.ServerStreamingClient[gavelv1.LogChunk], error) {
			return c.farm.ReadLog(ctx, &gavelv1.ReadLogRequest{Build: id[:], Follow: follow})
		}, func(chunk *gavelv1.LogChunk, err error) bool {
			if err != nil {
				return yield(nil, fmt.Errorf("reading the log of build %x: %w", id[:4], err))
			}
			if chunk.Offset < next[string(chunk.Lease)] {
				return true
			}
			next[string(chunk.Lease)] = chunk.Offset + 1
			return yield(chunk, nil)
		})
	}
}

// AppendLog adds sealed chunks to the log of a build, the first numbered first,
// and returns how many the farm now holds. Chunks it already has are passed
// over, so a caller that does not know what arrived sends them again.
func (c *Client) AppendLog(ctx context.Context, build, lease [32]byte, first uint64, chunks [][]byte) (uint64, error) {
	var held uint64
	err := c.conn.each(ctx, gavelv1.Farm_AppendLog_FullMethodName, 0, func(ctx context.Context, conn *grpc.ClientConn, opts []grpc.CallOption) error {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		stream, err := gavelv1.NewFarmClient(conn).AppendLog(ctx, opts...)
		if err != nil {
			return err
		}
		for i, data := range chunks {
			err := stream.Send(&gavelv1.AppendLogRequest{Build: build[:], Lease: lease[:], Offset: first + uint64(i), Data: data})
			if errors.Is(err, io.EOF) {
				break // the server ended the stream; its reason comes next
			}
			if err != nil {
				return err
			}
		}
		answer, err := stream.CloseAndRecv()
		held = answer.GetChunks()
		return err
	})
	if err != nil {
		return held, fmt.Errorf("sending the log of build %x: %w", build[:4], err)
	}
	return held, nil
}
