package audit

import (
	"errors"
	"io"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"gavel/verify/evidence"
	"gavel/verify/tlog"
)

// Whatever lies in a file's place and cannot be it is named, once, with what it is: an
// epoch or a status list of 20 GB was once taken for one that is not published, and
// nobody heard of it.
func TestWhatCannotBeTheFileIsNamed(t *testing.T) {
	dir := t.TempDir()
	s := small().Copy()
	check(t, s.Write(dir))
	all := must(ListDir(dir))
	first := func(prefix string) string {
		return all[slices.IndexFunc(all, func(p string) bool { return strings.HasPrefix(p, prefix) })]
	}
	last := uint64(0)
	for i := range s.Items {
		if e := s.Items[i].Epoch; e != nil {
			last = e.Number
		}
	}
	huge := func(name string) error { return errors.Join(os.WriteFile(name, nil, 0o644), os.Truncate(name, 20<<30)) }
	fifo := func(name string) error { return syscall.Mkfifo(name, 0o644) }
	place := func(name string) error { return os.Mkdir(name, 0o755) }
	out := func(name string) error { return os.Symlink("/etc/hostname", name) }
	nowhere := func(name string) error { return os.Symlink("nowhere", name) }
	for _, c := range []struct {
		path string
		put  func(name string) error
		got  string
	}{
		{evidence.EpochPath(2), huge, "more than"}, {evidence.EpochPath(2), fifo, "a pipe"},
		{evidence.EpochPath(last), place, "a directory"}, {evidence.EpochPath(last), out, "a link"},
		{evidence.StatusPath, place, "a directory"}, {evidence.StatusPath, nowhere, "a link"},
		{evidence.TrustedRootPath, fifo, "a pipe"},
		{first("transcript/"), place, "a directory"}, {first("manifest/"), out, "a link"}, {first("vsa/"), huge, "more than"},
		{first("tile/0/"), huge, "more than"}, {first("tile/entries/"), fifo, "a pipe"},
	} {
		name := filepath.Join(dir, filepath.FromSlash(c.path))
		good := must(os.ReadFile(name))
		check(t, errors.Join(os.Remove(name), c.put(name)))
		var says []string
		for _, d := range auditDir(t, dir, Options{}).Deviations {
			if strings.HasPrefix(d.Field, c.path) || strings.Contains(d.Field, "balance") {
				says = append(says, d.String())
			}
		}
		if len(says) != 1 || !strings.Contains(says[0], "got "+c.got) {
			t.Errorf("%s that is %s: %q", c.path, c.got, says)
		}
		check(t, errors.Join(os.Remove(name), os.WriteFile(name, good, 0o644)))
	}
	check(t, huge(filepath.Join(dir, evidence.StatusPath)))
	server := httptest.NewServer(tlog.Handler(dir))
	defer server.Close()
	request := Request{URL: server.URL, Fresh: true, Out: io.Discard}
	if r := must(request.Audit(t.Context())); len(r.Deviations) != 1 || !strings.HasPrefix(r.Deviations[0].Got, "more than") {
		t.Errorf("an answer that is too large: %v", r.Deviations)
	}
}
