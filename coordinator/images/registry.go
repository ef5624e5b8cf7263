package images

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"

	"golang.org/x/sys/unix"

	"gavel/cas"
)

// ErrNotFound is wrapped where no image has a name or digest: gavel image list shows what there is.
var ErrNotFound = errors.New("the farm has no such image")

// ErrTaken is wrapped where a name is another account's: choose another.
var ErrTaken = errors.New("the name is taken")

// ErrName is wrapped by errors about what is no name.
var ErrName = errors.New("not a name of an image")

// ErrFull is wrapped where an account or the farm has as many images as are kept:
// remove names and run gavel image gc.
var ErrFull = errors.New("no room for another image")

const (
	// maxImages bounds the images of a farm, and maxNames their names: a listing is
	// one message. The others are an account's share.
	maxImages        = 2048
	maxNames         = 4096
	maxAccountImages = 512
	maxAccountNames  = 1024
	// maxNameBytes is what fits a file's name in hex.
	maxNameBytes = 120
	// maxSourceBytes bounds what an adder says of an image's origin.
	maxSourceBytes = 1024
	// admission is how long after Use a build that asked may still become part of
	// the state: the time a proposal has, and as long again.
	admission = 20 * time.Second
	// lockPoll is how often a lock that another process holds is tried.
	lockPoll = 10 * time.Millisecond
)

// digests begin with what no name may.
var digests = regexp.MustCompile(`^sha[0-9]+:`)

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
//	records/HASH.json  an Image, HASH its config's; its modification time is its last use
//	names/HEX.json     a name in hex, pointing at a record
//	lock               held while anything is changed
//
// It is safe for concurrent use, by several processes too.
type Registry struct {
	dir string

	changing sync.Mutex // held with the lock: what other processes do with it, others here do with this
	mu       sync.Mutex // guards known, and is never held while anything is waited for
	known    map[string]*Image
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

// change runs f while nobody else, in whatever process, changes anything.
func (r *Registry) change(ctx context.Context, f func() error) error {
	r.changing.Lock()
	defer r.changing.Unlock()
	lock, err := os.OpenFile(filepath.Join(r.dir, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return fmt.Errorf("locking the registry of images: %w", err)
	}
	defer lock.Close() // and with it goes the lock
	for {
		err = unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err != unix.EWOULDBLOCK && err != unix.EINTR {
			break
		}
		select {
		case <-time.After(lockPoll):
		case <-ctx.Done():
			return fmt.Errorf("waiting for the registry of images: %w", ctx.Err())
		}
	}
	if err != nil {
		return fmt.Errorf("locking the registry of images: %w", err)
	}
	return f()
}

// CheckName says whether a name may be given.
func CheckName(n string) error {
	if len(n) > maxNameBytes || !names.MatchString(n) || digests.MatchString(n) || n == "host" || n == "images" {
		return fmt.Errorf("%w: %q: want at most %d of a-z, 0-9 and single . _ / : - between them, and not host, images or sha256:…", ErrName, n, maxNameBytes)
	}
	return nil
}

// Put records an image and gives it a name, which must be free or by's own
// unless admin is set. stored is asked, while nothing can be collected, whether
// the image's blobs are there; its error is Put's.
func (r *Registry) Put(ctx context.Context, n string, img *Image, by [32]byte, admin bool, stored func() error) error {
	if err := CheckName(n); err != nil {
		return err
	}
	img.Source = printable(img.Source)
	return r.change(ctx, func() error {
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
			if err := r.roomFor(by); err != nil {
				return err
			}
			if err := r.write(r.recordFile(img.Config.Hash), img); err != nil {
				return err
			}
			never := time.Unix(0, 0) // its name keeps it; no build has asked for it yet
			if err := os.Chtimes(r.recordFile(img.Config.Hash), never, never); err != nil {
				return fmt.Errorf("writing the registry of images: %w", err)
			}
		} else if err != nil {
			return err
		}
		// A crash between the two leaves a record without a name, which is collected.
		return r.write(r.nameFile(n), &name{n, img.Config.Hash, by})
	})
}

// printable is an adder's text as others may see it on their terminals.
func printable(text string) string {
	text = strings.ToValidUTF8(text[:min(len(text), maxSourceBytes)], "")
	return strings.Map(func(c rune) rune {
		if unicode.IsPrint(c) {
			return c
		}
		return '?'
	}, text)
}

func mayTake(all []name, n string, by [32]byte, admin bool) error {
	own := 0
	for _, x := range all {
		if x.Name == n {
			if x.Owner != by && !admin {
				return fmt.Errorf("%w: %q is another account's image; choose another name", ErrTaken, n)
			}
			return nil
		}
		if x.Owner == by {
			own++
		}
	}
	if len(all) >= maxNames || own >= maxAccountNames {
		return fmt.Errorf("%w: there are %d names, %d of them this account's; the farm keeps %d, and %d of one account: gavel image rm takes some away",
			ErrFull, len(all), own, maxNames, maxAccountNames)
	}
	return nil
}

// roomFor says whether an account may have one more image.
func (r *Registry) roomFor(by [32]byte) error {
	all, err := r.records()
	if err != nil {
		return err
	}
	own := 0
	for i := range all {
		if all[i].AddedBy == by {
			own++
		}
	}
	if len(all) >= maxImages || own >= maxAccountImages {
		return fmt.Errorf("%w: there are %d, %d of them this account's; the farm keeps %d, and %d of one account: gavel image rm and gc remove some",
			ErrFull, len(all), own, maxImages, maxAccountImages)
	}
	return nil
}

// Unname takes a name away and returns the image that it named.
func (r *Registry) Unname(ctx context.Context, n string, by [32]byte, admin bool) (root string, err error) {
	err = r.change(ctx, func() error {
		var x name
		if err := r.read(r.nameFile(n), &x); err != nil {
			return fmt.Errorf("%w: %q", err, n)
		}
		if x.Owner != by && !admin {
			return fmt.Errorf("%w: %q is another account's image", ErrTaken, n)
		}
		root = "sha256:" + x.Hash
		if err := os.Remove(r.nameFile(n)); err != nil {
			return fmt.Errorf("removing the name of an image: %w", err)
		}
		return syncDir(filepath.Join(r.dir, "names"))
	})
	return root, err
}

// Use is Find for somebody who is about to submit a build in an image, by its
// digest: for a while the image is not collected, until the build is part of the state.
func (r *Registry) Use(ctx context.Context, root string) (img *Image, err error) {
	if _, err := r.Find(root); err != nil {
		return nil, err
	}
	// Again, now that no collection is under way.
	err = r.change(ctx, func() error {
		if img, err = r.Find(root); err != nil {
			return err
		}
		now := time.Now()
		return os.Chtimes(r.recordFile(img.Config.Hash), now, now)
	})
	return img, err
}

// NamesOf lists an image's names, sorted.
func (r *Registry) NamesOf(img *Image) ([]string, error) {
	all, err := r.names()
	if err != nil {
		return nil, err
	}
	return namesOf(all, img), nil
}

func namesOf(all []name, img *Image) (names []string) {
	for _, x := range all {
		if x.Hash == img.Config.Hash {
			names = append(names, x.Name)
		}
	}
	slices.Sort(names)
	return names
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
	img := r.known[hash]
	r.mu.Unlock()
	if img != nil {
		// It may have been collected, by any coordinator.
		if _, err := os.Lstat(r.recordFile(hash)); err == nil {
			return img, nil
		}
	}
	img, err := r.record(hash)
	if err != nil {
		return nil, fmt.Errorf("%w: %q", err, ref)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.known) >= maxImages {
		clear(r.known)
	}
	r.known[hash] = img
	return img, nil
}

// List returns all images, by first name and then digest; those without a name last.
func (r *Registry) List() ([]Named, error) {
	all, err := r.records()
	if err != nil {
		return nil, err
	}
	names, err := r.names()
	if err != nil {
		return nil, err
	}
	out := make([]Named, len(all))
	for i := range all {
		out[i] = Named{Image: *all[i], Names: namesOf(names, all[i])}
	}
	slices.SortFunc(out, func(a, b Named) int {
		if c := cmp.Compare(min(1, len(b.Names)), min(1, len(a.Names))); c != 0 {
			return c
		}
		return cmp.Or(slices.Compare(a.Names, b.Names), strings.Compare(a.Config.Hash, b.Config.Hash))
	})
	return out, nil
}

// records returns all images, by digest.
func (r *Registry) records() ([]*Image, error) {
	files, err := os.ReadDir(filepath.Join(r.dir, "records"))
	if err != nil {
		return nil, fmt.Errorf("listing images: %w", err)
	}
	var all []*Image
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
		all = append(all, img)
	}
	return all, nil
}
