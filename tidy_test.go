// Package gavel_test holds the house to its own rules: who may import whom,
// what pure rooms may not contain, and how long a file may grow. It never looks
// at behaviour, which each room tests for itself. A rule that changes in
// docs/ARCHITECTURE.md changes in rules_test.go, and nowhere else.
package gavel_test

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

const (
	maxFileLines    = 500 // a longer file holds more than one idea
	minDocSentences = 3   // what it owns, never does, and keeps; a command's doc is its help and may be one
)

// source is one parsed file.
type source struct {
	name   string
	test   bool
	lines  int
	syntax *ast.File
}

// tree is a module's packages by directory.
type tree struct {
	fset     *token.FileSet
	packages map[string][]source
	checked  map[string]*types.Package // each once: two checks of a package make two different types of each of its own
	info     *types.Info
	standard types.Importer
	findings []string
}

// load parses every Go file of files but testdata's. Build constraints are
// ignored: rules hold under every tag.
func load(files fs.FS) (*tree, error) {
	t := &tree{fset: token.NewFileSet(), packages: map[string][]source{}, checked: map[string]*types.Package{},
		info: &types.Info{Types: map[ast.Expr]types.TypeAndValue{}}, standard: importer.Default()}
	err := fs.WalkDir(files, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		base := path.Base(name)
		if entry.IsDir() {
			if base == "testdata" || (base != "." && strings.HasPrefix(base, ".")) {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		text, err := fs.ReadFile(files, name)
		if err != nil {
			return err
		}
		syntax, err := parser.ParseFile(t.fset, name, text, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		dir := path.Dir(name)
		t.packages[dir] = append(t.packages[dir], source{name, strings.HasSuffix(name, "_test.go"), bytes.Count(text, []byte("\n")), syntax})
		return nil
	})
	return t, err
}

func (t *tree) find(where, what string) { t.findings = append(t.findings, where+": "+what) }

func (t *tree) at(n ast.Node) string {
	p := t.fset.Position(n.Pos())
	return fmt.Sprintf("%s:%d", p.Filename, p.Line)
}

// inspect collects every finding, sorted by place.
func inspect(files fs.FS) ([]string, error) {
	t, err := load(files)
	if err != nil {
		return nil, err
	}
	for dir, sources := range t.packages {
		t.inspectForm(dir, sources)
		if dir == "." {
			continue // this test
		}
		r, ok := roomOf(dir)
		if !ok {
			t.find(dir, "no room of the house; add it to the table of rooms or move it")
			continue
		}
		t.inspectImports(r, sources)
		if isPure(r) {
			if err := t.inspectMapRanges(dir); err != nil {
				return nil, err
			}
		}
	}
	slices.Sort(t.findings)
	return t.findings, nil
}

func (t *tree) inspectImports(r room, sources []source) {
	for _, s := range sources {
		if s.test {
			continue
		}
		for _, spec := range s.syntax.Imports {
			if what := importFinding(r, strings.Trim(spec.Path.Value, `"`)); what != "" {
				t.find(t.at(spec), what)
			}
		}
		if isPure(r) || r.dir == "raftfsm" {
			deterministicFindings(s.syntax, isPure(r), func(n ast.Node, what string) { t.find(t.at(n), what) })
		}
	}
}

// Import lets a pure room's own imports be type-checked from source.
func (t *tree) Import(name string) (*types.Package, error) {
	if dir, ok := strings.CutPrefix(name, "gavel/"); ok {
		return t.check(dir)
	}
	return t.standard.Import(name)
}

func (t *tree) check(dir string) (*types.Package, error) {
	if done := t.checked[dir]; done != nil {
		return done, nil
	}
	var files []*ast.File
	for _, s := range t.packages[dir] {
		if !s.test {
			files = append(files, s.syntax)
		}
	}
	checked, err := (&types.Config{Importer: t}).Check("gavel/"+dir, t.fset, files, t.info)
	if err != nil {
		return nil, fmt.Errorf("type-checking %s: %w", dir, err)
	}
	t.checked[dir] = checked
	return checked, nil
}

// inspectMapRanges finds loops over maps, whose order is random, anywhere but
// in the function that sorts the keys.
func (t *tree) inspectMapRanges(dir string) error {
	if _, err := t.check(dir); err != nil {
		return err
	}
	for _, s := range t.packages[dir] {
		for _, declaration := range s.syntax.Decls {
			if f, ok := declaration.(*ast.FuncDecl); s.test || ok && dir == "raftfsm/wire" && f.Name.Name == "SortedKeys" {
				continue
			}
			ast.Inspect(declaration, func(n ast.Node) bool {
				if loop, ok := n.(*ast.RangeStmt); ok && isMap(t.info.Types[loop.X].Type) {
					t.find(t.at(n), "a loop over a map in a pure room; walk wire.SortedKeys")
				}
				return true
			})
		}
	}
	return nil
}

// isMap also sees through a type parameter that only maps satisfy.
func isMap(of types.Type) bool {
	if of == nil {
		return false
	}
	if p, ok := of.(*types.TypeParam); ok {
		union, _ := p.Underlying().(*types.Interface)
		for i := 0; union != nil && i < union.NumEmbeddeds(); i++ {
			if u, ok := union.EmbeddedType(i).(*types.Union); ok && u.Len() > 0 {
				return isMap(u.Term(0).Type())
			}
		}
	}
	_, ok := of.Underlying().(*types.Map)
	return ok
}

var (
	sentenceEnd = regexp.MustCompile(`[.?!]["')]*(\s|$)`)
	unfinished  = regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME|XX` + `X)\b`)
)

// inspectForm holds a package to the form that every file keeps.
func (t *tree) inspectForm(dir string, sources []source) {
	documented, generated := 0, false
	for _, s := range sources {
		if ast.IsGenerated(s.syntax) {
			generated = true
			continue
		}
		if s.lines > maxFileLines {
			t.find(s.name, fmt.Sprintf("%d lines; a file past %d wants a split", s.lines, maxFileLines))
		}
		if s.syntax.Doc != nil && (!s.test || dir == ".") {
			documented = max(documented, len(sentenceEnd.FindAllString(s.syntax.Doc.Text(), -1)))
		}
		for _, group := range s.syntax.Comments {
			if word := unfinished.FindString(group.Text()); word != "" {
				t.find(t.at(group), "unfinished: "+word)
			}
		}
		if s.test {
			t.inspectSkips(s)
		}
	}
	hasCode := slices.ContainsFunc(sources, func(s source) bool { return !s.test })
	wanted := minDocSentences
	if sources[0].syntax.Name.Name == "main" {
		wanted = 1
	}
	if (hasCode || dir == ".") && !generated && documented < wanted {
		t.find(dir, fmt.Sprintf("package doc of %d sentences; say in %d what it owns, never does and keeps", documented, wanted))
	}
}

func (t *tree) inspectSkips(s source) {
	ast.Inspect(s.syntax, func(n ast.Node) bool {
		if sel, ok := n.(*ast.SelectorExpr); ok && slices.Contains([]string{"Skip", "Skipf", "SkipNow"}, sel.Sel.Name) {
			if of, ok := sel.X.(*ast.Ident); ok && slices.Contains([]string{"t", "b", "f", "tb"}, of.Name) {
				t.find(t.at(n), "a test that skips proves nothing; put it behind the itest tag")
			}
		}
		return true
	})
}

func TestTidy(t *testing.T) {
	findings, err := inspect(os.DirFS("."))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range findings {
		t.Error(f)
	}
}

const doc = "// Package x owns a thing. It never does another. It keeps a third.\n"

// Each file here breaks one rule, and the test of the house must say which.
func TestTidyFindsWhatIsWrong(t *testing.T) {
	for where, c := range map[string]struct{ text, want string }{
		"worker/a.go":              {doc + "package x\nimport _ \"gavel/coordinator\"", "worker may not import coordinator"},
		"worker/state.go":          {doc + "package x\nimport _ \"gavel/raftfsm\"", "worker may not import raftfsm"},
		"coordinator/a.go":         {doc + "package x\nimport _ \"gavel/sandbox/native\"", "coordinator may not import sandbox/native"},
		"verify/a.go":              {doc + "package x\nimport _ \"gavel/worker\"", "verify may not import worker"},
		"verify/b.go":              {doc + "package x\nimport _ \"google.golang.org/grpc\"", "verify may not import google.golang.org/grpc"},
		"api/a.go":                 {doc + "package x\nimport _ \"gavel/worker\"", "api may not import worker"},
		"sandbox/a.go":             {doc + "package x\nimport _ \"github.com/docker/docker/client\"", "only sandbox/docker may import github.com/docker/docker"},
		"coordinator/docker.go":    {doc + "package x\nimport _ \"github.com/docker/docker/client\"", "only sandbox/docker may import github.com/docker/docker"},
		"sandbox/rootfs/a.go":      {doc + "package x\nimport _ \"github.com/google/go-containerregistry/pkg/name\"", "only sandbox/image may import github.com/google/go-containerregistry"},
		"sandbox/rootfs/zstd.go":   {doc + "package x\nimport _ \"github.com/klauspost/compress/zstd\"", "sandbox may not import github.com/klauspost/compress"},
		"cas/a.go":                 {doc + "package x\nimport _ \"gavel/sandbox\"", "cas may not import sandbox"},
		"raftfsm/a.go":             {doc + "package x\nimport _ \"github.com/hashicorp/raft-boltdb/v2\"", "raftfsm may not import github.com/hashicorp/raft-boltdb/v2"},
		"raftfsm/clock.go":         {doc + "package x\nimport _ \"time\"", "clocks and randomness"},
		"raftfsm/float.go":         {doc + "package x\nvar x = 0.5", "floats differ between machines: 0.5"},
		"raftfsm/draw/up.go":       {doc + "package x\nimport _ \"gavel/raftfsm/build\"", "raftfsm/draw may not import raftfsm/build"},
		"raftfsm/draw/os.go":       {doc + "package x\nimport _ \"os\"", "a pure room may not import os"},
		"raftfsm/draw/rand.go":     {doc + "package x\nimport _ \"math/rand/v2\"", "clocks and randomness"},
		"raftfsm/draw/float.go":    {doc + "package x\nfunc f(x float64) {}", "floats differ between machines: float64"},
		"raftfsm/draw/sqrt.go":     {doc + "package x\nimport \"math\"\nvar x = math.Sqrt(4)", "floats differ between machines: math.Sqrt"},
		"raftfsm/draw/go.go":       {doc + "package x\nfunc f() { go f() }", "goroutines and channels"},
		"raftfsm/draw/chan.go":     {doc + "package x\nvar c chan int", "goroutines and channels"},
		"raftfsm/draw/print.go":    {doc + "package x\nimport \"fmt\"\nfunc f() { fmt.Println() }", "no I/O: fmt.Println"},
		"raftfsm/draw/map.go":      {doc + "package x\nfunc f(m map[int]int) { for range m {} }", "a loop over a map"},
		"raftfsm/draw/generic.go":  {doc + "package x\nfunc f[M ~map[int]int](m M) { for range m {} }", "a loop over a map"},
		"raftfsm/wire/loop.go":     {doc + "package x\nfunc Other(m map[int]int) { for range m {} }", "a loop over a map"},
		"util/a.go":                {doc + "package x", "no room of the house"},
		"lab/cmd.go":               {doc + "package x\nimport _ \"gavel/cmd/gavel\"", "nobody imports cmd"},
		"lab/doc.go":               {"// Package x is short.\npackage x", "package doc of 1 sentences"},
		"lab/long.go":              {doc + "package x\n" + strings.Repeat("\n", maxFileLines), "wants a split"},
		"lab/later.go":             {doc + "package x\n// TO" + "DO: finish", "unfinished"},
		"lab/skip_test.go":         {"package x\nfunc f() { t.Skip() }", "a test that skips"},
		"raftfsm/beacon/import.go": {doc + "package x\nimport _ \"gavel/raftfsm\"", "raftfsm/beacon may not import raftfsm"},
	} {
		t.Run(where, func(t *testing.T) {
			findings, err := inspect(withLeaves(where, c.text))
			if err != nil {
				t.Fatal(err)
			}
			if len(findings) == 0 || !strings.Contains(strings.Join(findings, "\n"), c.want) {
				t.Errorf("findings %q, want one that says %q", findings, c.want)
			}
		})
	}
}

// withLeaves is a module of one file and the leaves that it may import.
func withLeaves(where, text string) fs.FS {
	files := fstest.MapFS{where: {Data: []byte(text)}}
	for _, dir := range []string{"raftfsm/build", "raftfsm/wire"} {
		if path.Dir(where) != dir {
			files[dir+"/empty.go"] = &fstest.MapFile{Data: []byte(doc + "package x")}
		}
	}
	return files
}

// What keeps the rules must not be found fault with.
func TestTidyLeavesGoodCodeAlone(t *testing.T) {
	findings, err := inspect(fstest.MapFS{
		"raftfsm/wire/keys.go":       {Data: []byte(doc + "package wire\nfunc SortedKeys(m map[int]int) { for range m {} }")},
		"raftfsm/escrow/a.go":        {Data: []byte(doc + "package escrow\nimport (\n\"math\"\n_ \"gavel/raftfsm/wire\"\n)\nvar x = math.MaxInt64\nfunc f(list []int) { for range list {} }")},
		"raftfsm/escrow/a_test.go":   {Data: []byte("package escrow\nimport _ \"math/rand\"\nvar half = 0.5")},
		"lab/float.go":               {Data: []byte(doc + "package lab\nimport (\n_ \"time\"\n_ \"gavel/raftfsm/draw\"\n)\nvar half = 0.5")},
		"sandbox/docker/a.go":        {Data: []byte(doc + "package docker\nimport (\n_ \"gavel/sandbox\"\n_ \"github.com/docker/docker/client\"\n)")},
		"api/gavel/v1/gavel.pb.go":   {Data: []byte("// Code generated by protoc-gen-go. DO NOT EDIT.\n\npackage v1\nimport _ \"google.golang.org/protobuf/proto\"\n" + strings.Repeat("\n", 2*maxFileLines))},
		"lab/testdata/not/tidy/x.go": {Data: []byte("package x\n// TO" + "DO")},
	})
	if err != nil || len(findings) != 0 {
		t.Errorf("findings %q, %v", findings, err)
	}
}
