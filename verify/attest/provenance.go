package attest

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"gavel/raftfsm/build"
)

// ErrProvenance says that a provenance cannot be stated: the build or its result
// has something in it that the statement cannot carry.
var ErrProvenance = errors.New("provenance cannot be stated")

// Role is what the author was when it built. A seat of the panel signs as
// validator: it must not know what it is (docs/PROTOCOL.md, panel).
type Role string

// The roles of authors.
const (
	RoleBuilder   Role = "builder"
	RoleValidator Role = "validator"
)

// Digest names a blob as REAPI does.
type Digest struct {
	SHA256    [32]byte
	SizeBytes int64
}

// EnvVar is one variable that the build asked for.
type EnvVar struct{ Name, Value string }

// Limits bound the command, as in the sandbox.
type Limits struct {
	MemoryBytes, CPUMillis, Pids, DiskBytes int64
}

// Builder is the machine that speaks.
type Builder struct {
	Name, Operator string
	Key            [32]byte // SHA-256 of its PKIX DER
	Class          string   // its fingerprint class
}

// Provenance is all that a statement is made of. Equal provenances make equal
// bytes; the order of Env does not matter.
type Provenance struct {
	Cluster, Build [32]byte
	Builder        Builder
	Role           Role
	Simulated      bool // the farm's machines are one machine's processes

	// What a stranger needs to build it again.
	Action, Command, InputRoot Digest
	Argv                       []string
	Env                        []EnvVar
	WorkingDirectory           string // relative to the input root
	Platform                   string // "host", or an image's config digest "sha256:…"
	// Source is the commit, as git+URL@COMMIT, of which the requester says that its
	// tree is the input root, by GitTreeRule; empty for none.
	Source string
	// Withheld is the commitment that stands for Command, Argv and Env where the
	// requester withholds them; these are then empty.
	Withheld        *[32]byte
	Outputs         []string // declared output paths
	TimeoutMillis   int64
	SourceDateEpoch int64 // seconds since 1970
	Network         bool
	Limits          Limits

	// Result is what came of it. Its regular files are the statement's subjects.
	Result *build.Manifest
	// The author's wall clock in milliseconds since 1970; informative.
	StartedMillis, FinishedMillis int64
}

// hostRoot is the platform whose root is the machine's own: it has no digest, and
// the worker's class stands for it.
const hostRoot = "host"

// maxWallMillis is 9999-12-31T23:59:59.999Z, the last time that a protobuf
// Timestamp can say.
const maxWallMillis = 253_402_300_799_999

func (p *Provenance) validate() error {
	if p.Role != RoleBuilder && p.Role != RoleValidator {
		return fmt.Errorf("role is %q, want %s or %s", p.Role, RoleBuilder, RoleValidator)
	}
	if p.Withheld != nil && (len(p.Argv) > 0 || len(p.Env) > 0 || p.Command != (Digest{})) {
		return errors.New("the command is withheld and given")
	}
	if len(p.Argv) == 0 && p.Withheld == nil {
		return errors.New("the command is empty")
	}
	if p.Source != "" {
		if _, _, err := ParseSource(p.Source); err != nil {
			return err
		}
	}
	if image, ok := strings.CutPrefix(p.Platform, "sha256:"); p.Platform != hostRoot && (!ok || !isHexDigest(image)) {
		return fmt.Errorf("platform is %q, want %s or an image's sha256:…", p.Platform, hostRoot)
	}
	if p.Result == nil {
		return errors.New("the result is missing")
	}
	if err := p.Result.Validate(); err != nil {
		return fmt.Errorf("result: %w", err)
	}
	for _, millis := range []int64{p.StartedMillis, p.FinishedMillis} {
		if millis < 0 || millis > maxWallMillis {
			return fmt.Errorf("wall clock is %d ms since 1970, want 0 to %d", millis, int64(maxWallMillis))
		}
	}
	return p.validateText()
}

// validateText refuses what is not UTF-8: encoding/json would write U+FFFD for
// it, and two different builds would have one statement.
func (p *Provenance) validateText() error {
	check := func(what string, texts ...string) error {
		for _, s := range texts {
			if !utf8.ValidString(s) {
				return fmt.Errorf("%s %q is not UTF-8", what, s)
			}
		}
		return nil
	}
	seen := make(map[string]bool, len(p.Env))
	for _, v := range p.Env {
		if seen[v.Name] {
			return fmt.Errorf("variable %q is set twice", v.Name)
		}
		seen[v.Name] = true
		if err := check("variable", v.Name, v.Value); err != nil {
			return err
		}
	}
	for i := range p.Result.Outputs {
		if err := check("output", p.Result.Outputs[i].Path); err != nil {
			return err
		}
	}
	return errors.Join(
		check("argument", p.Argv...),
		check("declared output", p.Outputs...),
		check("working directory", p.WorkingDirectory),
		check("source", p.Source),
		check("builder", p.Builder.Name, p.Builder.Operator, p.Builder.Class),
	)
}

// isHexDigest says whether s is a SHA-256 in lower-case hex.
func isHexDigest(s string) bool {
	raw, err := hex.DecodeString(s)
	return err == nil && len(raw) == 32 && hex.EncodeToString(raw) == s
}

func hexDigest(d [32]byte) string { return hex.EncodeToString(d[:]) }

const wallLayout = "2006-01-02T15:04:05.000Z"

// wallTime is RFC 3339 in UTC with milliseconds.
func wallTime(millis int64) string {
	return time.UnixMilli(millis).UTC().Format(wallLayout)
}
