package main

import (
	"bytes"
	"context"
	"crypto"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"gavel/cas/layout"
	"gavel/sandbox"
	"gavel/sandbox/image"
	"gavel/sandbox/rootfs"
	"gavel/verify/attest"
	"gavel/verify/diff"
	"gavel/verify/keys"
	"gavel/worker/engine"
	"gavel/worker/rebuild"
)

// localFlags say how a build runs on this machine, without a farm.
type localFlags struct {
	sandbox string
	runtime string
	work    string
	log     string
	output  string
}

func (f *localFlags) add(c *cobra.Command) {
	flags := c.Flags()
	flags.StringVar(&f.sandbox, "sandbox", engine.Native, "native, docker or oci")
	flags.StringVar(&f.runtime, "runtime", "", "an OCI runtime: one of the Docker engine's, or with --sandbox oci a program such as crun, runc or runsc")
	flags.StringVar(&f.work, "work", "", "keep unpacked images in `DIR`, for the next time (default: a temporary directory)")
	flags.StringVar(&f.log, "log", "", "write what the command prints to `FILE`")
	flags.StringVarP(&f.output, "output", "o", "", "keep what was made in `DIR`, which must be new or empty")
}

// bench is where a build runs on this machine.
type bench struct {
	runner sandbox.Runner
	dir    string // of its own
	output string // where outputs go
	log    io.Writer
	tail   *tail // the log's end

	close []func() error
}

// open starts the sandbox. It comes before anything that needs memory.
func (f *localFlags) open(ctx context.Context) (_ *bench, err error) {
	known := false
	for _, kind := range engine.Kinds {
		known = known || kind == f.sandbox
	}
	if !known {
		return nil, usage("--sandbox %q: want one of %s", f.sandbox, strings.Join(engine.Kinds, ", "))
	}
	if f.output != "" {
		if err := checkTarget(f.output); err != nil {
			return nil, err
		}
	}
	b := &bench{tail: &tail{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.Close())
		}
	}()
	if err := b.places(f); err != nil {
		return nil, err
	}
	b.log = b.tail
	if f.log != "" {
		file, err := os.Create(f.log)
		if err != nil {
			return nil, refused(fmt.Errorf("writing the log: %w", err))
		}
		b.close = append(b.close, file.Close)
		b.log = io.MultiWriter(file, b.tail)
	}
	owner := sha256.Sum256([]byte(b.dir)) // so that the next time finds the images of --work
	b.runner, err = engine.OpenRunner(ctx, engine.RunnerConfig{
		Kind: f.sandbox, Runtime: f.runtime, Dir: b.dir, ImageBytes: sandbox.MaxImageBytes, Owner: hex.EncodeToString(owner[:16]), DropImages: f.work == "",
	})
	if err != nil {
		return nil, refused(fmt.Errorf("starting the %s sandbox: %w", f.sandbox, err))
	}
	b.close = append(b.close, b.runner.Close)
	return b, nil
}

// places makes the directories. A sandbox's user must be able to pass through them.
func (b *bench) places(f *localFlags) error {
	dir := f.work
	if dir == "" {
		temp, err := os.MkdirTemp("", "gavel-rebuild-")
		if err != nil {
			return err
		}
		dir = temp
		b.close = append(b.close, func() error { return rootfs.Remove(temp) })
	}
	abs, err := filepath.Abs(dir)
	if err == nil {
		err = os.MkdirAll(filepath.Join(abs, "sandbox"), 0o755)
	}
	if err == nil && f.work == "" {
		err = os.Chmod(abs, 0o755)
	}
	if err != nil {
		return refused(fmt.Errorf("making a work directory: %w", err))
	}
	b.dir, b.output = abs, filepath.Join(abs, "outputs")
	if f.output != "" {
		if b.output, err = filepath.Abs(f.output); err != nil {
			return err
		}
	} else if f.work != "" {
		b.close = append(b.close, func() error { return os.RemoveAll(b.output) })
	}
	return nil
}

// Close ends the sandbox and removes what is temporary.
func (b *bench) Close() error {
	var errs []error
	for i := len(b.close) - 1; i >= 0; i-- {
		errs = append(errs, b.close[i]())
	}
	b.close = nil
	return errors.Join(errs...)
}

// tail keeps the end of a log.
type tail struct{ buf bytes.Buffer }

const tailBytes = 8 << 10 // some hundred lines, of which a person is shown the last

func (t *tail) Write(p []byte) (int, error) {
	t.buf.Write(p)
	if extra := t.buf.Len() - 2*tailBytes; extra > 0 {
		t.buf.Next(extra + tailBytes)
	}
	return len(p), nil
}

// lines are the last n.
func (t *tail) lines(n int) []string {
	all := strings.Split(strings.TrimRight(t.buf.String(), "\n"), "\n")
	return all[max(0, len(all)-n):]
}

// rebuildFlags are the flags of rebuild.
type rebuildFlags struct {
	localFlags
	inputs       string
	image        string
	key          string
	outputs      string
	allowChanged bool
	json         bool
}

func rebuildCommand() *cobra.Command {
	f := &rebuildFlags{}
	c := &cobra.Command{
		Use:   "rebuild BUNDLE",
		Short: "build again what an attestation is about, on this machine, without a farm",
		Long: `Reads the provenance in BUNDLE (a Sigstore bundle, or a raw DSSE envelope), takes the
inputs and the image that it names from a directory, checks every digest, runs the same
command in the same sandbox as a worker does, and compares what came out with what was
stated. It asks no farm and no network.

  gavel download BUILD --farm farm --inputs evidence     while the farm is there
  gavel rebuild evidence/attestations/worker-3.sigstore.json --key evidence/attestations/worker-3.pub

Inputs are looked for in --inputs, else beside the bundle and in the directory above. It
is an OCI layout, each blob a file blobs/sha256/DIGEST. The image is the layout's, unless
--image names another source of it, as gavel image add takes them; whatever the source,
it must be the one that the statement names. With --key it also says whose statement it is.

Where an input byte has changed, nothing is built and the input is named. With
--allow-changed it is built all the same, from what is there, and the result says so.

A build in the machine's own root (--image host) depends on the tools of the machine;
it says whether they are those of the worker's.

rebuild deb and rebuild gotoolchain take what others published instead of a bundle.

Exit status: 0 equal, 1 it differs, 2 bad usage, or inputs that are not the statement's.`,
		Args: wants("BUNDLE"),
		RunE: action(func(ctx context.Context, c *cobra.Command, args []string) error {
			return rebuildBundle(ctx, newTerminal(c), f, args[0])
		}),
	}
	f.localFlags.add(c)
	c.AddCommand(rebuildDebCommand(), rebuildToolchainCommand())
	flags := c.Flags()
	flags.StringVar(&f.inputs, "inputs", "", "the `DIR` that gavel download --inputs wrote")
	flags.StringVar(&f.image, "image", "", "another `SOURCE` of the image, as for gavel image add")
	flags.StringVar(&f.key, "key", "", "the public `KEY` in PEM that must have signed the statement")
	flags.StringVar(&f.outputs, "outputs", "", "the farm's outputs, a `DIR` of gavel download -o: a difference is then explained to the member and the byte")
	flags.BoolVar(&f.allowChanged, "allow-changed", false, "build although inputs have not their digest, and say so")
	flags.BoolVar(&f.json, "json", false, "print the result as JSON; progress goes to standard error")
	return c
}

func rebuildBundle(ctx context.Context, term *terminal, f *rebuildFlags, bundle string) (err error) {
	recipe, err := readRecipe(bundle, f.key)
	if err != nil {
		return err
	}
	dir, err := findInputs(f.inputs, bundle)
	if err != nil {
		return err
	}
	b, err := f.open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	in, err := layout.Open(dir)
	if err != nil {
		return refused(err)
	}
	defer in.Close()
	plan, err := rebuild.Open(ctx, recipe, in)
	if err != nil {
		return unusable(err)
	}
	img, err := openImage(ctx, term, f.image, dir, plan.Action.Root)
	if err != nil {
		return err
	}
	o := rebuild.Options{
		Runner: b.runner, Dir: b.dir, OutputDir: b.output, AllowChanged: f.allowChanged, Log: b.log,
		Progress: func(line string) { term.say("%s", line) },
	}
	if img != nil {
		defer img.Close()
		o.Image = &img.Image
	}
	built, err := plan.Build(ctx, o)
	if err != nil {
		return unusable(err)
	}
	compared, err := plan.Compare(ctx, built.Manifest)
	if err != nil {
		return unusable(err)
	}
	report := newRebuildReport(plan, built, compared)
	report.machine(ctx, f.sandbox, recipe)
	if f.outputs != "" && !report.Equal {
		if report.Explained, err = diffTrees(ctx, "the farm's", "this machine's", f.outputs, b.output); err != nil {
			return refused(fmt.Errorf("comparing with the farm's outputs: %w", err))
		}
	}
	if err := report.print(term, b.tail, f.json); err != nil {
		return err
	}
	if !report.Equal {
		return &exit{code: exitFailed}
	}
	return nil
}

// unusable is the exit of inputs that are at fault; other errors pass.
func unusable(err error) error {
	if errors.Is(err, rebuild.ErrInputs) {
		return refused(fmt.Errorf("nothing was built: %w", err))
	}
	return err
}

// readRecipe reads a statement, signed by the key if one is given.
func readRecipe(bundle, key string) (*attest.Recipe, error) {
	raw, err := readSmall(bundle, attest.MaxBundleBytes)
	if err != nil {
		return nil, refused(fmt.Errorf("reading the bundle: %w", err))
	}
	var public crypto.PublicKey
	if key != "" {
		pem, err := readSmall(key, maxPublicKeyBytes)
		if err != nil {
			return nil, refused(fmt.Errorf("reading the key: %w", err))
		}
		if public, err = keys.ParsePublic(pem); err != nil {
			return nil, refused(fmt.Errorf("%s: %w", key, err))
		}
	}
	recipe, err := attest.ReadRecipe(raw, public)
	if err != nil {
		return nil, refused(fmt.Errorf("%s: %w", bundle, err))
	}
	return recipe, nil
}

// findInputs is the directory given, or else the nearest to the bundle that has inputs.
func findInputs(given, bundle string) (string, error) {
	if given != "" {
		return given, nil
	}
	abs, err := filepath.Abs(bundle)
	if err != nil {
		return "", err
	}
	for _, dir := range []string{filepath.Dir(abs), filepath.Dir(filepath.Dir(abs)), "."} {
		if layout.Is(dir) {
			return dir, nil
		}
	}
	return "", usage("where are the inputs? Give --inputs DIR, which gavel download BUILD --inputs DIR writes")
}

// diffTrees explains how two directories differ.
func diffTrees(ctx context.Context, nameA, nameB, a, b string) (*diff.Report, error) {
	left, err := diff.OpenDir(a)
	if err != nil {
		return nil, err
	}
	defer left.Close() // read only: there is nothing to lose
	right, err := diff.OpenDir(b)
	if err != nil {
		return nil, err
	}
	defer right.Close()
	o := (&diffFlags{}).options()
	o.ResultModes = true
	return diff.Trees(ctx, nameA, nameB, left, right, o)
}

// openImage opens the image that a build runs in, nil for the machine's own root.
func openImage(ctx context.Context, term *terminal, given, dir, root string) (*image.Source, error) {
	switch {
	case root == sandbox.HostRoot && given != "" && given != sandbox.HostRoot:
		return nil, usage("this build ran in its machine's own root, not in an image: leave --image out")
	case root == sandbox.HostRoot:
		return nil, nil
	}
	source := given
	if source == "" {
		source = "oci:" + dir
	}
	src, err := image.Open(ctx, source, image.Options{Progress: func(line string) { term.say("%s", line) }})
	if err != nil {
		if given == "" {
			err = fmt.Errorf("the build's image %s is not usable from the inputs (--image names another source): %w", root, err)
		}
		return nil, refused(err)
	}
	return src, nil
}
