package probe

import (
	"slices"

	"gavel/sandbox"
)

// Category groups probes in the table.
type Category string

// The categories, in the order of the table.
const (
	Mounts     Category = "mounts"
	ProcSys    Category = "/proc and /sys"
	Devices    Category = "devices"
	Processes  Category = "other processes"
	Network    Category = "network"
	Files      Category = "the worker's files"
	Privileges Category = "privileges"
	Namespaces Category = "namespaces"
	Kernel     Category = "kernel"
	Machine    Category = "clock and name"
	Writes     Category = "inputs and root"
	Outputs    Category = "outputs"
	Exhaustion Category = "exhaustion"
	Orphans    Category = "orphans"
)

// Categories lists them all.
var Categories = []Category{Mounts, ProcSys, Devices, Processes, Network, Files, Privileges, Namespaces, Kernel, Machine, Writes, Outputs, Exhaustion, Orphans}

// shows is how success shows, where a probe does not say otherwise. What is
// judged for every probe is in judge.go.
var shows = map[Category]string{
	Mounts:     "the call is allowed",
	ProcSys:    "the file opens, or gives what it must not",
	Devices:    "the node is made or opens",
	Processes:  "the call is allowed, or the process of the machine is gone",
	Network:    "the machine's listener answers, or the socket is made",
	Files:      "the worker's secret is read",
	Privileges: "the call is allowed, or a program runs with more than its parent",
	Namespaces: "the call is allowed",
	Kernel:     "the kernel carries the call out, or looks at its arguments",
	Machine:    "the call is allowed",
	Writes:     "the original of an input has other bytes, mode, owner or times, or a file can be made in the root",
	Outputs:    "what is collected leads or reaches outside, is no plain file, directory or link, or exceeds the limits",
	Exhaustion: "more than the limit is held, or the command outlasts its time",
	Orphans:    "a process outlives the run, or the run waits for it",
}

// Probe is one attempt.
type Probe struct {
	Name     string
	Category Category
	Tries    string // a sentence without its subject
	Shows    string // how success would show

	needs  need                  // of the machine; nil for nothing
	change func(s *sandbox.Spec) // from the usual Spec; nil for nothing
	// admitted is a part of a Description's note by which a runner says at start
	// that this machine does not let it deny the attempt.
	admitted string
	// hard is an attempt that a limit may end in any way.
	hard bool
	// breaks is an attempt that succeeds if the run ends in an error.
	breaks bool
	// slow is an attempt that takes minutes, and is made once: not varied.
	slow bool
	// programs is an attempt that runs programs in the inputs that claim more.
	programs bool
	// alone is an attempt that disturbs others of its time.
	alone bool
}

// list is a category's probes as they are written down.
type list []Probe

// Probes lists every probe there is, by category.
func Probes() []Probe {
	var all []Probe
	for _, c := range []struct {
		category Category
		list     list
	}{
		{Mounts, mountProbes}, {ProcSys, procProbes}, {Devices, deviceProbes}, {Processes, processProbes}, {Network, networkProbes},
		{Files, fileProbes}, {Privileges, privilegeProbes}, {Namespaces, namespaceProbes}, {Kernel, kernelProbes}, {Machine, machineProbes},
		{Writes, writeProbes}, {Outputs, outputProbes}, {Exhaustion, exhaustionProbes}, {Orphans, orphanProbes},
	} {
		for _, p := range c.list {
			p.Category = c.category
			if p.Shows == "" {
				p.Shows = shows[c.category]
			}
			p.alone = p.alone || slices.Contains([]Category{Processes, Outputs, Exhaustion, Orphans}, c.category)
			p.hard = p.hard || c.category == Exhaustion
			all = append(all, p)
		}
	}
	return all
}
