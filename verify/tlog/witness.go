package tlog

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"time"
)

// ErrUnknownLog says that a witness does not watch a log: give it the log's key.
var ErrUnknownLog = errors.New("log is not watched by this witness")

// ConflictError says that a checkpoint does not start from the witness' latest, of
// Size entries: prove consistency from there. SameSize says that it is as large and
// has another root, so that no proof can help and the log has two histories.
type ConflictError struct {
	Size     uint64
	SameSize bool
}

func (e *ConflictError) Error() string {
	if e.SameSize {
		return fmt.Sprintf("a checkpoint of size %d with another root was cosigned before: the log has two histories; keep both as evidence", e.Size)
	}
	return fmt.Sprintf("the latest cosigned checkpoint has size %d: prove consistency from there", e.Size)
}

// Witness cosigns checkpoints of logs, each only if it extends the latest that it
// cosigned of that log (https://c2sp.org/tlog-witness). Coordinators are witnesses
// of their own log. It is safe for concurrent use; one process opens its directory.
type Witness struct {
	self Cosigner
	sign func([]byte) ([]byte, error)
	now  func() time.Time

	mu   sync.Mutex
	dir  *directory
	logs map[string]*witnessed // by origin; guarded by mu
}

// witnessed is what a witness knows of one log.
type witnessed struct {
	keys   []*key     // any of which signs for the log
	latest Checkpoint // what lies in the file; of size 0 before the first
	broken error      // set by a failed write, after which the file is not known
}

// OpenWitness opens the memory of a witness in a directory of its own, or starts
// one there. It signs as self, by sign; now is its clock.
func OpenWitness(dir string, self Cosigner, sign func([]byte) ([]byte, error), now func() time.Time) (*Witness, error) {
	return openWitness(dir, self, sign, now, osFiles{})
}

func openWitness(dir string, self Cosigner, sign func([]byte) ([]byte, error), now func() time.Time, files filesystem) (*Witness, error) {
	if _, err := cosignerKey(self.Name, self.PKIX); err != nil {
		return nil, fmt.Errorf("opening witness: %w", err)
	}
	d, err := openDirectory(dir, files)
	if err != nil {
		return nil, fmt.Errorf("opening witness: %w", err)
	}
	return &Witness{self: self, sign: sign, now: now, dir: d, logs: map[string]*witnessed{}}, nil
}

// Watch has the witness cosign a log from now on, whose key is Ed25519 in PKIX DER;
// of a log that changed its key, any of those given.
func (w *Witness) Watch(origin string, pkix ...[]byte) error {
	var trusted []*key
	for _, p := range pkix {
		k, err := logKey(origin, p)
		if err != nil {
			return fmt.Errorf("watching log %s: %w", origin, err)
		}
		trusted = append(trusted, k)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	latest := Checkpoint{Origin: origin, Root: foldRoot(nil)}
	content, err := os.ReadFile(w.dir.at(memory(origin)))
	if err == nil {
		if latest, err = parseMemory(content, origin); err != nil {
			return fmt.Errorf("watching log %s: %w: what was cosigned last cannot be read (%w); without it a witness must not go on", origin, ErrDamaged, err)
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("watching log %s: %w", origin, err)
	}
	w.logs[origin] = &witnessed{keys: trusted, latest: latest}
	return nil
}

// memory is the file of a log's latest cosigned checkpoint: origins are no names
// of files.
func memory(origin string) string {
	digest := sha256.Sum256([]byte(origin))
	return hex.EncodeToString(digest[:])
}

// Latest is the latest checkpoint of a log that was cosigned, of size 0 before the
// first.
func (w *Witness) Latest(origin string) (Checkpoint, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	log, ok := w.logs[origin]
	if !ok {
		return Checkpoint{}, fmt.Errorf("log %q: %w", origin, ErrUnknownLog)
	}
	return log.latest, nil
}

// Update cosigns a signed checkpoint that extends the latest, of size old, as path
// proves (see VerifyConsistency), and remembers it first. It returns the signature
// line. Errors are of ErrMalformed, ErrUnknownLog, ErrSignature (the log's is
// missing), *ConflictError (old is not the latest size) or ErrProof.
func (w *Witness) Update(old uint64, path [][32]byte, signed []byte) (line []byte, err error) {
	n, err := readNote(signed)
	if err != nil {
		return nil, fmt.Errorf("witnessing: %w", err)
	}
	c, _, err := parseText(n.Text)
	if err != nil {
		return nil, fmt.Errorf("witnessing: %w", err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	log, ok := w.logs[c.Origin]
	if !ok {
		return nil, fmt.Errorf("witnessing log %q: %w", c.Origin, ErrUnknownLog)
	}
	if err := log.admit(old, path, c, signed); err != nil {
		return nil, fmt.Errorf("witnessing log %s at size %d: %w", c.Origin, c.Size, err)
	}
	if c != log.latest {
		// The memory comes first: a crash between the two leaves a checkpoint that was
		// remembered and not cosigned, which asking again mends.
		if err := w.dir.write([]stored{{memory(c.Origin), []byte(c.text())}}); err != nil {
			log.broken = fmt.Errorf("remembering a checkpoint failed, restart the witness: %w", err)
			return nil, fmt.Errorf("witnessing log %s at size %d: %w", c.Origin, c.Size, log.broken)
		}
		log.latest = c
	}
	return Cosign(signed, w.self.Name, w.now().Unix(), w.sign, w.self.PKIX)
}

// admit says whether c may follow the latest, in the order of the specification.
func (log *witnessed) admit(old uint64, path [][32]byte, c Checkpoint, signed []byte) error {
	known := false
	for _, k := range log.keys {
		known = known || k.signed(signed) == nil
	}
	switch {
	case !known:
		return fmt.Errorf("%w: that of the log, by a key known for it", ErrSignature)
	case log.broken != nil:
		return log.broken
	case old > c.Size:
		return fmt.Errorf("%w: the old size %d is larger than the checkpoint's", ErrMalformed, old)
	case old != log.latest.Size:
		return &ConflictError{Size: log.latest.Size}
	case c.Size == log.latest.Size && c.Root != log.latest.Root:
		return &ConflictError{Size: log.latest.Size, SameSize: true}
	}
	return VerifyConsistency(old, c.Size, log.latest.Root, c.Root, path)
}
