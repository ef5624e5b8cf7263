// Package sandbox runs one command in isolation: a Spec goes in, a Result
// comes out. It knows no build, bid, digest or money, and never touches the
// network or a store. Two runs of one Spec see the same environment down to
// user, names, paths, modes and times, whichever Runner carries them out, and
// when Run returns no process, mount, cgroup or container of it is left.
package sandbox

import (
	"context"
	"errors"
	"io"
)

// The environment every command sees, before what its Spec asks for.
const (
	UID      = 65534    // user and group of the command, whose only further group is the same
	Hostname = "gavel"  // host name inside
	WorkRoot = "/build" // where the input tree lies, writable
	Umask    = 0o022
)

// ErrRefused is wrapped by errors about a Spec that this runner will never
// run: the caller's request is at fault and a retry is pointless.
var ErrRefused = errors.New("refused by the sandbox")

// ErrUnavailable is wrapped by errors of the runner itself (an engine that is
// gone, a kernel that refuses a namespace): the same Spec may run elsewhere or later.
var ErrUnavailable = errors.New("the sandbox is not available")

// HostRoot is the Root that shows the machine's own /usr, /bin, /lib*, a
// filtered /etc and its GOROOT, read-only.
const HostRoot = "host"

// Spec is one command to run.
type Spec struct {
	// Root is what the command sees as /: HostRoot, or an image's config
	// digest ("sha256:" and 64 hex digits).
	Root string
	// Argv is the command; Argv[0] without a slash is looked up in PATH inside.
	Argv []string
	// Env holds "K=V" in the order given; it comes after the fixed variables
	// and overrides them.
	Env []string
	// WorkDir is where the command starts, relative to WorkRoot; empty is WorkRoot.
	WorkDir string
	// InputDir is a host directory with the input tree, used as the read-only
	// lower layer of WorkRoot. Its owner, modes and times are the caller's duty
	// (see Description.InputUID); Run never writes to it.
	InputDir string
	// Outputs are the declared outputs, clean slash-separated paths relative to
	// WorkDir: files, directories, or symlinks.
	Outputs []string
	// OutputDir is an existing empty host directory; Run places what was made
	// of Outputs in it, under the same relative paths.
	OutputDir string
	// Log receives stdout and stderr as they come, capped at Limits.LogBytes.
	Log io.Writer
	// SourceDateEpoch is seconds since 1970, for SOURCE_DATE_EPOCH.
	SourceDateEpoch int64
	Limits          Limits
	// Network gives the command the host's network; off by default.
	Network bool
	// Variation departs from the fixed environment; its zero value in nothing.
	Variation Variation
}

// Limits bound one command. Zero means DefaultLimits' value.
type Limits struct {
	TimeMillis  int64 // wall clock from start to exit
	MemoryBytes int64 // resident memory of all its processes together
	CPUMillis   int64 // thousandths of a CPU: 1500 is one and a half
	Pids        int64 // processes and threads at once
	DiskBytes   int64 // bytes it may write to WorkRoot and /tmp, each
	LogBytes    int64 // bytes of log kept; the rest is dropped, and said
}

// Status is how a command ended.
type Status uint8

// The ways a command ends. Everything but Exited carries no exit code; Timeout and OOM carry no outputs.
const (
	Exited        Status = 1 // by itself, with Result.ExitCode
	Signaled      Status = 2 // by Result.Signal, neither for time nor for memory
	Timeout       Status = 3 // killed at Limits.TimeMillis
	OOM           Status = 4 // killed at Limits.MemoryBytes
	MissingOutput Status = 5 // exited 0 but a declared output was not made (or is no file, directory or symlink)
)

// Result is how a command ended and what it made.
type Result struct {
	Status   Status
	ExitCode int // 0..255, of Exited and MissingOutput
	Signal   int // of Signaled
	// Missing lists declared outputs that were not made, in Spec order.
	Missing []string
	// Detail says in a sentence what a person should know of an unusual end,
	// such as which limit was hit or why an output was refused. Never compared.
	Detail string
	// SetupNanos and RunNanos are the time until the command started and that
	// which it took, of the monotonic clock.
	SetupNanos, RunNanos int64
	LogTruncated         bool
}

// Description says what a Runner is and what it needs of its inputs.
type Description struct {
	Name string // "native" or "docker"
	// InputUID and InputGID are the host-side owner that input files must have
	// so that the command sees them as its own; -1 where the caller cannot and
	// need not change owners.
	InputUID, InputGID int
	// CannotVary names the fields of Variation that Run refuses here, such as "Clock".
	CannotVary []string
	// Notes are sentences about what is weaker than usual on this machine, to be
	// shown at start, such as limits enforced by polling.
	Notes []string
}

// Runner runs commands. It is safe for concurrent use.
type Runner interface {
	// Run runs one command to its end. The Result is about the command; the
	// error, ErrRefused or ErrUnavailable, about the sandbox. When ctx ends the command
	// is killed and ctx's error returned. However Run returns, nothing of it is left running.
	Run(ctx context.Context, s Spec) (Result, error)
	// Roots lists the values of Spec.Root that Run can serve now, sorted.
	Roots(ctx context.Context) ([]string, error)
	Describe() Description
	// Close releases what the runner holds. Runs under way end first.
	Close() error
}
