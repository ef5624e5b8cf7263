package server

import (
	"context"
	"errors"
	"fmt"
	"syscall"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"gavel/cas"
	"gavel/cas/scope"
)

// fail turns an error of the store into what its caller may know. Errors about
// the caller's request are told; others are logged, because they name paths.
func (s *Server) fail(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	code := codes.OK
	switch {
	case errors.Is(err, context.Canceled):
		code = codes.Canceled
	case errors.Is(err, context.DeadlineExceeded):
		code = codes.DeadlineExceeded
	case errors.Is(err, cas.ErrNotFound):
		code = codes.NotFound
	case errors.Is(err, cas.ErrDigestMismatch), errors.Is(err, cas.ErrTooLarge):
		code = codes.InvalidArgument
	case errors.Is(err, scope.ErrDenied):
		code = codes.PermissionDenied
	}
	if code != codes.OK {
		return status.Error(code, err.Error())
	}
	if _, ok := status.FromError(err); ok {
		return err // made by this package, or by Access for its caller
	}
	s.config.Log.ErrorContext(ctx, "blob store failed", "error", err)
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return status.Error(codes.ResourceExhausted, "the farm's blob store is full; ask its operator")
	}
	return status.Error(codes.Internal, "the farm's blob store failed; try again, and ask its operator if it persists")
}

func unauthenticated(err error) error {
	if _, ok := status.FromError(err); ok {
		return err
	}
	return status.Error(codes.Unauthenticated, err.Error())
}

func invalid(format string, args ...any) error {
	return status.Error(codes.InvalidArgument, fmt.Sprintf(format, args...))
}

// checkFunction refuses digest functions other than SHA-256; a client may leave
// it to be inferred from the hash's length.
func checkFunction(f repb.DigestFunction_Value) error {
	if f != repb.DigestFunction_UNKNOWN && f != repb.DigestFunction_SHA256 {
		return invalid("digest function %v is not offered, use SHA256", f)
	}
	return nil
}

// digest is a request's digest, or an InvalidArgument.
func digest(p *repb.Digest) (cas.Digest, error) {
	d, err := cas.FromProto(p)
	if err != nil {
		return d, invalid("%v", err)
	}
	return d, nil
}
