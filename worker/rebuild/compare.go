package rebuild

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"

	"gavel/cas"
	"gavel/raftfsm/build"
	"gavel/raftfsm/wire"
	"gavel/verify/attest"
	"gavel/verify/result"
)

// Comparison is a rebuilt result beside the stated one.
type Comparison struct {
	// Equal says that the whole result, to the digest that the author committed to,
	// is the stated one.
	Equal     bool
	Want, Got [32]byte
	// Differences are between the stated (A) and the rebuilt result (B).
	Differences []result.Difference
	// Whole says that the stated result was known in full. Otherwise the statement
	// lists regular files alone, and links, directories, sizes and executable bits
	// may differ without a Difference.
	Whole bool
}

// Compare compares what was built with what was stated. The stated manifest is
// used where it lies among the inputs.
func (p *Plan) Compare(ctx context.Context, got *build.Manifest) (*Comparison, error) {
	summary := got.Summarise()
	c := &Comparison{Want: p.Recipe.ResultDigest, Got: summary.Digest()}
	c.Equal = c.Want == c.Got
	stated, err := p.manifest(ctx)
	switch {
	case err == nil:
		c.Whole, c.Differences = true, result.Compare(stated, got)
	case errors.Is(err, cas.ErrNotFound):
		c.Differences = compareFiles(p.Recipe, got)
	default:
		return nil, err
	}
	return c, nil
}

// manifest is the stated result in full, if it is among the inputs.
func (p *Plan) manifest(ctx context.Context) (*build.Manifest, error) {
	r, err := p.inputs.OpenSum(ctx, p.Recipe.ManifestDigest, maxManifestBytes)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	raw, err := io.ReadAll(r)
	if errors.Is(err, cas.ErrDigestMismatch) {
		return nil, cas.ErrNotFound // it is of help, and not needed
	}
	if err != nil {
		return nil, err
	}
	m := new(build.Manifest)
	if err := wire.Decode(raw, m); err != nil {
		return nil, fmt.Errorf("%w: the stated result's manifest: %w", ErrInputs, err)
	}
	if s := m.Summarise(); s.Digest() != p.Recipe.ResultDigest {
		return nil, fmt.Errorf("%w: the statement contradicts itself: its manifest is not that of its result", ErrInputs)
	}
	return m, nil
}

// compareFiles compares with what a statement lists: the end and the regular files.
func compareFiles(r *attest.Recipe, got *build.Manifest) []result.Difference {
	var out []result.Difference
	add := func(why result.Why, a, b string) {
		if a != b {
			out = append(out, result.Difference{Why: why, A: a, B: b})
		}
	}
	decimal := func(n uint32) string { return strconv.FormatUint(uint64(n), 10) }
	add(result.Status, r.Status, got.Status.String())
	add(result.ExitCode, decimal(r.ExitCode), decimal(got.ExitCode))
	add(result.Signal, decimal(r.Signal), decimal(got.Signal))
	var files []build.Output
	for _, o := range got.Outputs {
		if o.Type == build.OutputFile {
			files = append(files, o)
		}
	}
	const file, absent = "file", "absent"
	name := func(sum [32]byte) string { return "sha256 " + hex.EncodeToString(sum[:6]) + "…" }
	i, j := 0, 0
	for i < len(r.Files) || j < len(files) {
		switch {
		case j == len(files) || i < len(r.Files) && r.Files[i].Path < files[j].Path:
			out = append(out, result.Difference{Path: r.Files[i].Path, Why: result.Missing, A: file, B: absent})
			i++
		case i == len(r.Files) || files[j].Path < r.Files[i].Path:
			out = append(out, result.Difference{Path: files[j].Path, Why: result.Missing, A: absent, B: file})
			j++
		default:
			if r.Files[i].SHA256 != files[j].Digest {
				out = append(out, result.Difference{Path: files[j].Path, Why: result.Content, A: name(r.Files[i].SHA256), B: name(files[j].Digest)})
			}
			i++
			j++
		}
	}
	return out
}

// Match is an output beside the digest that somebody published for it.
type Match struct {
	build.Expected
	// Got is the output's; there is none where Found is false.
	Got   [32]byte
	Found bool
}

// Equal says that the output is what was published.
func (m Match) Equal() bool { return m.Found && m.Got == m.Digest }

// Expect holds a result against what was published.
func Expect(m *build.Manifest, published []build.Expected) []Match {
	out := make([]Match, 0, len(published))
	for _, e := range published {
		x := Match{Expected: e}
		for i := range m.Outputs {
			if o := &m.Outputs[i]; o.Path == e.Path && o.Type == build.OutputFile {
				x.Got, x.Found = o.Digest, true
			}
		}
		out = append(out, x)
	}
	return out
}
