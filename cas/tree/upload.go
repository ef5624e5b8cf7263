package tree

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"gavel/cas"
)

// Upload puts a local directory into a store as a REAPI tree and returns its
// root. Only what the store lacks is sent. The directory is only read; .git is a
// directory like any other, unless it is in Options.Without.
func Upload(ctx context.Context, to cas.Uploader, dir string, o Options) (cas.Digest, Totals, error) {
	entries, err := Scan(ctx, dir, o)
	if err != nil {
		return cas.Digest{}, Totals{}, err
	}
	root, lists, err := Directories(entries)
	if err != nil {
		return cas.Digest{}, Totals{}, fmt.Errorf("%s cannot be uploaded: %w", dir, err)
	}
	blobs := make([]cas.Blob, 0, len(lists))
	for d, raw := range lists {
		blobs = append(blobs, cas.Blob{Digest: d, Open: func() (io.ReadCloser, error) {
			return io.NopCloser(bytes.NewReader(raw)), nil
		}})
	}
	if err := upload(ctx, to, dir, entries, blobs, o); err != nil {
		return cas.Digest{}, Totals{}, err
	}
	return root, total(entries), nil
}

// UploadFiles puts the files that es lists, as Scan(dir) returned it, into a
// store; only what the store lacks is sent. What is not a file has no content.
func UploadFiles(ctx context.Context, to cas.Uploader, dir string, es []Entry, o Options) error {
	if err := CheckEntries(es, o.Limits); err != nil {
		return err
	}
	return upload(ctx, to, dir, es, nil, o)
}

func total(es []Entry) Totals {
	t := Totals{Entries: int64(len(es))}
	for _, e := range es {
		t.Bytes += e.Digest.Size
	}
	return t
}

func upload(ctx context.Context, to cas.Uploader, dir string, es []Entry, blobs []cas.Blob, o Options) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("uploading: %w", err)
	}
	defer root.Close()
	byDigest := make(map[cas.Digest]cas.Blob, len(es)+len(blobs))
	var p Progress
	for _, b := range blobs {
		byDigest[b.Digest] = b
	}
	for _, e := range es {
		if e.Type != File {
			continue
		}
		p.Files++
		p.Bytes += e.Digest.Size
		byDigest[e.Digest] = cas.Blob{Digest: e.Digest, Open: func() (io.ReadCloser, error) { return reopen(root, e) }}
	}
	p.HashedFiles, p.HashedBytes = p.Files, p.Bytes
	all := make([]cas.Digest, 0, len(byDigest))
	for d := range byDigest {
		all = append(all, d)
	}
	missing, err := to.Missing(ctx, all)
	if err != nil {
		return fmt.Errorf("uploading %s: %w", dir, err)
	}
	send := make([]cas.Blob, 0, len(missing))
	for _, d := range missing {
		send = append(send, byDigest[d])
		p.BlobBytes += d.Size
	}
	p.Blobs = len(send)
	o.report(p)
	err = to.Upload(ctx, send, func(d cas.Digest) {
		p.MovedBlobs++
		p.MovedBlobBytes += d.Size
		o.report(p)
	})
	if err != nil {
		return fmt.Errorf("uploading %s: %w", dir, err)
	}
	return nil
}

// reopen opens a scanned file again; reading it fails unless it still is what it was.
func reopen(root *os.Root, e Entry) (io.ReadCloser, error) {
	info, err := root.Lstat(e.Path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() != e.Digest.Size {
		return nil, changed(e.Path)
	}
	f, err := openFile(root, e.Path, info)
	if err != nil {
		return nil, err
	}
	return &watched{path: e.Path, verified: cas.Verify(e.Digest, f), Closer: f}, nil
}

// watched turns a mismatch into the sentence its cause deserves.
type watched struct {
	path     string
	verified io.Reader
	io.Closer
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.verified.Read(p)
	if errors.Is(err, cas.ErrDigestMismatch) {
		err = changed(w.path)
	}
	return n, err
}
