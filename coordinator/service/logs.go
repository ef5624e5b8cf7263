package service

import (
	"context"
	"errors"
	"io"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	gavelv1 "gavel/api/gavel/v1"
	"gavel/raftfsm"
	"gavel/raftfsm/build"
)

// AppendLog adds ciphertext to a build's log. Only the builder may, from its
// award to the verdict; chunks that are there already are passed over.
func (s *Server) AppendLog(stream grpc.ClientStreamingServer[gavelv1.AppendLogRequest, gavelv1.AppendLogResponse]) error {
	caller, err := s.Caller(stream.Context())
	if err != nil {
		return err
	}
	leave, err := s.enter(s.streams, caller)
	if err != nil {
		return err
	}
	defer leave()
	var w *logWriter
	defer func() {
		if w != nil {
			w.close()
		}
	}()
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			if w == nil {
				return stream.SendAndClose(&gavelv1.AppendLogResponse{})
			}
			return stream.SendAndClose(&gavelv1.AppendLogResponse{Chunks: w.chunks})
		}
		if err != nil {
			return err
		}
		id, err := id32("build", m.Build)
		if err != nil {
			return err
		}
		lease, err := id32("lease", m.Lease)
		if err != nil {
			return err
		}
		if err := s.mayLog(caller, id, lease); err != nil {
			return err
		}
		if w == nil {
			if w, err = s.Logs.writer(id, lease); err != nil {
				return status.Errorf(codes.Internal, "opening the log: %v", err)
			}
		} else if w.lease != lease {
			return status.Error(codes.InvalidArgument, "one stream is for one lease")
		}
		if err := w.append(m.Offset, m.Data); err != nil {
			return err
		}
	}
}

// mayLog says whether the caller builds the build now.
func (s *Server) mayLog(caller, id, lease build.ID) (err error) {
	s.FSM.Read(func(st *raftfsm.State) {
		b, ok := st.Build(id)
		if !ok {
			// Known elsewhere and not here yet, where this coordinator lags.
			err = status.Errorf(codes.Aborted, "build %x is not known here", id[:6])
			return
		}
		a := b.Attempt(lease)
		if a == nil || a.Worker != caller || a.Round != build.RoundFirst || a.Seat != 0 {
			err = status.Error(codes.PermissionDenied, "only the builder writes a build's log")
		} else if b.Verdict != 0 || !a.Active() && a.State != build.AttemptCommitted && a.State != build.AttemptOpened {
			err = status.Error(codes.FailedPrecondition, "the build's log is closed")
		}
	})
	return err
}

// ReadLog sends a build's log, still encrypted, to its requester; with follow
// until no more can come. After a builder that was given up comes its successor's
// log, from offset 0.
func (s *Server) ReadLog(in *gavelv1.ReadLogRequest, stream grpc.ServerStreamingServer[gavelv1.LogChunk]) error {
	ctx := stream.Context()
	caller, b, leave, err := s.ask(ctx, s.streams, in.Build)
	if err != nil {
		return err
	}
	defer leave()
	if b.Requester != caller {
		return status.Error(codes.PermissionDenied, "a build's log is its requester's")
	}
	f := &follower{server: s, build: b, readers: make(map[build.ID]*logReader)}
	defer f.close()
	return f.run(ctx, in.Follow, stream.Send)
}

// follower sends a log as it grows.
type follower struct {
	server  *Server
	build   *build.Build
	readers map[build.ID]*logReader // by lease
	quiet   time.Time               // since when the builder is done and nothing came
}

func (f *follower) close() {
	for _, r := range f.readers {
		r.close()
	}
}

func (f *follower) run(ctx context.Context, follow bool, send func(*gavelv1.LogChunk) error) error {
	poll := time.NewTicker(logPoll)
	defer poll.Stop()
	for {
		// Look at the state first: what was written before the build was over is
		// then read for certain.
		over := !follow || f.over()
		sent, err := f.sendNew(send)
		if err != nil {
			return err
		}
		if sent {
			f.quiet = time.Time{}
		}
		if over {
			return nil
		}
		select {
		case <-poll.C:
		case <-ctx.Done():
			return status.FromContextError(ctx.Err()).Err()
		}
		if b, err := f.server.findHere(f.build.ID); err == nil && b != nil {
			f.build = b
		}
	}
}

// over says that no more of the log can come, or is likely to.
func (f *follower) over() bool {
	a := f.build.Builder()
	switch {
	case f.build.Verdict != 0:
		return true
	case a == nil || a.Active():
		f.quiet = time.Time{}
		return false
	case f.quiet.IsZero():
		f.quiet = f.server.now()
	}
	return f.server.now().Sub(f.quiet) >= logQuiet
}

// sendNew sends what has been written since it was last called.
func (f *follower) sendNew(send func(*gavelv1.LogChunk) error) (sent bool, err error) {
	for i := range f.build.Attempts {
		a := &f.build.Attempts[i]
		if a.Round != build.RoundFirst || a.Seat != 0 {
			continue
		}
		lease := a.Lease(f.build.ID)
		r := f.readers[lease]
		if r == nil {
			if r, err = f.server.Logs.reader(f.build.ID, lease); err != nil {
				return sent, status.Errorf(codes.Internal, "opening the log: %v", err)
			}
			if r == nil {
				continue // nothing was written yet
			}
			f.readers[lease] = r
		}
		for {
			offset, data, err := r.next()
			if err != nil {
				return sent, status.Errorf(codes.Internal, "reading the log: %v", err)
			}
			if data == nil {
				break
			}
			sent = true
			if err := send(&gavelv1.LogChunk{Offset: offset, Data: data, Lease: raw(lease)}); err != nil {
				return sent, err
			}
		}
	}
	return sent, nil
}
