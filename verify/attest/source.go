package attest

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// GitTreeRule names how an input root is made of a commit: the commit's tree as
// it lies in Git's objects, as a REAPI Directory. Regular files keep their bytes
// (no attribute, filter or line ending is applied) and whether they are
// executable, symbolic links their targets; nothing is added or left out, and a
// tree with a submodule has no such root. verify/source makes it again.
const GitTreeRule = "https://gavel.dev/git-tree/v1"

const (
	sourcePrefix   = "git+"
	maxSourceBytes = 4 << 10 // a URL's length that servers take, and a commit
)

// ErrSource says that a text names no commit: write git+URL@COMMIT, with the
// commit's whole id.
var ErrSource = errors.New("not a source git+URL@COMMIT with a commit's whole id")

// ParseSource splits "git+URL@COMMIT", the form of SLSA and of package URLs, into
// the repository's URL and the commit's id: 40 (SHA-1) or 64 (SHA-256) lower-case
// hex digits. A URL carries no password: it is published.
func ParseSource(source string) (repository, commit string, err error) {
	bad := func(why string) (string, string, error) {
		return "", "", fmt.Errorf("%w: %s: %s", ErrSource, shown(source), why)
	}
	rest, ok := strings.CutPrefix(source, sourcePrefix)
	at := strings.LastIndexByte(rest, '@')
	if !ok || at < 0 {
		return bad("it does not begin with git+, or has no @")
	}
	if len(source) > maxSourceBytes {
		return bad("it is too long")
	}
	repository, commit = rest[:at], rest[at+1:]
	if raw, err := hex.DecodeString(commit); err != nil || hex.EncodeToString(raw) != commit || len(raw) != 20 && len(raw) != 32 {
		return bad("the commit is not 40 or 64 lower-case hex digits: a branch or tag moves")
	}
	u, err := url.Parse(repository)
	if err != nil || u.Scheme == "" || u.Host == "" && u.Path == "" || u.String() != repository {
		return bad("the repository is no URL, such as https://example.org/project.git")
	}
	if _, has := u.User.Password(); has || u.RawQuery != "" || u.Fragment != "" {
		return bad("the URL carries a password, a query or a fragment, and it is published")
	}
	return repository, commit, nil
}

// dependency is one of resolvedDependencies: what the build consumed.
type dependency struct {
	Digest dependencyDigest `json:"digest,omitzero"`
	Name   string           `json:"name"`
	URI    string           `json:"uri,omitempty"`
}

type dependencyDigest struct {
	GitCommit string `json:"gitCommit,omitempty"`
	SHA256    string `json:"sha256,omitempty"`
}

// hostURI names a machine's own root by the class that its worker declared: its
// last component is a digest of distribution, libc and toolchain. There is no
// digest of a machine's whole root.
const hostURI = "gavel:host/"

// dependencies lists what the build consumed: the REAPI messages that name it,
// the input tree, the commit that this is made of, and the root with its
// toolchain, an image by its digest or a machine's own by its class.
func (p *Provenance) dependencies() []dependency {
	out := []dependency{{Name: "action", Digest: dependencyDigest{SHA256: hexDigest(p.Action.SHA256)}}}
	if p.Withheld == nil {
		out = append(out, dependency{Name: "command", Digest: dependencyDigest{SHA256: hexDigest(p.Command.SHA256)}})
	}
	out = append(out, dependency{Name: "inputRoot", Digest: dependencyDigest{SHA256: hexDigest(p.InputRoot.SHA256)}})
	if image, ok := strings.CutPrefix(p.Platform, "sha256:"); ok {
		out = append(out, dependency{Name: "platformRoot", Digest: dependencyDigest{SHA256: image}})
	} else {
		components := strings.Split(p.Builder.Class, "/")
		for i := range components {
			components[i] = url.PathEscape(components[i])
		}
		out = append(out, dependency{Name: "platformRoot", URI: hostURI + strings.Join(components, "/")})
	}
	if p.Source != "" {
		_, commit, _ := ParseSource(p.Source) // checked by validate
		out = append(out, dependency{Name: "source", URI: p.Source, Digest: dependencyDigest{GitCommit: commit}})
	}
	return out
}
