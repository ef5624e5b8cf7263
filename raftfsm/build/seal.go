package build

import (
	"gavel/raftfsm/draw"
	"gavel/raftfsm/wire"
)

// Seal fixes which committed builds the next shared signature draws for.
func (m *Market) Seal(e *Env, committed []*Build) {
	if m.Sealing {
		return
	}
	for _, b := range committed {
		if b.State != Committed || b.Seal != 0 {
			continue
		}
		if !m.Sealing {
			e.Touch()
			m.Sealing = true
			m.Seals++
		}
		b.Seal = m.Seals
		e.Build(b.ID)
	}
}

// unseal makes the draws of the builds of the last seal.
func (m *Market) unseal(e *Env, d Demand, signature [48]byte, randomness [32]byte) {
	m.Sealing = false
	for _, b := range e.Committed() {
		if b.State != Committed || b.Seal != m.Seals {
			continue
		}
		b.proven(m.ID, d, signature)
		if b.Terms.SamplePPM < draw.PPM {
			b.sample(SealSeed(randomness, b.ID, PurposeSample))
		}
		if b.State == Committed {
			b.drawSeats(e, SealSeed(randomness, b.ID, PurposeSeats))
		}
		e.Build(b.ID)
	}
}

// SealSeed is what a batch build's draws follow from:
// H("seal" ‖ randomness ‖ build ‖ purpose).
func SealSeed(randomness [32]byte, build ID, purpose string) [32]byte {
	return wire.NewHasher("seal").Fixed(randomness).Fixed(build).Text(purpose).Sum()
}
