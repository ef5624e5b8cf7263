package rebuild

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"gavel/api/action"
	"gavel/cas"
	"gavel/cas/layout"
	"gavel/cas/tree"
	"gavel/verify/attest"
	"gavel/worker/engine"
)

// ErrInputs is wrapped where what was given is not what the statement wants it
// built from: fetch it again, whole.
var ErrInputs = errors.New("the inputs are not those of the statement")

// Plan is a build as a statement wants it, with inputs that were checked.
type Plan struct {
	// Recipe is the statement; nil where there is none to compare with.
	Recipe *attest.Recipe
	Action *action.Action
	// Files and Bytes size the input tree.
	Files, Bytes int64
	// Changed are the input files that are not what they should be, by path.
	Changed []Changed

	inputs *layout.Dir
	tree   *tree.Tree
	bad    map[cas.Digest]layout.Finding // of Changed
}

// Changed is an input file that has not its digest.
type Changed struct {
	Path      string
	Want, Got cas.Digest // Got is the zero Digest where there is no file
}

// String names the file and what is wrong.
func (c Changed) String() string {
	if c.Got == (cas.Digest{}) {
		return fmt.Sprintf("input %q is not there: want sha256:%s, %d bytes", c.Path, c.Want.Hash, c.Want.Size)
	}
	return fmt.Sprintf("input %q has not its digest: it is sha256:%s, %d bytes; the statement wants sha256:%s, %d bytes", c.Path, c.Got.Hash, c.Got.Size, c.Want.Hash, c.Want.Size)
}

// Open reads and checks all inputs of a recipe. Files that are not what they
// should be are the Plan's Changed; anything else is an error, which wraps
// ErrInputs where it is the inputs' or the statement's own.
func Open(ctx context.Context, r *attest.Recipe, in *layout.Dir) (*Plan, error) {
	a, err := engine.FetchAction(ctx, reader{in}, digestOf(r.Action))
	if err != nil {
		return nil, unusable("the action, or its command", err)
	}
	if what := contradiction(r, a); what != "" {
		return nil, fmt.Errorf("%w: the statement contradicts itself: its %s is not that of the action %s which it names", ErrInputs, what, a.Digest)
	}
	p, err := New(ctx, a, in)
	if p != nil {
		p.Recipe = r
	}
	return p, err
}

// New reads and checks all inputs of an action of which nobody has stated a result.
// Errors are as Open's.
func New(ctx context.Context, a *action.Action, in *layout.Dir) (*Plan, error) {
	p := &Plan{Action: a, inputs: in, bad: make(map[cas.Digest]layout.Finding)}
	var err error
	if p.tree, err = tree.Load(ctx, cas.InProcess{Store: in}, a.InputRoot, tree.Limits{}); err != nil {
		if path, ok := p.brokenListing(ctx); ok {
			return nil, unusable(fmt.Sprintf("the listing of directory %q", path), err)
		}
		return nil, unusable("the input tree", err)
	}
	p.Files, p.Bytes = int64(len(p.tree.Files())), p.tree.Totals.Bytes
	findings, err := in.Check(ctx, p.tree.Files())
	if err != nil {
		return nil, unusable("the input files", err)
	}
	for _, f := range findings {
		p.bad[f.Want] = f
	}
	return p, p.tree.Walk(func(e tree.Entry) error {
		if f, ok := p.bad[e.Digest]; ok && e.Type == tree.File {
			p.Changed = append(p.Changed, Changed{e.Path, f.Want, f.Got})
		}
		return nil
	})
}

// unusable says which input cannot be used.
func unusable(what string, err error) error {
	return fmt.Errorf("%w: %s: %w", ErrInputs, what, err)
}

// reader reads small blobs.
type reader struct{ from cas.Store }

// Read implements engine.Reader.
func (r reader) Read(ctx context.Context, d cas.Digest) ([]byte, error) {
	in, err := r.from.Open(ctx, d)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	return io.ReadAll(in)
}

func digestOf(d attest.Digest) cas.Digest { return cas.OfSum(d.SHA256, d.SizeBytes) }

// contradiction names the first field in which a statement and the action that it
// names disagree. Nobody who builds the action could be wrong about them.
func contradiction(r *attest.Recipe, a *action.Action) string {
	for _, f := range []struct {
		name  string
		equal bool
	}{
		{"withheld command", withheldAlike(r, a)},
		{"command digest", r.Withheld != nil || digestOf(r.Command) == a.Command},
		{"input root", digestOf(r.InputRoot) == a.InputRoot},
		{"argument list", r.Withheld != nil || slices.Equal(r.Argv, a.Argv)},
		{"environment", r.Withheld != nil || slices.Equal(r.Env, a.Env)},
		{"source", r.Source == a.Source},
		{"working directory", r.WorkingDirectory == a.WorkDir},
		{"platform", r.Platform == a.Root},
		{"list of outputs", slices.Equal(r.Outputs, a.Outputs)},
		{"timeout", r.TimeoutMillis == a.TimeoutMillis},
		{"limit", r.Limits == a.Limits},
		{"SOURCE_DATE_EPOCH", r.SourceDateEpoch == action.SourceDateEpoch},
		{"network", !r.Network},
	} {
		if !f.equal {
			return f.name
		}
	}
	return ""
}

// withheldAlike says whether a statement withholds what the action withholds, and
// commits to the action's own command.
func withheldAlike(r *attest.Recipe, a *action.Action) bool {
	w := a.Withheld()
	if w == nil || r.Withheld == nil {
		return w == nil && r.Withheld == nil
	}
	return w.Commitment() == *r.Withheld
}

// brokenListing finds the first directory whose listing cannot be read.
func (p *Plan) brokenListing(ctx context.Context) (path string, found bool) {
	type at struct {
		path string
		d    cas.Digest
	}
	seen := make(map[cas.Digest]bool)
	for queue := []at{{".", p.Action.InputRoot}}; len(queue) > 0; queue = queue[1:] {
		here := queue[0]
		if seen[here.d] || ctx.Err() != nil {
			continue
		}
		seen[here.d] = true
		raw, err := reader{p.inputs}.Read(ctx, here.d)
		if err != nil {
			return here.path, true
		}
		list, err := tree.ParseDirectory(raw)
		if err != nil {
			return here.path, true
		}
		for _, c := range list.Directories {
			queue = append(queue, at{here.path + "/" + c.Name.String(), c.Digest})
		}
	}
	return "", false
}
