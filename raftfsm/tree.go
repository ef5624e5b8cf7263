package raftfsm

import (
	"crypto/sha256"

	"gavel/raftfsm/build"
	"gavel/raftfsm/wire"
)

// stateTree is a compact sparse Merkle tree (Dahlberg, Pulls, Peeters, NordSec
// 2016) over the state's records, so that the state hash depends on the set of
// records alone and changing one costs O(log n) hashes. A subtree with one
// record is that record's leaf; the empty tree is zeros.
//
//	leaf = H("state-leaf" ‖ key ‖ value)    node = H("state-node" ‖ left ‖ right)
type stateTree struct{ root *treeNode }

type treeNode struct {
	left, right *treeNode // both nil in a leaf
	key         [32]byte  // of a leaf
	hash        [32]byte
	stale       bool // hash is to be made again: something below has changed
}

func newStateTree() *stateTree { return &stateTree{} }

// Root is the hash of all records. Nodes above several changed records are
// hashed once, here.
func (t *stateTree) Root() [32]byte { return nodeHash(t.root) }

const nodeTag = "gavel/v1/state-node\x00"

func nodeHash(n *treeNode) [32]byte {
	if n == nil {
		return [32]byte{}
	}
	if n.stale {
		left, right := nodeHash(n.left), nodeHash(n.right)
		var b [len(nodeTag) + 64]byte // as wire.NewHasher("state-node") would, but on the stack
		copy(b[:], nodeTag)
		copy(b[len(nodeTag):], left[:])
		copy(b[len(nodeTag)+32:], right[:])
		n.hash, n.stale = sha256.Sum256(b[:]), false
	}
	return n.hash
}

func bit(key *[32]byte, depth int) byte { return key[depth/8] >> (7 - depth%8) & 1 }

func newLeaf(key, value [32]byte) *treeNode {
	return &treeNode{key: key, hash: wire.NewHasher("state-leaf").Fixed(key).Fixed(value).Sum()}
}

func (n *treeNode) leaf() bool { return n.left == nil && n.right == nil }

func (n *treeNode) changed() *treeNode {
	n.stale = true
	return n
}

// Set puts a record's value.
func (t *stateTree) Set(key, value [32]byte) { t.root = insert(t.root, newLeaf(key, value), 0) }

// Delete removes a record; one that is not there is no matter.
func (t *stateTree) Delete(key [32]byte) { t.root = remove(t.root, &key, 0) }

func insert(n, leaf *treeNode, depth int) *treeNode {
	switch {
	case n == nil:
		return leaf
	case n.leaf():
		if n.key == leaf.key {
			return leaf
		}
		return split(n, leaf, depth)
	}
	if bit(&leaf.key, depth) == 0 {
		n.left = insert(n.left, leaf, depth+1)
	} else {
		n.right = insert(n.right, leaf, depth+1)
	}
	return n.changed()
}

// split makes the inner nodes down to where two leaves part.
func split(a, b *treeNode, depth int) *treeNode {
	n := &treeNode{}
	x, y := bit(&a.key, depth), bit(&b.key, depth)
	switch {
	case x == y && x == 0:
		n.left = split(a, b, depth+1)
	case x == y:
		n.right = split(a, b, depth+1)
	case x == 0:
		n.left, n.right = a, b
	default:
		n.left, n.right = b, a
	}
	return n.changed()
}

func remove(n *treeNode, key *[32]byte, depth int) *treeNode {
	if n == nil || n.leaf() {
		if n != nil && n.key == *key {
			return nil
		}
		return n
	}
	if bit(key, depth) == 0 {
		n.left = remove(n.left, key, depth+1)
	} else {
		n.right = remove(n.right, key, depth+1)
	}
	// A subtree with one record is that record's leaf, however it came about.
	switch {
	case n.left == nil && n.right == nil:
		return nil
	case n.left == nil && n.right.leaf():
		return n.right
	case n.right == nil && n.left.leaf():
		return n.left
	}
	return n.changed()
}

// recordKind tells the state's records apart in the tree.
type recordKind uint8

const (
	kindHead        recordKind = 1 // time, counters, settled order
	kindAccount     recordKind = 2
	kindWorker      recordKind = 3
	kindBuild       recordKind = 4
	kindBalance     recordKind = 5
	kindTransfer    recordKind = 6
	kindOperator    recordKind = 7
	kindRequest     recordKind = 8
	kindKeys        recordKind = 9
	kindUnbonding   recordKind = 10
	kindPool        recordKind = 11
	kindMarket      recordKind = 12
	kindEvidence    recordKind = 13
	kindKeyring     recordKind = 14
	kindWithdrawals recordKind = 15
	kindSuccession  recordKind = 16
)

// recordKey names a record. A market has many: its parts have names.
type recordKey struct {
	kind recordKind
	id   ID
	part build.Part
	name ID
}

func (k recordKey) hash() [32]byte {
	h := wire.NewHasher("state-key").U64(uint64(k.kind)).Fixed(k.id)
	if k.part != build.PartHead {
		h = h.U64(uint64(k.part)).Fixed(k.name)
	}
	return h.Sum()
}

func (s *State) touch(kind recordKind, id ID) {
	s.touched[recordKey{kind: kind, id: id}] = struct{}{}
}

// rehash brings the tree up to the records touched since the last call. Their
// order does not matter: the tree is a function of the set.
func (s *State) rehash() {
	accounts, transfers := s.ledger.Touched()
	for _, id := range accounts {
		s.touch(kindBalance, id)
	}
	for _, id := range transfers {
		s.touch(kindTransfer, ID(id))
	}
	s.ledger.ResetTouched()
	s.touch(kindHead, ID{})
	for k := range s.touched {
		if raw, ok := s.recordBytes(k); ok {
			s.tree.Set(k.hash(), sha256.Sum256(raw))
		} else {
			s.tree.Delete(k.hash())
		}
	}
	clear(s.touched)
	s.hash = s.tree.Root() // made here, where the state may change: readers share the lock
}
