package container

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// A container can be started before it is known for which input tree. Its build
// directory is then a bind of the slot, an empty directory that receives mounts
// (MS_SLAVE): the overlay that Fill mounts on the slot appears in the container,
// too, as long as runtime and kernel pass mounts on, which ShownIn tells.

// MakeAhead is Make for a container that starts before its inputs are known. Of
// t it takes what a run of its kind has anyway: Bytes, Hostname and Root.
func (s Scratch) MakeAhead(t Tree) error {
	t.Copied = false
	if err := s.mount(t); err != nil {
		return err
	}
	if err := errors.Join(
		unix.Mount("", s.Dir, "", unix.MS_SHARED, ""), // what a slave can be made of
		os.Mkdir(s.path(slotDir), 0o755),
		s.writeNames(t),
	); err != nil {
		return errors.Join(fmt.Errorf("preparing a scratch directory ahead of its run: %w", err), s.Remove())
	}
	return nil
}

// slotDir is there in what MakeAhead made, and else not.
const slotDir = "slot"

// Slot is the directory to bind as build directory, if MakeAhead made it.
func (s Scratch) Slot() (dir string, ok bool) {
	_, err := os.Lstat(s.path(slotDir))
	return s.path(slotDir), err == nil
}

// Fill puts the input tree into what MakeAhead prepared, with the times that the
// run asks for.
func (s Scratch) Fill(t Tree) error {
	when := time.Unix(t.Epoch, 0)
	for _, name := range NameFiles {
		if err := os.Chtimes(s.Name(name), when, when); err != nil {
			return fmt.Errorf("dating a run's names: %w", err)
		}
	}
	if err := s.layers(t); err != nil {
		return fmt.Errorf("preparing the layers of the build directory: %w", err)
	}
	if err := unix.Mount("gavel", s.path(slotDir), "overlay", unix.MS_NOSUID|unix.MS_NODEV, s.OverlayOptions()); err != nil {
		return fmt.Errorf("mounting the build directory: %w", err)
	}
	return nil
}
