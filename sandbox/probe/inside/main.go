// Command inside is the part of package probe that runs in a sandbox: each of its
// names is one attempt to get out, to reach what is not the build's, or to take
// more than the build's share. It makes one attempt a process and says with its
// exit code how that went: 0 it succeeded, 10 it was denied, 20 the kernel has no
// such thing. Every attempt is made so that it does no harm where it succeeds.
package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"

	"gavel/sandbox/probe/world"
)

// verdict is how an attempt went, and a sentence about it.
type verdict struct {
	code int
	why  string
}

func succeeded(format string, a ...any) verdict {
	return verdict{world.Succeeded, fmt.Sprintf(format, a...)}
}
func denied(format string, a ...any) verdict {
	return verdict{world.Denied, fmt.Sprintf(format, a...)}
}
func absent(format string, a ...any) verdict {
	return verdict{world.Absent, fmt.Sprintf(format, a...)}
}

// call judges an attempt that one call makes: it succeeded if the call did.
func call(name string, err error) verdict {
	if err == nil {
		return succeeded("%s is allowed", name)
	}
	return denied("%s: %v", name, err)
}

// beyond judges a call with arguments that nobody could be granted: it succeeded
// if the kernel got as far as looking at them.
func beyond(name string, err error, looked ...error) verdict {
	if err == nil || slices.Contains(looked, err) {
		return succeeded("%s is permitted (%v)", name, err)
	}
	return denied("%s: %v", name, err)
}

type attempt func(w *world.World) verdict

type table map[string]attempt

func attempts() table {
	all := table{}
	for _, t := range []table{mountAttempts, procAttempts, deviceAttempts, processAttempts, networkAttempts, fileAttempts,
		privilegeAttempts, namespaceAttempts, kernelAttempts, machineAttempts, writeAttempts, outputAttempts, exhaustionAttempts, orphanAttempts} {
		for name, a := range t {
			if _, twice := all[name]; twice {
				panic("two attempts are named " + name)
			}
			all[name] = a
		}
	}
	return all
}

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: inside NAME [MARK]; -list names the attempts")
		os.Exit(2)
	}
	if role, ok := roles[os.Args[1]]; ok {
		role()
		return
	}
	if os.Args[1] == "-list" {
		for _, name := range slices.Sorted(maps.Keys(attempts())) {
			fmt.Println(name)
		}
		return
	}
	a, ok := attempts()[os.Args[1]]
	if !ok {
		fmt.Fprintf(os.Stderr, "there is no attempt %q\n", os.Args[1])
		os.Exit(2)
	}
	w, err := readWorld()
	if err != nil {
		fmt.Fprintln(os.Stderr, "reading about the world outside:", err)
		os.Exit(2)
	}
	v := a(w)
	fmt.Println(v.why)
	os.Exit(v.code)
}

func readWorld() (*world.World, error) {
	b, err := os.ReadFile(world.File)
	if err != nil {
		return nil, err
	}
	w := &world.World{}
	return w, json.Unmarshal(b, w)
}
