package transcript_test

import (
	"bytes"
	"errors"
	"testing"

	"gavel/raftfsm/build"
	"gavel/verify/transcript"
)

// FuzzJudge feeds the judge whatever bytes: it must not panic, and must not pass
// anything but what the group certified. Seeds are real transcripts of every sort;
// names and certificates are made for whatever the fuzzer makes of them, so that
// nothing is turned away at the door.
func FuzzJudge(f *testing.F) {
	c := marketOf(f)
	right := map[string]certified{}
	for _, x := range c.all {
		right[string(x.raw)] = x
	}
	for _, x := range c.chosen(f) {
		f.Add(x.raw)
	}
	f.Add([]byte{build.TranscriptVersion, 0, 0, 0, 0})
	deferred := c.trust
	deferred.Defer = true
	f.Fuzz(func(t *testing.T, raw []byte) {
		digest := build.TranscriptDigest(raw)
		x, known := right[string(raw)]
		if !known {
			x = certified{raw, digest, build.Certificate{Transcripts: []build.ID{digest}}}
		}
		r, err := transcript.Judge(raw, digest, x.cert, deferred)
		if err != nil {
			if !errors.Is(err, transcript.ErrUnusable) || r != nil {
				t.Fatalf("%v, %v", r, err)
			}
			return
		}
		if len(r.Signatures) == 0 || !bytes.Equal(r.Facts.Transcript[:], digest[:]) {
			t.Fatal("nothing is left to verify, or the facts are another transcript's")
		}
		if known && len(r.Deviations) > 0 {
			t.Fatalf("what is right deviates: %v", r.Deviations)
		}
		if known || len(r.Deviations) > 0 {
			return
		}
		// A field that one record cannot show: the group's signature is what is missing.
		if r, err = transcript.Judge(raw, digest, x.cert, c.trust); err != nil || len(r.Deviations) == 0 {
			t.Fatalf("bytes that nobody certified pass: %v", err)
		}
	})
}
