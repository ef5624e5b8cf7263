package audit

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gavel/raftfsm/wire"
	"gavel/verify/tlog"
)

// What is exported from a served log, over HTTP, is the same files, and audited
// alone it has the same report; the witness whose signature nobody can check stays
// behind.
func TestExportIsWhatAnAuditNeeds(t *testing.T) {
	served, copied, again := t.TempDir(), filepath.Join(t.TempDir(), "copy"), filepath.Join(t.TempDir(), "again")
	s := small().Copy()
	check(t, s.Write(served))
	check(t, os.WriteFile(filepath.Join(served, "sealed"), []byte("the appender's own"), 0o644))
	note := must(os.ReadFile(filepath.Join(served, "checkpoint")))
	stranger := s.World.Requesters[0]
	line := must(tlog.Cosign(note, "witness.example", 1_800_000_000, stranger.Sign, stranger.PKIX))
	check(t, os.WriteFile(filepath.Join(served, "checkpoint"), must(tlog.AddSignatures(note, line)), 0o644))

	server := httptest.NewServer(tlog.Handler(served))
	defer server.Close()
	genesis := filepath.Join(t.TempDir(), "genesis")
	check(t, os.WriteFile(genesis, wire.Encode(s.Genesis), 0o644))
	var progress bytes.Buffer
	request := Request{URL: server.URL, Genesis: genesis, Out: &progress}
	r := must(request.Export(t.Context(), copied))
	if !r.Clean() || len(r.Warnings) != 1 || !strings.Contains(r.Warnings[0], "1 signatures by others") {
		t.Errorf("%+v", r)
	}
	want := slices.DeleteFunc(must(ListDir(served)), func(p string) bool { return p == "sealed" || p == "incoming/" })
	want = append(want, sumsName)
	slices.Sort(want)
	if got := must(ListDir(copied)); !slices.Equal(got, want) {
		t.Errorf("files %v\nwant %v", got, want)
	}
	offline := Request{Dir: copied, Genesis: genesis, Out: io.Discard, State: filepath.Join(t.TempDir(), "state")}
	a := must(offline.Audit(t.Context()))
	r.Warnings = []string{}
	if asJSON(t, a) != asJSON(t, r) {
		t.Errorf("the copy's report is\n%s\nthe served log's\n%s", asJSON(t, a), asJSON(t, r))
	}
	if _, err := offline.Export(t.Context(), copied); !errors.Is(err, ErrTarget) || errors.Is(err, ErrUnusable) {
		t.Errorf("exported over itself: %v", err)
	}
	if r := must(offline.Export(t.Context(), again)); !r.Clean() {
		t.Errorf("%+v", r)
	}
	for _, path := range must(ListDir(copied)) {
		if !bytes.Equal(must(os.ReadFile(filepath.Join(copied, path))), must(os.ReadFile(filepath.Join(again, path)))) {
			t.Errorf("%s differs in a copy of the copy", path)
		}
	}
}

// leaveBehind adds what a log that grew has beside what its readers need.
func leaveBehind(t *testing.T, dir string, leaves [][]byte) {
	t.Helper()
	grown := t.TempDir()
	l := must(tlog.OpenLog(grown))
	for i := range 3 {
		must(l.Append(leaves[i*len(leaves)/3 : (i+1)*len(leaves)/3]))
	}
	check(t, os.RemoveAll(filepath.Join(grown, "incoming")))
	before := len(must(ListDir(dir)))
	for _, path := range must(ListDir(grown)) {
		name := filepath.Join(dir, path)
		check(t, os.MkdirAll(filepath.Dir(name), 0o755))
		check(t, os.WriteFile(name, must(os.ReadFile(filepath.Join(grown, path))), 0o644))
	}
	if got := len(must(ListDir(dir))) - before; got < 5 { // two of each kind, and what is sealed
		t.Fatalf("%d files were left behind", got)
	}
}

// Any changed byte of any file of an export, or of a node's directory, is found; so
// is one that is added or cut.
func TestAnyChangedByteIsFound(t *testing.T) {
	dir := t.TempDir()
	s := small().Copy()
	check(t, s.Write(dir))
	leaveBehind(t, dir, s.Leaves)
	if r := auditDir(t, dir, Options{}); !r.Clean() {
		t.Fatalf("%+v", r.Deviations)
	}
	all := slices.DeleteFunc(must(ListDir(dir)), func(p string) bool { return p == "incoming/" }) // the appender's, and empty
	for i, path := range all {
		if strings.Count(path, "/") > 0 && i%19 != 0 && !strings.HasPrefix(path, "tile/") {
			continue // some of each kind
		}
		name := filepath.Join(dir, path)
		good := must(os.ReadFile(name))
		for way, bad := range map[string][]byte{"changed": slices.Clone(good), "longer": append(slices.Clone(good), '\n'), "shorter": good[:len(good)-1]} {
			if way == "changed" {
				bad[len(bad)*(i%7)/7] ^= 1 << (i % 8)
			}
			check(t, os.WriteFile(name, bad, 0o644))
			r, err := Run(t.Context(), tlog.DirSource(dir), Options{List: func() ([]string, error) { return ListDir(dir) }})
			if err != nil && !errors.Is(err, ErrUnusable) || err == nil && r.Clean() {
				t.Errorf("%s %s: %v", path, way, err)
			}
			if err == nil && len(r.Deviations) > 4 {
				t.Errorf("%s %s: %d deviations, the first %s", path, way, len(r.Deviations), r.Deviations[0].String())
			}
		}
		check(t, os.WriteFile(name, good, 0o644))
	}
	check(t, os.WriteFile(filepath.Join(dir, "tile", "0", "000.p", "05"), nil, 0o644))
	check(t, os.WriteFile(filepath.Join(dir, "tile", "0", "999"), nil, 0o644))
	check(t, os.MkdirAll(filepath.Join(dir, "notes", "of", "nothing"), 0o755))
	if r := auditDir(t, dir, Options{}); len(r.Deviations) != 3 || r.Deviations[0].Field != "notes/of/nothing/" {
		t.Errorf("two files and a directory that no log has: %v", r.Deviations)
	}
}

// A file that was taken out of an export is missed, at the log's end too, and the
// list that says so cannot be changed unseen; without one the report says so.
func TestWhatWasTakenOutIsMissed(t *testing.T) {
	served, dir := t.TempDir(), filepath.Join(t.TempDir(), "copy")
	check(t, small().Copy().Write(served))
	genesis := filepath.Join(t.TempDir(), "genesis")
	check(t, os.WriteFile(genesis, wire.Encode(small().Genesis), 0o644))
	request := Request{Dir: served, Genesis: genesis, Out: io.Discard, Fresh: true}
	must(request.Export(t.Context(), dir))
	request.Dir = dir
	if r := must(request.Audit(t.Context())); !r.Clean() || len(r.Warnings) > 0 {
		t.Fatalf("%+v", r)
	}
	epochs := 0
	for _, path := range must(ListDir(dir)) {
		if strings.HasPrefix(path, "epoch/") {
			epochs++
		}
	}
	for _, path := range []string{"status.json", fmt.Sprintf("epoch/%d", epochs), "trusted_root.json", "tile/entries/000.p/" + lastWidth(t, dir)} {
		name := filepath.Join(dir, filepath.FromSlash(path))
		good, err := os.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue // small worlds have no status list
		}
		check(t, err)
		check(t, os.Remove(name))
		r, err := request.Audit(t.Context())
		if err == nil && !strings.Contains(r.String(), path) {
			t.Errorf("%s is gone: %s", path, r)
		}
		if err == nil && r.Clean() {
			t.Errorf("%s is gone, and nothing deviates", path)
		}
		check(t, os.WriteFile(name, good, 0o644))
	}
	name := filepath.Join(dir, sumsName)
	good := must(os.ReadFile(name))
	for _, at := range []int{0, 70, len(good) / 2, len(good) - 1} {
		bad := bytes.Clone(good)
		bad[at] ^= 2
		check(t, os.WriteFile(name, bad, 0o644))
		if r := must(request.Audit(t.Context())); r.Clean() {
			t.Errorf("byte %d of %s was changed, and nothing deviates", at, sumsName)
		}
	}
	check(t, os.Remove(name))
	if r := must(request.Audit(t.Context())); !r.Clean() || len(r.Warnings) != 1 || !strings.Contains(r.Warnings[0], sumsName) {
		t.Errorf("without a list: %v, %v", r.Deviations, r.Warnings)
	}
}

// lastWidth is the width of the only entry bundle of a small log.
func lastWidth(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(dir, "tile", "entries", "000.p"))
	check(t, err)
	return entries[len(entries)-1].Name()
}

// What is no log at all is unusable, and says so; what a report shows of a
// stranger's text cannot steer a terminal.
func TestUnusableInput(t *testing.T) {
	empty := t.TempDir()
	file := filepath.Join(empty, "file")
	check(t, os.WriteFile(file, []byte("no log"), 0o644))
	for _, r := range []Request{
		{}, {Dir: empty}, {Dir: file}, {Dir: filepath.Join(empty, "missing")}, {URL: "http://127.0.0.1:1/log"}, {URL: "nowhere"},
		{Dir: empty, URL: "http://127.0.0.1:1/log"}, {Dir: empty, Cluster: "abc"}, {Dir: empty, Genesis: file}, {Dir: empty, Since: []string{file}}, {Dir: empty, Receipts: []string{file}},
	} {
		r.Out, r.Fresh = io.Discard, true
		if _, err := r.Audit(t.Context()); !errors.Is(err, ErrUnusable) {
			t.Errorf("%+v: %v", r, err)
		}
	}
	var report Report
	report.beside("a\x1b[2Jfield", strings.Repeat("x", 1000), "ü\n")
	if text := report.String(); strings.Contains(text, "\x1b") || len(text) > 700 {
		t.Errorf("%q", text)
	}
}

// A copy of a log that cannot be audited once stayed as far as it had come, and looked
// like one.
func TestUnusableLogLeavesNoCopy(t *testing.T) {
	for _, made := range []bool{true, false} {
		dir := filepath.Join(t.TempDir(), "copy")
		if !made {
			check(t, os.Mkdir(dir, 0o755))
		}
		files := maps.Clone(begun())
		delete(files, tlog.CheckpointPath)
		if _, err := Export(t.Context(), &overlay{files: files}, dir, Options{}); !errors.Is(err, ErrUnusable) {
			t.Fatal(err)
		}
		if left, err := os.ReadDir(dir); len(left) > 0 || errors.Is(err, fs.ErrNotExist) != made {
			t.Errorf("left behind: %v, %v", left, err)
		}
	}
}
