package scope

import (
	"context"
	"errors"
	"fmt"
	"io"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/protobuf/proto"

	"gavel/cas"
	"gavel/cas/tree"
)

// Set is the blobs an action reaches: itself, its command, all directories and
// files of its input root. It does not change.
type Set struct {
	blobs  map[blob]struct{}
	Totals tree.Totals // of the input root, expanded
}

// blob is a digest without its pointer: sets are large and kept.
type blob struct {
	sum  [32]byte
	size int64
}

// Has says whether d is reached.
func (s *Set) Has(d cas.Digest) bool {
	if d.Validate() != nil {
		return false
	}
	_, ok := s.blobs[blob{d.Sum(), d.Size}]
	return ok
}

// Len is the number of distinct blobs.
func (s *Set) Len() int { return len(s.blobs) }

// Digests lists the set, in no order.
func (s *Set) Digests() []cas.Digest {
	out := make([]cas.Digest, 0, len(s.blobs))
	for b := range s.blobs {
		out = append(out, cas.OfSum(b.sum, b.size))
	}
	return out
}

func (s *Set) add(ds ...cas.Digest) {
	for _, d := range ds {
		s.blobs[blob{d.Sum(), d.Size}] = struct{}{}
	}
}

// MissingError lists blobs that an action needs and its account has not
// uploaded, or, which looks the same, may not read. It wraps cas.ErrNotFound.
type MissingError struct{ Digests []cas.Digest }

func (e *MissingError) Error() string {
	return fmt.Sprintf("%d blobs are missing, the first is %s: upload them and try again", len(e.Digests), e.Digests[0])
}

// Unwrap returns cas.ErrNotFound.
func (e *MissingError) Unwrap() error { return cas.ErrNotFound }

// Reach computes the set of an action as view sees it. Every blob of the set is
// checked to be readable there: else naming the digest of a stranger's blob in a
// tree would be a way to have a worker read it.
func Reach(ctx context.Context, view cas.Store, action cas.Digest, l tree.Limits) (*Set, error) {
	var a repb.Action
	if err := readMessage(ctx, view, action, maxActionBytes, &a); err != nil {
		return nil, fmt.Errorf("action: %w", err)
	}
	command, err := cas.FromProto(a.CommandDigest)
	if err != nil {
		return nil, fmt.Errorf("action's command: %w", err)
	}
	root, err := cas.FromProto(a.InputRootDigest)
	if err != nil {
		return nil, fmt.Errorf("action's input root: %w", err)
	}
	if err := readMessage(ctx, view, command, maxCommandBytes, &repb.Command{}); err != nil {
		return nil, fmt.Errorf("command: %w", err)
	}
	inputs, err := tree.Load(ctx, cas.InProcess{Store: view}, root, l)
	if err != nil {
		return nil, err
	}
	files := inputs.Files()
	missing, err := view.Missing(ctx, files)
	if err != nil {
		return nil, err
	}
	if len(missing) > 0 {
		return nil, &MissingError{missing}
	}
	s := &Set{blobs: make(map[blob]struct{}, len(files)+len(inputs.Directories())+2), Totals: inputs.Totals}
	s.add(action, command)
	s.add(inputs.Directories()...)
	s.add(files...)
	return s, nil
}

func readMessage(ctx context.Context, view cas.Store, d cas.Digest, maxBytes int64, m proto.Message) error {
	if d.Size > maxBytes {
		return fmt.Errorf("blob %s: %w: at most %d bytes", d, cas.ErrTooLarge, maxBytes)
	}
	r, err := view.Open(ctx, d)
	if errors.Is(err, cas.ErrNotFound) {
		return &MissingError{[]cas.Digest{d}}
	}
	if err != nil {
		return err
	}
	defer r.Close()
	raw := make([]byte, d.Size)
	if _, err := io.ReadFull(r, raw); err != nil {
		return err
	}
	if err := proto.Unmarshal(raw, m); err != nil {
		return fmt.Errorf("blob %s is not the message it should be: %w", d, err)
	}
	return nil
}
