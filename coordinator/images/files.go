package images

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

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
