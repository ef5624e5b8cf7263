package duty

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"gavel/raftfsm"
	"gavel/raftfsm/beacon"
	"gavel/raftfsm/build"
)

// partials holds the partial signatures that have arrived, and wakes who combines
// them. Those for demands that the own state does not know yet are kept too, a
// bounded number for each member, the oldest giving way: a member can crowd out
// only its own.
type partials struct {
	mu    sync.Mutex
	sets  map[raftfsm.Demand]*partialSet
	early [][]raftfsm.Demand // by member, in order of arrival
}

type partialSet struct {
	parts   map[uint32]beacon.Partial // by member
	wanted  bool                      // the own state demands it
	arrived chan struct{}             // room for one: something new is there
}

func newPartials(members int) *partials {
	return &partials{sets: make(map[raftfsm.Demand]*partialSet), early: make([][]raftfsm.Demand, members)}
}

// add takes a partial of the member that it names; the caller knows that the
// member itself sent it. Whether it is right shows when it is used.
func (p *partials) add(d raftfsm.Demand, part beacon.Partial) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.sets[d]
	if s == nil {
		s = newPartialSet()
		p.sets[d] = s
	}
	if _, known := s.parts[part.Index]; !known && !s.wanted {
		queue := append(p.early[part.Index-1], d)
		if len(queue) > maxEarly {
			p.forget(queue[0], part.Index)
			queue = queue[1:]
		}
		p.early[part.Index-1] = queue
	}
	s.parts[part.Index] = part
	select {
	case s.arrived <- struct{}{}:
	default:
	}
}

func newPartialSet() *partialSet {
	return &partialSet{parts: make(map[uint32]beacon.Partial), arrived: make(chan struct{}, 1)}
}

// forget drops one member's early partial, unless it became wanted meanwhile.
func (p *partials) forget(d raftfsm.Demand, member uint32) {
	s := p.sets[d]
	if s == nil || s.wanted {
		return
	}
	delete(s.parts, member)
	if len(s.parts) == 0 {
		delete(p.sets, d)
	}
}

// demanded marks what the state wants now and drops what it wanted before. A
// partial that comes after its demand is gone counts as early and is crowded out
// in time.
func (p *partials) demanded(now []raftfsm.Demand) {
	p.mu.Lock()
	defer p.mu.Unlock()
	stands := make(map[raftfsm.Demand]bool, len(now))
	for _, d := range now {
		stands[d] = true
		if p.sets[d] == nil {
			p.sets[d] = newPartialSet()
		}
		p.sets[d].wanted = true
	}
	for d, s := range p.sets {
		if s.wanted && !stands[d] {
			delete(p.sets, d)
		}
	}
}

// get returns the partials of a demand, and what is told of new ones.
func (p *partials) get(d raftfsm.Demand) (parts []beacon.Partial, arrived <-chan struct{}, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.sets[d]
	if s == nil {
		return nil, nil, false
	}
	for index := range len(p.early) {
		if part, ok := s.parts[uint32(index+1)]; ok {
			parts = append(parts, part)
		}
	}
	return parts, s.arrived, true
}

// drop removes a partial that proved wrong.
func (p *partials) drop(d raftfsm.Demand, part beacon.Partial) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s := p.sets[d]; s != nil && s.parts[part.Index] == part {
		delete(s.parts, part.Index)
	}
}

// TakePartial takes the partial signature that coordinator from sent, whom the
// caller has authenticated.
func (d *Duties) TakePartial(from ID, demand raftfsm.Demand, p beacon.Partial) error {
	for i := range d.members {
		if d.members[i].ID == from {
			if p.Index != uint32(i)+1 {
				return fmt.Errorf("coordinator %s sent a partial signature of member %d, it is member %d", d.members[i].Name, p.Index, i+1)
			}
			d.partials.add(demand, p)
			return nil
		}
	}
	return errors.New("partial signatures come from coordinators only")
}

// keyedDemand is a demand with the group key that answers it: one that outlasts a
// handover is answered anew.
type keyedDemand struct {
	raftfsm.Demand
	key  beacon.GroupKey
	next beacon.GroupKey // of a handover: the key that is signed for
}

func keyed(look *Look) map[keyedDemand]keyedDemand {
	out := make(map[keyedDemand]keyedDemand, len(look.Demands))
	for _, d := range look.Demands {
		k := keyedDemand{Demand: d, key: look.Group.Key}
		if d.Purpose == build.PurposeHandover && look.Next != nil {
			k.next = look.Next.Group.Key
		}
		out[k] = k
	}
	return out
}

// answerDemand makes this node's partial of a demanded signature, hands it to
// every peer, and, in its turn, combines and proposes when t are there. For a new
// group key it signs only once its own share of that is on disk: t that have signed
// are t that can go on.
func (d *Duties) answerDemand(ctx context.Context, of keyedDemand) {
	demand := of.Demand
	share, group, err := d.keys.wait(ctx, of.key)
	if err == nil && of.next != (beacon.GroupKey{}) {
		_, _, err = d.keys.wait(ctx, of.next)
	}
	if err != nil {
		return
	}
	msg := demand.Message(d.cluster)
	var own beacon.Partial
	if err := d.compute(ctx, func() { own = share.Sign(msg) }); err != nil {
		return
	}
	d.partials.add(demand, own)
	d.spread(ctx, demand, own)
	if !d.turn(ctx) { // before combining: that costs more than all else here, and one is enough
		return
	}
	sig, err := d.combine(ctx, group, demand, msg)
	if err != nil {
		return
	}
	d.insist(ctx, build.TypeBeacon, &build.Beacon{Purpose: demand.Purpose, Build: demand.Build, Round: demand.Round, Signature: sig})
}

// spread sends a partial to every peer, each until it has it or nobody needs it.
func (d *Duties) spread(ctx context.Context, demand raftfsm.Demand, part beacon.Partial) {
	for _, peer := range d.others() {
		d.loops.Go(func() {
			var b backoff
			for {
				call, cancel := context.WithTimeout(ctx, peerTimeout)
				err := d.config.Peers.Partial(call, peer.ID, demand, part)
				cancel()
				if err == nil || !b.wait(ctx) {
					return
				}
			}
		})
	}
}

// combine waits for t valid partials and makes the signature of them.
func (d *Duties) combine(ctx context.Context, group *beacon.Group, demand raftfsm.Demand, msg []byte) (beacon.Signature, error) {
	for {
		parts, arrived, ok := d.partials.get(demand)
		if !ok {
			return beacon.Signature{}, errors.New("no longer demanded")
		}
		if len(parts) >= d.threshold() {
			var sig beacon.Signature
			var err error
			if e := d.compute(ctx, func() {
				if sig, err = group.Combine(msg, parts); err != nil {
					d.discardBad(group, demand, msg, parts)
				}
			}); e != nil {
				return beacon.Signature{}, e
			}
			if err == nil {
				return sig, nil
			}
			d.log.Warn("partial signatures do not combine", "build", short(demand.Build), "purpose", demand.Purpose, "error", err)
		}
		select {
		case <-arrived:
		case <-ctx.Done():
			return beacon.Signature{}, ctx.Err()
		}
	}
}

// discardBad drops the partials that are wrong, so that their senders may send
// right ones and the others are not tried again with them.
func (d *Duties) discardBad(group *beacon.Group, demand raftfsm.Demand, msg []byte, parts []beacon.Partial) {
	for _, part := range parts {
		if err := group.VerifyPartial(msg, part); err != nil {
			d.log.Warn("wrong partial signature", "from", d.members[part.Index-1].Name, "error", err)
			d.partials.drop(demand, part)
		}
	}
}
