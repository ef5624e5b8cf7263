package cas

import (
	"strings"
	"testing"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
)

const helloHash = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"

func TestParseDigest(t *testing.T) {
	upper := strings.ToUpper(helloHash)
	for _, c := range []struct{ in, wantErr string }{
		{helloHash + "/5", ""},
		{Empty.String(), ""},
		{"", "not of the form"},
		{helloHash, "not of the form"},
		{helloHash + "/", "plain decimal"},
		{helloHash + "/05", "plain decimal"},
		{helloHash + "/+5", "plain decimal"},
		{helloHash + "/ 5", "plain decimal"},
		{helloHash + "/5/6", "plain decimal"},
		{helloHash + "/0x5", "plain decimal"},
		{helloHash + "/99999999999999999999", "plain decimal"},
		{helloHash + "/-5", "negative"},
		{helloHash + "/0", "belong together"},
		{Empty.Hash + "/1", "belong together"},
		{upper + "/5", "no lower-case hex"},
		{helloHash[1:] + "/5", "63 characters"},
		{helloHash + "0/5", "65 characters"},
		{strings.Repeat("g", 64) + "/5", "no lower-case hex"},
		{strings.Repeat("../", 21) + "a/5", "plain decimal"},
		{"sha256:" + helloHash + "/5", "71 characters"},
	} {
		d, err := ParseDigest(c.in)
		switch {
		case c.wantErr == "" && (err != nil || d.String() != c.in):
			t.Errorf("ParseDigest(%q) = %v, %v", c.in, d, err)
		case c.wantErr != "" && (err == nil || !strings.Contains(err.Error(), c.wantErr)):
			t.Errorf("ParseDigest(%q): error %v, want one about %q", c.in, err, c.wantErr)
		}
	}
}

func TestDigestForms(t *testing.T) {
	d := Of([]byte("hello"))
	if d.Hash != helloHash || d.Size != 5 {
		t.Fatalf("Of(hello) = %v", d)
	}
	if back := OfSum(d.Sum(), d.Size); back != d {
		t.Errorf("through Sum: %v", back)
	}
	if back, err := FromProto(d.Proto()); err != nil || back != d {
		t.Errorf("through proto: %v, %v", back, err)
	}
	if _, err := FromProto(nil); err == nil {
		t.Error("no digest taken for one")
	}
	if _, err := FromProto(&repb.Digest{Hash: helloHash, SizeBytes: -1}); err == nil {
		t.Error("negative size accepted")
	}
}

func FuzzParseDigest(f *testing.F) {
	f.Add(helloHash + "/5")
	f.Add(Empty.String())
	f.Add("/")
	f.Fuzz(func(t *testing.T, s string) {
		d, err := ParseDigest(s)
		if err == nil && d.String() != s {
			t.Fatalf("%q parsed, but is written %q", s, d)
		}
		if err == nil && OfSum(d.Sum(), d.Size) != d {
			t.Fatalf("%q does not survive Sum", s)
		}
	})
}
