package probe

import (
	"gavel/sandbox"
	"gavel/sandbox/probe/world"
)

// writeProbes change what a run is only shown.
var writeProbes = list{
	{Name: "input-rewrite", Tries: "rewrites an input"},
	{Name: "input-append", Tries: "appends to an input"},
	{Name: "input-chmod", Tries: "changes an input's mode"},
	{Name: "input-times", Tries: "changes an input's times"},
	{Name: "input-remove", Tries: "removes inputs"},
	{Name: "input-truncate", Tries: "truncates an input"},
	{Name: "input-rename", Tries: "renames an input over another"},
	{Name: "input-xattr", Tries: "gives an input an attribute"},
	{Name: "input-hard-link", Tries: "links to an input and writes through the link"},
	{Name: "input-map", Tries: "writes to an input through a mapping"},
	{Name: "input-map-before-copy", Tries: "makes a mapping of an input's original writable"},
	{Name: "input-memory", Tries: "writes to a read-only mapping of an input through /proc/self/mem"},
	{Name: "input-reopen", Tries: "opens an input for writing through /proc/self/fd"},
	{Name: "input-fallocate", Tries: "punches a hole into an input"},
	{Name: "input-attributes", Tries: "sets flags of an input's file system"},
	{Name: "root-write", Tries: "makes a file in /"},
	{Name: "usr-write", Tries: "makes a file in /usr"},
	{Name: "etc-write", Tries: "makes a file in /etc"},
	{Name: "bin-write", Tries: "makes a file in /bin"},
	{Name: "lib-write", Tries: "makes a file in /lib"},
	{Name: "dev-write", Tries: "makes a file in /dev"},
	{Name: "var-write", Tries: "makes a file in /var"},
	{Name: "opt-write", Tries: "makes a file in /opt"},
	{Name: "home-write", Tries: "makes a file in /root"},
	{Name: "run-write", Tries: "makes a file in /run"},
	{Name: "go-write", Tries: "makes a file among Go's programs"},
	{Name: "program-write", Tries: "opens programs and settings of the root for writing"},
	{Name: "elsewhere-write", Tries: "looks for any directory to write to besides those that are its own"},
}

// outputProbes leave something nasty where an output is to lie.
var outputProbes = list{
	{Name: "output-absolute-link", Tries: "leaves a link to the worker's key"},
	{Name: "output-climbing-link", Tries: "leaves a link that climbs to the worker's key"},
	{Name: "output-link-in-directory", Tries: "leaves a directory with a link to the worker's key"},
	{Name: "output-behind-link", Tries: "makes the output's directory a link to the worker's", change: outputs("dir/" + world.Key)},
	{Name: "output-parent-link", Tries: "swaps the output's directory for a link to the worker's", change: outputs("dir/" + world.Key)},
	{Name: "output-link-chain", Tries: "leaves links that lead outside only together"},
	{Name: "output-proc-link", Tries: "leaves a link to the environment of who reads it"},
	{Name: "output-hard-link", Tries: "leaves a hard link to an input"},
	{Name: "output-etc-link", Tries: "leaves a hard link to /etc/passwd"},
	{Name: "output-key-link", Tries: "leaves a hard link to the worker's key"},
	{Name: "output-fifo", Tries: "leaves a fifo, at which a reader waits"},
	{Name: "output-fifo-inside", Tries: "leaves a directory with a fifo"},
	{Name: "output-device", Tries: "leaves a device without end"},
	{Name: "output-whiteout", Tries: "leaves what an overlay reads as removed"},
	{Name: "output-opaque", Tries: "leaves attributes that an overlay obeys"},
	{Name: "output-socket", Tries: "leaves a socket"},
	{Name: "output-setuid", Tries: "leaves a set-user-ID program"},
	{Name: "output-swap", Tries: "goes on swapping a file for a link to the worker's key while it is collected"},
	{Name: "output-sparse", Tries: "leaves a file of 1 TiB that costs nothing"},
	{Name: "output-sparse-many", Tries: "leaves 64 files, each of half the limit, that cost nothing"},
	{Name: "output-deep", Tries: "leaves 10,000 nested directories"},
	{Name: "output-long-path", Tries: "leaves a path longer than a path may be"},
	{Name: "output-million", Tries: "leaves more than a million files", slow: true, change: func(s *sandbox.Spec) {
		s.Outputs = []string{"out"}
		s.Limits.TimeMillis, s.Limits.DiskBytes, s.Limits.MemoryBytes = 120_000, 1<<30, 4<<30
	}},
	{Name: "output-unreadable", Tries: "leaves files and directories without permissions"},
	{Name: "output-names", Tries: "leaves names with newlines, escapes, other than UTF-8, and of 255 bytes", breaks: true},
	{Name: "output-work-root-gone", Tries: "removes the working directory", breaks: true},
}

// exhaustionProbes take a bounded amount above the limit.
var exhaustionProbes = list{
	{Name: "fork-bomb", Tries: "has three times the processes that it may"},
	{Name: "thread-bomb", Tries: "has three times the threads that it may have processes"},
	{Name: "zombies", Tries: "leaves more zombies than it may have processes"},
	{Name: "memory", Tries: "takes three times its memory", change: small},
	{Name: "memory-shared", Tries: "takes it as shared memory", change: small},
	{Name: "memory-of-children", Tries: "takes it in children that each stay below the limit", change: small},
	{Name: "memory-tmp", Tries: "takes it as a file in /tmp", change: small},
	{Name: "memory-build", Tries: "takes it as a file in the working directory", change: small},
	{Name: "memory-dev-shm", Tries: "takes it as a file in /dev/shm", change: small},
	{Name: "memory-dev-shm-many", Tries: "takes it as eight files in /dev/shm", change: small},
	{Name: "memory-memfd", Tries: "takes it as a file without name", change: small},
	{Name: "memory-pipes", Tries: "takes it as unread bytes of pipes", change: func(s *sandbox.Spec) {
		small(s)
		s.Limits.MemoryBytes = 18 << 20 // the kernel gives a user 64 MiB of pipes
	}},
	{Name: "memory-sockets", Tries: "takes it as unread bytes of sockets", change: small},
	{Name: "memory-system-v", Tries: "takes it as System V shared memory that is not attached", change: small},
	{Name: "message-queues", Tries: "takes it as System V messages", change: small},
	{Name: "memory-locked", Tries: "takes it as locked memory", change: small},
	{Name: "memory-huge", Tries: "takes it as huge pages", change: small, needs: hugePages},
	{Name: "inodes-build", Tries: "makes 200,000 empty files in the working directory, which cost more memory than it may take", change: small},
	{Name: "inodes-tmp", Tries: "makes 200,000 empty files in /tmp, which cost more memory than it may take", change: small},
	{Name: "disk-build", Tries: "writes four times its limit to the working directory"},
	{Name: "disk-tmp", Tries: "writes four times its limit to /tmp"},
	{Name: "disk-preallocate", Tries: "reserves four times its limit"},
	{Name: "disk-removed-files", Tries: "writes four times its limit to files without names"},
	{Name: "log-flood", Tries: "writes 1 GiB of log", Shows: "more than the limit is kept, or the command outlasts its time", change: lasting(60_000)},
	{Name: "descriptors", Tries: "opens more descriptors than it may"},
	{Name: "cpu-hog", Tries: "uses more than a twentieth of a CPU", admitted: "CPU is not bounded", change: func(s *sandbox.Spec) { s.Limits.CPUMillis = 50 }},
	{Name: "cpu-beyond-time", Tries: "computes beyond its time", change: lasting(1000)},
	{Name: "sleep-beyond-time", Tries: "sleeps beyond its time", change: lasting(1000)},
	{Name: "ignore-signals", Tries: "ignores all signals and sleeps beyond its time", change: lasting(1000)},
	{Name: "stop-itself", Tries: "stops itself beyond its time", change: lasting(1000)},
	{Name: "stop-all", Tries: "stops every process that it may beyond its time", change: lasting(1000)},
	{Name: "hold-the-log-closed", Tries: "closes all descriptors and sleeps beyond its time", change: lasting(1000)},
	{Name: "core-dump", Tries: "dumps a core", Shows: "a core is dumped"},
}

// orphanProbes leave processes behind.
var orphanProbes = list{
	{Name: "orphan-daemon", Tries: "leaves a child of a child that ended"},
	{Name: "orphan-session", Tries: "leaves a child in a session of its own"},
	{Name: "orphan-group", Tries: "leaves a child in a process group of its own"},
	{Name: "orphan-ignores", Tries: "leaves a child that ignores signals"},
	{Name: "orphan-many", Tries: "leaves a family of sessions"},
	{Name: "orphan-forks", Tries: "leaves a child that replaces itself every 5 milliseconds"},
	{Name: "orphan-stopped", Tries: "leaves a child that is stopped"},
	{Name: "orphan-holds-log", Tries: "leaves a child that holds the log open"},
	{Name: "orphan-holds-outputs", Tries: "leaves a child that works in the output", change: outputs("out")},
	{Name: "orphan-of-subreaper", Tries: "leaves a child of a process that adopts"},
	{Name: "orphan-of-vfork", Tries: "leaves a process that waits in vfork"},
}

// small is a little memory and much disk, so that memory is what runs out.
func small(s *sandbox.Spec) {
	s.Limits.MemoryBytes, s.Limits.DiskBytes = 48<<20, 1<<30
}

func lasting(millis int64) func(*sandbox.Spec) {
	return func(s *sandbox.Spec) { s.Limits.TimeMillis = millis }
}

func outputs(paths ...string) func(*sandbox.Spec) {
	return func(s *sandbox.Spec) { s.Outputs = paths }
}
