package main

import (
	"errors"

	"google.golang.org/grpc/status"

	"gavel/api"
)

// plainError shows a gRPC status as the sentence in it.
type plainError struct{ cause error }

func (e *plainError) Error() string { return status.Convert(e.cause).Message() }
func (e *plainError) Unwrap() error { return e.cause }

// plain makes an answer of the farm readable; other errors pass.
func plain(err error) error {
	if err == nil || errors.Is(err, api.ErrNoCluster) {
		return err
	}
	if _, ok := err.(interface{ GRPCStatus() *status.Status }); ok {
		return &plainError{err}
	}
	return err
}
