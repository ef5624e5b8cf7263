package service

import (
	"bytes"
	"strings"
	"testing"

	"gavel/cas"
	"gavel/cas/scope"
	"gavel/raftfsm/build"
)

// What a coordinator vouches for as stored: the manifest that was committed to,
// and every blob it names, all uploaded by the author itself.
func TestStoredVouchesForNothingElse(t *testing.T) {
	f := newFarm(t)
	blobs, worker := f.server.Blobs, f.workers[0].id()
	put := func(account build.ID, raw []byte) {
		t.Helper()
		check(t, scope.NewView(blobs.store, blobs.accounts, account).Put(t.Context(), cas.Of(raw), bytes.NewReader(raw)))
	}
	put(worker, []byte("mine"))
	put(f.stranger.id(), []byte("a stranger's secret"))
	p := newProject(t, "int main(){}")
	upload(t, f.requester, p.blobs...)
	garbage := []byte("no action")
	upload(t, f.requester, garbage)
	for name, c := range map[string]struct {
		content string
		change  func(*build.Build)
		refusal string
	}{
		"good":             {"mine", func(*build.Build) {}, ""},
		"not there":        {"nobody's", func(*build.Build) {}, "not uploaded"},
		"a stranger's":     {"a stranger's secret", func(*build.Build) {}, "not uploaded"},
		"another status":   {"mine", func(b *build.Build) { b.Attempts[0].Opening.Summary.Status = build.StatusSignaled }, "not the one that was committed to"},
		"another size":     {"mine", func(b *build.Build) { b.Attempts[0].Opening.Summary.OutputBytes++ }, "not the one that was committed to"},
		"another manifest": {"mine", func(b *build.Build) { b.Attempts[0].Opening.Summary.Content[0] ^= 1 }, "not found"},
		"no verdict":       {"mine", func(b *build.Build) { b.Verdict = 0 }, "nothing to deliver"},
		"no action":        {"mine", func(b *build.Build) { b.Terms.ActionDigest[0] ^= 1 }, "the action that the result is of"},
		"garbage": {"mine", func(b *build.Build) {
			b.Terms.ActionDigest, b.Terms.ActionBytes = cas.Of(garbage).Sum(), uint64(len(garbage))
		}, "the action that the result is of"},
		"not opened": {"mine", func(b *build.Build) { b.Attempts[0].State = build.AttemptCommitted }, "nothing to deliver"},
	} {
		m := result(c.content)
		put(worker, m.Bytes())
		b := &build.Build{ID: build.ID{1}, Requester: f.requester.id(), Terms: p.terms(f, "house"), Verdict: build.Agreed, Attempts: []build.Attempt{{
			Worker: worker, State: build.AttemptOpened, Opening: build.Opening{Summary: m.Summarise()},
		}}}
		c.change(b)
		err := blobs.Stored(t.Context(), b, 0)
		if c.refusal == "" {
			check(t, err)
			check(t, read(f.requester, t.Context(), []byte(c.content)))
			continue
		}
		if err == nil || !strings.Contains(err.Error(), c.refusal) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := read(f.requester, t.Context(), []byte("a stranger's secret")); err == nil {
		t.Error("naming a stranger's blob as an output made it readable")
	}
}
