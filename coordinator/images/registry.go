package images

import (
	"cmp"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"gavel/cas"
)

// ErrNotFound is wrapped where no image has a name or digest: gavel image list shows what there is.
var ErrNotFound = errors.New("the farm has no such image")

// ErrTaken is wrapped where a name is another account's: choose another.
var ErrTaken = errors.New("the name is taken")

// ErrName is wrapped by errors about what is no name.
var ErrName = errors.New("not a name of an image")

const (
	// maxNames bounds the names of a farm: a listing is one message.
	maxNames = 4096
	// maxNameBytes is what fits a file's name in hex.
	maxNameBytes = 120
	// maxSourceBytes bounds what an adder says of an image's origin.
	maxSourceBytes = 1024
)

var names = regexp.MustCompile(`^[a-z0-9]+([._/:-][a-z0-9]+)*$`)

// Image is what an image is made of.
type Image struct {
	Config   cas.Digest   `json:"config"`
	Layers   []cas.Digest `json:"layers"` // uncompressed, oldest first
	Platform string       `json:"platform"`
	Source   string       `json:"source"`
	// AddedBy is the account that uploaded it, at its coordinator's wall time.
	AddedBy         [32]byte `json:"added_by"`
	AddedWallMillis int64    `json:"added_wall_millis"`
}

// Root is the image's name in builds.
func (i *Image) Root() string { return "sha256:" + i.Config.Hash }

// Blobs are its config and layers, without repeats.
func (i *Image) Blobs() []cas.Digest { return cas.Unique(append([]cas.Digest{i.Config}, i.Layers...)) }

// Bytes is the size of all its blobs.
func (i *Image) Bytes() int64 {
	total := int64(0)
	for _, d := range i.Blobs() {
		total += d.Size
	}
	return total
}

// Named is an image with its names, sorted.
type Named struct {
	Image
	Names []string
}

// name is the file of one.
type name struct {
	Name  string   `json:"name"`
	Hash  string   `json:"hash"` // of the config
	Owner [32]byte `json:"owner"`
}

// Registry is the directory:
//
//	records/HASH.json  an Image, HASH its config's
//	names/HEX.json     a name in hex, pointing at a record
//	lock               held while anything is changed
//
// It is safe for concurrent use, by several processes too.
type Registry struct {
	dir string

	mu    sync.Mutex // held with the lock, and around known
	known map[string]*Image
}

// Open opens the registry in dir, which it makes if need be.
func Open(dir string) (*Registry, error) {
	for _, d := range []string{dir, filepath.Join(dir, "records"), filepath.Join(dir, "names")} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return nil, fmt.Errorf("opening the registry of images: %w", err)
		}
	}
	return &Registry{dir: dir, known: make(map[string]*Image)}, nil
}

// change runs f while no other process changes anything.
func (r *Registry) change(f func() error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	lock, err := os.OpenFile(filepath.Join(r.dir, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return fmt.Errorf("locking the registry of images: %w", err)
	}
	defer lock.Close() // and with it goes the lock
	for {
		if err = unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != unix.EINTR {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("locking the registry of images: %w", err)
	}
	return f()
}

// CheckName says whether a name may be given.
func CheckName(n string) error {
	if len(n) > maxNameBytes || !names.MatchString(n) || strings.HasPrefix(n, "sha256:") || n == "host" || n == "images" {
		return fmt.Errorf("%w: %q: want at most %d of a-z, 0-9 and single . _ / : - between them, and not host, images or sha256:…", ErrName, n, maxNameBytes)
	}
	return nil
}

// Put records an image and gives it a name, which must be free or by's own
// unless admin is set. stored is asked, while nothing can be collected, whether
// the image's blobs are there; its error is Put's.
func (r *Registry) Put(n string, img *Image, by [32]byte, admin bool, stored func() error) error {
	if err := CheckName(n); err != nil {
		return err
	}
	if len(img.Source) > maxSourceBytes {
		img.Source = strings.ToValidUTF8(img.Source[:maxSourceBytes], "")
	}
	return r.change(func() error {
		all, err := r.names()
		if err != nil {
			return err
		}
		if err := mayTake(all, n, by, admin); err != nil {
			return err
		}
		if err := stored(); err != nil {
			return err
		}
		if _, err := r.record(img.Config.Hash); errors.Is(err, ErrNotFound) {
			if err := r.write(r.recordFile(img.Config.Hash), img); err != nil {
				return err
			}
		} else if err != nil {
			return err
		}
		// A crash between the two leaves a record without a name, which is collected.
		return r.write(r.nameFile(n), &name{n, img.Config.Hash, by})
	})
}

func mayTake(all []name, n string, by [32]byte, admin bool) error {
	for _, x := range all {
		if x.Name == n {
			if x.Owner != by && !admin {
				return fmt.Errorf("%w: %q is another account's image; choose another name", ErrTaken, n)
			}
			return nil
		}
	}
	if len(all) >= maxNames {
		return fmt.Errorf("%w: the farm has %d names of images, as many as it keeps; remove some", ErrTaken, maxNames)
	}
	return nil
}

// Unname takes a name away and returns the image that it named.
func (r *Registry) Unname(n string, by [32]byte, admin bool) (img *Image, err error) {
	err = r.change(func() error {
		var x name
		if err := r.read(r.nameFile(n), &x); err != nil {
			return fmt.Errorf("%w: %q", err, n)
		}
		if x.Owner != by && !admin {
			return fmt.Errorf("%w: %q is another account's image", ErrTaken, n)
		}
		if img, err = r.record(x.Hash); err != nil {
			return err
		}
		if err := os.Remove(r.nameFile(n)); err != nil {
			return fmt.Errorf("removing the name of an image: %w", err)
		}
		return syncDir(filepath.Join(r.dir, "names"))
	})
	return img, err
}

// Find returns an image by a name or by its digest, "sha256:…".
func (r *Registry) Find(ref string) (*Image, error) {
	hash, ok := strings.CutPrefix(ref, "sha256:")
	if !ok {
		if CheckName(ref) != nil {
			return nil, fmt.Errorf("%w: %q", ErrNotFound, ref)
		}
		var x name
		if err := r.read(r.nameFile(ref), &x); err != nil {
			return nil, fmt.Errorf("%w: %q", err, ref)
		}
		hash = x.Hash
	}
	if b, err := hex.DecodeString(hash); err != nil || len(b) != 32 || hex.EncodeToString(b) != hash {
		return nil, fmt.Errorf("%w: %q", ErrNotFound, ref)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if img := r.known[hash]; img != nil {
		// It may have been collected, by any coordinator.
		if _, err := os.Lstat(r.recordFile(hash)); err == nil {
			return img, nil
		}
		delete(r.known, hash)
	}
	img, err := r.record(hash)
	if err != nil {
		return nil, fmt.Errorf("%w: %q", err, ref)
	}
	if len(r.known) >= maxNames {
		clear(r.known)
	}
	r.known[hash] = img
	return img, nil
}

// List returns all images, by first name and then digest; those without a name last.
func (r *Registry) List() ([]Named, error) {
	files, err := os.ReadDir(filepath.Join(r.dir, "records"))
	if err != nil {
		return nil, fmt.Errorf("listing images: %w", err)
	}
	names, err := r.names()
	if err != nil {
		return nil, err
	}
	var out []Named
	for _, f := range files {
		hash, ok := strings.CutSuffix(f.Name(), ".json")
		if !ok {
			continue
		}
		img, err := r.record(hash)
		if errors.Is(err, ErrNotFound) {
			continue // collected meanwhile
		}
		if err != nil {
			return nil, err
		}
		n := Named{Image: *img}
		for _, x := range names {
			if x.Hash == hash {
				n.Names = append(n.Names, x.Name)
			}
		}
		slices.Sort(n.Names)
		out = append(out, n)
	}
	slices.SortFunc(out, func(a, b Named) int {
		if c := cmp.Compare(min(1, len(b.Names)), min(1, len(a.Names))); c != 0 {
			return c
		}
		return cmp.Or(slices.Compare(a.Names, b.Names), strings.Compare(a.Config.Hash, b.Config.Hash))
	})
	return out, nil
}

// Collect removes the records that have no name and that unwanted names, and
// calls remove with each and with those of its blobs that no other record needs;
// the record goes last, so that whatever fails can be tried again. A dry run
// removes no record.
func (r *Registry) Collect(unwanted func(*Image) bool, dry bool, remove func(img *Image, blobs []cas.Digest) error) error {
	return r.change(func() error {
		all, err := r.List()
		if err != nil {
			return err
		}
		needed := make(map[cas.Digest]int)
		for i := range all {
			for _, d := range all[i].Blobs() {
				needed[d]++
			}
		}
		for i := range all {
			img := &all[i].Image
			if len(all[i].Names) > 0 || !unwanted(img) {
				continue
			}
			var free []cas.Digest
			for _, d := range img.Blobs() {
				if needed[d]--; needed[d] == 0 {
					free = append(free, d)
				}
			}
			if err := remove(img, free); err != nil {
				return err
			}
			if dry {
				continue
			}
			if err := os.Remove(r.recordFile(img.Config.Hash)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("removing the record of an image: %w", err)
			}
			delete(r.known, img.Config.Hash)
		}
		return syncDir(filepath.Join(r.dir, "records"))
	})
}

func (r *Registry) recordFile(hash string) string {
	return filepath.Join(r.dir, "records", hash+".json")
}

func (r *Registry) nameFile(n string) string {
	return filepath.Join(r.dir, "names", hex.EncodeToString([]byte(n))+".json")
}

func (r *Registry) record(hash string) (*Image, error) {
	var img Image
	if err := r.read(r.recordFile(hash), &img); err != nil {
		return nil, err
	}
	return &img, nil
}

func (r *Registry) names() ([]name, error) {
	files, err := os.ReadDir(filepath.Join(r.dir, "names"))
	if err != nil {
		return nil, fmt.Errorf("listing the names of images: %w", err)
	}
	var all []name
	for _, f := range files {
		if !strings.HasSuffix(f.Name(), ".json") {
			continue
		}
		var x name
		if err := r.read(filepath.Join(r.dir, "names", f.Name()), &x); err == nil {
			all = append(all, x)
		} else if !errors.Is(err, ErrNotFound) {
			return nil, err
		}
	}
	return all, nil
}

func (r *Registry) read(file string, v any) error {
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return ErrNotFound
	}
	if err == nil {
		err = json.Unmarshal(b, v)
	}
	if err != nil {
		return fmt.Errorf("reading the registry of images: %s: %w", filepath.Base(file), err)
	}
	return nil
}

// write makes a file whole or not at all.
func (r *Registry) write(file string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("writing the registry of images: %w", err)
	}
	temp, err := os.CreateTemp(filepath.Dir(file), ".new-*")
	if err != nil {
		return fmt.Errorf("writing the registry of images: %w", err)
	}
	_, err = temp.Write(b)
	err = errors.Join(err, temp.Chmod(0o644), temp.Sync(), temp.Close())
	if err == nil {
		err = os.Rename(temp.Name(), file)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("writing the registry of images: %w", err), os.Remove(temp.Name()))
	}
	return syncDir(filepath.Dir(file))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
