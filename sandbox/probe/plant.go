package probe

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"gavel/sandbox/probe/world"
)

// keyDirs are where keys are put, by the names that attempts know.
var keyDirs = map[string]string{"root": "/root", "etc": "/etc", "varlib": "/var/lib"}

// Planted is what a worker would keep from its builds, put where it would keep it.
type Planted struct {
	dir    string // the worker's own
	secret string
	keys   map[string]string // paths, by where they are
	made   []string          // of them, those to remove
}

// Plant puts a secret into files of dir, /root, /etc and /var/lib that everybody
// may read (that a sandbox must hide them is the point), into a descriptor that
// every process started from now on inherits, and expects it in the environment:
// a process whose environment lacks it calls Expose first. It is called before a
// runner is made, as a worker has its keys before it runs builds.
func Plant(dir string) (*Planted, error) {
	p := &Planted{dir: dir, secret: os.Getenv(world.Canary), keys: map[string]string{}}
	if p.secret == "" {
		return nil, fmt.Errorf("the environment has no %s to be found; call Expose first", world.Canary)
	}
	name := "gavel-probe-" + hashOf(p.secret)[:8]
	p.keys["worker"] = filepath.Join(dir, world.Key)
	for where, d := range keyDirs {
		p.keys[where] = filepath.Join(d, name)
	}
	for where, path := range p.keys {
		switch err := os.WriteFile(path, []byte(p.secret+"\n"), 0o644); {
		case err == nil:
			p.made = append(p.made, path)
		case where == "worker" || !errors.Is(err, os.ErrPermission):
			return nil, errors.Join(fmt.Errorf("planting a key: %w", err), p.Remove())
		default:
			// Only root can, and may have done so for this process.
			if _, err := os.Stat(path); err != nil {
				delete(p.keys, where)
			}
		}
	}
	if _, err := unix.Open(p.keys["worker"], unix.O_RDONLY, 0); err != nil {
		return nil, errors.Join(fmt.Errorf("planting a descriptor: %w", err), p.Remove())
	}
	return p, nil
}

func hashOf(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

// Remove takes the keys away again.
func (p *Planted) Remove() error {
	var failures []error
	for _, path := range p.made {
		failures = append(failures, os.Remove(path))
	}
	return errors.Join(failures...)
}

// Expose starts this program again, in its place, with the secret in its
// environment, unless it has it: what a process begins with is all that others see.
func Expose() error {
	if os.Getenv(world.Canary) != "" {
		return nil
	}
	var b [16]byte
	if _, err := rand.Read(b[:]); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("finding this program: %w", err)
	}
	err = unix.Exec(self, os.Args, append(os.Environ(), world.Canary+"="+hex.EncodeToString(b[:])))
	return fmt.Errorf("starting this program again: %w", err)
}
