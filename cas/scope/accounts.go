package scope

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"gavel/cas"
)

// ErrDenied is wrapped when an account may not store a blob now.
var ErrDenied = errors.New("not allowed")

// Access says what an account may do with a blob. Its implementations are safe
// for concurrent use; leases and quotas are decorators of it.
type Access interface {
	// MayRead says whether account may know and read d, if it exists.
	MayRead(ctx context.Context, account [32]byte, d cas.Digest) (bool, error)
	// MayWrite returns nil if account may upload d, else an error wrapping ErrDenied.
	MayWrite(ctx context.Context, account [32]byte, d cas.Digest) error
	// Grant lets account read ds from now on. The caller vouches for it: before
	// granting a requester what a worker's manifest names, check that the worker's
	// own View misses none of it, or a forged manifest opens strangers' blobs.
	Grant(ctx context.Context, account [32]byte, ds []cas.Digest) error
}

// Accounts is the durable record of what each account uploaded or was granted,
// in a directory that several processes share: for each account (in hex) a
// directory of empty files named "hash-size". Any account may upload.
type Accounts struct{ dir string }

var _ Access = (*Accounts)(nil)

// OpenAccounts opens the record in dir, which it makes if need be.
func OpenAccounts(dir string) (*Accounts, error) {
	err := os.MkdirAll(dir, 0o755)
	if err == nil {
		err = errors.Join(syncDir(dir), syncDir(filepath.Dir(dir)))
	}
	if err != nil {
		return nil, fmt.Errorf("opening accounts of the blob store: %w", err)
	}
	return &Accounts{dir: dir}, nil
}

func (a *Accounts) account(account [32]byte) string {
	return filepath.Join(a.dir, hex.EncodeToString(account[:]))
}

func marker(d cas.Digest) string { return d.Hash + "-" + strconv.FormatInt(d.Size, 10) }

// MayRead implements Access.
func (a *Accounts) MayRead(_ context.Context, account [32]byte, d cas.Digest) (bool, error) {
	if err := d.Validate(); err != nil {
		return false, err
	}
	_, err := os.Lstat(filepath.Join(a.account(account), marker(d)))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// MayWrite implements Access.
func (a *Accounts) MayWrite(context.Context, [32]byte, cas.Digest) error { return nil }

// Grant implements Access. When it returns nil the grants are durable; a crash
// before that leaves some of them, which the caller's retry completes.
func (a *Accounts) Grant(ctx context.Context, account [32]byte, ds []cas.Digest) error {
	dir := a.account(account)
	if err := os.Mkdir(dir, 0o755); err == nil {
		err = syncDir(a.dir)
		if err != nil {
			return fmt.Errorf("granting blobs: %w", err)
		}
	} else if !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("granting blobs: %w", err)
	}
	for _, d := range ds {
		if err := errors.Join(ctx.Err(), d.Validate()); err != nil {
			return fmt.Errorf("granting blobs: %w", err)
		}
		// Read-only: only root may open its own read-only file again for writing.
		f, err := os.OpenFile(filepath.Join(dir, marker(d)), os.O_CREATE|os.O_RDONLY, 0o444)
		if err == nil {
			err = f.Close()
		}
		if err != nil {
			return fmt.Errorf("granting blobs: %w", err)
		}
	}
	// Also when all existed: another process may have made them and crashed
	// before its own sync.
	if err := syncDir(dir); err != nil {
		return fmt.Errorf("granting blobs: %w", err)
	}
	return nil
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
