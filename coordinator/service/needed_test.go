package service

import (
	"errors"
	"io/fs"
	"strings"
	"testing"

	gavelv1 "gavel/api/gavel/v1"
	"gavel/cas"
	"gavel/cas/disk"
	"gavel/raftfsm/build"
)

// forget removes blobs as a sweep would.
func forget(t *testing.T, from *disk.Store, gone ...[]byte) {
	t.Helper()
	hashes := make(map[string]bool)
	for _, raw := range gone {
		hashes[cas.Of(raw).Hash] = true
	}
	n, _, err := from.Collect(t.Context(), func(hash string, _ fs.FileInfo) bool { return hashes[hash] }, false)
	if err != nil || n != len(gone) {
		t.Fatalf("removed %d of %d blobs, %v", n, len(gone), err)
	}
}

// needs says which of some blobs must stay.
func needs(t *testing.T, f *farm, blobs ...[]byte) (needed []bool) {
	t.Helper()
	hashes, err := f.server.Blobs.Needed(t.Context())
	check(t, err)
	for _, raw := range blobs {
		needed = append(needed, hashes[cas.Of(raw).Hash])
	}
	return needed
}

// What a build under way is made of stays; once it has settled its result does, as
// long as the state has the build, and its inputs may go.
func TestNeeded(t *testing.T) {
	f, ctx := newFarm(t), t.Context()
	p := newProject(t, "int main(){}")
	unused := []byte("nobody's")
	upload(t, f.requester, unused)
	id := f.submit(p, "house")
	for i, needed := range needs(t, f, p.blobs...) {
		if !needed {
			t.Errorf("blob %d of a build under way may go", i)
		}
	}
	if needs(t, f, unused)[0] {
		t.Error("what nothing names must stay")
	}
	binary := []byte("the binary")
	good := f.finish(p, id, string(binary))
	if b, err := f.requester.Farm().GetBuild(ctx, &gavelv1.GetBuildRequest{Build: id[:]}); err != nil || b.State != build.Settled.String() {
		t.Fatalf("%v, %v", b, err)
	}
	for i, needed := range needs(t, f, good.Bytes(), binary) {
		if !needed {
			t.Errorf("blob %d of a delivered result may go", i)
		}
	}
	for i, needed := range needs(t, f, p.blobs...) {
		if needed {
			t.Errorf("blob %d of a settled build's inputs must stay", i)
		}
	}
	// A result that is lost names nothing; everything else goes on.
	forget(t, f.store, good.Bytes())
	forget(t, f.kept, good.Bytes())
	if needs(t, f, binary)[0] {
		t.Error("the outputs of a lost manifest must stay")
	}
}

// Inputs that were removed as unused are asked for again, although the same action
// was submitted before; and while a build under way lacks some, nothing is known.
func TestRemovedInputsAreAskedFor(t *testing.T) {
	f := newFarm(t)
	p := newProject(t, "int main(){}")
	f.submit(p, "house")
	forget(t, f.store, p.blobs[0])
	_, err := f.requester.Do(t.Context(), build.TypeSubmit, &build.Submit{Terms: p.terms(f, "house")})
	if err == nil || !strings.Contains(err.Error(), "not all uploaded") {
		t.Errorf("submitted without its inputs: %v", err)
	}
	if _, err := f.server.Blobs.Needed(t.Context()); !errors.Is(err, cas.ErrNotFound) {
		t.Errorf("what is needed is known without the inputs of a build under way: %v", err)
	}
	f.submit(p, "house") // uploads them again
}
