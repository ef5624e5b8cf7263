package cas

import (
	"strings"
	"testing"
)

func TestParseResource(t *testing.T) {
	blob := "blobs/" + helloHash + "/5"
	for _, c := range []struct {
		in, instance, upload string // of a valid name
		wantErr              string
	}{
		{in: blob},
		{in: "main/" + blob, instance: "main"},
		{in: "a/b/c/" + blob, instance: "a/b/c"},
		{in: "uploads/u1/" + blob, upload: "u1"},
		{in: "x/y/uploads/u1/" + blob, instance: "x/y", upload: "u1"},
		{in: "uploads/u1/" + blob + "/some/file.o", upload: "u1"},
		{in: "", wantErr: "segment where one belongs"},
		{in: "main", wantErr: "segment where one belongs"},
		{in: "/" + blob, wantErr: "empty segment"},
		{in: "a//" + blob, wantErr: "empty segment"},
		{in: blob + "/more", wantErr: "wants a hash"},
		{in: "blobs/" + helloHash, wantErr: "wants a hash"},
		{in: "blobs/sha256/" + helloHash + "/5", wantErr: "wants a hash"},
		{in: "blobs/" + helloHash + "/five", wantErr: "plain decimal"},
		{in: "blobs/../5", wantErr: "2 characters"},
		{in: "compressed-blobs/zstd/" + helloHash + "/5", wantErr: "compressed"},
		{in: "operations/" + blob, wantErr: "segment where one belongs"},
		{in: "uploads//" + blob, wantErr: "wants a uuid"},
		{in: "uploads/u1", wantErr: "wants a uuid"},
		{in: "uploads/u1/compressed-blobs/zstd/" + helloHash + "/5", wantErr: "only plain blobs"},
		{in: "uploads/u1/blobs/" + helloHash, wantErr: "wants a hash"},
		{in: strings.Repeat("a/", 3000) + blob, wantErr: "longer than"},
	} {
		parse := ParseReadName
		if strings.Contains(c.in, "uploads/") {
			parse = ParseWriteName
		}
		r, err := parse(c.in)
		if c.wantErr != "" {
			if err == nil || !strings.Contains(err.Error(), c.wantErr) {
				t.Errorf("%q: error %v, want one about %q", c.in, err, c.wantErr)
			}
			continue
		}
		if err != nil || r.Instance != c.instance || r.Upload != c.upload || r.Digest.Hash != helloHash || r.Digest.Size != 5 {
			t.Errorf("%q: %+v, %v", c.in, r, err)
		}
	}
	if _, err := ParseWriteName(blob); err == nil {
		t.Error("a download's name taken for an upload's")
	}
	if _, err := ParseReadName("uploads/u/" + blob); err == nil {
		t.Error("an upload's name taken for a download's")
	}
}

func FuzzParseResource(f *testing.F) {
	f.Add("a/uploads/u/blobs/"+helloHash+"/5/x", true)
	f.Add("blobs/"+helloHash+"/5", false)
	f.Fuzz(func(t *testing.T, s string, write bool) {
		parse := ParseReadName
		if write {
			parse = ParseWriteName
		}
		r, err := parse(s)
		if err != nil {
			return
		}
		if !strings.HasPrefix(s, r.String()) {
			t.Fatalf("%q parsed as %q", s, r)
		}
		if again, err := parse(r.String()); err != nil || again != r {
			t.Fatalf("%q written as %q, which parses as %v, %v", s, r, again, err)
		}
	})
}
