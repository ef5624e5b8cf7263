package tree

import (
	"testing"

	"gavel/cas"
)

// HostileTree is one of the trees of hostile_test.go and hostile_nodes_test.go,
// as a store would hold it.
type HostileTree struct {
	Name, WantErr string
	Limits        Limits
	Root          cas.Digest
	Blobs         map[cas.Digest][]byte
}

// HostileTrees are all of them, for tests of what loads trees.
func HostileTrees(t testing.TB) []HostileTree {
	t.Helper()
	var all []HostileTree
	for _, h := range allHostile() {
		m := rawBlobs{}
		root, err := cas.FromProto(m.put(t, h.root(t, m)))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, HostileTree{h.name, h.wantErr, h.limits, root, m})
	}
	return all
}
