package raftfsm

import (
	"bytes"
	"errors"
	"slices"

	"gavel/raftfsm/build"
	"gavel/raftfsm/escrow"
	"gavel/raftfsm/wire"
)

// openAccount makes a participant; the same again is no matter.
func (s *State) openAccount(id ID, key []byte, name, operator string, role escrow.Role) build.Outcome {
	if a, ok := s.accounts[id]; ok {
		if a.Name == name && a.Role == role {
			return build.Outcome{Subject: id}
		}
		return build.Refuse(build.CodeExists, "this key already has the account %q as %v", a.Name, a.Role)
	}
	if owner, ok := s.keyOwners[build.AccountID(key)]; ok {
		return build.Refuse(build.CodeExists, "this key is or was the key of %s", s.keyName(owner))
	}
	if id == build.AccountID(s.genesis.ClusterKey) {
		return build.Refuse(build.CodeExists, "this key is the cluster's") // the log tells summaries from provenances by it
	}
	if !ValidName(name) {
		return build.Refuse(build.CodeMalformed, "the name %q: want 1 to 64 letters, digits, '.', '_', '-', beginning with none of the last three but '_'", name)
	}
	if name == "treasury" || name == "escrow" || name == RoleCluster {
		return build.Refuse(build.CodeExists, "the name %q is the farm's own", name)
	}
	for _, a := range s.accounts { // any match refuses: the order does not matter
		if a.Name == name {
			return build.Refuse(build.CodeExists, "the name %q is taken", name)
		}
	}
	if len(s.accounts) >= MaxAccounts {
		return build.Refuse(build.CodeBusy, "there are %d accounts, no more are taken", MaxAccounts)
	}
	s.accounts[id] = &Account{ID: id, Key: slices.Clone(key), Name: name, Operator: operator, Role: role}
	s.touch(kindAccount, id)
	must(s.ledger.Open(id, role, name))
	return build.Outcome{Subject: id}
}

// applyAdmin carries out an admin's command.
func (s *State) applyAdmin(m *build.Command) build.Outcome {
	if m.Sender != s.adminID() {
		return build.Refuse(build.CodeNotAllowed, "only the admin named in genesis may do this")
	}
	switch m.Type {
	case build.TypeAdmit:
		return decoded(m, s.admit)
	case build.TypePool:
		return decoded(m, s.makePool)
	case build.TypeHandover:
		return decoded(m, s.handOver)
	case build.TypeCommunity:
		return decoded(m, func(p *build.Lend) build.Outcome {
			return s.onMarket(p.Pool, func(e *build.Env, k *build.Market) build.Outcome { return k.Lend(e, p) })
		})
	}
	return decoded(m, func(p *build.Money) build.Outcome { return s.money(m.Type, requestKey(m), p) })
}

// admit lets an operator take part, or changes its members. Nobody belongs to
// two operators, and no machine either.
func (s *State) admit(m *build.Admit) build.Outcome {
	if !ValidName(m.Operator) {
		return build.Refuse(build.CodeMalformed, "an operator needs a name of letters, digits, '.', '_' and '-'")
	}
	for i := range m.Members {
		if i > 0 && wire.Compare32(m.Members[i-1].Account, m.Members[i].Account) >= 0 {
			return build.Refuse(build.CodeMalformed, "an operator's members must be sorted by account, none twice")
		}
		if other := s.operatorOf(m.Members[i].Account); other != "" && other != m.Operator {
			return build.Refuse(build.CodeExists, "account %x belongs to operator %q", m.Members[i].Account[:8], other)
		}
		if other := s.machineOwner(m.Members[i].Machine); other != "" && other != m.Operator {
			return build.Refuse(build.CodeExists, "machine %q belongs to operator %q", m.Members[i].Machine, other)
		}
	}
	s.operators[m.Operator] = m
	s.touch(kindOperator, operatorID(m.Operator))
	return build.Outcome{Subject: operatorID(m.Operator)}
}

// operatorOf is the operator that the admin listed an account under, or "".
func (s *State) operatorOf(account ID) string {
	for name, a := range s.operators { // at most one matches: the order does not matter
		if _, ok := a.Member(account); ok {
			return name
		}
	}
	return ""
}

// machineOwner is the operator that has a machine, or "".
func (s *State) machineOwner(machine string) string {
	for name, a := range s.operators { // at most one matches: the order does not matter
		if machine != "" && slices.ContainsFunc(a.Members, func(m build.Member) bool { return m.Machine == machine }) {
			return name
		}
	}
	return ""
}

// money mints to, burns from, or grants out of the treasury to an account.
func (s *State) money(t build.Type, request ID, m *build.Money) build.Outcome {
	if m.Amount <= 0 {
		return build.Refuse(build.CodeMalformed, "an amount of %s credits, want more than 0", m.Amount)
	}
	if _, ok := s.accounts[m.Account]; !ok && m.Account != s.treasury {
		return build.Refuse(build.CodeUnknownAccount, "there is no such account")
	}
	id := s.transferID(request, t.String(), s.treasury, m.Account)
	var err error
	switch t {
	case build.TypeMint:
		err = s.ledger.Mint(id, m.Account, m.Amount)
	case build.TypeBurn:
		err = s.ledger.Burn(id, m.Account, m.Amount)
	default:
		err = s.ledger.Transfer(id, s.treasury, m.Account, m.Amount)
	}
	if errors.Is(err, escrow.ErrInsufficient) {
		from := m.Account
		if t == build.TypeGrant {
			from = s.treasury
		}
		a, _ := s.ledger.Account(from)
		return build.Refuse(build.CodeFunds, "%s has %s credits available, %s are asked for", s.Name(from), a.Available, m.Amount)
	}
	if err != nil {
		return build.Refuse(build.CodeFunds, "%v", err)
	}
	must(s.ledger.Retire(id))
	return build.Outcome{Subject: m.Account}
}

// register makes a worker, or changes what a known one is.
func (s *State) register(id ID, m *build.Register) build.Outcome {
	pool, ok := s.Pool(m.Pool)
	if !ok {
		return build.Refuse(build.CodeRefused, "there is no pool %q", m.Pool)
	}
	if out := s.mayJoin(id, pool, m); out.Code != build.Done {
		return out
	}
	if w, ok := s.workers[id]; ok {
		if w.Name != m.Name || w.Pool != m.Pool || w.Operator != m.Operator || w.Machine != m.Machine {
			return build.Refuse(build.CodeExists, "this key is worker %q of %s in pool %q: a worker's name, operator, machine and pool cannot change", w.Name, w.Operator, w.Pool)
		}
		w.Class, w.Platforms, w.MinFee, w.Slots, w.Absent = m.Class, m.Platforms, m.MinFee, m.Slots, false
		s.touch(kindWorker, id)
		return build.Outcome{Subject: id}
	}
	for _, p := range s.Pools() {
		if (p.Name == m.Pool || p.Shares == m.Pool) && s.inPool(p) >= build.MaxWorkers {
			return build.Refuse(build.CodeBusy, "pool %q has %d workers, no more are taken", p.Name, build.MaxWorkers)
		}
	}
	if a, _ := s.ledger.Account(id); m.Stake > a.Available {
		return build.Refuse(build.CodeFunds, "the stake of %s credits is not available: the balance is %s", m.Stake, a.Available)
	}
	if out := s.openAccount(id, m.Key, m.Name, m.Operator, escrow.Worker); out.Code != build.Done {
		return out
	}
	if a := s.accounts[id]; a.Operator != m.Operator { // a founder's operator is not known before
		a.Operator = m.Operator
		s.touch(kindAccount, id)
	}
	if m.Stake > 0 {
		if out := s.stake(id, id, m.Stake); out.Code != build.Done {
			return out
		}
	}
	s.workers[id] = &build.Worker{
		ID: id, Name: m.Name, Pool: m.Pool, Operator: m.Operator, Machine: m.Machine, Class: m.Class,
		Platforms: m.Platforms, MinFee: m.MinFee, Slots: m.Slots,
	}
	s.enrol(s.workers[id])
	s.touch(kindWorker, id)
	return build.Outcome{Subject: id}
}

// inPool counts the workers that serve a pool.
func (s *State) inPool(pool *build.Pool) int {
	n := 0
	for _, w := range s.roster {
		if w.In(pool) {
			n++
		}
	}
	return n
}

// mayJoin holds a registration to its form and to what the pool admits.
func (s *State) mayJoin(id ID, pool *build.Pool, m *build.Register) build.Outcome {
	if out := offerable(m.Platforms, m.MinFee); out.Code != build.Done {
		return out
	}
	if m.Slots < 1 || m.Slots > 1024 || m.Stake < 0 {
		return build.Refuse(build.CodeMalformed, "%d slots and a stake of %s credits: want 1 to 1024 slots and a stake of at least 0", m.Slots, m.Stake)
	}
	if pool.Lane == build.LaneHouse && m.Stake != 0 {
		return build.Refuse(build.CodeRefused, "a house pool takes no stake")
	}
	admitted, ok := s.operators[m.Operator]
	if !ok {
		return build.Refuse(build.CodeNotAllowed, "operator %q is not admitted: the admin must admit it first", m.Operator)
	}
	if !pool.TakesOperator(m.Operator) {
		return build.Refuse(build.CodeNotAllowed, "pool %q does not take operator %q", pool.Name, m.Operator)
	}
	member, ok := admitted.Member(id)
	if !ok || member.Machine != m.Machine {
		return build.Refuse(build.CodeNotAllowed, "this key is not admitted for operator %q on machine %q: the admin must list it (gavel account admit)", m.Operator, m.Machine)
	}
	if !pool.TakesClass(m.Class) {
		return build.Refuse(build.CodeNotAllowed, "pool %q admits the class %q, this worker is %q", pool.Name, pool.Class, m.Class)
	}
	switch a, ok := s.accounts[id]; {
	case ok && !bytes.Equal(a.Key, m.Key):
		return build.Refuse(build.CodeNotAllowed, "this is not the key of %q", a.Name)
	case ok && a.Role != escrow.Worker:
		return build.Refuse(build.CodeExists, "this key is %v %q and cannot be a worker's too", a.Role, a.Name)
	}
	return build.Outcome{}
}

func offerable(platforms []string, fee escrow.Credits) build.Outcome {
	if !slices.IsSorted(platforms) || fee < 0 || fee > 1<<50 {
		return build.Refuse(build.CodeMalformed, "platforms must be sorted and the least fee at least 0")
	}
	return build.Outcome{}
}

// update changes what a worker offers.
func (s *State) update(w *build.Worker, m *build.Update) build.Outcome {
	if out := offerable(m.Platforms, m.MinFee); out.Code != build.Done {
		return out
	}
	w.Platforms, w.MinFee, w.Draining = m.Platforms, m.MinFee, m.Draining
	s.touch(kindWorker, w.ID)
	for _, p := range s.Pools() {
		if w.Draining && p.Lane == build.LaneBatch && w.In(p) {
			e, done := s.env(p)
			e.Market.Withdraw(e, w.ID)
			done()
		}
	}
	return build.Outcome{Subject: w.ID}
}

// stake moves available to stake, or starts the unbonding of free stake.
func (s *State) stake(request, account ID, amount escrow.Credits) build.Outcome {
	if amount == 0 || !amount.Valid() {
		return build.Refuse(build.CodeMalformed, "a stake of 0 credits or beyond the limit")
	}
	if amount > 0 {
		id := s.transferID(request, "stake", account, account)
		if err := s.ledger.StakeDeposit(id, account, amount); err != nil {
			return build.Refuse(build.CodeFunds, "the stake of %s credits is not available: %v", amount, err)
		}
		must(s.ledger.Retire(id))
		return build.Outcome{Subject: account}
	}
	own := 0
	for i := range s.unbonds {
		if s.unbonds[i].Account == account {
			own++
		}
	}
	if own >= maxUnbonds {
		return build.Refuse(build.CodeBusy, "%d withdrawals of this account are under way: wait for one to end", own)
	}
	if len(s.unbonds) >= MaxAccounts {
		return build.Refuse(build.CodeBusy, "too much stake is being withdrawn at once: try again later")
	}
	id := s.transferID(request, "unbond", account, account)
	if err := s.ledger.Hold(id, account, escrow.FromStake, -amount); err != nil {
		return build.Refuse(build.CodeStakeShort, "the stake of %s credits is not free: %v", -amount, err)
	}
	s.unbonds = append(s.unbonds, unbonding{Hold: id, Account: account, Amount: -amount, At: s.now + s.genesis.Params.UnbondMillis})
	s.unbondingOf[account] -= amount
	s.touch(kindUnbonding, ID{})
	return build.Outcome{Subject: account}
}

// submit takes a build, or finds it taken.
func (s *State) submit(sender ID, request [16]byte, t *build.Terms) build.Outcome {
	id := build.BuildID(s.cluster, sender, request, t)
	if _, ok := s.builds[id]; ok {
		return build.Outcome{Subject: id}
	}
	if out := s.CheckSubmit(sender, t); out.Code != build.Done {
		return out
	}
	pool, _ := s.Pool(t.Pool)
	if hit, ok := s.cached(sender, t); ok {
		return build.Outcome{Subject: hit.ID} // nothing moves and nothing is recorded
	}
	e, done := s.env(pool)
	defer done()
	b, out := build.New(e, sender, s.operatorOf(sender), request, t, s.sequence)
	if out.Code != build.Done {
		return out
	}
	s.sequence++
	s.builds[b.ID] = b
	s.live[b.ID] = b
	s.changed(b)
	return out
}
