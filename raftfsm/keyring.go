package raftfsm

import (
	"bytes"
	"slices"

	"gavel/raftfsm/build"
	"gavel/raftfsm/escrow"
	"gavel/raftfsm/wire"
)

// maxKeyEvents is how many changes of one key the state remembers, the newest;
// the log has all.
const maxKeyEvents = 32

// RoleCluster is the role of the cluster's own key, which is no account's.
const RoleCluster = "cluster"

// KeyEvent is a change of somebody's key: it was revoked, or another took its place.
type KeyEvent struct {
	OldKey     []byte // PKIX DER, in use until now; of a rotation after a revocation until then
	NewKey     []byte // of a rotation, else empty
	Revoked    bool
	Reason     string
	By         ID // who signed the command
	FarmMillis int64
	WallMillis int64
	Index      uint64 // of the Raft entry
}

// Code is the canonical encoding.
func (e *KeyEvent) Code(c *wire.Coder) {
	c.Blob(&e.OldKey, 512)
	c.Blob(&e.NewKey, 512)
	c.Bool(&e.Revoked)
	c.String(&e.Reason, build.MaxReasonBytes)
	c.Bytes32(&e.By)
	c.I64(&e.FarmMillis)
	c.I64(&e.WallMillis)
	c.U64(&e.Index)
}

// KeyItem is a change of a key, as the log records it.
type KeyItem struct {
	Account ID
	Role    string // requester, worker, admin, coordinator or cluster
	KeyEvent
}

// Code is the canonical encoding.
func (i *KeyItem) Code(c *wire.Coder) {
	c.Bytes32(&i.Account)
	c.String(&i.Role, 32)
	i.KeyEvent.Code(c)
}

// Keyring is the story of a key that was revoked or replaced at least once.
type Keyring struct {
	Account ID
	Key     []byte // as it is now
	Revoked bool   // and may not be used
	Events  []KeyEvent
}

// Code is the canonical encoding.
func (k *Keyring) Code(c *wire.Coder) {
	c.Bytes32(&k.Account)
	c.Blob(&k.Key, 512)
	c.Bool(&k.Revoked)
	wire.Records(c, &k.Events, maxKeyEvents)
}

// clusterKeyID is what the cluster's key is called in commands.
func (s *State) clusterKeyID() ID { return build.ClusterKeyID(s.cluster) }

// adminID is the admin's account.
func (s *State) adminID() ID { return build.AccountID(s.genesis.AdminKey) }

// ClusterKey is the key that signs for the cluster as a whole now, PKIX DER.
func (s *State) ClusterKey() []byte {
	if k := s.keyrings[s.clusterKeyID()]; k != nil {
		return k.Key
	}
	return s.genesis.ClusterKey
}

// KeyRevoked says whether an account's key, or the cluster's, may not be used.
func (s *State) KeyRevoked(account ID) bool {
	k := s.keyrings[account]
	return k != nil && k.Revoked
}

// KeyEvents are the changes of a key that the state remembers, oldest first.
func (s *State) KeyEvents(account ID) []KeyEvent {
	if k := s.keyrings[account]; k != nil {
		return slices.Clone(k.Events)
	}
	return nil
}

// KeyOwner is the account that a key, by its AccountID, is or was in use for;
// current says that it is the one to be used now.
func (s *State) KeyOwner(key ID) (account ID, current, known bool) {
	account = key
	if _, known = s.accounts[key]; !known {
		account, known = s.keyOwners[key]
	}
	k := s.keyrings[account]
	return account, known && (k == nil || !k.Revoked && build.AccountID(k.Key) == key), known
}

// KeysAt are the keys that an account had at a farm time, the newest first: two
// where one replaced the other in that very millisecond.
func (s *State) KeysAt(account ID, farmMillis int64) [][]byte {
	a, ok := s.accounts[account]
	if !ok {
		return nil
	}
	out := [][]byte{a.Key}
	if k := s.keyrings[account]; k != nil {
		for _, e := range slices.Backward(k.Events) {
			switch {
			case farmMillis > e.FarmMillis:
				return out
			case farmMillis < e.FarmMillis:
				out = nil
			}
			if len(out) == 0 || !bytes.Equal(out[len(out)-1], e.OldKey) {
				out = append(out, e.OldKey)
			}
		}
	}
	return out
}

// keyOf is the key as it is now of an account, or the cluster's, and its role.
func (s *State) keyOf(account ID) (key []byte, role string, ok bool) {
	if account == s.clusterKeyID() {
		return s.ClusterKey(), RoleCluster, true
	}
	a, ok := s.accounts[account]
	if !ok {
		return nil, "", false
	}
	return a.Key, a.Role.String(), true
}

// changeKey records an event and tells the log of it.
func (s *State) changeKey(account ID, role string, e KeyEvent) {
	k := s.keyrings[account]
	if k == nil {
		k = &Keyring{Account: account}
		s.keyrings[account] = k
	}
	e.FarmMillis, e.WallMillis, e.Index = s.now, s.wall, s.index
	k.Key, k.Revoked = e.OldKey, e.Revoked
	if !e.Revoked {
		k.Key = e.NewKey
	}
	if len(k.Events) == maxKeyEvents {
		delete(s.keyOwners, build.AccountID(k.Events[0].OldKey))
		k.Events = slices.Delete(k.Events, 0, 1)
	}
	k.Events = append(k.Events, e)
	s.indexKeys(k)
	s.touch(kindKeyring, account)
	if a := s.accounts[account]; a != nil && role != RoleCluster {
		a.Key = slices.Clone(k.Key)
		s.touch(kindAccount, account)
	}
	s.evidence.items = append(s.evidence.items, Item{Key: &KeyItem{Account: account, Role: role, KeyEvent: e}})
}

// indexKeys remembers whose a ring's keys are.
func (s *State) indexKeys(k *Keyring) {
	s.keyOwners[build.AccountID(k.Key)] = k.Account
	for i := range k.Events {
		s.keyOwners[build.AccountID(k.Events[i].OldKey)] = k.Account
	}
}

// freshKey says whether a key was never anybody's, as far as the state remembers.
func (s *State) freshKey(key []byte) bool {
	id := build.AccountID(key)
	_, _, known := s.KeyOwner(id)
	return !known && id != build.AccountID(s.genesis.ClusterKey)
}

// mayUse refuses a command under a key that was revoked. To revoke it once more
// is no matter.
func (s *State) mayUse(m *build.Command) build.Outcome {
	if m.Type != build.TypeRevoke && s.KeyRevoked(m.Sender) {
		return build.Refuse(build.CodeNotAllowed, "the key of %s was revoked: the admin can put a new one in its place (gavel keys rotate)", s.Name(m.Sender))
	}
	return build.Outcome{}
}

// revoke takes a key out of use.
func (s *State) revoke(sender ID, m *build.Revoke) build.Outcome {
	key, role, ok := s.keyOf(m.Account)
	switch {
	case !ok:
		return build.Refuse(build.CodeUnknownAccount, "there is no such account")
	case sender != m.Account && sender != s.adminID():
		return build.Refuse(build.CodeNotAllowed, "only its owner and the admin may revoke a key")
	case !build.ValidReason(m.Reason):
		return build.Refuse(build.CodeMalformed, "a reason has at most %d bytes and no control characters", build.MaxReasonBytes)
	case build.AccountID(key) != m.Key:
		return build.Refuse(build.CodeStale, "this is not the key of %s any more", s.keyName(m.Account))
	case s.KeyRevoked(m.Account):
		return build.Outcome{Subject: m.Account}
	case m.Account == s.adminID():
		return build.Refuse(build.CodeNotAllowed, "the admin's key cannot be revoked, only replaced (gavel keys rotate): nobody could recover anything without it")
	case s.ShareIndex(m.Account) != 0 && s.trusted()-1 < s.Threshold():
		return build.Refuse(build.CodeQuorum, "%d coordinators would be left and %d are needed: the farm would stand still", s.trusted()-1, s.Threshold())
	}
	s.changeKey(m.Account, role, KeyEvent{OldKey: slices.Clone(key), Revoked: true, Reason: m.Reason, By: sender})
	if w := s.workers[m.Account]; w != nil && !w.Absent {
		w.Absent = true // until it is heard of again, under a new key
		s.touch(kindWorker, w.ID)
	}
	return build.Outcome{Subject: m.Account}
}

// keyName is the owner of a key for a person.
func (s *State) keyName(account ID) string {
	if account == s.clusterKeyID() {
		return "the cluster"
	}
	return s.Name(account)
}

// trusted counts the coordinators whose keys were not revoked.
func (s *State) trusted() int {
	n := 0
	for i := range s.genesis.Coordinators {
		if !s.KeyRevoked(s.genesis.Coordinators[i].ID) {
			n++
		}
	}
	return n
}

// rotate puts a new key in the place of one.
func (s *State) rotate(sender ID, m *build.Rotate) build.Outcome {
	old, role, ok := s.keyOf(m.Account)
	if !ok {
		return build.Refuse(build.CodeUnknownAccount, "there is no such account")
	}
	if s.rotated(m, old) {
		return build.Outcome{Subject: m.Account}
	}
	switch {
	case !build.ValidReason(m.Reason):
		return build.Refuse(build.CodeMalformed, "a reason has at most %d bytes and no control characters", build.MaxReasonBytes)
	case build.AccountID(old) != m.OldKey:
		return build.Refuse(build.CodeStale, "the key that is to be replaced is not that of %s any more", s.keyName(m.Account))
	case role == escrow.Coordinator.String():
		return build.Refuse(build.CodeNotAllowed, "a coordinator's key stands in genesis and cannot be replaced; it can be revoked")
	case !s.freshKey(m.NewKey):
		return build.Refuse(build.CodeExists, "the new key is or was in use already: make another (gavel keys new)")
	}
	msg := build.RotationBytes(s.cluster, m.Account, m.OldKey, build.AccountID(m.NewKey))
	if err := s.verify.signature(m.NewKey, msg, m.Possession); err != nil {
		return build.Refuse(build.CodeBadSignature, "the new key's own signature: %v", err)
	}
	if out := s.mayRotate(sender, m, old, role, msg); out.Code != build.Done {
		return out
	}
	s.changeKey(m.Account, role, KeyEvent{OldKey: slices.Clone(old), NewKey: slices.Clone(m.NewKey), Reason: m.Reason, By: sender})
	return build.Outcome{Subject: m.Account}
}

// rotated says that a rotation was carried out before and nothing came after it.
func (s *State) rotated(m *build.Rotate, now []byte) bool {
	k := s.keyrings[m.Account]
	if k == nil || k.Revoked || len(k.Events) == 0 || !bytes.Equal(now, m.NewKey) {
		return false
	}
	return build.AccountID(k.Events[len(k.Events)-1].OldKey) == m.OldKey
}

// mayRotate says whose word a rotation needs. A key that is in use signs for its
// successor itself; in the place of a revoked one the admin puts another; for the
// cluster's key the admin or t coordinators speak too, and for a lost admin's key
// t coordinators.
func (s *State) mayRotate(sender ID, m *build.Rotate, old []byte, role string, msg []byte) build.Outcome {
	admin, revoked := sender == s.adminID(), s.KeyRevoked(m.Account)
	byCoordinators := func() build.Outcome { return s.quorum(msg, m.Vouches) }
	switch {
	case role == RoleCluster && revoked:
		if !admin {
			return build.Refuse(build.CodeNotAllowed, "only the admin, with %d coordinators, may put another key in the place of the cluster's revoked one", s.Threshold())
		}
		return byCoordinators()
	case role == RoleCluster:
		if err := s.verify.signature(old, msg, m.Old); err != nil {
			return build.Refuse(build.CodeBadSignature, "the cluster's old key signs for its successor: %v", err)
		}
		if admin {
			return build.Outcome{}
		}
		return byCoordinators()
	case role == escrow.Admin.String() && !admin:
		return byCoordinators()
	case sender == m.Account:
		return s.unengaged(m.Account)
	case !admin:
		return build.Refuse(build.CodeNotAllowed, "only its owner may replace a key, and the admin one that was revoked")
	case !revoked:
		return build.Refuse(build.CodeWrongState, "the key of %s is in use: revoke it first (gavel keys revoke)", s.Name(m.Account))
	}
	return build.Outcome{}
}

// unengaged refuses to replace a worker's key while it has a part in builds that
// have not settled: statements that it signed would be held against the new one.
func (s *State) unengaged(account ID) build.Outcome {
	if s.workers[account] == nil {
		return build.Outcome{}
	}
	n := 0
	for _, b := range s.live { // a count has no order
		if slices.ContainsFunc(b.Attempts, func(a build.Attempt) bool {
			return a.Worker == account && a.State != build.AttemptSilent && a.State != build.AttemptReleased
		}) {
			n++
		}
	}
	if n > 0 {
		return build.Refuse(build.CodeBusy, "this worker has a part in %d builds under way: let it drain first", n)
	}
	return build.Outcome{}
}

// quorum checks that at least t coordinators whose keys are good signed msg.
func (s *State) quorum(msg []byte, vouches []build.Vouch) build.Outcome {
	good := 0
	for i := range vouches {
		v := &vouches[i]
		if i > 0 && wire.Compare32(vouches[i-1].Coordinator, v.Coordinator) >= 0 {
			return build.Refuse(build.CodeMalformed, "coordinators are not in ascending order")
		}
		if s.ShareIndex(v.Coordinator) == 0 {
			return build.Refuse(build.CodeNotAllowed, "only coordinators vouch")
		}
		if !s.KeyRevoked(v.Coordinator) && s.verify.signature(s.accounts[v.Coordinator].Key, msg, v.Signature) == nil {
			good++
		}
	}
	if good < s.Threshold() {
		return build.Refuse(build.CodeQuorum, "%d coordinators signed, want %d", good, s.Threshold())
	}
	return build.Outcome{}
}
