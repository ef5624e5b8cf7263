package build

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"gavel/raftfsm/wire"
)

// Status is how a command ended.
type Status uint8

// The ways a command ends. Timeout and OOM carry no outputs: what a killed
// command left is an accident of the moment.
const (
	StatusExited        Status = 1
	StatusSignaled      Status = 2
	StatusTimeout       Status = 3
	StatusOOM           Status = 4
	StatusMissingOutput Status = 5
)

var statusNames = map[Status]string{
	StatusExited: "exited", StatusSignaled: "signaled", StatusTimeout: "timeout",
	StatusOOM: "out-of-memory", StatusMissingOutput: "missing-output",
}

func (s Status) String() string {
	if n, ok := statusNames[s]; ok {
		return n
	}
	return fmt.Sprintf("status-%d", uint8(s))
}

// ResourceLimit says that the machine, not the command, may have decided: such
// a result is never slashed.
func (s Status) ResourceLimit() bool { return s == StatusTimeout || s == StatusOOM }

// OutputType is what lies at an output's path.
type OutputType uint8

// The types of outputs.
const (
	OutputFile    OutputType = 1
	OutputDir     OutputType = 2
	OutputSymlink OutputType = 3
)

// Output is one path of a result.
type Output struct {
	Path       string // clean, slash-separated, relative to the working directory
	Type       OutputType
	Executable bool     // of files
	Target     string   // of symlinks
	Digest     [32]byte // SHA-256 of a file's content
	Size       uint64   // bytes of a file
}

// Code is the canonical encoding.
func (o *Output) Code(c *wire.Coder) {
	c.String(&o.Path, MaxPathBytes)
	c.U8((*uint8)(&o.Type))
	c.Bool(&o.Executable)
	c.String(&o.Target, MaxPathBytes)
	c.Bytes32(&o.Digest)
	c.U64(&o.Size)
}

// Manifest is a result in full: what validators compare. It holds no log and no
// times, because those differ between honest machines.
type Manifest struct {
	Status   Status
	ExitCode uint32 // 0..255, of StatusExited and StatusMissingOutput
	Signal   uint32 // of StatusSignaled
	// Outputs holds every file, directory and symlink of the declared outputs,
	// directories expanded, sorted by Path bytewise, without repeats.
	Outputs []Output
}

// Code is the canonical encoding.
func (m *Manifest) Code(c *wire.Coder) {
	c.U8((*uint8)(&m.Status))
	c.U32(&m.ExitCode)
	c.U32(&m.Signal)
	wire.Records(c, &m.Outputs, MaxOutputs)
	if c.Decoding() && c.Err() == nil {
		if err := m.Validate(); err != nil {
			c.Refuse("%v", err)
		}
	}
}

// Validate checks a manifest's form: statuses, order, clean paths.
func (m *Manifest) Validate() error {
	if _, ok := statusNames[m.Status]; !ok {
		return fmt.Errorf("unknown %v", m.Status)
	}
	if m.ExitCode > 255 || m.Signal > 64 {
		return fmt.Errorf("exit code %d, signal %d out of range", m.ExitCode, m.Signal)
	}
	if m.Status.ResourceLimit() && len(m.Outputs) > 0 {
		return fmt.Errorf("a result that hit a limit carries %d outputs", len(m.Outputs))
	}
	for i := range m.Outputs {
		if i > 0 && m.Outputs[i-1].Path >= m.Outputs[i].Path {
			return fmt.Errorf("outputs out of order at %q", m.Outputs[i].Path)
		}
		if err := m.Outputs[i].validate(); err != nil {
			return err
		}
	}
	return nil
}

func (o *Output) validate() error {
	if !CleanPath(o.Path) {
		return fmt.Errorf("output path %q is not a clean relative path", o.Path)
	}
	isFile, isLink := o.Type == OutputFile, o.Type == OutputSymlink
	switch {
	case o.Type < OutputFile || o.Type > OutputSymlink:
		return fmt.Errorf("output %q has unknown type %d", o.Path, o.Type)
	case !isFile && (o.Executable || o.Size != 0 || o.Digest != [32]byte{}):
		return fmt.Errorf("output %q is no file but has a file's fields", o.Path)
	case isLink != (o.Target != ""):
		return fmt.Errorf("output %q: a target belongs to a symlink, and only there", o.Path)
	}
	return nil
}

// CleanPath says whether p is a relative path without "", ".", ".." or NUL
// parts, in UTF-8: statements about it are JSON.
func CleanPath(p string) bool {
	return p != "" && len(p) <= MaxPathBytes && p != "." && p != ".." && !strings.HasPrefix(p, "/") &&
		!strings.HasPrefix(p, "../") && !strings.ContainsRune(p, 0) && utf8.ValidString(p) && path.Clean(p) == p
}

// Sort brings Outputs into the order Validate wants.
func (m *Manifest) Sort() {
	slices.SortFunc(m.Outputs, func(a, b Output) int { return cmp.Compare(a.Path, b.Path) })
}

// Bytes is the manifest's canonical encoding, stored as a blob of its own.
func (m *Manifest) Bytes() []byte { return wire.Encode(m) }

// Shape is the digest of paths, types, modes, status and exit code without
// contents: what two results of a non-deterministic build must share.
func (m *Manifest) Shape() [32]byte {
	h := wire.NewHasher("shape").U64(uint64(m.Status)).U64(uint64(m.ExitCode)).U64(uint64(m.Signal)).U64(uint64(len(m.Outputs)))
	for i := range m.Outputs {
		o := &m.Outputs[i]
		exec := uint64(0)
		if o.Executable {
			exec = 1
		}
		h.Text(o.Path).U64(uint64(o.Type)).U64(exec)
	}
	return h.Sum()
}

// Summary is what the state machine knows of a result: a few fixed fields, the
// manifest itself stays a blob.
type Summary struct {
	Status   Status
	ExitCode uint32
	Signal   uint32
	Shape    [32]byte // Manifest.Shape
	Content  [32]byte // SHA-256 of Manifest.Bytes
	// ManifestBytes and OutputBytes size the upload.
	ManifestBytes, OutputBytes uint64
}

// Code is the canonical encoding.
func (s *Summary) Code(c *wire.Coder) {
	c.U8((*uint8)(&s.Status))
	c.U32(&s.ExitCode)
	c.U32(&s.Signal)
	c.Bytes32(&s.Shape)
	c.Bytes32(&s.Content)
	c.U64(&s.ManifestBytes)
	c.U64(&s.OutputBytes)
}

// Summarise derives the summary of a manifest.
func (m *Manifest) Summarise() Summary {
	raw := m.Bytes()
	s := Summary{Status: m.Status, ExitCode: m.ExitCode, Signal: m.Signal, Shape: m.Shape(), Content: sha256.Sum256(raw), ManifestBytes: uint64(len(raw))}
	for i := range m.Outputs {
		s.OutputBytes += m.Outputs[i].Size
	}
	return s
}

// Digest is the result digest: what is committed to and compared.
//
//	H("result" ‖ status ‖ exit code ‖ signal ‖ shape ‖ content ‖ manifest bytes ‖ output bytes)
func (s *Summary) Digest() [32]byte {
	return wire.NewHasher("result").U64(uint64(s.Status)).U64(uint64(s.ExitCode)).U64(uint64(s.Signal)).
		Fixed(s.Shape).Fixed(s.Content).U64(s.ManifestBytes).U64(s.OutputBytes).Sum()
}

// Opening is what a commitment hides until every seat has committed.
type Opening struct {
	Summary Summary
	Nonce   [32]byte
	// StartedWallMillis and FinishedWallMillis are the author's wall clock since
	// 1970, for its statement. A metered pool pays by them and nothing else is decided.
	StartedWallMillis, FinishedWallMillis int64
	// Signature is the author's over its provenance statement, which every
	// coordinator derives from the build, this opening and the manifest: so a
	// machine that dies after committing has attested all the same.
	Signature []byte
	// Findings are what the author's varied builds showed, where the terms ask for them.
	Findings Findings
}

// Code is the canonical encoding.
func (o *Opening) Code(c *wire.Coder) {
	o.Summary.Code(c)
	c.Bytes32(&o.Nonce)
	c.I64(&o.StartedWallMillis)
	c.I64(&o.FinishedWallMillis)
	c.Blob(&o.Signature, MaxSignatureBytes)
	o.Findings.Code(c)
}

// Commitment is what hides the opening: its author's result under a nonce that
// binds the findings and the times too.
func (o *Opening) Commitment(cluster, worker, build [32]byte) [32]byte {
	return Commitment(cluster, o.Summary.Digest(), worker, build, o.blind())
}

// blind is the nonce under which a result is committed to: that of the findings, and
// with times of its author's own
//
//	H("measured" ‖ nonce ‖ started ‖ finished)
//
// so that whoever proposes an opening cannot change what a metered pool pays by.
func (o *Opening) blind() [32]byte {
	nonce := o.Findings.Blind(o.Nonce)
	if o.StartedWallMillis == 0 && o.FinishedWallMillis == 0 {
		return nonce
	}
	return wire.NewHasher("measured").Fixed(nonce).I64(o.StartedWallMillis).I64(o.FinishedWallMillis).Sum()
}

// Commitment is H("commit" ‖ cluster ‖ result digest ‖ worker key ‖ build ‖ nonce).
// It names no round, so that a panel seat cannot tell that it is one.
func Commitment(cluster, result, worker, build, nonce [32]byte) [32]byte {
	return wire.NewHasher("commit").Fixed(cluster).Fixed(result).Fixed(worker).Fixed(build).Fixed(nonce).Sum()
}
