package pid1

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// lookPath finds the file of the command name as execvp(3) does: a name with a
// slash is the file, another is sought in the PATH of env. A candidate that
// exists but is no program does not hide a later one, and if there is none it
// is the error. The process's own environment plays no part.
func lookPath(name string, env []string) (string, error) {
	if strings.Contains(name, "/") {
		return name, nil
	}
	var blocked error
	for _, dir := range strings.Split(pathOf(env), ":") {
		if dir == "" {
			dir = "."
		}
		file := path.Join(dir, name)
		if dir == "." {
			file = "./" + name
		}
		info, err := os.Stat(file)
		switch {
		case err == nil && info.Mode().IsRegular() && unix.Access(file, unix.X_OK) == nil:
			return file, nil
		case err == nil && !info.IsDir():
			blocked = &fs.PathError{Op: "exec", Path: file, Err: fs.ErrPermission}
		case err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENOTDIR):
			blocked = err
		}
	}
	if blocked != nil {
		return "", blocked
	}
	return "", fs.ErrNotExist
}

func pathOf(env []string) string {
	for _, kv := range env {
		if v, ok := strings.CutPrefix(kv, "PATH="); ok {
			return v
		}
	}
	return ""
}
