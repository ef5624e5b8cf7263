package main

import (
	"errors"
	"strings"

	"google.golang.org/grpc/status"

	"gavel/api"
)

// plainError shows the gRPC status in an error as the sentence in it.
type plainError struct {
	cause error
	said  statusError // of the cause, or wrapped in it
}

// statusError is an answer of the farm as gRPC has it.
type statusError interface {
	error
	GRPCStatus() *status.Status
}

func (e *plainError) Error() string {
	return strings.Replace(e.cause.Error(), e.said.Error(), e.said.GRPCStatus().Message(), 1)
}
func (e *plainError) Unwrap() error { return e.cause }

// plain makes an answer of the farm readable; other errors pass.
func plain(err error) error {
	if err == nil || errors.Is(err, api.ErrNoCluster) {
		return err
	}
	var said statusError
	if errors.As(err, &said) {
		return &plainError{err, said}
	}
	return err
}
