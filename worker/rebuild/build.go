package rebuild

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"gavel/api/action"
	"gavel/cas"
	"gavel/cas/inputs"
	"gavel/raftfsm/build"
	"gavel/sandbox"
	"gavel/worker/engine"
)

// Options say where and in what a plan is carried out.
type Options struct {
	Runner sandbox.Runner
	// Image is what the build runs in; nil where that is the machine's own root.
	Image *sandbox.Image
	// Dir is a directory for what is laid out, of this call alone while it lasts.
	Dir string
	// OutputDir is emptied and then takes the outputs.
	OutputDir string
	// AllowChanged builds although inputs or the image are not those of the statement.
	AllowChanged bool
	// Log takes what the command prints.
	Log io.Writer
	// Progress, if set, is told in a sentence what takes time.
	Progress func(string)
}

// Built is what came of a plan.
type Built struct {
	Manifest *build.Manifest
	// InputRoot and Root are what it was built from; they differ from the
	// statement's where changed ones were allowed.
	InputRoot cas.Digest
	Root      string
	// Notes are sentences that a person should know of the end.
	Notes []string
	// SetupNanos and RunNanos are the time until the command started and that which it took.
	SetupNanos, RunNanos int64
	Started, Finished    time.Time
}

// Build carries a plan out. Errors that wrap ErrInputs say which input is not the
// statement's; others are the sandbox's or the machine's.
func (p *Plan) Build(ctx context.Context, o Options) (*Built, error) {
	if o.Progress == nil {
		o.Progress = func(string) {}
	}
	from, err := p.source(o.AllowChanged)
	if err != nil {
		return nil, err
	}
	root, err := p.root(ctx, &o)
	if err != nil {
		return nil, err
	}
	o.Progress(fmt.Sprintf("laying out %d input files, %d bytes", p.Files, p.Bytes))
	cache, err := inputs.Open(filepath.Join(o.Dir, "inputs"), inputs.Config{TreeBytes: maxTreeBytes, BlobBytes: maxTreeBytes})
	if err != nil {
		return nil, err
	}
	defer cache.Close()
	d := o.Runner.Describe()
	laid, err := cache.Materialise(ctx, from.root, from.from, inputs.Options{UID: d.InputUID, GID: d.InputGID, Epoch: action.SourceDateEpoch})
	if err != nil {
		return nil, err
	}
	defer laid.Release()
	if err := engine.ClearDir(o.OutputDir); err != nil {
		return nil, err
	}
	spec := engine.Spec(p.Action, laid.Dir, o.OutputDir)
	spec.Root, spec.Log = root, o.Log
	b := &Built{InputRoot: from.root, Root: root, Started: time.Now()}
	o.Progress("running the command")
	res, err := engine.Run(ctx, o.Runner, spec)
	b.Finished = time.Now()
	if err != nil {
		return nil, err
	}
	b.SetupNanos, b.RunNanos = res.SetupNanos, res.RunNanos
	b.note(res.Detail)
	var note string
	if b.Manifest, note, err = engine.Manifest(ctx, res, o.OutputDir, spec.Outputs); err != nil {
		return nil, err
	}
	b.note(note)
	return b, nil
}

func (b *Built) note(text string) {
	if text != "" {
		b.Notes = append(b.Notes, text)
	}
}

// source is the tree to be built from.
func (p *Plan) source(allowChanged bool) (source, error) {
	switch {
	case len(p.Changed) == 0:
		return p.stated(), nil
	case !allowChanged:
		var all []error
		for i, c := range p.Changed {
			if i == maxNamed {
				all = append(all, fmt.Errorf("and %d more", len(p.Changed)-i))
				break
			}
			all = append(all, errors.New(c.String()))
		}
		return source{}, fmt.Errorf("%w: %w", ErrInputs, errors.Join(all...))
	}
	return p.found()
}

// root has the sandbox hold the image, and names it.
func (p *Plan) root(ctx context.Context, o *Options) (string, error) {
	want := p.Action.Root
	if want == sandbox.HostRoot {
		return want, nil
	}
	if o.Image == nil {
		return "", fmt.Errorf("%w: it was built in image %s, and none is given", ErrInputs, want)
	}
	root := o.Image.Root()
	if root != want && !o.AllowChanged {
		return "", fmt.Errorf("%w: it was built in image %s; the image given is %s", ErrInputs, want, root)
	}
	taker, ok := o.Runner.(sandbox.ImageTaker)
	if !ok {
		return "", fmt.Errorf("this sandbox takes no images, and the build wants %s: choose another", want)
	}
	o.Progress("unpacking image " + root)
	taken, err := taker.TakeImage(ctx, *o.Image)
	if errors.Is(err, sandbox.ErrRefused) {
		return "", unusable("the image", err)
	}
	if err != nil {
		return "", fmt.Errorf("unpacking image %s: %w", root, err)
	}
	return taken, nil
}
