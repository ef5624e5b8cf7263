package tlog

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/mod/sumdb/note"
)

// Origin names the log of a cluster: a host name, so that tools that look for a
// log's key by its host find it.
func Origin(cluster [32]byte) string { return "gavel-" + hex.EncodeToString(cluster[:8]) + ".log" }

// Checkpoint says what a log held at some moment: its first Size entries, whose
// Merkle tree (RFC 6962) has the root Root.
type Checkpoint struct {
	Origin string
	Size   uint64
	Root   [32]byte
}

// text is the checkpoint as the note's text that is signed
// (https://c2sp.org/tlog-checkpoint), without extension lines.
func (c Checkpoint) text() string {
	return fmt.Sprintf("%s\n%d\n%s\n", c.Origin, c.Size, base64.StdEncoding.EncodeToString(c.Root[:]))
}

// parseText reads a checkpoint's text strictly: what it returns has this text and
// no other, but for extension lines, which are left to the caller.
func parseText(text string) (c Checkpoint, extensions string, err error) {
	malformed := func(what string) (Checkpoint, string, error) {
		return Checkpoint{}, "", fmt.Errorf("checkpoint: %w: %s", ErrMalformed, what)
	}
	lines := strings.SplitN(text, "\n", 4)
	if len(lines) < 4 {
		return malformed("it has fewer than three lines")
	}
	if !validName(lines[0]) {
		return malformed("its origin is no name")
	}
	size, err := strconv.ParseUint(lines[1], 10, 64)
	if err != nil || size > maxSize || strconv.FormatUint(size, 10) != lines[1] {
		return malformed("its size is no plain number")
	}
	root, err := parseHash(lines[2])
	if err != nil {
		return malformed("its root is no base64 of 32 bytes")
	}
	return Checkpoint{Origin: lines[0], Size: size, Root: root}, lines[3], nil
}

// parseMemory reads what was written as a checkpoint's text for own use.
func parseMemory(content []byte, origin string) (Checkpoint, error) {
	c, rest, err := parseText(string(content))
	if err == nil && (rest != "" || c.Origin != origin) {
		err = fmt.Errorf("checkpoint: %w: it is not one of %s alone", ErrMalformed, origin)
	}
	return c, err
}

// parseHash reads a hash from its one base64 spelling.
func parseHash(s string) (h [32]byte, err error) {
	raw, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil || len(raw) != hashBytes || base64.StdEncoding.EncodeToString(raw) != s {
		return h, fmt.Errorf("hash: %w: not the base64 of 32 bytes", ErrMalformed)
	}
	return [32]byte(raw), nil
}

// validName tells whether a signed note may carry this key name
// (https://c2sp.org/signed-note): no spaces, no plus, no control characters.
func validName(name string) bool {
	return name != "" && len(name) <= maxOriginBytes && utf8.ValidString(name) &&
		strings.IndexFunc(name, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) || r == '+' }) < 0
}

// readNote splits a signed note without believing any signature, and checks its
// bounds first.
func readNote(signed []byte) (*note.Note, error) {
	if len(signed) > MaxNoteBytes {
		return nil, fmt.Errorf("signed note: %w: %d bytes, at most %d", ErrMalformed, len(signed), MaxNoteBytes)
	}
	_, err := note.Open(signed, nil)
	unverified, ok := err.(*note.UnverifiedNoteError)
	if !ok {
		return nil, fmt.Errorf("signed note: %w: %w", ErrMalformed, err)
	}
	return unverified.Note, nil
}

// ReadUnverified reads what a signed checkpoint claims. Nothing about it is
// believed yet: Trust.Open does that.
func ReadUnverified(signed []byte) (Checkpoint, error) {
	n, err := readNote(signed)
	if err != nil {
		return Checkpoint{}, err
	}
	c, _, err := parseText(n.Text)
	return c, err
}

// SignCheckpoint is the signed note with the log key's signature, made by sign
// over the note's text. pkix is the log's public key, Ed25519; a signature that
// does not verify under it is refused.
func SignCheckpoint(c Checkpoint, sign func(msg []byte) ([]byte, error), pkix []byte) ([]byte, error) {
	if _, _, err := parseText(c.text()); err != nil {
		return nil, fmt.Errorf("signing checkpoint: %w", err)
	}
	key, err := logKey(c.Origin, pkix)
	if err != nil {
		return nil, fmt.Errorf("signing checkpoint: %w", err)
	}
	line, err := key.signLine(c.text(), 0, sign)
	if err != nil {
		return nil, fmt.Errorf("signing checkpoint of size %d: %w", c.Size, err)
	}
	return append([]byte(c.text()+"\n"), line...), nil
}

// Cosign is the one signature line ("— name base64\n") over the note's text: with
// an Ed25519 key a cosignature/v1 of the time given
// (https://c2sp.org/tlog-cosignature), with an ECDSA P-256 key a plain note
// signature, which carries no time. It checks the note's form and its own
// signature, not those on the note: do that first (Trust.Open, Witness).
func Cosign(signed []byte, name string, unixSeconds int64, sign func([]byte) ([]byte, error), pkix []byte) (line []byte, err error) {
	n, err := readNote(signed)
	if err != nil {
		return nil, fmt.Errorf("cosigning as %s: %w", name, err)
	}
	if _, _, err := parseText(n.Text); err != nil {
		return nil, fmt.Errorf("cosigning as %s: %w", name, err)
	}
	key, err := cosignerKey(name, pkix)
	if err != nil {
		return nil, fmt.Errorf("cosigning as %s: %w", name, err)
	}
	if line, err = key.signLine(n.Text, unixSeconds, sign); err != nil {
		return nil, fmt.Errorf("cosigning as %s: %w", name, err)
	}
	return line, nil
}

// AddSignatures is the note with more signature lines. One by a key that signed
// already takes the other's place, so adding twice changes nothing. The lines are
// checked for their form only.
func AddSignatures(signed []byte, lines ...[]byte) ([]byte, error) {
	n, err := readNote(signed)
	if err != nil {
		return nil, fmt.Errorf("adding signatures: %w", err)
	}
	kept := n.UnverifiedSigs
	for _, line := range lines {
		// A note of one line tells what the line is.
		one, err := readNote(append([]byte(n.Text+"\n"), line...))
		if err != nil || len(one.UnverifiedSigs) != 1 || bytes.Count(line, []byte("\n")) != 1 || one.Text != n.Text {
			return nil, fmt.Errorf("adding signatures: line %q: %w: not one signature line", cut(line), ErrMalformed)
		}
		sig, replaced := one.UnverifiedSigs[0], false
		for i, old := range kept {
			if old.Name == sig.Name && old.Hash == sig.Hash {
				kept[i], replaced = sig, true
				break
			}
		}
		if !replaced {
			kept = append(kept, sig)
		}
	}
	out, err := note.Sign(&note.Note{Text: n.Text, Sigs: kept})
	if err != nil {
		return nil, fmt.Errorf("adding signatures: %w", err)
	}
	if len(out) > MaxNoteBytes || len(kept) > maxSignatures {
		return nil, fmt.Errorf("adding signatures: %d signatures in %d bytes, at most %d in %d", len(kept), len(out), maxSignatures, MaxNoteBytes)
	}
	return out, nil
}

// cut shortens a stranger's line for an error.
func cut(line []byte) []byte { return line[:min(len(line), 80)] }
