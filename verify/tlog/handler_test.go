package tlog

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// served is a log of 600 entries of which 300 are published, with files beside it.
func served(t testing.TB) (dir string, all [][]byte) {
	t.Helper()
	dir = t.TempDir()
	l := open(t, dir)
	all = someEntries(0, 600)
	k := newLogKey(t)
	for _, n := range []int{300, 600} {
		if err := l.AppendAt(0, all[:n]); err != nil {
			t.Fatal(err)
		}
		if n == 300 {
			if err := l.Publish(k.sign(t, Checkpoint{k.origin, 300, l.Root()})); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, p := range []string{"genesis", "status.json", "transcript/00ff", "epoch/1", "vsa/00.dsse.json"} {
		if err := l.PutFile(p, []byte(p)); err != nil {
			t.Fatal(err)
		}
	}
	return dir, all
}

func TestHandler(t *testing.T) {
	dir, _ := served(t)
	if err := os.Symlink("/etc/hostname", filepath.Join(dir, "epoch/2")); err != nil {
		t.Fatal(err)
	}
	h := Handler(dir)
	get := func(method, path string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		r := httptest.NewRequest(method, "/", nil)
		r.URL.Path = path
		h.ServeHTTP(w, r)
		return w
	}
	for path, want := range map[string]struct{ content, caching string }{
		"/checkpoint":            {"text/plain; charset=utf-8", "no-cache"},
		"/tile/0/000":            {"application/octet-stream", cacheForever},
		"/tile/0/001.p/44":       {"application/octet-stream", cacheForever},
		"/tile/1/000.p/1":        {"application/octet-stream", cacheForever},
		"/tile/entries/000":      {"application/octet-stream", cacheForever},
		"/tile/entries/001.p/44": {"application/octet-stream", cacheForever},
		"/genesis":               {"application/octet-stream", "no-cache"},
		"/status.json":           {"application/json", "no-cache"},
		"/transcript/00ff":       {"application/octet-stream", cacheForever},
		"/epoch/1":               {"application/octet-stream", cacheForever},
		"/vsa/00.dsse.json":      {"application/json", "no-cache"},
	} {
		w := get("GET", path)
		if w.Code != 200 || w.Header().Get("Content-Type") != want.content || w.Header().Get("Cache-Control") != want.caching || w.Header().Get("Last-Modified") != "" {
			t.Errorf("%s: %d %v", path, w.Code, w.Header())
		}
		onDisk, err := os.ReadFile(filepath.Join(dir, path))
		if err != nil || !bytes.Equal(w.Body.Bytes(), onDisk) {
			t.Errorf("%s: another content, %v", path, err)
		}
		if w := get("HEAD", path); w.Code != 200 || w.Body.Len() != 0 {
			t.Errorf("HEAD %s: %d, %d bytes", path, w.Code, w.Body.Len())
		}
	}
	for _, path := range []string{
		"", "/", "/tile", "/tile/", "/tile/0", "/tile/0/", "/transcript", "/transcript/", "/sealed", "/incoming", "/incoming/0",
		"/tile/0/001", "/tile/entries/001", "/tile/entries/002.p/88", "/tile/0/002.p/88", "/tile/1/000.p/2", "/tile/1/000", // sealed, not published
		"/tile/0/001.p/044", "/tile/0/1", "/tile/0/0001", "/tile/00/000", "/tile/0/000.p/0", "/tile/0/000.p/256", "/tile/64/000", "/tile/63/000", "/tile/0/x000/000", "/tile/-1/000",
		"/../etc/passwd", "/transcript/../sealed", "/transcript/..", "/epoch//1", "//genesis", "/.hidden", "/tile/0/000\x00", `/transcript\00ff`,
		"/tile/0/999999999999999999999",
	} {
		if w := get("GET", path); w.Code != http.StatusNotFound || strings.Contains(w.Body.String(), dir) {
			t.Errorf("%q: %d %s", path, w.Code, w.Body)
		}
	}
	if w := get("GET", "/epoch/2"); w.Code == 200 || strings.Contains(w.Body.String(), dir) {
		t.Errorf("a link led out of the log: %d %s", w.Code, w.Body)
	}
	if w := get("POST", "/checkpoint"); w.Code != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d", w.Code)
	}
	if err := os.WriteFile(filepath.Join(dir, "checkpoint"), []byte("torn"), 0o644); err != nil {
		t.Fatal(err)
	}
	if w := get("GET", "/tile/0/000"); w.Code == 200 || strings.Contains(w.Body.String(), dir) {
		t.Errorf("without a checkpoint: %d %s", w.Code, w.Body)
	}
}

func TestSources(t *testing.T) {
	dir, all := served(t)
	server := httptest.NewServer(http.StripPrefix("/log", Handler(dir)))
	defer server.Close()
	if err := os.Symlink("/etc/hostname", filepath.Join(dir, "epoch/2")); err != nil {
		t.Fatal(err)
	}
	for name, from := range map[string]Source{"dir": DirSource(dir), "http": HTTPSource(server.URL+"/log/", nil)} {
		if signed, err := ReadCheckpoint(t.Context(), from); err != nil || !bytes.Contains(signed, []byte("\n300\n")) {
			t.Errorf("%s: checkpoint %q, %v", name, signed, err)
		}
		content, err := from.Read(t.Context(), "tile/entries/000", maxBundleBytes)
		if err != nil {
			t.Fatal(err)
		}
		if entries, err := splitBundle(content, tileWidth); err != nil || !bytes.Equal(entries[255], all[255]) {
			t.Errorf("%s: bundle, %v", name, err)
		}
		if _, err := from.Read(t.Context(), "tile/0/000", 8191); !errors.Is(err, ErrTooLarge) {
			t.Errorf("%s: a file over the limit: %v", name, err)
		}
		for _, path := range []string{"tile/0/007", "transcript", "transcript/none"} {
			if _, err := from.Read(t.Context(), path, 100); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s: %s: %v", name, path, err)
			}
		}
		for _, path := range []string{"", ".", "..", "../sealed", "/etc/passwd", "tile//0", "tile/0/000?x", "a%2fb", "epoch/.2"} {
			if _, err := from.Read(t.Context(), path, 100); !errors.Is(err, ErrMalformed) {
				t.Errorf("%s: %q: %v", name, path, err)
			}
		}
		if content, err := from.Read(t.Context(), "epoch/2", 1000); err == nil {
			t.Errorf("%s: a link led out of the log: %q", name, content)
		}
		done, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := from.Read(done, "genesis", 100); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: cancelled: %v", name, err)
		}
	}
	failing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusBadGateway)
		_, _ = io.WriteString(w, "x")
	}))
	defer failing.Close()
	if _, err := HTTPSource(failing.URL, nil).Read(t.Context(), "genesis", 100); err == nil || !strings.Contains(err.Error(), "502") {
		t.Errorf("a failing server: %v", err)
	}
	hiccups := 0
	flaky := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if hiccups++; hiccups < httpTries {
			panic(http.ErrAbortHandler)
		}
		Handler(dir).ServeHTTP(w, r)
	}))
	defer flaky.Close()
	if content, err := HTTPSource(flaky.URL, nil).Read(t.Context(), "genesis", 100); err != nil || string(content) != "genesis" {
		t.Errorf("a server with hiccups: %q, %v", content, err)
	}
	for _, base := range []string{"", "ftp://x", "file:///etc", "http://", "::"} {
		if _, err := HTTPSource(base, nil).Read(t.Context(), "genesis", 100); err == nil {
			t.Errorf("base %q was read", base)
		}
	}
}

// What is no file is read as none, and waits for nobody to write into it.
func TestNoFile(t *testing.T) {
	dir := t.TempDir()
	if err := errors.Join(syscall.Mkfifo(filepath.Join(dir, "checkpoint"), 0o600), os.Mkdir(filepath.Join(dir, "genesis"), 0o700)); err != nil {
		t.Fatal(err)
	}
	for link, to := range map[string]string{"epoch": "/", "status.json": "/etc/hostname", "trusted_root.json": "nowhere"} {
		if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "sealed"), make([]byte, 11), 0o600); err != nil {
		t.Fatal(err)
	}
	for p, lacks := range map[string]string{
		"checkpoint": "a pipe", "genesis": "a directory", "epoch/1": "a link that leads out", "status.json": "a link that leads out", "trusted_root.json": "or nowhere",
		"manifest/1": "no such file", "sealed": "more than 10 bytes",
	} {
		_, err := DirSource(dir).Read(t.Context(), p, 10)
		if !errors.Is(err, fs.ErrNotExist) && p != "sealed" || !strings.Contains(Lacking(err, 10), lacks) {
			t.Errorf("%s: %v", p, err)
		}
	}
	if lacks := Lacking(errors.New("the disk burns"), 10); lacks != "" {
		t.Errorf("a disk that burns has %s", lacks)
	}
}
