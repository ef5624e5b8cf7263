package cas

import (
	"fmt"
	"slices"
	"strings"
)

// Resource is a parsed ByteStream resource name: of a download
// "{instance}/blobs/{hash}/{size}", of an upload
// "{instance}/uploads/{uuid}/blobs/{hash}/{size}" with anything behind. The
// instance may be empty or hold slashes. (REAPI v2, ContentAddressableStorage.)
type Resource struct {
	Instance string
	Upload   string // the uploader's uuid, which tells its attempts apart; empty of a download
	Digest   Digest
}

// reserved are the segments that an instance name must not hold (REAPI v2).
var reserved = []string{"blobs", "uploads", "actions", "actionResults", "operations", "capabilities", "compressed-blobs"}

// ParseReadName parses the name of a download.
func ParseReadName(name string) (Resource, error) {
	return parseName(name, "blobs")
}

// ParseWriteName parses the name of an upload.
func ParseWriteName(name string) (Resource, error) {
	return parseName(name, "uploads")
}

func parseName(name, kind string) (Resource, error) {
	refuse := func(why string) (Resource, error) {
		return Resource{}, fmt.Errorf("resource name %q: %s", clip(name), why)
	}
	if len(name) > MaxResourceNameBytes {
		return refuse("longer than any valid name")
	}
	parts := strings.Split(name, "/")
	at := slices.IndexFunc(parts, func(p string) bool { return slices.Contains(reserved, p) })
	if at < 0 || parts[at] != kind {
		if at >= 0 && parts[at] == "compressed-blobs" {
			return refuse("compressed transfers are not offered, use blobs")
		}
		return refuse("no " + kind + " segment where one belongs")
	}
	r := Resource{Instance: strings.Join(parts[:at], "/")}
	if at > 0 && slices.Contains(parts[:at], "") {
		return refuse("empty segment in the instance name")
	}
	rest := parts[at+1:]
	if kind == "uploads" {
		if len(rest) < 2 || rest[0] == "" {
			return refuse("uploads wants a uuid and blobs behind it")
		}
		if rest[1] != "blobs" {
			return refuse("only plain blobs can be uploaded")
		}
		r.Upload, rest = rest[0], rest[2:]
	}
	if len(rest) < 2 || kind == "blobs" && len(rest) > 2 {
		return refuse("blobs wants a hash and a size behind it")
	}
	d, err := parseParts(rest[0], rest[1])
	if err != nil {
		return refuse(err.Error())
	}
	r.Digest = d
	return r, nil
}

// String is the name, as ParseReadName or ParseWriteName takes it.
func (r Resource) String() string {
	s := "blobs/" + r.Digest.String()
	if r.Upload != "" {
		s = "uploads/" + r.Upload + "/" + s
	}
	if r.Instance != "" {
		s = r.Instance + "/" + s
	}
	return s
}
