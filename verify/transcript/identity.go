package transcript

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"

	"gavel/raftfsm/beacon"
	"gavel/raftfsm/build"
	"gavel/raftfsm/wire"
)

// identity holds the bytes to their name, and the name to the certificate.
func (j *judge) identity(raw []byte, digest [32]byte, cert build.Certificate) {
	name := j.claim(raw)
	expect(j, "digest", digest, name)
	j.report.Facts.Transcript = name
	if !bytes.Equal(wire.Encode(j.t), raw) {
		j.deviate("encoding", "the canonical bytes", "bytes that encode otherwise than they decode")
	}
	j.certificate(name, cert)
	if j.trust.Cluster != ([32]byte{}) {
		expect(j, "Cluster", j.trust.Cluster, j.t.Cluster)
	} else {
		j.notProven("which cluster this is: the reader named none, the group key alone stands for it")
	}
	if j.keyAt() < 0 {
		j.deviate("GroupKey", "a group key that the reader trusts", show(j.t.GroupKey))
	}
}

// claim holds the claim in front of the bytes to what follows from the rest, and
// returns the transcript's name: H("transcript" ‖ version ‖ claim ‖ SHA-256(rest)).
func (j *judge) claim(raw []byte) [32]byte {
	b := j.b
	requester := b.Requester
	if b.Contest != nil {
		requester = b.Contest.Requester
	}
	t := &b.Terms
	want := build.Claim{
		GroupKey: j.t.GroupKey, Cluster: j.t.Cluster, Build: b.ID, Requester: requester, Pool: t.Pool, ActionDigest: t.ActionDigest, ActionBytes: t.ActionBytes, Platform: t.Platform,
		TimeoutMillis: t.TimeoutMillis, InputBytes: t.InputBytes, Validators: t.Validators, Stake: b.Stake, Verdict: b.Verdict, Delivers: b.Delivers, Result: b.Delivered,
	}
	for i := range b.Attempts {
		a := at{&b.Attempts[i], i}
		want.Took = append(want.Took, a.Domain)
		if a.opened() && b.Delivers && a.result() == b.Delivered {
			want.Classes = append(want.Classes, a.Class)
		}
	}
	want.Took, want.Classes = set(want.Took), set(want.Classes)
	const head = 1 + 4 // version, length of the claim; the decoder has seen to both
	n := binary.BigEndian.Uint32(raw[1:])
	claim, rest := raw[head:head+n], raw[head+n:]
	if !bytes.Equal(claim, wire.Encode(&want)) {
		j.deviate("claim", "what follows from the rest", "something else")
	}
	return wire.NewHasher("transcript").U64(uint64(raw[0])).Var(claim).Fixed(sha256.Sum256(rest)).Sum()
}

func set(list []string) []string {
	slices.Sort(list)
	return slices.Compact(list)
}

// certificate checks that the group signed this transcript among others.
func (j *judge) certificate(name [32]byte, cert build.Certificate) {
	if n := len(cert.Transcripts); n > build.MaxCertified {
		j.deviatef("certificate.Transcripts", fmt.Sprintf("at most %d", build.MaxCertified), "%d", n)
		return
	}
	listed := 0
	for _, t := range cert.Transcripts {
		if t == name {
			listed++
		}
	}
	if listed != 1 {
		j.deviatef("certificate.Transcripts", "this transcript, once: "+show(name), "it is listed %d times", listed)
	}
	h := wire.NewHasher("certificate").U64(uint64(len(cert.Transcripts)))
	for _, t := range cert.Transcripts {
		h.Fixed(t)
	}
	j.sign("certificate.Signature", build.PurposeCertificate, h.Sum(), 0, cert.Signature)
}

// keyAt is the place of the transcript's key among those trusted, −1 for none.
func (j *judge) keyAt() int { return slices.Index(j.trust.GroupKeys, j.t.GroupKey) }

// sign notes a signature that the group must have made.
func (j *judge) sign(field, purpose string, subject [32]byte, round uint64, signature [48]byte) {
	msg := beacon.Message(j.t.Cluster, purpose, subject, round)
	j.report.Signatures = append(j.report.Signatures, Signature{field, msg, signature})
}

// signatures verifies all that was noted: together, and where that fails one by
// one under every key that may have made it. What was signed for the build was
// signed under the key of its settlement or an earlier one, the certificate under
// that or a later one.
func (j *judge) signatures() {
	if j.trust.Defer {
		j.notProven("the group's %d signatures: they are left to be verified with those of other builds", len(j.report.Signatures))
		return
	}
	var msgs [][]byte
	var sigs []beacon.Signature
	for _, s := range j.report.Signatures {
		msgs, sigs = append(msgs, s.Message), append(sigs, beacon.Signature(s.Signature))
	}
	at := j.keyAt()
	if at >= 0 && beacon.VerifyBatch(beacon.GroupKey(j.t.GroupKey), msgs, sigs) == nil {
		return
	}
	for i, s := range j.report.Signatures {
		keys := j.trust.GroupKeys
		switch {
		case at < 0:
		case s.Field == "certificate.Signature":
			keys = keys[at:]
		default:
			keys = keys[:at+1]
		}
		var err error
		for _, k := range keys {
			if err = beacon.Verify(beacon.GroupKey(k), msgs[i], sigs[i]); err == nil {
				break
			}
		}
		if err != nil {
			j.deviatef(s.Field, "the group's signature on "+show([32]byte(s.Message)), "%s: %v", show(s.Signature), err)
		}
	}
}

// founding holds what the transcript says of the cluster to its genesis.
func (j *judge) founding() {
	f := j.trust.Founding
	if f == nil {
		j.notProven("that parameters, pool and coordinators are the cluster's: the genesis was not given")
	} else {
		expect(j, "Simulated", f.Simulated, j.t.Simulated)
		expect(j, "Params", f.Params, j.t.Params)
		if !sameRecords(f.Coordinators, j.t.Coordinators) {
			j.deviate("Coordinators", fmt.Sprintf("the %d of the genesis", len(f.Coordinators)), fmt.Sprintf("%d, which differ", len(j.t.Coordinators)))
		}
		j.foundingPool(f)
	}
	for i := range j.t.Coordinators {
		m := &j.t.Coordinators[i]
		expect(j, fmt.Sprintf("Coordinators[%d].ID", i), sha256.Sum256(m.Key), m.ID)
		if i > 0 && bytes.Compare(j.t.Coordinators[i-1].ID[:], m.ID[:]) >= 0 {
			j.deviate(fmt.Sprintf("Coordinators[%d].ID", i), "ids in ascending order", show(m.ID))
		}
	}
	if len(j.t.Coordinators) == 0 {
		j.deviate("Coordinators", "at least one", "none")
	}
	expect(j, "Pool.Name", j.b.Terms.Pool, j.t.Pool.Name)
}

func (j *judge) foundingPool(f *Founding) {
	for i := range f.Pools {
		if f.Pools[i].Name != j.t.Pool.Name {
			continue
		}
		if !bytes.Equal(wire.Encode(&f.Pools[i]), wire.Encode(&j.t.Pool)) {
			j.deviate("Pool", fmt.Sprintf("the genesis' pool %q: %+v", f.Pools[i].Name, f.Pools[i]), fmt.Sprintf("%+v", j.t.Pool))
		}
		return
	}
	j.notProven("that pool %q has the rules shown: it was made after the genesis, and the log has the command", j.t.Pool.Name)
}

func sameRecords(a, b []build.Coordinator) bool {
	return slices.EqualFunc(a, b, func(x, y build.Coordinator) bool {
		return bytes.Equal(wire.Encode(&x), wire.Encode(&y))
	})
}

// parties holds the list of participants to those whom the record names, each to
// its key and its independence domain.
func (j *judge) parties() {
	named := map[[32]byte]bool{j.b.Requester: true}
	for i := range j.b.Bids {
		named[j.b.Bids[i].Worker] = true
	}
	for i := range j.b.Attempts {
		named[j.b.Attempts[i].Worker] = true
	}
	for i := range j.b.Penalties {
		named[j.b.Penalties[i].Worker] = true
	}
	j.operators = map[[32]byte]string{}
	for i := range j.t.Parties {
		p := &j.t.Parties[i]
		field := fmt.Sprintf("Parties[%d]", i)
		j.partyKey(field, p)
		if i > 0 && bytes.Compare(j.t.Parties[i-1].ID[:], p.ID[:]) >= 0 {
			j.deviate(field+".ID", "ids in ascending order", show(p.ID))
		}
		if !named[p.ID] {
			j.deviate(field+".ID", "a participant of the build", show(p.ID))
		}
		delete(named, p.ID)
		j.operators[p.ID] = p.Operator
	}
	if len(named) > 0 {
		j.deviatef("Parties", "all participants of the build", "%d are missing", len(named))
	}
}

// partyKey holds a key to its account: an account is the SHA-256 of its first key,
// and the log says which other took its place.
func (j *judge) partyKey(field string, p *build.Party) {
	switch {
	case sha256.Sum256(p.Key) == p.ID:
	case j.trust.Keys == nil:
		j.notProven("that the key shown is that of %s: it is not the one that its account was opened with, and the log's key leaves were not given", j.who(p.ID))
	case !slices.ContainsFunc(j.trust.Keys[p.ID], func(key []byte) bool { return bytes.Equal(key, p.Key) }):
		j.deviatef(field+".Key", "a key that the account was opened with or that took its place", "one of SHA-256 %x", sha256.Sum256(p.Key))
	}
}

// domainOf is the independence domain that a worker counts for in the pool.
func (j *judge) domainOf(worker [32]byte) (string, bool) {
	for i := range j.t.Parties {
		if p := &j.t.Parties[i]; p.ID == worker {
			if j.t.Pool.Domain == build.DomainMachine {
				return p.Machine, true
			}
			return p.Operator, true
		}
	}
	return "", false
}
