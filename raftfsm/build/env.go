package build

import (
	"fmt"
	"slices"

	"gavel/raftfsm/auction"
	"gavel/raftfsm/draw"
	"gavel/raftfsm/escrow"
)

// Env is what a transition may know beside its build. Nothing in it changes
// during one command but the ledger and the workers.
type Env struct {
	Cluster      ID
	Now          int64 // farm milliseconds
	Params       *Params
	Pool         *Pool
	Ledger       *escrow.Ledger
	Treasury     ID
	Coordinators []Coordinator // sorted by id
	// Worker returns a worker to be changed, nil if there is none.
	Worker func(ID) *Worker
	// Peek returns a worker to be read only, nil if there is none.
	Peek func(ID) *Worker
	// Workers returns the workers that serve the pool, sorted by id.
	Workers func() []*Worker
	// Market is the pool's. Who changes it says so: by Touch its head, by TouchPart
	// anything that has a record of its own.
	Market    *Market
	Touch     func()
	TouchPart func(part Part, name ID)
	// Operator is the operator an account was admitted under, "" for none.
	Operator func(account ID) string
	// Unbonding is the part of a worker's held stake that is on its way out.
	Unbonding func(worker ID) escrow.Credits
	// Reserved are the workers that a lease of any pool names, now or later.
	Reserved func() map[ID]bool
	// Waiting returns the builds that wait in the pool's queue, in its order, and
	// Committed those whose draws are not made, oldest first. Neither may be changed.
	Waiting   func() []*Build
	Committed func() []*Build
	// fields are what kindField has computed; it holds as long as the Env does.
	fields map[kind]kindField
	// Build returns a live build of the pool to be changed, nil if there is none.
	// The state machine keeps its indexes true for builds got so.
	Build func(ID) *Build
}

func (e *Env) house() bool { return e.Pool.Lane == LaneHouse }

// must turns a broken invariant into a panic: the ledger refused a movement
// that the rules had made sure of.
func must(err error) {
	if err != nil {
		panic(fmt.Sprintf("build: broken invariant: %v", err))
	}
}

// Field is who could serve a build, and what each must stake.
type Field struct {
	Eligible []Candidate // sorted by domain, then worker
	Domains  int
	Stake    escrow.Credits
}

// stakeOf is the stake a worker could put up; free tells whether only what is not locked counts.
type stakeOf func(w *Worker) escrow.Credits

// FreeStake is what a worker can lock now.
func (e *Env) FreeStake(w *Worker) escrow.Credits {
	a, _ := e.Ledger.Account(w.ID)
	return a.Stake
}

// wholeStake is what a worker could lock once its other work is done.
func (e *Env) wholeStake(w *Worker) escrow.Credits {
	a, _ := e.Ledger.Account(w.ID)
	return a.Stake + a.Held - e.Unbonding(w.ID)
}

// takesWork says that a worker is there and offers what every build asks of it.
func (e *Env) takesWork(w *Worker) bool {
	return !w.Absent && !w.Draining && len(w.Platforms) > 0 && w.MinFee <= e.Params.ValidatorFee
}

// kindField is the field of a kind of build.
type kindField struct {
	Field
	ok bool
}

// kindField computes the field of a build's kind once, by whole stake: beginning
// builds locks stake and does not change it.
func (e *Env) kindField(b *Build) kindField {
	k := kindOf(b)
	f, known := e.fields[k]
	if !known {
		field, out := e.Field(&b.Terms, b.Requester, b.Operator, e.wholeStake)
		f = kindField{field, out.Code == Done}
		if e.fields == nil {
			e.fields = map[kind]kindField{}
		}
		e.fields[k] = f
	}
	return f
}

// has says whether a worker is eligible, and as what domain.
func (f *Field) has(worker ID) (domain string, ok bool) {
	for i := range f.Eligible {
		if f.Eligible[i].Worker == worker {
			return f.Eligible[i].Domain, true
		}
	}
	return "", false
}

// Field computes the eligible set of terms: present workers of the pool that
// offer the platform, accept the posted fee, have the stake, and are not the
// requester's operator's nor leased to another. S depends on the number of domains and the set on S,
// so those who lack S leave until nobody has to.
func (e *Env) Field(t *Terms, requester ID, operator string, stake stakeOf) (Field, Outcome) {
	var offered bool
	var members []*Worker
	for _, w := range e.Workers() {
		if !w.Offers(t.Platform) {
			continue
		}
		offered = true
		mine := operator != "" && w.Operator == operator
		if w.Absent || w.Draining || mine || w.MinFee > e.Params.ValidatorFee || !w.Serves(requester) {
			continue
		}
		members = append(members, w)
	}
	if !offered {
		return Field{}, Refuse(CodePlatform, "no worker of pool %q offers %s; the workers offer: %s%s", e.Pool.Name, t.Platform, e.offers(), e.platformHint(t.Platform))
	}
	all := e.fieldOf(members).Domains
	var needed escrow.Credits
	for {
		f := e.fieldOf(members)
		s, out := e.requiredStake(t, f.Domains)
		if out.Code == CodeTooFew && f.Domains < all {
			return f, Refuse(CodeTooFew, "too few independent validators: of %d %ss that could serve this build, %d have the stake of %s credits that its price and value at risk demand; lower --max-price or --value-at-risk", all, e.Pool.Domain, f.Domains, needed)
		}
		if out.Code != Done {
			return f, out
		}
		needed = s
		f.Stake = s
		rest := slices.DeleteFunc(slices.Clone(members), func(w *Worker) bool { return stake(w) < s })
		if len(rest) == len(members) {
			return f, Outcome{}
		}
		members = rest
	}
}

// percent shows parts per million.
func percent(ppm uint32) string { return (escrow.Credits(ppm) * 100).String() }

// platformHint says what a person may have mixed up.
func (e *Env) platformHint(platform string) string {
	host := false
	for _, w := range e.Workers() {
		host = host || w.Offers(PlatformHost)
	}
	switch {
	case platform == PlatformHost:
		return " (these workers run images only: name one with --image; gavel image list shows the farm's)"
	case host:
		return " (these workers run no images)"
	}
	return " (load it into the workers' engine: docker load or docker import; its id is what docker image inspect -f '{{.Id}}' prints)"
}

// offers lists the pool's platforms for a person.
func (e *Env) offers() string {
	var all []string
	for _, w := range e.Workers() {
		all = append(all, w.Platforms...)
	}
	slices.Sort(all)
	all = slices.Compact(all)
	if len(all) == 0 {
		return "none"
	}
	text := all[0]
	for _, p := range all[1:min(len(all), 8)] {
		text += ", " + p
	}
	if len(all) > 8 {
		text += ", …"
	}
	return text
}

func (e *Env) fieldOf(members []*Worker) Field {
	var f Field
	for _, w := range members {
		f.Eligible = append(f.Eligible, Candidate{Domain: w.DomainIn(e.Pool), Worker: w.ID})
	}
	slices.SortFunc(f.Eligible, draw.Compare)
	for i := range f.Eligible {
		if i == 0 || f.Eligible[i].Domain != f.Eligible[i-1].Domain {
			f.Domains++
		}
	}
	return f
}

// requiredStake checks that n domains suffice and returns S. The odds are those
// of the n−1 that remain when the winner's domain is left out.
func (e *Env) requiredStake(t *Terms, n int) (escrow.Credits, Outcome) {
	k := int(t.Validators)
	if e.house() {
		if n < 1+k {
			return 0, Refuse(CodeTooFew, "too few independent validators: %d %ss can serve this build, %d validators need at least %d (1 + k); ask for fewer with --validators or start more workers", n, e.Pool.Domain, k, 1+k)
		}
		return 0, Outcome{}
	}
	if n < 1+k+3 {
		return 0, Refuse(CodeTooFew, "too few independent validators: %d %ss can serve this build, %d validators need at least %d (1 + k + 3); ask for fewer with --validators or start more workers", n, e.Pool.Domain, k, 1+k+3)
	}
	m := n - 1
	c := auction.Colluders(uint64(e.Params.GammaPPM), m)
	if !auction.AcceptableOdds(c, k, m, uint64(e.Params.PMaxPPM)) {
		return 0, Refuse(CodeTooFew, "too few independent validators: if %d of %d %ss collude, all %d drawn to validate do with a chance above %s %%; ask for more validators or start more workers", c, m, e.Pool.Domain, k, percent(e.Params.PMaxPPM))
	}
	s, err := auction.Stake(m, c, k, auction.PanelSize(m, k), t.Reserve, t.ValueAtRisk, uint64(t.SamplePPM))
	if err != nil {
		return 0, Refuse(CodeRefused, "no stake can secure these terms: %v", err)
	}
	return s, Outcome{}
}

// hold locks S of a worker's free stake for the build under purpose. It returns
// false where there is too little; in a house pool nothing is locked.
func (b *Build) hold(e *Env, worker ID, round uint64, purpose string) (escrow.TransferID, bool) {
	if e.house() {
		return escrow.TransferID{}, true
	}
	id := escrow.TransferIDOf(e.Cluster, b.ID, round, purpose, worker, EscrowID(b.ID))
	if err := e.Ledger.Hold(id, worker, escrow.FromStake, b.Stake); err != nil {
		return escrow.TransferID{}, false
	}
	b.Used = append(b.Used, id)
	return id, true
}

// void returns a hold to its owner and forgets it.
func (b *Build) void(e *Env, hold *escrow.TransferID) {
	if *hold != (escrow.TransferID{}) {
		must(e.Ledger.Void(*hold))
		*hold = escrow.TransferID{}
	}
}

// due is a payment that is owed.
type due struct {
	to      ID
	amount  escrow.Credits
	purpose string
	round   Round
}

// post ends a hold by paying parts of it; the rest returns to its owner.
func (b *Build) post(e *Env, hold *escrow.TransferID, from ID, parts []due) {
	if *hold == (escrow.TransferID{}) {
		return
	}
	var ps []escrow.Part
	for _, d := range parts {
		if d.amount > 0 {
			ps = append(ps, escrow.Part{To: d.to, Amount: d.amount, Purpose: d.purpose})
			b.record(e, from, d)
		}
	}
	must(e.Ledger.Post(*hold, ps))
	*hold = escrow.TransferID{}
}

// pay moves money out of the build's escrow.
func (b *Build) pay(e *Env, d due) {
	if d.amount == 0 {
		return
	}
	id := b.record(e, EscrowID(b.ID), d)
	must(e.Ledger.Transfer(id, EscrowID(b.ID), d.to, d.amount))
	b.Used = append(b.Used, id)
}

// record keeps a movement as evidence and returns its id.
func (b *Build) record(e *Env, from ID, d due) escrow.TransferID {
	id := escrow.TransferIDOf(e.Cluster, b.ID, uint64(d.round), d.purpose, from, d.to)
	b.Transfers = append(b.Transfers, Transfer{ID: id, Purpose: d.purpose, From: from, To: d.to, Amount: d.amount})
	return id
}

// engage and release keep a worker's count of leases.
func (e *Env) engage(id ID) {
	if w := e.Worker(id); w != nil {
		w.Engaged++
	}
}

func (e *Env) release(id ID) {
	if w := e.Worker(id); w != nil && w.Engaged > 0 {
		w.Engaged--
	}
}
