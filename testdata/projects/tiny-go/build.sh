#!/bin/sh
# Builds ./tiny as hello-go/build.sh builds hello, with ./gocache as its cache if
# somebody has filled it: GOCACHE=$PWD/gocache sh build.sh does.
set -eu
export CGO_ENABLED=0 GOENV=off GOFLAGS=-trimpath GOPROXY=off GOTOOLCHAIN=local GOWORK=off
if [ -d gocache ]; then
	GOCACHE=$PWD/gocache
fi
export GOCACHE="${GOCACHE:-${TMPDIR:-/tmp}/go-cache}"
go build -ldflags='-s -w' -o tiny main.go
