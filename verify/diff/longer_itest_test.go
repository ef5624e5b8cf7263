//go:build itest

package diff_test

import (
	"bytes"
	"debug/elf"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"gavel/verify/diff"
)

const listing = `#include <vector>
#include <string>
#include <iostream>
int main() { std::vector<std::string> v{"a", "b"}; for (auto &s : v) std::cout << s; }
`

var (
	cSources  = map[string]string{"main.c": greeting}
	goSources = map[string]string{"go.mod": "module example.test/app\n\ngo 1.26\n", "main.go": "package main\n\nfunc main() { println(\"hello\") }\n"}
)

// longer are builds in two directories with paths of other lengths.
var longer = []real{
	{name: "C program", files: cSources, script: "gcc -g main.c -o out/f"},
	{name: "C object", files: cSources, script: "gcc -g -O2 -c main.c -o out/f"},
	{name: "C object by its full name", files: cSources, script: "gcc -g -O2 -c $PWD/main.c -o out/f"},
	{name: "C program, compressed", files: cSources, script: "gcc -g -gz main.c -o out/f"},
	{name: "C program, DWARF 4", files: cSources, script: "gcc -gdwarf-4 main.c -o out/f"},
	{name: "C++ program", files: map[string]string{"main.cc": listing}, script: "g++ -g main.cc -o out/f"},
	{name: "C++ object", files: map[string]string{"main.cc": listing}, script: "g++ -g -O2 -c main.cc -o out/f"},
	{name: "Go program", files: goSources, script: "CGO_ENABLED=0 GOFLAGS=-p=1 go build -o out/f ."},
	{name: "Go program, stripped", files: goSources, script: "CGO_ENABLED=0 GOFLAGS=-p=1 go build -ldflags '-s -w' -o out/f ."},
}

// buildLonger builds it in a directory called x, and in one of the same name further
// down: each time the same ones, as where a byte lies depends on the length of a path.
func (r *real) buildLonger(t *testing.T, below string) (a, b []byte, path string) {
	top := filepath.Join(os.TempDir(), "gavel-longer-paths")
	done(os.RemoveAll(top))
	t.Cleanup(func() { done(os.RemoveAll(top)) })
	a = must(os.ReadFile(filepath.Join(r.build(t, top, "x"), "f")))
	b = must(os.ReadFile(filepath.Join(r.build(t, filepath.Join(top, below), "x"), "f")))
	return a, b, filepath.Join(top, below, "x")
}

// Two directories whose paths are not equally long shift offsets, lengths and the order
// of strings: where that is all, no more than the path is said to differ.
func TestALongerPathIsAllThatDiffers(t *testing.T) {
	for i := range longer {
		r := &longer[i]
		for _, below := range []string{"y", "much/further/down", strings.Repeat("z", 101)} {
			t.Run(r.name+" in "+below[:1], func(t *testing.T) {
				a, b, _ := r.buildLonger(t, below)
				began := time.Now()
				report := pairOf(t, a).with(b)
				t.Logf("%v for %d bytes: %v", time.Since(began), len(a), report.Causes)
				if slices.Contains(report.Causes, diff.Unknown) || !slices.Contains(report.Causes, diff.BuildPath) {
					var text strings.Builder
					done(report.Text(&text))
					t.Errorf("want a path, and no more:\n%s", text.String())
				}
			})
		}
	}
}

// One byte that is flipped in a section or in what a loader reads first, beside the
// longer path, shows: another cause is said too, or that one is unknown, unless it is a
// byte of the path itself.
func TestAByteBesideALongerPathShows(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 7))
	for i := range longer {
		r := &longer[i]
		t.Run(r.name, func(t *testing.T) {
			a, b, path := r.buildLonger(t, "much/further/down")
			f := must(elf.NewFile(bytes.NewReader(b)))
			most, flips, pair := max(3, min(50, 2_000_000/len(b))), 0, pairOf(t, a)
			causes := pair.with(b).Causes
			for _, at := range headers(b, f) {
				flips++
				forged := bytes.Clone(b)
				forged[at] ^= 1 << rng.IntN(8)
				if report := pair.with(forged); !slices.ContainsFunc(report.Causes, func(c diff.Cause) bool { return !slices.Contains(causes, c) }) {
					t.Errorf("byte %d, %#x made %#x, of the headers is not seen", at, b[at], forged[at])
				}
			}
			for _, s := range f.Sections {
				if s.Type == elf.SHT_NOBITS || s.Type == elf.SHT_NULL || s.Type == elf.SHT_NOTE || s.Name == ".shstrtab" {
					continue
				}
				for _, at := range places(rng, int(s.Offset), int(s.FileSize), most) {
					if ofPath(b, path, at) {
						continue
					}
					flips++
					forged := bytes.Clone(b)
					forged[at] ^= 1 << rng.IntN(8)
					if s.Flags&elf.SHF_COMPRESSED != 0 && unpacksToTheSame(s, forged) {
						continue
					}
					report := pair.with(forged)
					if !slices.ContainsFunc(report.Causes, func(c diff.Cause) bool { return !slices.Contains(causes, c) }) {
						var text strings.Builder
						done(report.Text(&text))
						t.Fatalf("%s: byte %d, %#x made %#x, of %d is not seen:\n%s", s.Name, at-int(s.Offset), b[at], forged[at], s.FileSize, text.String())
					}
				}
			}
			t.Logf("%d bytes flipped", flips)
		})
	}
}

// headers are the offsets of what a loader reads: the ELF header up to how many sections
// there are, and the first segments.
func headers(b []byte, f *elf.File) (out []int) {
	const readBytes, segmentBytes, most = 60, 56, 256
	for at := range readBytes {
		out = append(out, at)
	}
	segments := int(f.ByteOrder.Uint64(b[32:]))
	for i := range min(len(f.Progs)*segmentBytes, most) {
		out = append(out, segments+i)
	}
	return out
}

// places are all offsets of a short section, and some of a long one.
func places(rng *rand.Rand, from, n, most int) (out []int) {
	for i := range min(n, most) {
		at := from + i
		if n > most {
			at = from + rng.IntN(n)
		}
		out = append(out, at)
	}
	return out
}

// unpacksToTheSame tells whether a compressed section holds the same still.
func unpacksToTheSame(s *elf.Section, forged []byte) bool {
	f, err := elf.NewFile(bytes.NewReader(forged))
	if err != nil {
		return false
	}
	content, err := f.Section(s.Name).Data()
	return err == nil && bytes.Equal(content, must(s.Data()))
}

// ofPath tells whether a byte belongs to the path that was built in.
func ofPath(b []byte, path string, at int) bool {
	for from := max(0, at-len(path)+1); from <= at; from++ {
		if bytes.HasPrefix(b[from:], []byte(path)) {
			return true
		}
	}
	return false
}

// filePair is two trees with one file, of which the second one's changes.
type filePair struct {
	t    *testing.T
	a, b string
}

func pairOf(t *testing.T, a []byte) *filePair {
	return &filePair{t, plant(t, map[string]string{"f": string(a)}), t.TempDir()}
}

func (p *filePair) with(b []byte) *diff.Report {
	p.t.Helper()
	done(os.WriteFile(filepath.Join(p.b, "f"), b, 0o644))
	r, err := compareDirs(p.t, p.a, p.b)
	if err != nil {
		p.t.Fatal(err)
	}
	return r
}
