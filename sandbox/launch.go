package sandbox

import (
	"errors"
	"fmt"
	"io/fs"
)

// The exit codes of a command that could not be started, as shells give them.
const (
	ExitNotExecutable = 126
	ExitNotFound      = 127
)

// LaunchFailure turns the error with which starting argv0 failed into the exit
// code of its Result and the line its log ends with. Every runner uses it, so that
// a missing command looks the same everywhere.
func LaunchFailure(argv0 string, err error) (exitCode int, logLine string) {
	if errors.Is(err, fs.ErrNotExist) {
		return ExitNotFound, fmt.Sprintf("gavel: %s: command not found in the sandbox\n", argv0)
	}
	return ExitNotExecutable, fmt.Sprintf("gavel: %s: cannot be executed: %v\n", argv0, err)
}
