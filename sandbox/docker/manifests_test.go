package docker

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/docker/docker/api/types/image"
	"github.com/opencontainers/go-digest"

	"gavel/sandbox"
	"gavel/sandbox/sandboxtest"
)

// manifestEngine answers the calls about images as an engine does that keeps them
// in containerd: an image's id is a digest of its manifest, not of its config.
type manifestEngine struct {
	mu    sync.Mutex
	tags  map[string]string // id by tag
	loads int
	fails string // what loading answers instead
}

func startManifestEngine(t *testing.T) (*manifestEngine, *Runner) {
	t.Helper()
	e := &manifestEngine{tags: map[string]string{}}
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: e.handler()}
	go server.Serve(l)
	t.Cleanup(func() { server.Close() })
	client, err := connect("unix://" + socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return e, &Runner{
		engine: client, config: Config{Owner: "me"}, containerd: true, images: map[string]imageFacts{}, uses: map[string]int64{},
		users: map[string]int{}, takes: make(chan struct{}, 1),
	}
}

func (e *manifestEngine) handler() http.Handler {
	m := http.NewServeMux()
	m.HandleFunc("/_ping", func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Api-Version", "1.47") })
	m.HandleFunc("POST /{v}/images/load", e.load)
	m.HandleFunc("GET /{v}/images/json", e.list)
	// Names hold slashes and colons, so what follows them is cut off by hand.
	m.HandleFunc("/{v}/images/{name...}", e.one)
	return m
}

func (e *manifestEngine) load(w http.ResponseWriter, r *http.Request) {
	e.mu.Lock()
	defer e.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	for tr := tar.NewReader(r.Body); ; {
		h, err := tr.Next()
		if err != nil {
			http.Error(w, `{"message":"half an archive"}`, http.StatusInternalServerError)
			return
		}
		if h.Name != "manifest.json" {
			continue
		}
		text, _ := io.ReadAll(tr)
		var manifest []struct{ RepoTags []string }
		if e.fails != "" || json.Unmarshal(text, &manifest) != nil {
			fmt.Fprintf(w, `{"stream":"Loading"}{"error":%q}`, e.fails)
			return
		}
		e.loads++
		for _, tag := range manifest[0].RepoTags {
			e.tags[tag] = digest.FromBytes(text).String()
		}
		fmt.Fprint(w, `{"stream":"Loaded"}`)
		return
	}
}

// held are the tags by id.
func (e *manifestEngine) held() map[string][]string {
	held := map[string][]string{}
	for tag, id := range e.tags {
		held[id] = append(held[id], tag)
	}
	return held
}

func (e *manifestEngine) list(w http.ResponseWriter, r *http.Request) {
	e.mu.Lock()
	defer e.mu.Unlock()
	answer := []image.Summary{}
	for id, tags := range e.held() {
		slices.Sort(tags)
		if filter := r.URL.Query().Get("filters"); strings.Contains(filter, tagPrefix) && !strings.Contains(strings.Join(tags, " "), tagPrefix) {
			continue
		}
		answer = append(answer, image.Summary{ID: id, RepoTags: tags, Size: 1000})
	}
	json.NewEncoder(w).Encode(answer)
}

func (e *manifestEngine) one(w http.ResponseWriter, r *http.Request) {
	e.mu.Lock()
	defer e.mu.Unlock()
	name, verb := r.PathValue("name"), ""
	for _, v := range []string{"/json", "/tag"} {
		if cut, ok := strings.CutSuffix(name, v); ok {
			name, verb = cut, v
		}
	}
	id := e.tags[name]
	if e.held()[name] != nil {
		id = name
	}
	switch {
	case id == "":
		http.Error(w, `{"message":"no such image"}`, http.StatusNotFound)
	case r.Method == http.MethodDelete:
		delete(e.tags, name)
		fmt.Fprint(w, `[]`)
	case verb == "/tag":
		q := r.URL.Query()
		e.tags[strings.TrimPrefix(q.Get("repo"), "docker.io/")+":"+q.Get("tag")] = id
		w.WriteHeader(http.StatusCreated)
	case verb == "/json":
		json.NewEncoder(w).Encode(image.InspectResponse{ID: id, RepoTags: e.held()[id]})
	}
}

func smallImage(t *testing.T, word string) sandbox.Image {
	t.Helper()
	e := sandboxtest.Entry{Content: word}
	e.Name = "word"
	return sandboxtest.Image(t, sandboxtest.Archive(t, e))
}

// An image must be known by its name where the engine gives it another id.
func TestImagesKeptByManifest(t *testing.T) {
	e, r := startManifestEngine(t)
	ctx := context.Background()
	img := smallImage(t, "x")
	for range 2 {
		if root, err := r.TakeImage(ctx, img); root != img.Root() || err != nil {
			t.Fatalf("%s, %v", root, err)
		}
	}
	e.tags["somebody:else"] = "sha256:" + strings.Repeat("1", 64)
	if e.loads != 1 || len(e.tags) != 2 || e.tags[r.tag(img.Root())] == "" {
		t.Errorf("loaded %d times, tags %v", e.loads, e.tags)
	}
	roots, err := r.Roots(ctx)
	want := []string{img.Root(), e.tags["somebody:else"]}
	slices.Sort(want)
	if err != nil || !slices.Equal(roots, want) {
		t.Errorf("roots %q, %v; want %q", roots, err, want)
	}
	facts, err := r.image(ctx, img.Root())
	if err != nil || facts.id != e.tags[r.tag(img.Root())] || facts.id == img.Root() {
		t.Errorf("%+v, %v", facts, err)
	}
	if _, err := r.image(ctx, smallImage(t, "other").Root()); !errors.Is(err, sandbox.ErrRefused) {
		t.Errorf("error %v of an image that is not there", err)
	}
}

// An engine that keeps images by config and answers with another one broke its promise.
func TestLoadedAsAnother(t *testing.T) {
	e, r := startManifestEngine(t)
	r.containerd = false
	if _, err := r.TakeImage(context.Background(), smallImage(t, "x")); !errors.Is(err, sandbox.ErrUnavailable) || !strings.Contains(err.Error(), "another config") {
		t.Errorf("error %v", err)
	}
	if len(e.tags) != 0 {
		t.Errorf("left %v", e.tags)
	}
	e.fails = "no space left on device"
	if _, err := r.TakeImage(context.Background(), smallImage(t, "x")); !errors.Is(err, sandbox.ErrUnavailable) || !strings.Contains(err.Error(), e.fails) {
		t.Errorf("error %v", err)
	}
}

// Of the images that were taken, those used longest ago go first, and nobody else's.
func TestImagesAreLetGo(t *testing.T) {
	e, r := startManifestEngine(t)
	r.config.ImageBytes = 5000 // two of 1000, with room for an archive of 2560
	ctx := context.Background()
	theirs := repository("another") + ":" + strings.Repeat("2", 64)
	e.tags[theirs], e.tags["a:person"] = "sha256:"+strings.Repeat("2", 64), "sha256:"+strings.Repeat("3", 64)
	var roots []string
	for i := range 5 {
		root, err := r.TakeImage(ctx, smallImage(t, fmt.Sprint(i)))
		if err != nil {
			t.Fatal(err)
		}
		roots = append(roots, root)
		if i == 0 {
			defer r.use(root)()
		}
	}
	for i, stays := range []bool{true, false, false, true, true} {
		if has := e.tags[r.tag(roots[i])] != ""; has != stays {
			t.Errorf("image %d is there: %v, want %v", i, has, stays)
		}
	}
	if e.tags[theirs] == "" || e.tags["a:person"] == "" {
		t.Errorf("others' are gone: %v", e.tags)
	}
}

func TestRootOfTags(t *testing.T) {
	hex := strings.Repeat("a", 64)
	for tags, want := range map[string]string{
		"":                                    "",
		"busybox:latest":                      "",
		"gavel-image/00:" + hex:               "sha256:" + hex,
		"x:y gavel-image/0123456789ab:" + hex: "sha256:" + hex,
		"gavel-image/00:latest":               "",
		"gavel-image/00":                      "",
	} {
		if got, ok := rootOfTags(strings.Fields(tags)); got != want || ok != (want != "") {
			t.Errorf("%q: %q, %v", tags, got, ok)
		}
	}
}
