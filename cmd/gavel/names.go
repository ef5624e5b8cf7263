package main

import (
	"gavel/raftfsm"
	"gavel/raftfsm/build"
)

// checkName refuses what cannot be the name of a thing in a farm. Beyond saying so
// early it keeps from the encoder what a command has no room for.
func checkName(thing, name string) error {
	if !raftfsm.ValidName(name) {
		return usage(`%s cannot be called %.80q: want a name of 1 to 64 letters, digits, ".", "_" and "-", beginning with neither "." nor "-"`, thing, name)
	}
	return nil
}

// checkMachine refuses a machine's name that a command has no room for: unlike
// other names it may be any text.
func checkMachine(name string) error {
	if len(name) > build.MaxNameBytes {
		return usage("the machine's name %.40q… is %d bytes long: want at most %d", name, len(name), build.MaxNameBytes)
	}
	return nil
}
