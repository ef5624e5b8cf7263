package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/spf13/cobra"

	"gavel/sandbox"
	"gavel/sandbox/image"
	"gavel/sandbox/rootfs"
	"gavel/worker/rebuild/gotoolchain"
)

func rebuildToolchainCommand() *cobra.Command {
	f := &publishedFlags{}
	c := &cobra.Command{
		Use:   "gotoolchain VERSION",
		Short: "rebuild a Go toolchain from its sources, and compare with the published one",
		Long: `Has the go command fetch the module of a Go toolchain, golang.org/toolchain, and check it
against the checksum database; takes the sources out of it and builds them with the Go
that is in the sandbox, without a network: on a farm, as gavel submit does with --expect,
or with --local on this machine alone. Then every program of the module (bin and
pkg/tool) is compared with what was built.

  gavel rebuild gotoolchain --local 1.26.8
  gavel rebuild gotoolchain --farm farm --max-price 50 1.26.8

It is built in the machine's own root, which needs bash and a Go new enough to compile
this one, unless --image names another: with --local a source as gavel image add takes
it, else the name or digest of an image of the farm. It takes some minutes, and as much
memory as --memory says (8GiB).

Exit status with --local: 0 equal, 1 it differs or was not built, 2 bad usage, or no such
toolchain. Of a farm: that of gavel submit, 5 where the farm's result is not the published one.`,
		Args: wants("VERSION"),
		RunE: action(func(ctx context.Context, c *cobra.Command, args []string) error {
			f.given = c.Flags().Changed
			return rebuildToolchain(ctx, newTerminal(c), f, args[0])
		}),
	}
	f.add(c)
	flags := c.Flags()
	flags.StringVar(&f.image, "image", sandbox.HostRoot, "the root to build in: host, or with --local a `SOURCE` of gavel image add, else an image of the farm")
	flags.DurationVar(&f.timeout, "timeout", 2*time.Hour, "how long the build may run")
	return c
}

func rebuildToolchain(ctx context.Context, term *terminal, f *publishedFlags, version string) (err error) {
	var b *bench
	if f.local {
		if b, err = f.here.open(ctx); err != nil { // first, while this process is small
			return err
		}
		defer func() { err = errors.Join(err, b.Close()) }()
	}
	term.say("fetching the toolchain's module")
	t, err := gotoolchain.Fetch(ctx, version, "linux", runtime.GOARCH)
	if err != nil {
		return refused(err)
	}
	dir, err := os.MkdirTemp("", "gavel-toolchain-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rootfs.Remove(dir)) }()
	source := filepath.Join(dir, "build")
	published, err := t.Unpack(ctx, source)
	if err != nil {
		return refused(err)
	}
	word := "checked against the checksum database"
	if !t.Vouched {
		word = "NOT checked against the checksum database, which is switched off here (GOSUMDB)"
	}
	term.say("go%s for %s/%s is %s, %s; it has %s", t.Version, t.OS, t.Arch, t.Sum, word, count(len(published), "program"))
	env, err := parseEnv(f.env)
	if err != nil {
		return err
	}
	a := t.Action(f.image, published, env)
	if !f.local {
		farm, err := connectKey(ctx, f.farm, f.key)
		if err != nil {
			return err
		}
		defer farm.Close()
		return f.submitPublished(ctx, term, farm, a, source, published)
	}
	if err := f.limit(a); err != nil {
		return err
	}
	var img *image.Source
	if f.image != sandbox.HostRoot {
		if img, err = image.Open(ctx, f.image, image.Options{Progress: func(line string) { term.say("%s", line) }}); err != nil {
			return refused(err)
		}
		defer img.Close()
		a.Root = img.Image.Root()
	}
	r, err := b.publish(ctx, term, "go"+t.Version+" for "+t.OS+"/"+t.Arch+" from its sources", source, a, img, published)
	if err != nil {
		return err
	}
	if !t.Vouched {
		r.Notes = append(r.Notes, "the published module was "+word)
	}
	if err := r.print(term, b.tail, f.json); err != nil {
		return err
	}
	return r.exit()
}
