#!/bin/sh
# Builds ./hello from this directory alone: no cgo, no modules, no network, and
# nothing in it that depends on where, when or by whom it is built. ./gocache is the
# cache if somebody has filled it: GOCACHE=$PWD/gocache sh build.sh does.
set -eu
export CGO_ENABLED=0 GOENV=off GOFLAGS=-trimpath GOPROXY=off GOTOOLCHAIN=local GOWORK=off
if [ -d gocache ]; then
	GOCACHE=$PWD/gocache
fi
export GOCACHE="${GOCACHE:-${TMPDIR:-/tmp}/go-cache}"
go build -ldflags='-s -w' -o hello main.go greeting.go
