// Package world is what the two halves of package probe tell each other: the half
// outside, where on the machine it has put things to find; the half inside, by exit
// code, how an attempt went. It never holds a secret that an attempt is to find,
// only its hash. Both halves are built together, so its encoding needs no versions.
package world

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// File is where a World lies in the input tree, and Program the half inside.
const (
	File    = "world.json"
	Program = "probe"
)

// The exit codes of an attempt.
const (
	Succeeded = 0
	Denied    = 10
	Absent    = 20 // the kernel has no such thing
)

// Canary is the variable that only the worker has in its environment, Key the
// name of the file in its directories that holds the same secret.
const (
	Canary = "GAVEL_PROBE_CANARY"
	Key    = "worker.key"
)

// Sleeper is an argument of a process of the machine that no sandbox may see.
const Sleeper = "gavel-probe-sleeper"

// World is what an attempt knows of the machine.
type World struct {
	SecretHash string            // hex SHA-256 of the secret in every canary
	Canaries   map[string]string // absolute paths of files with the secret, by where they are
	TCP, UDP   int               // ports on 127.0.0.1
	TCP6       int               // port on ::1; 0 where the machine has none
	Abstract   string            // abstract Unix socket
	Socket     string            // path of a Unix socket
	SuitePID   int
	SleeperPID int
	DiskMajor  uint32 // the disk under the worker's directory
	DiskMinor  uint32
	SharedKey  int // of a System V shared memory segment
	QueueKey   int // of a System V message queue
	Queue      string
	MachineID  string
	Memory     int64 // limits of this run
	Disk       int64
	Pids       int64
	CPUMillis  int64
}

// IsSecret says whether b holds the secret.
func (w *World) IsSecret(b []byte) bool {
	sum := sha256.Sum256([]byte(strings.TrimSpace(string(b))))
	return hex.EncodeToString(sum[:]) == w.SecretHash
}
