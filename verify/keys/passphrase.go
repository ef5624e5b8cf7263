package keys

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"sync"
	"syscall"

	"golang.org/x/term"
)

// The variables that say where a passphrase comes from, in order: itself, a file
// that only its owner can read, an open file descriptor, which is read once and
// serves every key of the process. Without any the terminal is asked.
const (
	PasswordVariable     = "GAVEL_PASSWORD"
	PasswordFileVariable = "GAVEL_PASSWORD_FILE"
	PasswordFDVariable   = "GAVEL_PASSWORD_FD"
)

// ErrPassphrase says that a key cannot be opened for want of its passphrase.
var ErrPassphrase = errors.New("no passphrase opens the key")

// Passphrase finds the passphrase of an encrypted key: what the environment says,
// or what is typed on the terminal. For a new key it is typed twice.
func Passphrase(path string, newKey bool) ([]byte, error) {
	pass, found, err := environmentPassphrase()
	if !found && err == nil {
		pass, err = askPassphrase(path, newKey)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: key file %s: %w", ErrPassphrase, path, err)
	}
	if len(pass) == 0 {
		return nil, fmt.Errorf("%w: key file %s: the passphrase is empty", ErrPassphrase, path)
	}
	return pass, nil
}

func environmentPassphrase() (pass []byte, found bool, err error) {
	if text, ok := os.LookupEnv(PasswordVariable); ok {
		return []byte(text), true, nil
	}
	if path := os.Getenv(PasswordFileVariable); path != "" {
		pass, err := readPassphraseFile(path)
		return pass, true, err
	}
	if text := os.Getenv(PasswordFDVariable); text != "" {
		fd, err := strconv.ParseUint(text, 10, 31)
		if err != nil {
			return nil, true, fmt.Errorf("%s is %q, want the number of an open file descriptor", PasswordFDVariable, text)
		}
		pass, err := descriptors.read(int(fd))
		return pass, true, err
	}
	return nil, false, nil
}

func readPassphraseFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("reading the passphrase: %w", err)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("reading the passphrase: %w", err)
	}
	if mode := info.Mode().Perm(); info.Mode().IsRegular() && mode&0o007 != 0 {
		return nil, fmt.Errorf("the passphrase's file %s has mode %04o, open to everyone; chmod 600 it", path, mode)
	}
	return firstLine(f)
}

// firstLine reads a passphrase up to its line's end.
func firstLine(from io.Reader) ([]byte, error) {
	raw, err := io.ReadAll(io.LimitReader(from, maxPassphraseBytes+1))
	if err != nil {
		return nil, fmt.Errorf("reading the passphrase: %w", err)
	}
	line, _, _ := bytes.Cut(raw, []byte{'\n'})
	line = bytes.TrimSuffix(line, []byte{'\r'})
	if len(line) > maxPassphraseBytes {
		return nil, fmt.Errorf("the passphrase has more than %d bytes", maxPassphraseBytes)
	}
	return line, nil
}

// descriptorReader keeps what was read from descriptors: a pipe can be read once,
// and a process may have several keys.
type descriptorReader struct {
	mu  sync.Mutex
	was map[int][]byte
}

var descriptors = &descriptorReader{was: make(map[int][]byte)}

func (d *descriptorReader) read(fd int) ([]byte, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if line, ok := d.was[fd]; ok {
		return bytes.Clone(line), nil
	}
	f := os.NewFile(uintptr(fd), "passphrase")
	if f == nil {
		return nil, fmt.Errorf("%s names descriptor %d, which is not open", PasswordFDVariable, fd)
	}
	line, err := firstLine(f)
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	d.was[fd] = line
	return bytes.Clone(line), nil
}

// askPassphrase asks on the terminal that controls the process, whatever standard
// input is.
func askPassphrase(path string, newKey bool) ([]byte, error) {
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		return nil, fmt.Errorf("there is no terminal to ask on; set %s, or %s to a file with it, or %s to an open descriptor", PasswordVariable, PasswordFileVariable, PasswordFDVariable)
	}
	defer func() { _ = tty.Close() }()
	return askOn(tty, path, newKey)
}

func askOn(tty *os.File, path string, newKey bool) ([]byte, error) {
	ask := func(what string) ([]byte, error) {
		if _, err := fmt.Fprintf(tty, "%s %s: ", what, path); err != nil {
			return nil, err
		}
		pass, err := term.ReadPassword(int(tty.Fd()))
		_, _ = fmt.Fprintln(tty)
		if len(pass) > maxPassphraseBytes {
			err = fmt.Errorf("the passphrase has more than %d bytes", maxPassphraseBytes)
		}
		return pass, err
	}
	if !newKey {
		return ask("passphrase of")
	}
	first, err := ask("new passphrase for")
	if err != nil {
		return nil, err
	}
	again, err := ask("the same again for")
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(first, again) {
		return nil, errors.New("the two passphrases differ; nothing was written")
	}
	return first, nil
}
