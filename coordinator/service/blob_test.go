package service

import (
	"bytes"
	"io"

	"gavel/cas"
)

// blobOf is content to upload.
func blobOf(raw []byte) cas.Blob {
	return cas.Blob{Digest: cas.Of(raw), Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(raw)), nil }}
}
