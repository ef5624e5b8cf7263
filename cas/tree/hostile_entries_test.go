package tree_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"gavel/cas"
	"gavel/cas/client"
	"gavel/cas/disk"
	"gavel/cas/inputs"
	"gavel/cas/scope"
	"gavel/cas/server"
	"gavel/cas/tree"
)

// patience bounds what a hostile tree may cost; a tree is some hundred messages.
const patience = 20 * time.Second

// serve runs a blob server over a store of its own and connects to it.
func serve(t *testing.T) (*client.Client, repb.ContentAddressableStorageClient) {
	t.Helper()
	store, err := disk.Open(t.TempDir(), disk.Options{Cache: true})
	if err != nil {
		t.Fatal(err)
	}
	accounts, err := scope.OpenAccounts(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	s := server.New(server.Config{Instance: server.Instance{Store: store, Access: accounts}, Log: slog.New(slog.DiscardHandler),
		AccountFrom: func(context.Context) ([32]byte, error) { return [32]byte{1}, nil }})
	g := grpc.NewServer()
	s.Register(g)
	l := bufconn.Listen(1 << 20)
	served := make(chan error, 1)
	go func() { served <- g.Serve(l) }()
	conn, err := grpc.NewClient("passthrough:///store", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) { return l.Dial() }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		err := conn.Close()
		g.Stop()
		s.Close()
		if err := errors.Join(err, <-served, store.Close()); err != nil {
			t.Error(err)
		}
	})
	c, err := client.New([]grpc.ClientConnInterface{conn}, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return c, repb.NewContentAddressableStorageClient(conn)
}

// What a worker does with a hostile tree that its coordinator's store holds: it
// loads it over the wire, and lays it out through its cache. Either refuses, and
// nothing is left but blobs; nor does the server's own walk of it run away.
func TestHostileTreesAtEveryEntryPoint(t *testing.T) {
	c, raw := serve(t)
	dir := t.TempDir()
	caches := map[tree.Limits]*inputs.Cache{}
	defer func() {
		for _, cache := range caches {
			cache.Close()
		}
	}()
	for i, h := range tree.HostileTrees(t) {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		for d, b := range h.Blobs {
			if d == cas.Empty {
				continue
			}
			if err := c.Put(ctx, d, bytes.NewReader(b)); err != nil {
				t.Fatalf("%s: storing: %v", h.Name, err)
			}
		}
		if _, err := tree.Load(ctx, c, h.Root, h.Limits); err == nil || !strings.Contains(err.Error(), h.WantErr) {
			t.Errorf("%s: loaded over the wire: %v, want an error about %q", h.Name, err, h.WantErr)
		}
		cache := caches[h.Limits]
		if cache == nil {
			var err error
			if cache, err = inputs.Open(filepath.Join(dir, "cache", string(rune('a'+i%26))+h.Name[:1]), inputs.Config{Limits: h.Limits}); err != nil {
				t.Fatal(err)
			}
			caches[h.Limits] = cache
		}
		out, err := cache.Materialise(ctx, h.Root, c, inputs.Options{UID: -1, GID: -1})
		if err == nil {
			out.Release()
			t.Errorf("%s: laid out at %s", h.Name, out.Dir)
		} else if !strings.Contains(err.Error(), h.WantErr) {
			t.Errorf("%s: laying out: %v, want an error about %q", h.Name, err, h.WantErr)
		}
		walked(t, ctx, raw, h)
		cancel()
	}
	// Under trees/ and building/ there is nothing: no tree was begun.
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if parent := filepath.Base(filepath.Dir(path)); err == nil && (parent == "trees" || parent == "building") {
			t.Errorf("left: %s", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// walked has the server list a tree: it may refuse or end, not run away.
func walked(t *testing.T, ctx context.Context, raw repb.ContentAddressableStorageClient, h tree.HostileTree) {
	t.Helper()
	pages, err := raw.GetTree(ctx, &repb.GetTreeRequest{RootDigest: h.Root.Proto()})
	if err != nil {
		t.Fatalf("%s: %v", h.Name, err)
	}
	listed := 0
	for {
		page, err := pages.Recv()
		if err != nil {
			if !errors.Is(err, io.EOF) && ctx.Err() != nil {
				t.Errorf("%s: the server walked for more than %v", h.Name, patience)
			}
			break
		}
		listed += len(page.Directories)
	}
	if listed > len(h.Blobs)+1 { // a store has the empty one without being given it
		t.Errorf("%s: %d directories are listed of %d blobs", h.Name, listed, len(h.Blobs))
	}
}
