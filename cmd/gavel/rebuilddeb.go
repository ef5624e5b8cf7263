package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"gavel/raftfsm/build"
	"gavel/sandbox/image"
	"gavel/sandbox/rootfs"
	"gavel/verify/diff"
	"gavel/worker/rebuild/deb"
)

// debFlags are the flags of rebuild deb.
type debFlags struct {
	publishedFlags
	saveImage string
}

func rebuildDebCommand() *cobra.Command {
	f := &debFlags{}
	c := &cobra.Command{
		Use:   "deb PACKAGE[=VERSION]",
		Short: "rebuild a Debian package from its source, and compare with the archive's",
		Long: `Takes the source of a Debian package and the digest of the archive's own binary package
through apt, which checks both against the archive's signatures, and has the package
built from the source: by a farm, as gavel submit does with --expect, or with --local on
this machine alone. The machine's apt sources and lists are read, and not changed.

It is built without a network in reproducible-path/SOURCE-UPSTREAMVERSION, in a root of
debootstrap's variant buildd with the package's build dependencies. That root is made
now (as root, with debootstrap, in a minute), unless --image names one: with --local a
source as gavel image add takes it, else the name or digest of an image of the farm.
--save-image keeps the root that was made as an OCI layout, for the next time.

  gavel rebuild deb --local base-files
  gavel rebuild deb --local --save-image buildd hostname && gavel rebuild deb --local --image buildd hostname
  gavel rebuild deb --farm farm base-files

Whether it is equal depends on the package, and on the versions of its build dependencies:
a root that is made now has those that the archive has now, not those of the day when the
archive built the package, which its .buildinfo lists. A version such as 1.07.1-3+b1, which
the archive built again from an unchanged source, is made with the changelog entry that the
archive put before the source's; it is read from the archive's own package.

The package's own tests run too, as on Debian's builders. Where they fail here, --env
DEB_BUILD_OPTIONS=nocheck leaves them out: the archive's digest decides all the same.

Exit status with --local: 0 equal, 1 it differs or was not built, 2 bad usage, or no such
package. Of a farm: that of gavel submit, 5 where the farm's result is not the archive's.`,
		Args: wants("PACKAGE"),
		RunE: action(func(ctx context.Context, c *cobra.Command, args []string) error {
			f.given = c.Flags().Changed
			return rebuildDeb(ctx, newTerminal(c), f, args[0])
		}),
	}
	f.publishedFlags.add(c)
	flags := c.Flags()
	flags.StringVar(&f.image, "image", "", "the root to build in: with --local a `SOURCE` of gavel image add, else an image of the farm")
	flags.StringVar(&f.saveImage, "save-image", "", "keep the root that was made in `DIR`, an OCI layout")
	flags.DurationVar(&f.timeout, "timeout", time.Hour, "how long the build may run")
	return c
}

func rebuildDeb(ctx context.Context, term *terminal, f *debFlags, text string) (err error) {
	name, version, err := deb.SplitName(text)
	if err != nil {
		return usage("%v", err)
	}
	var b *bench
	if f.local {
		if b, err = f.here.open(ctx); err != nil { // first, while this process is small
			return err
		}
		defer func() { err = errors.Join(err, b.Close()) }()
	}
	dir, err := os.MkdirTemp("", "gavel-deb-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rootfs.Remove(dir)) }()
	apt, err := deb.Open(ctx, dir, func(line string) { term.say("%s", line) })
	if err != nil {
		return refused(err)
	}
	p, err := apt.Find(ctx, name, version)
	if err != nil {
		return refused(err)
	}
	term.say("the archive's %s is sha256:%x, from source %s %s", p.File, p.SHA256, p.Source, p.SourceVersion)
	source := filepath.Join(dir, "build")
	if err := apt.Fetch(ctx, p, source); err != nil {
		return refused(err)
	}
	if f.local {
		return f.buildHere(ctx, term, b, apt, p, source)
	}
	return f.buildThere(ctx, term, apt, p, source)
}

// root opens the root to build in, made now if none is named.
func (f *debFlags) root(ctx context.Context, term *terminal, apt *deb.Apt, p *deb.Package) (*image.Source, error) {
	from := f.image
	if from == "" {
		var err error
		if from, err = madeOf(ctx, apt, p); err != nil {
			return nil, err
		}
	}
	src, err := image.Open(ctx, from, image.Options{Progress: func(line string) { term.say("%s", line) }})
	if err != nil {
		return nil, refused(err)
	}
	if f.saveImage != "" {
		if err := image.WriteLayout(ctx, f.saveImage, src.Image); err != nil {
			return nil, errors.Join(refused(err), src.Close())
		}
	}
	return src, nil
}

// madeOf names a root with the package's build dependencies that is to be made.
func madeOf(ctx context.Context, apt *deb.Apt, p *deb.Package) (string, error) {
	packages, err := apt.BuildDependencies(ctx, p)
	if err != nil {
		return "", refused(err)
	}
	return p.ImageSource(packages), nil
}

func (f *debFlags) buildHere(ctx context.Context, term *terminal, b *bench, apt *deb.Apt, p *deb.Package, source string) error {
	img, err := f.root(ctx, term, apt, p)
	if err != nil {
		return err
	}
	defer img.Close()
	env, err := parseEnv(f.env)
	if err != nil {
		return err
	}
	a := p.Action(img.Image.Root(), env)
	if err := f.limit(a); err != nil {
		return err
	}
	r, err := b.publish(ctx, term, fmt.Sprintf("%s %s from its source", p.Name, p.Version), source, a, img, []build.Expected{p.Expected()})
	if err != nil {
		return err
	}
	adviseDeb(r)
	if !r.Equal && r.Published[0].Got != "" {
		r.Differences = f.explain(ctx, term, b, apt, p)
	}
	if err := r.print(term, b.tail, f.json); err != nil {
		return err
	}
	return r.exit()
}

// adviseDeb adds what a person should know before blaming a package.
func adviseDeb(r *publishedReport) {
	switch {
	case r.Equal:
	case r.Published[0].Got != "":
		r.Notes = append(r.Notes, "the archive built it with the tools of its day (its .buildinfo lists them), this machine with those that the root has: a difference may be theirs")
	default:
		r.Notes = append(r.Notes, "--log FILE keeps all that the build prints. Where the package's own tests failed, --env DEB_BUILD_OPTIONS=nocheck leaves them out; the archive's digest decides all the same")
	}
}

// explain fetches the archive's own package and says in what it differs; nil, and
// said, where that cannot be.
func (f *debFlags) explain(ctx context.Context, term *terminal, b *bench, apt *deb.Apt, p *deb.Package) *diff.Report {
	archives, err := os.MkdirTemp("", "gavel-archive-") // --work may hold another package's
	if err == nil {
		defer os.RemoveAll(archives)
		err = apt.FetchBinary(ctx, p, archives)
	}
	if err != nil {
		term.say("the archive's package cannot be compared: %v", err)
		return nil
	}
	report, err := diffTrees(ctx, "the archive's", "this machine's", archives, b.output)
	if err != nil {
		term.say("the archive's package cannot be compared: %v", err)
		return nil
	}
	return report
}

// buildThere has a farm build it, and says there what the archive published.
func (f *debFlags) buildThere(ctx context.Context, term *terminal, apt *deb.Apt, p *deb.Package, source string) error {
	farm, err := connectKey(ctx, f.farm, f.key)
	if err != nil {
		return err
	}
	defer farm.Close()
	if f.image == "" {
		if f.image, err = f.addRoot(ctx, term, farm, apt, p); err != nil {
			return err
		}
	}
	return f.submitPublished(ctx, term, farm, p.Action(f.image, nil), source, []build.Expected{p.Expected()})
}

// addRoot has the farm hold a root for the package, under a name that tells what
// it is made of, and returns the name.
func (f *debFlags) addRoot(ctx context.Context, term *terminal, farm *farm, apt *deb.Apt, p *deb.Package) (string, error) {
	from, err := madeOf(ctx, apt, p)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256([]byte(from))
	name := "rebuild/" + p.Suite + ":" + hex.EncodeToString(sum[:6])
	if _, err := farm.findImage(ctx, name); err == nil {
		term.say("the farm has image %s already", name)
		return name, nil
	}
	src, err := f.root(ctx, term, apt, p)
	if err != nil {
		return "", err
	}
	defer src.Close()
	_, err = farm.putImage(ctx, term, name, from, src.Image)
	return name, err
}
