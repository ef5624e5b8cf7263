package keys

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const secret = "correct horse battery staple"

func TestEncryptedKeys(t *testing.T) {
	for _, algorithm := range []Algorithm{Ed25519, ECDSAP256} {
		path := filepath.Join(t.TempDir(), "key")
		made, err := CreateEncrypted(path, algorithm, []byte(secret))
		if err != nil {
			t.Fatal(err)
		}
		raw, err := os.ReadFile(path)
		if err != nil || !Encrypted(raw) || bytes.Contains(raw, []byte("-----BEGIN PRIVATE KEY")) {
			t.Fatalf("%v\n%s", err, raw)
		}
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Error(info.Mode(), err)
		}
		t.Setenv(PasswordVariable, secret)
		read, err := Load(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		sig, err := read.Sign([]byte("m"))
		if err != nil || Verify(made.Public, []byte("m"), sig) != nil || read.ID != made.ID {
			t.Errorf("%s: the key read is not the key made: %v", algorithm, err)
		}
		for _, wrong := range []string{"correct horse", "", secret + "\n"} {
			t.Setenv(PasswordVariable, wrong)
			if _, err := Load(t.Context(), path); !errors.Is(err, ErrPassphrase) || !strings.Contains(err.Error(), path) {
				t.Errorf("%s, passphrase %q: %v", algorithm, wrong, err)
			}
		}
		// One byte less, or another: found out by the secretbox.
		block, _ := pem.Decode(raw)
		damaged := bytes.Replace(block.Bytes, []byte(`"ciphertext":"`), []byte(`"ciphertext":"AAAA`), 1)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: blockEncrypted, Bytes: damaged}), 0o600); err != nil {
			t.Fatal(err)
		}
		t.Setenv(PasswordVariable, secret)
		if _, err := Load(t.Context(), path); !errors.Is(err, ErrPassphrase) {
			t.Errorf("%s, damaged: %v", algorithm, err)
		}
	}
	if _, err := CreateEncrypted(filepath.Join(t.TempDir(), "k"), Ed25519, nil); !errors.Is(err, ErrPassphrase) {
		t.Errorf("no passphrase: %v", err)
	}
}

// Scrypt's cost is bounded by the library's list of parameters, or a key file
// could take all memory.
func TestCostOfAPassphraseIsBounded(t *testing.T) {
	sealed := []byte(`{"kdf":{"name":"scrypt","params":{"N":1073741824,"r":8,"p":1},"salt":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="},"cipher":{"name":"nacl/secretbox","nonce":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"},"ciphertext":"AAAA"}`)
	_, err := decrypt(sealed, func() ([]byte, error) { return []byte("x"), nil })
	if err == nil || !strings.Contains(err.Error(), "unsupported scrypt parameters") {
		t.Error(err)
	}
}

func TestKeysInOtherBlocks(t *testing.T) {
	key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	der, _ := x509.MarshalECPrivateKey(key)
	none := func() ([]byte, error) { return nil, errors.New("asked") }
	if s, err := parsePrivate(pem.EncodeToMemory(&pem.Block{Type: blockEC, Bytes: der}), none); err != nil || s == nil {
		t.Errorf("as OpenSSL writes it: %v", err)
	}
	old := &pem.Block{Type: blockEC, Headers: map[string]string{"DEK-Info": "AES-256-CBC,00"}, Bytes: der}
	for what, block := range map[string]*pem.Block{"old encryption": old, "PKCS 8's": {Type: "ENCRYPTED PRIVATE KEY", Bytes: der}, "garbage": {Type: blockPrivate, Bytes: der[1:]}} {
		if _, err := parsePrivate(pem.EncodeToMemory(block), none); err == nil || strings.Contains(err.Error(), "asked") {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := parsePrivate(pem.EncodeToMemory(&pem.Block{Type: blockEncryptedOnce, Bytes: der}), none); err == nil || err.Error() != "asked" {
		t.Errorf("cosign's older block: %v", err)
	}
}

func TestWhereAPassphraseComesFrom(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "pass")
	if err := os.WriteFile(file, []byte(secret+"\r\nsecond line\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	expect := func(want string) {
		t.Helper()
		if got, err := Passphrase("k", true); err != nil || string(got) != want {
			t.Errorf("%q, %v, want %q", got, err, want)
		}
	}
	refuse := func(says string) {
		t.Helper()
		if got, err := Passphrase("k", false); !errors.Is(err, ErrPassphrase) || !strings.Contains(err.Error(), says) {
			t.Errorf("%q, %v, want an error that says %q", got, err, says)
		}
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(w, "by pipe")
	_ = w.Close()
	fd, err := syscall.Dup(int(r.Fd())) // reading closes it
	if err != nil {
		t.Fatal(err)
	}
	_ = r.Close()
	t.Setenv(PasswordFDVariable, fmt.Sprint(fd))
	expect("by pipe")
	expect("by pipe") // for the process's next key
	t.Setenv(PasswordFileVariable, file)
	expect(secret)
	t.Setenv(PasswordVariable, "by environment")
	expect("by environment")
	t.Setenv(PasswordVariable, "")
	refuse("is empty")
	if err := os.Unsetenv(PasswordVariable); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(file, 0o604); err != nil {
		t.Fatal(err)
	}
	refuse("chmod 600")
	t.Setenv(PasswordFileVariable, filepath.Join(dir, "none"))
	refuse("reading the passphrase")
	long := filepath.Join(dir, "long")
	if err := os.WriteFile(long, make([]byte, maxPassphraseBytes+1), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv(PasswordFileVariable, long)
	refuse("more than 1024 bytes")
	t.Setenv(PasswordFileVariable, "")
	t.Setenv(PasswordFDVariable, "standard input")
	refuse("want the number")
	t.Setenv(PasswordFDVariable, "1000000")
	refuse("passphrase")
}

// A process without a terminal says what to do instead of waiting.
func TestNoTerminal(t *testing.T) {
	if os.Getenv("TEST_NO_TERMINAL") != "" {
		_, err := Passphrase("some/key", false)
		fmt.Println(err)
		return
	}
	c := exec.Command(os.Args[0], "-test.run=^TestNoTerminal$")
	c.Env = append(os.Environ(), "TEST_NO_TERMINAL=1")
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	out, err := c.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "some/key: there is no terminal to ask on; set GAVEL_PASSWORD") {
		t.Errorf("%v\n%s", err, out)
	}
}

// terminal is a new terminal: what a person has, and what a program sees.
func terminal(t *testing.T) (person, program *os.File) {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(int(person.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(person.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	program, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = person.Close(), program.Close() })
	return person, program
}

// awaitSilence waits until a terminal shows nothing that is typed.
func awaitSilence(t *testing.T, tty *os.File) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		state, err := unix.IoctlGetTermios(int(tty.Fd()), unix.TCGETS)
		if err != nil {
			t.Fatal(err)
		}
		if state.Lflag&unix.ECHO == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the terminal goes on showing what is typed")
		}
	}
}

func TestAskingOnATerminal(t *testing.T) {
	for what, c := range map[string]struct {
		typed  []string
		newKey bool
		want   string
		says   string
	}{
		"known":   {[]string{secret}, false, secret, ""},
		"new":     {[]string{secret, secret}, true, secret, ""},
		"mistype": {[]string{secret, "correct hose"}, true, "", "differ"},
	} {
		t.Run(what, func(t *testing.T) {
			person, program := terminal(t)
			type answer struct {
				pass []byte
				err  error
			}
			done := make(chan answer, 1)
			go func() {
				pass, err := askOn(program, "some/key", c.newKey)
				done <- answer{pass, err}
			}()
			var shown []byte
			buf := make([]byte, 4096)
			for _, line := range c.typed {
				for !bytes.HasSuffix(shown, []byte("some/key: ")) {
					n, err := person.Read(buf)
					if err != nil {
						t.Fatalf("%v; shown %q", err, shown)
					}
					shown = append(shown, buf[:n]...)
				}
				shown = append(shown, '|')
				awaitSilence(t, program) // a person is slower than the line between prompt and silence
				if _, err := person.WriteString(line + "\n"); err != nil {
					t.Fatal(err)
				}
			}
			got := <-done
			if string(got.pass) != c.want || (got.err == nil) != (c.says == "") || got.err != nil && !strings.Contains(got.err.Error(), c.says) {
				t.Errorf("%q, %v", got.pass, got.err)
			}
			if bytes.Contains(shown, []byte("horse")) {
				t.Errorf("the terminal shows what was typed: %q", shown)
			}
		})
	}
}

func FuzzParsePrivate(f *testing.F) {
	dir := f.TempDir()
	for i, algorithm := range []Algorithm{Ed25519, ECDSAP256} {
		plain, sealed := filepath.Join(dir, fmt.Sprint("plain", i)), filepath.Join(dir, fmt.Sprint("sealed", i))
		if _, err := Create(plain, algorithm); err != nil {
			f.Fatal(err)
		}
		if _, err := CreateEncrypted(sealed, algorithm, []byte(secret)); err != nil {
			f.Fatal(err)
		}
		for _, path := range []string{plain, sealed} {
			raw, err := os.ReadFile(path)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(raw)
		}
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		// The passphrase is the wrong one: deriving its key costs 0.2 s where the
		// parameters are good, and the library has checked them by then.
		s, err := parsePrivate(content, func() ([]byte, error) { return nil, ErrPassphrase })
		if (s == nil) == (err == nil) {
			t.Fatalf("%v, %v", s, err)
		}
		if s != nil {
			if sig, err := s.Sign([]byte("m")); err != nil || Verify(s.Public, []byte("m"), sig) != nil {
				t.Fatalf("a key that does not sign: %v", err)
			}
		}
	})
}
