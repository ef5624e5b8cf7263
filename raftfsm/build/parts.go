package build

import (
	"encoding/binary"

	"gavel/raftfsm/wire"
)

// Part is a kind of record that a market's state is hashed by: one for each ask,
// lot and allotted build, so that an entry costs what it changes and not what
// stands. A snapshot holds the market whole. Numbers are append-only.
type Part uint8

// The parts of a market.
const (
	PartHead     Part = 0 // all but the others
	PartAsk      Part = 1 // of the epoch under way, by worker
	PartNext     Part = 2 // sealed for the next, by worker
	PartLot      Part = 3 // by place, see lotID
	PartUnit     Part = 4 // by build
	PartClearing Part = 5 // the epoch that was cleared last
)

// marketHead is a market without its other parts.
type marketHead struct{ *Market }

// Code is the canonical encoding.
func (h marketHead) Code(c *wire.Coder) {
	h.codeHead(c)
	h.Epoch.codeHead(c)
}

// unitRecord is a unit as a part.
type unitRecord struct{ *Unit }

// Code is the canonical encoding.
func (u unitRecord) Code(c *wire.Coder) { codeUnit(c, u.Unit) }

// lotID names a lot by its place.
func lotID(place int) (id ID) {
	binary.BigEndian.PutUint64(id[24:], uint64(place))
	return id
}

// Part returns a part's record, nil if there is none of that name.
func (m *Market) Part(part Part, name ID) wire.Record {
	p := &m.Epoch
	switch part {
	case PartHead:
		return marketHead{m}
	case PartAsk:
		if i, ok := findAsk(p.Asks, name); ok {
			return &p.Asks[i]
		}
	case PartNext:
		if i, ok := findAsk(p.Next, name); ok {
			return &p.Next[i]
		}
	case PartLot:
		if i := binary.BigEndian.Uint64(name[24:]); i < uint64(len(p.Lots)) {
			return &p.Lots[i]
		}
	case PartUnit:
		if i, ok := findUnit(p.Units, name); ok {
			return unitRecord{&p.Units[i]}
		}
	case PartClearing:
		if p.Last != nil {
			return p.Last
		}
	}
	return nil
}

// EachPart names every part that there is.
func (m *Market) EachPart(visit func(part Part, name ID)) {
	p := &m.Epoch
	visit(PartHead, ID{})
	for i := range p.Asks {
		visit(PartAsk, p.Asks[i].Worker)
	}
	for i := range p.Next {
		visit(PartNext, p.Next[i].Worker)
	}
	for i := range p.Lots {
		visit(PartLot, lotID(i))
	}
	for i := range p.Units {
		visit(PartUnit, p.Units[i].Build)
	}
	if p.Last != nil {
		visit(PartClearing, ID{})
	}
}

// remake marks all parts before and after a transition that changes many.
func (m *Market) remake(e *Env, transition func()) {
	m.EachPart(e.TouchPart)
	transition()
	m.EachPart(e.TouchPart)
}
