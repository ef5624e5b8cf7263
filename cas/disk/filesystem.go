package disk

import (
	"errors"
	"io"
	"os"
	"syscall"
)

// filesystem is what commit does to the disk, so that tests can let each step fail.
type filesystem interface {
	Create(path string) (file, error)
	Rename(from, to string) error
	Remove(path string) error
	SyncDir(path string) error
}

type file interface {
	io.WriteCloser
	Sync() error
	// StartWriteback hints that what was written may go to the disk now.
	StartWriteback()
}

type osFiles struct{}

func (osFiles) Create(path string) (file, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o444)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

func (osFiles) Rename(from, to string) error { return os.Rename(from, to) }
func (osFiles) Remove(path string) error     { return os.Remove(path) }

func (osFiles) SyncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

type osFile struct{ *os.File }

func (f osFile) StartWriteback() {
	const write = 2 // SYNC_FILE_RANGE_WRITE, sync_file_range(2)
	// Only a hint: Sync reports what goes wrong with the data.
	_ = syscall.SyncFileRange(int(f.Fd()), 0, 0, write)
}
