package audit

import (
	"bytes"
	"fmt"

	"gavel/raftfsm/beacon"
	"gavel/raftfsm/build"
	"gavel/raftfsm/wire"
)

// credited is an entry whose signatures of the beacon were taken on credit.
type credited struct {
	at    uint64 // leaf of its epoch
	index uint64
	data  []byte
}

// prove checks the beacon's signatures that are on credit, once there are enough
// of them or it is the last time.
func (a *auditor) prove(last bool) {
	if n := a.replay.Unproven(); n == 0 || n < proveAt && !last {
		return
	}
	for _, f := range a.replay.Prove() {
		a.forged(f.Message, f.Signature, f.Err)
	}
	a.credit = nil
}

// forged names the command that carried a signature which is not the group's.
func (a *auditor) forged(msg []byte, sig beacon.Signature, why error) {
	for _, c := range a.credit {
		var batch build.Batch
		if wire.Decode(c.data, &batch) != nil {
			continue
		}
		for i := range batch.Commands {
			var p build.Beacon
			if m := &batch.Commands[i]; m.Type == build.TypeChallenge {
				var x build.Challenge
				if wire.Decode(m.Payload, &x) == nil && x.Certificate.Signature == sig {
					a.report.deviate(c.at, fmt.Sprintf("entry %d command %d (challenge) certificate", c.index, i), "the group's signature", why.Error())
					return
				}
				continue
			}
			if batch.Commands[i].Type != build.TypeBeacon || wire.Decode(batch.Commands[i].Payload, &p) != nil {
				continue
			}
			if p.Signature == sig && bytes.Equal(beacon.Message(a.cluster, p.Purpose, p.Build, p.Round), msg) {
				a.report.deviate(c.at, fmt.Sprintf("entry %d command %d (beacon) signature", c.index, i),
					fmt.Sprintf("the group's on %s of %x, round %d", p.Purpose, p.Build[:8], p.Round), why.Error())
				return
			}
		}
	}
	a.report.beside("beacon signature", fmt.Sprintf("the group's on %x", msg), why.Error())
}
