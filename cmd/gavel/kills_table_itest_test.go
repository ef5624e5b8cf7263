//go:build itest

package main

import (
	"fmt"
	"strings"
	"sync"
)

// The phases of a worker's part in a build, in order.
const (
	fetchingImage   = "fetching the image"
	fetchingInputs  = "fetching inputs"
	buildingSandbox = "building the sandbox"
	commandRuns     = "the command runs"
	collecting      = "collecting outputs"
	othersBuild     = "committed, others build"
	uploading       = "uploading outputs"
	validatorsRuns  = "a validator's command runs"
)

// The victims.
const (
	theWorker  = "worker"
	theEngine  = "engine"
	theFirst   = "first process"
	theCommand = "command"
)

var (
	killPhases  = []string{fetchingImage, fetchingInputs, buildingSandbox, commandRuns, collecting, othersBuild, uploading, validatorsRuns}
	killVictims = []string{theWorker, theEngine, theFirst, theCommand}
	killKinds   = []string{"native", "docker", "oci"}
)

// noSuch says why a victim cannot be met in a phase, or nothing. The engine is,
// for docker, the daemon with its containerd and the shims of its containers; for
// native, the spawner; for oci, the runtime's program.
func noSuch(kind, phase, victim string) string {
	runs := phase == commandRuns || phase == validatorsRuns
	switch {
	case victim == theWorker:
		return ""
	case (victim == theFirst || victim == theCommand) && !runs:
		return "it lives only while the command does"
	case victim != theEngine || runs && kind != "oci" || phase == buildingSandbox:
		return ""
	case kind == "oci":
		return "runtimes run detached: none of their processes is there but while a sandbox is built"
	case kind == "native":
		return "the spawner has no part in it but a spare sandbox"
	case phase == fetchingInputs:
		return "no call to the engine is under way: the next one waits, as when a sandbox is built"
	case phase == othersBuild || phase == uploading:
		return "the build has no container any more"
	}
	return ""
}

// killTable is what came of each cell.
type killTable struct {
	mu    sync.Mutex
	cells map[string]string
}

func (k *killTable) set(kind, phase, victim, outcome string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.cells[kind+phase+victim] = outcome
}

func (k *killTable) String() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	var b strings.Builder
	row := func(cells ...any) { fmt.Fprintf(&b, "\n%-7s %-28s %-24s %-24s %-24s %s", cells...) }
	row("runner", "phase", theWorker, theEngine, theFirst, theCommand)
	for _, kind := range killKinds {
		for _, phase := range killPhases {
			cells := []any{kind, phase}
			for _, victim := range killVictims {
				cells = append(cells, k.cells[kind+phase+victim])
			}
			row(cells...)
		}
	}
	return b.String()
}
