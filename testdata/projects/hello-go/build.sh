#!/bin/sh
# Builds ./hello from this directory alone: no cgo, no modules, no network, and
# nothing in it that depends on where, when or by whom it is built.
set -eu
export CGO_ENABLED=0 GOENV=off GOFLAGS=-trimpath GOPROXY=off GOTOOLCHAIN=local GOWORK=off
export GOCACHE="${GOCACHE:-${TMPDIR:-/tmp}/go-cache}"
go build -ldflags='-s -w' -o hello main.go greeting.go
