package cas

import (
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
)

// Verify returns a reader of r that fails with ErrDigestMismatch unless r's
// content is exactly d's. The last bytes are handed out only once all have been
// verified, so that a caller who reads d.Size bytes and stops is safe too.
func Verify(d Digest, r io.Reader) io.Reader {
	return &verifier{digest: d, from: r, hash: sha256.New(), left: d.Size}
}

type verifier struct {
	digest Digest
	from   io.Reader
	hash   hash.Hash
	left   int64 // bytes of the digest's size not yet read
	end    error // what every later Read returns: io.EOF once verified
}

func (v *verifier) Read(p []byte) (int, error) {
	if v.end != nil {
		return 0, v.end
	}
	if v.left == 0 { // only of the empty blob
		v.end = v.finish()
		return 0, v.end
	}
	if len(p) == 0 {
		return 0, nil
	}
	n, err := v.from.Read(p[:min(int64(len(p)), v.left)])
	v.hash.Write(p[:n])
	v.left -= int64(n)
	switch {
	case v.left == 0:
		if v.end = v.finish(); v.end != io.EOF {
			clear(p[:n])
			return 0, v.end
		}
		return n, nil
	case err == io.EOF:
		v.end = Mismatch(v.digest, fmt.Sprintf("it ends after %d bytes", v.digest.Size-v.left))
		return 0, v.end
	}
	v.end = err
	return n, err
}

// finish returns io.EOF if the content ends here and has the hash.
func (v *verifier) finish() error {
	if err := ExpectEnd(v.digest, v.from); err != nil {
		return err
	}
	if sum := [sha256.Size]byte(v.hash.Sum(nil)); sum != v.digest.Sum() {
		return Mismatch(v.digest, fmt.Sprintf("it hashes to %x", sum))
	}
	return io.EOF
}

// ExpectEnd returns an error unless r has nothing more to give after d.Size bytes.
func ExpectEnd(d Digest, r io.Reader) error {
	var extra [1]byte
	switch _, err := io.ReadFull(r, extra[:]); err {
	case io.EOF:
		return nil
	case nil:
		return Mismatch(d, "it goes on beyond its size")
	default:
		return err
	}
}

// Mismatch is the error for content that is not d's; why completes the sentence.
func Mismatch(d Digest, why string) error {
	return fmt.Errorf("blob %s: %w: %s", d, ErrDigestMismatch, why)
}
