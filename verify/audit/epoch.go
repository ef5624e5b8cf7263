package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"gavel/raftfsm"
	"gavel/raftfsm/build"
	"gavel/raftfsm/wire"
	"gavel/verify/evidence"
)

// epochEntries reads an epoch's entries. They are nil where the log does not show
// them (yet), or shows something else, which is reported at the leaf, once: no sum
// after it is known.
func (a *auditor) epochEntries(ctx context.Context, number, at uint64) (entries evidence.EpochEntries, there bool, err error) {
	if a.lastRead.number == number {
		return a.lastRead.entries, a.lastRead.there, nil
	}
	path := evidence.EpochPath(number)
	raw, err := a.read(ctx, path, maxEpochBytes)
	want, got, none := absent(err)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case none:
		there, a.bookSpoiled = true, true
		a.report.deviate(at, path, want, got)
	case err != nil:
		return nil, false, err
	default:
		there = true
		if err := wire.Decode(raw, &entries); err != nil {
			a.report.deviate(at, path, "the canonical entries of the epoch", err.Error())
			entries, a.bookSpoiled = nil, true
		}
	}
	a.lastRead.number, a.lastRead.entries, a.lastRead.there = number, entries, there
	return entries, there, nil
}

// replayEpoch applies the entries of the next epoch and returns what the log must
// say of them. It stops the replay where the log's record of an entry is not what
// the state machine makes of it.
func (a *auditor) replayEpoch(ctx context.Context, at uint64) (items []raftfsm.Item, err error) {
	number := a.epochs + 1
	entries, there, err := a.epochEntries(ctx, number, at)
	switch {
	case err != nil:
		return nil, err
	case !there:
		a.halted, a.untold = true, true
		return nil, nil
	case entries == nil:
		a.stop("at epoch %d, whose entries cannot be read", number)
		return nil, nil
	}
	for i := range entries {
		left, ok := a.replayEntry(at, &entries[i])
		items = append(items, left...)
		if !ok {
			a.stop("at entry %d of epoch %d", entries[i].Index, number)
			return items, nil
		}
		ends := slices.ContainsFunc(left, func(x raftfsm.Item) bool { return x.Epoch != nil })
		if last := i == len(entries)-1; ends != last {
			a.report.deviate(at, evidence.EpochPath(number)+" entries", fmt.Sprintf("the epoch's, of which %d is not the last", entries[i].Index), fmt.Sprintf("%d up to %d", len(entries), entries[len(entries)-1].Index))
			a.stop("at entry %d of epoch %d", entries[i].Index, number)
			return items, nil
		}
	}
	if len(entries) == 0 {
		a.report.deviate(at, evidence.EpochPath(number)+" entries", "at least one", "none")
		a.stop("at epoch %d", number)
		return nil, nil
	}
	a.epochs = number
	a.prove(false)
	return items, nil
}

// replayEntry applies one entry and compares what comes of it with its record.
func (a *auditor) replayEntry(at uint64, e *raftfsm.Entry) (items []raftfsm.Item, ok bool) {
	if e.Index <= a.index {
		a.report.deviate(at, fmt.Sprintf("entry %d index", e.Index), fmt.Sprintf("more than %d", a.index), fmt.Sprint(e.Index))
		return nil, false
	}
	a.index = e.Index
	a.receipts.entry(a, at, e)
	applied, err := a.apply(e)
	if err != nil {
		a.report.deviate(at, fmt.Sprintf("entry %d", e.Index), "one that the state machine takes", err.Error())
		return nil, false
	}
	a.credit = append(a.credit, credited{at, e.Index, e.Data})
	a.tally(e, &applied)
	for _, t := range applied.Transcripts {
		a.transcripts[t.Digest] = t.Bytes
		a.waiting = append(a.waiting, raftfsm.TranscriptOf{Build: t.Build, Digest: t.Digest})
	}
	if record := wire.Encode(e); !bytes.Equal(record, applied.Record) {
		var want raftfsm.Entry
		if err := wire.Decode(applied.Record, &want); err == nil { // it was encoded a moment ago
			(&differ{a: a, at: at, index: e.Index, left: maxFields}).entry(&want, e)
		}
		a.bookSpoiled = true // what follows from a false movement is false
		return applied.Items, false
	}
	a.take(at, e)
	return applied.Items, true
}

// apply runs the state machine, whose broken invariants are the log's fault here.
func (a *auditor) apply(e *raftfsm.Entry) (out raftfsm.Applied, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%v", p)
		}
	}()
	if slices.Contains(e.Codes, uint32(build.CodeBadBeacon)) {
		return a.replay.ApplyChecked(e.Index, e.Data), nil
	}
	return a.replay.Apply(e.Index, e.Data), nil
}

// take books an entry's movements, which needs no replay.
func (a *auditor) take(at uint64, e *raftfsm.Entry) {
	left := maxFields
	a.book.record(e, func(field, want, got string) {
		if left > 0 && !a.bookSpoiled {
			left--
			a.report.deviate(at, field, want, got)
		}
	})
	if left < maxFields {
		a.bookSpoiled = true // what follows from a false sum is false
	}
	a.report.Entries++
	a.report.Transfers += uint64(len(e.Movements))
}

// tally counts what an entry's commands did.
func (a *auditor) tally(e *raftfsm.Entry, applied *raftfsm.Applied) {
	a.report.Commands += uint64(len(applied.Outcomes))
	var batch build.Batch
	if wire.Decode(e.Data, &batch) != nil {
		return
	}
	for i := range batch.Commands {
		m := &batch.Commands[i]
		if applied.Outcomes[i].Code != build.Done {
			continue
		}
		switch m.Type {
		case build.TypeAuctioneer:
			var p build.Auctioneer
			if wire.Decode(m.Payload, &p) == nil && p.Act == build.ActClear {
				a.report.Auctions++
			}
		case build.TypeBeacon:
			var p build.Beacon
			if wire.Decode(m.Payload, &p) != nil || p.Purpose == build.PurposeCertificate {
				continue
			}
			a.report.Draws++
			if p.Purpose == build.PurposeAsks || p.Purpose == build.PurposeCandle {
				a.report.Auctions++
			}
		}
	}
}
