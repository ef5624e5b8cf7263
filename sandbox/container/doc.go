// Package container is what runners of containers share: where a run's files
// lie, what PID 1 is ordered, what its report means, and how a container is killed
// past whoever started it. It starts no container and knows no engine, runtime or
// image. What it makes lies in one Place, which belongs to one runner at a time
// and from which whatever a killed worker left is removed when it is taken again.
package container

import (
	"fmt"

	"gavel/sandbox"
)

// Unavailable is err as one of the sandbox, not of the command.
func Unavailable(err error) error { return fmt.Errorf("%w: %w", sandbox.ErrUnavailable, err) }

// Refuse is an error about a Spec that a runner of containers never runs.
func Refuse(format string, args ...any) error {
	return fmt.Errorf("%w: %s", sandbox.ErrRefused, fmt.Sprintf(format, args...))
}
