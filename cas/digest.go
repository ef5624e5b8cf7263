package cas

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
)

// Digest names a blob: its SHA-256 and its size. The zero Digest is invalid.
type Digest struct {
	Hash string // 64 lower-case hex digits
	Size int64  // bytes
}

// Empty names the blob of no bytes, which every store has.
var Empty = Of(nil)

// Of is the digest of b.
func Of(b []byte) Digest { return OfSum(sha256.Sum256(b), int64(len(b))) }

// OfSum is the digest with this SHA-256 and this size in bytes.
func OfSum(sum [sha256.Size]byte, size int64) Digest {
	return Digest{Hash: hex.EncodeToString(sum[:]), Size: size}
}

// NewDigest checks a hash and a size that came from outside.
func NewDigest(hash string, size int64) (Digest, error) {
	d := Digest{Hash: hash, Size: size}
	return d, d.Validate()
}

// ParseDigest reads "hash/size", the form String writes and no other.
func ParseDigest(s string) (Digest, error) {
	hash, size, ok := strings.Cut(s, "/")
	if !ok {
		return Digest{}, fmt.Errorf("digest %q is not of the form hash/size", clip(s))
	}
	return parseParts(hash, size)
}

func parseParts(hash, size string) (Digest, error) {
	n, err := strconv.ParseInt(size, 10, 64)
	// A second spelling of a size ("+1", "01") would be a second name of a blob.
	if err != nil || strconv.FormatInt(n, 10) != size {
		return Digest{}, fmt.Errorf("size %q of digest %q is not a plain decimal number of bytes", clip(size), clip(hash))
	}
	return NewDigest(hash, n)
}

// FromProto checks and converts a digest of a REAPI message.
func FromProto(p *repb.Digest) (Digest, error) {
	if p == nil {
		return Digest{}, errors.New("digest is missing")
	}
	return NewDigest(p.Hash, p.SizeBytes)
}

// Proto is d as a REAPI message.
func (d Digest) Proto() *repb.Digest { return &repb.Digest{Hash: d.Hash, SizeBytes: d.Size} }

// OCI is the hash in the form that images, attestations and people use,
// "sha256:" and the hex digits. It does not hold the size.
func (d Digest) OCI() digest.Digest { return digest.NewDigestFromEncoded(digest.SHA256, d.Hash) }

// String is "hash/size".
func (d Digest) String() string { return d.Hash + "/" + strconv.FormatInt(d.Size, 10) }

// Sum is the hash as bytes; d must be valid.
func (d Digest) Sum() (sum [sha256.Size]byte) {
	if n, err := hex.Decode(sum[:], []byte(d.Hash)); err != nil || n != len(sum) {
		panic("cas: Sum of invalid digest " + d.Hash)
	}
	return sum
}

// Validate says what is malformed about d, or nil.
func (d Digest) Validate() error {
	if len(d.Hash) != 2*sha256.Size {
		return fmt.Errorf("hash %q has %d characters, not the 64 of SHA-256", clip(d.Hash), len(d.Hash))
	}
	for _, c := range []byte(d.Hash) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return fmt.Errorf("hash %q holds %q, which is no lower-case hex digit", d.Hash, c)
		}
	}
	if d.Size < 0 {
		return fmt.Errorf("size %d of digest %s is negative", d.Size, d.Hash)
	}
	if (d.Size == 0) != (d.Hash == Empty.Hash) {
		return fmt.Errorf("digest %s: size 0 and the hash of no bytes belong together", d)
	}
	return nil
}

// clip keeps what a stranger sent from flooding an error message.
func clip(s string) string {
	if len(s) > 80 {
		return s[:80] + "…"
	}
	return s
}
