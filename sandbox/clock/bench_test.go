package clock

import (
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"
	"time"
)

// compare carries out d with its clock and without, in turns, and reports the
// fastest run with it and the ratio to the fastest without: what a busy machine adds is neither's.
func compare(b *testing.B, d duty, asks float64) {
	with, without := d, d
	without.Plain = true
	fastest := [2]int64{math.MaxInt64, math.MaxInt64}
	for b.Loop() {
		for i, d := range []duty{with, without} {
			o, log := carryOut(b, d)
			if o.Code != 0 || o.Signal != 0 {
				b.Fatalf("%+v %s", o, log)
			}
			fastest[i] = min(fastest[i], o.Nanos)
		}
	}
	each := float64(fastest[0])
	if asks > 0 {
		b.ReportMetric(each/asks, "ns/ask")
	} else {
		b.ReportMetric(each/float64(time.Millisecond), "ms/run")
	}
	b.ReportMetric(each/float64(fastest[1]), "x-plain")
	b.ReportMetric(0, "ns/op") // it counts the first process too
}

// A command that only starts: what the launcher costs.
func BenchmarkHello(b *testing.B) { compare(b, shown(0, "echo", "hello"), 0) }

// As a make of two hundred commands.
func BenchmarkTree(b *testing.B) {
	compare(b, shown(0, "sh", "-c", "i=0; while [ $i -lt 200 ]; do /bin/echo x >/dev/null; i=$((i+1)); done"), 0)
}

// A program that does nothing but ask, from eight threads, which no build is.
func BenchmarkAsking(b *testing.B) {
	compare(b, shown(0, build(b, runtime.GOARCH), "many"), 8*5000)
}

// A program that does nothing but ask for the times of files, five thousand of them.
func BenchmarkStats(b *testing.B) {
	const files = 5000
	dir := b.TempDir()
	for i := range files {
		if err := os.WriteFile(filepath.Join(dir, strconv.Itoa(i)), nil, 0o644); err != nil {
			b.Fatal(err)
		}
	}
	compare(b, shown(0, "find", dir, "-newermt", "2100-01-01"), files)
}

// A build of small C sources, of which the compiler looks for headers in many places.
func BenchmarkCompile(b *testing.B) {
	d := shown(0, "sh", "-c", `for i in $(seq 10); do printf '#include <stdio.h>\nint f(void) { return puts("x"); }' > x$i.c; gcc -O1 -c x$i.c || exit 1; done`)
	d.Dir = b.TempDir()
	compare(b, d, 0)
}
