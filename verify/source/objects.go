package source

import (
	"bufio"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
)

// ErrRepository says that a directory is no repository that has the commit: clone
// or fetch it first.
var ErrRepository = errors.New("the commit is not in this repository")

// objects reads a repository's objects through one `git cat-file --batch`, which
// knows packs and alternates.
type objects struct {
	command *exec.Cmd
	ask     io.WriteCloser
	answers *bufio.Reader
	says    *strings.Builder // its standard error
	idBytes int
}

// openObjects starts git in a directory: a checkout, or a bare repository. Nothing
// that the repository or this machine configures is run or asked for: objects
// that are not there are not fetched, and none stands for another.
func openObjects(ctx context.Context, dir string, idBytes int) (*objects, error) {
	o := &objects{command: exec.CommandContext(ctx, "git", "-C", dir, "cat-file", "--batch"), says: &strings.Builder{}, idBytes: idBytes}
	o.command.Env = append(slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "GIT_") }),
		"GIT_NO_REPLACE_OBJECTS=1", "GIT_NO_LAZY_FETCH=1", "GIT_ALLOW_PROTOCOL=none", "GIT_OPTIONAL_LOCKS=0", "LC_ALL=C")
	o.command.Stderr = o.says
	var err error
	if o.ask, err = o.command.StdinPipe(); err != nil {
		return nil, fmt.Errorf("starting git: %w", err)
	}
	answers, err := o.command.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("starting git: %w", err)
	}
	o.answers = bufio.NewReaderSize(answers, 64<<10)
	if err := o.command.Start(); err != nil {
		return nil, fmt.Errorf("starting git: %w; install git, it reads the repository", err)
	}
	return o, nil
}

// Close ends git.
func (o *objects) Close() error {
	err := o.ask.Close()
	_, drained := io.Copy(io.Discard, o.answers)
	return errors.Join(err, drained, o.command.Wait())
}

// small reads a whole object of at most limit bytes.
func (o *objects) small(id, kind string, limit int64) ([]byte, error) {
	var out strings.Builder
	if _, err := o.read(id, kind, limit, &out); err != nil {
		return nil, err
	}
	return []byte(out.String()), nil
}

// read writes an object's content to to, and refuses one whose content has not
// its id.
func (o *objects) read(id, kind string, limit int64, to io.Writer) (size int64, err error) {
	if _, err := io.WriteString(o.ask, id+"\n"); err != nil {
		return 0, o.gone(err)
	}
	header, err := o.header()
	if err != nil {
		return 0, o.gone(err)
	}
	fields := strings.Fields(header)
	if len(fields) != 3 || fields[0] != id || fields[1] != kind {
		return 0, fmt.Errorf("%w: git answers %q for the %s %s; fetch it whole", ErrRepository, header, kind, id)
	}
	if size, err = strconv.ParseInt(fields[2], 10, 64); err != nil || size < 0 || size > limit {
		return 0, fmt.Errorf("%w: the %s %s has %s bytes, at most %d are read", ErrTree, kind, id, fields[2], limit)
	}
	h := hasher(o.idBytes, kind, size)
	if _, err := io.CopyN(io.MultiWriter(to, h), o.answers, size); err != nil {
		return 0, o.gone(err)
	}
	if end, err := o.answers.ReadByte(); err != nil || end != '\n' {
		return 0, o.gone(errors.Join(err, errors.New("an object has no end")))
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != id {
		return 0, fmt.Errorf("%w: its %s %s is damaged or forged: the content's id is %s", ErrRepository, kind, id, got)
	}
	return size, nil
}

// header is the line before an object.
func (o *objects) header() (string, error) {
	var line []byte
	for len(line) < maxHeaderBytes {
		b, err := o.answers.ReadByte()
		if err != nil {
			return "", err
		}
		if b == '\n' {
			return string(line), nil
		}
		line = append(line, b)
	}
	return "", errors.New("git's answer has no end")
}

// gone says why git does not answer.
func (o *objects) gone(err error) error {
	_ = o.ask.Close()
	waited := o.command.Wait() // and its standard error is whole
	if says := strings.TrimSpace(o.says.String()); says != "" {
		return fmt.Errorf("%w: git says %q", ErrRepository, says)
	}
	return fmt.Errorf("%w: asking git: %w", ErrRepository, errors.Join(err, waited))
}
