package beacon_test

import (
	"bytes"
	"testing"

	"gavel/raftfsm/beacon"
	"gavel/raftfsm/wire"
)

// recordsUnderFuzz are all records of the package with a canonical encoding.
func recordsUnderFuzz() []wire.Record {
	return []wire.Record{new(beacon.Deal), new(beacon.Complaint), new(beacon.Justification), new(beacon.Partial),
		new(beacon.Group), new(beacon.Ceremony), new(beacon.ShareFile), new(beacon.Dealing), new(beacon.Signature),
		new(beacon.GroupKey), new(beacon.PublicShare), new(beacon.Commitment)}
}

// What decodes must encode to the same bytes, and judging it must not panic.
func FuzzRecords(f *testing.F) {
	farm := setup(f, 3)
	j, _ := farm.dealings[0].Justify(2)
	p := farm.shares[0].Sign(message(0))
	file := beacon.ShareFile{Ceremony: farm.ceremony, Group: farm.group.Key, Share: farm.shares[0]}
	for i, r := range []wire.Record{farm.deals[0], &beacon.Complaint{Accuser: 1, Dealer: 2}, &j, &p, farm.group,
		&farm.ceremony, &file, farm.dealings[0], &p.Sig, &farm.group.Key, &farm.group.Shares[0], &farm.deals[0].Commitments[0]} {
		f.Add(uint8(i), wire.Encode(r))
	}
	f.Fuzz(func(t *testing.T, kind uint8, b []byte) {
		all := recordsUnderFuzz()
		r := all[int(kind)%len(all)]
		if wire.Decode(b, r) != nil {
			return
		}
		if !bytes.Equal(wire.Encode(r), b) {
			t.Fatalf("%T has two encodings", r)
		}
		switch r := r.(type) {
		case *beacon.Deal:
			_ = r.Verify(farm.ceremony)
			_, _ = beacon.OpenShare(farm.ceremony, r, 1, farm.private[0])
			_, _ = beacon.Assemble(farm.ceremony, []*beacon.Deal{farm.deals[0], r})
		case *beacon.Justification:
			_, _ = r.Open(farm.ceremony, farm.deals[0])
		case *beacon.Partial:
			_, _ = farm.group.Combine(message(0), []beacon.Partial{*r, farm.shares[1].Sign(message(0))})
		case *beacon.Group:
			_, _ = r.Combine(message(0), []beacon.Partial{farm.shares[0].Sign(message(0)), farm.shares[1].Sign(message(0))})
		case *beacon.GroupKey:
			_ = beacon.Verify(*r, message(0), p.Sig)
		}
	})
}

// Of all signatures only the one is accepted.
func FuzzVerify(f *testing.F) {
	farm := setup(f, 1)
	only := farm.sign(f, message(0))
	f.Add(only[:])
	for _, p := range badG1() {
		f.Add(p[:])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var sig beacon.Signature
		if len(b) != len(sig) {
			return
		}
		copy(sig[:], b)
		single := beacon.Verify(farm.group.Key, message(0), sig)
		if (single == nil) != (sig == only) {
			t.Fatalf("signature %x: %v", sig, single)
		}
		batch := beacon.VerifyBatch(farm.group.Key, [][]byte{message(0), message(0)}, []beacon.Signature{only, sig})
		if (batch == nil) != (single == nil) {
			t.Fatalf("batch says %v, single %v", batch, single)
		}
	})
}

func FuzzFiles(f *testing.F) {
	farm := setup(f, 3)
	f.Add(beacon.ShareFile{Ceremony: farm.ceremony, Group: farm.group.Key, Share: farm.shares[0]}.Bytes())
	f.Add(farm.dealings[0].Bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := beacon.ParseShareFile(b); err == nil && !bytes.Equal(s.Bytes(), b) {
			t.Fatal("share file has two forms")
		}
		if d, err := beacon.ParseDealing(b); err == nil && !bytes.Equal(d.Bytes(), b) {
			t.Fatal("dealing file has two forms")
		}
	})
}
