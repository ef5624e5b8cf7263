package audit

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"

	"gavel/verify/evidence"
)

// event is a leaf that status lists repeat.
type event struct {
	index uint64
	raw   []byte
}

// withdrawn counts the builds whose result was taken back.
func (a *auditor) withdrawn() (n uint64) {
	for _, e := range a.events {
		if l, err := evidence.Read(e.raw); err == nil && l.Withdrawal != nil {
			n++
		}
	}
	return n
}

// logged are the events so far, as evidence has them.
func (a *auditor) logged() (out []evidence.Event) {
	for _, e := range a.events {
		out = append(out, evidence.Event{Leaf: e.index, Entry: e.raw})
	}
	return out
}

// loadStatus reads the status list, if the log has one, and returns the size that
// it claims to be of, whose root is wanted.
func (a *auditor) loadStatus(ctx context.Context) (size uint64, ok bool, err error) {
	a.status, err = a.read(ctx, evidence.StatusPath, evidence.MaxStatusBytes)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, false, nil
	}
	if want, got, ok := absent(err); ok {
		a.report.beside(evidence.StatusPath, want, got)
		return 0, false, nil
	}
	var claimed struct {
		Status struct {
			Size uint64 `json:"size,string"`
		} `json:"status"`
	}
	if err == nil && json.Unmarshal(a.status, &claimed) == nil {
		return claimed.Status.Size, true, nil
	}
	return 0, false, err
}

// checkStatus holds the status list to the log: it repeats every change of a key and
// every withdrawal, and nothing else.
func (a *auditor) checkStatus() {
	if a.status == nil {
		return
	}
	say := func(field, want, got string) { a.report.beside(evidence.StatusPath+" "+field, want, got) }
	// It may be older, or newer, than the checkpoint: by whichever of the cluster's keys.
	s, opened, err := evidence.OpenStatus(a.status, a.trust, a.clusterKeys...)
	var served struct {
		Note string `json:"note"`
	}
	if err == nil {
		err = json.Unmarshal(a.status, &served)
	}
	if err != nil {
		say("signatures", "a list signed by the log's key and a majority of coordinators", err.Error())
		return
	}
	a.strangers(evidence.StatusPath, []byte(served.Note), opened)
	if root, ok := a.leaves.walk.RootAt(s.Size); ok && root != s.Root {
		say("root", hexOf(root), s.Root.String())
	}
	if s.Size > a.checkpoint.Size {
		a.report.warn("the status list is of %d leaves, the checkpoint of %d: what it says beyond was not compared", s.Size, a.checkpoint.Size)
	}
	want := a.events
	for len(want) > 0 && want[len(want)-1].index >= s.Size {
		want = want[:len(want)-1]
	}
	got := s.Events
	for len(got) > 0 && got[len(got)-1].Leaf >= a.checkpoint.Size {
		got = got[:len(got)-1]
	}
	if len(want) != len(got) {
		say("events", fmt.Sprint(len(want)), fmt.Sprint(len(got)))
		return
	}
	for i := range want {
		if got[i].Leaf != want[i].index || !bytes.Equal(got[i].Entry, want[i].raw) {
			say(fmt.Sprintf("events.%d", i), fmt.Sprintf("leaf %d, as it is in the log", want[i].index), fmt.Sprintf("leaf %d, another", got[i].Leaf))
			return
		}
	}
}
