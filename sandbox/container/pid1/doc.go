// Package pid1 is the first process of a container: it starts the command,
// reaps whatever the command orphans, and reports how the command ended, which
// an engine's exit code cannot say (exit 137 and SIGKILL look the same there).
// It never touches the network, mounts or privileges, all of which the engine
// has settled before it runs. It ends with the command, and also when its
// standard input does, so that no container outlives the worker that began it.
//
// Its three standard streams are the whole protocol: an Order comes on standard
// input, the command's stdout and stderr go interleaved to standard output, and
// Report lines go to standard error, which the command does not get.
package pid1

// Path is where the engine shows this program in the container. Being the name
// it is started under, it also tells a gavel binary that it is to be PID 1.
const Path = "/.gavel-init"

// Threads is how many processes and threads this program takes of a container's
// limit at most: what the Go runtime makes with one processor, and spareThreads.
const Threads = 32

// spareThreads are made before the command starts, so that none is needed after.
// Four were once too few of thousands of fork bombs: threads on their way to rest are
// not found by the runtime, which then makes another, or ends the process.
const spareThreads = 16
