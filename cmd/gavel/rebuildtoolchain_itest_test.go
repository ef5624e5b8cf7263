//go:build itest

package main

import (
	"io"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"testing"

	"gavel/raftfsm/build"
	"gavel/sandbox"
	"gavel/worker/engine"
	"gavel/worker/rebuild/gotoolchain"
)

// twoPrograms builds the two smallest programs of a toolchain, as the last step of
// make.bash does (toolenv and GOFLAGS in cmd/dist): with a compiler of that very
// version, which here is the sandbox's own.
const twoPrograms = `set -e
own="$(env GOTOOLCHAIN=local go env GOROOT)"
export GOROOT="$PWD/go" GOTOOLCHAIN=local GOOS="$1" GOARCH="$2" GOPROXY=off GOCACHE=/tmp/cache CGO_ENABLED=0
export GOFLAGS="-trimpath -ldflags=-w -gcflags=cmd/...=-dwarf=false"
tools="pkg/tool/$GOOS"_"$GOARCH"
mkdir -p go/bin "go/$tools"
for tool in asm compile link; do cp "$own/$tools/$tool" "go/$tools/"; done
cd go/src
"$own/bin/go" build -o ../bin/gofmt cmd/gofmt
"$own/bin/go" build -o "../$tools/preprofile" cmd/preprofile
`

// The whole of a toolchain takes too long for a test. So the true module of this
// test's own Go is fetched, checked and taken apart as gavel rebuild gotoolchain
// does, and built by another command, which makes two of the programs: they are
// those that were published.
func TestRebuildTwoProgramsOfAToolchain(t *testing.T) {
	b, err := (&localFlags{sandbox: engine.Native}).open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	}()
	x, err := gotoolchain.Fetch(t.Context(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
	if err != nil {
		t.Fatal(err)
	}
	source := filepath.Join(t.TempDir(), "build")
	published, err := x.Unpack(t.Context(), source)
	if err != nil {
		t.Fatal(err)
	}
	two := slices.DeleteFunc(slices.Clone(published), func(e build.Expected) bool {
		return path.Base(e.Path) != "gofmt" && path.Base(e.Path) != "preprofile"
	})
	a := x.Action(sandbox.HostRoot, two, nil)
	a.Argv[2] = twoPrograms
	r, err := b.publish(t.Context(), &terminal{out: io.Discard, err: io.Discard}, "two programs of "+runtime.Version(), source, a, nil, two)
	if err != nil {
		t.Fatal(err)
	}
	if !r.Equal || len(r.Published) != 2 || len(published) < 8 {
		t.Errorf("of %d programs of %s: %+v; the command said %q", len(published), x.Sum, r, b.tail.lines(shownLogLines))
	}
}
