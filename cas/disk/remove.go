package disk

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"gavel/cas"
)

// Remove deletes a blob, if it is there. Who holds it open can still read it.
// After a power cut it may be there again, whole.
func (s *Store) Remove(ctx context.Context, d cas.Digest) error {
	if err := errors.Join(ctx.Err(), d.Validate()); err != nil {
		return err
	}
	if err := os.Remove(s.path(d)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing blob %s: %w", d, err)
	}
	return nil
}
