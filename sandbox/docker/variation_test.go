//go:build itest

package docker

import (
	"testing"

	"gavel/sandbox/container/containertest"
)

func TestVariation(t *testing.T) {
	r := newRunner(t)
	closing(t, r)
	containertest.Variation(t, r, busybox)
	noLeftovers(t, r)
	t.Run("image with volumes", func(t *testing.T) { containertest.Variation(t, r, stubborn) })
}
