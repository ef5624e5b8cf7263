package raftfsm

import (
	"errors"
	"fmt"
	"slices"

	"gavel/raftfsm/build"
	"gavel/raftfsm/escrow"
	"gavel/raftfsm/wire"
)

// ID names accounts, builds, auctions, results and the cluster.
type ID = build.ID

// Founder is an account that exists from the start and gets the drop.
type Founder struct {
	Key  []byte // PKIX DER
	Name string
	Role escrow.Role // Requester or Worker
}

// Code is the canonical encoding.
func (f *Founder) Code(c *wire.Coder) {
	c.Blob(&f.Key, 512)
	c.String(&f.Name, build.MaxNameBytes)
	c.U8((*uint8)(&f.Role))
}

// Genesis is what a cluster starts from. Its digest is the cluster's id.
type Genesis struct {
	Name string
	// CreatedWallMillis is informative.
	CreatedWallMillis int64
	Currency          string
	// Simulated says that one machine plays all parts; attestations repeat it.
	Simulated    bool
	Params       build.Params
	Pools        []build.Pool        // sorted by name
	Coordinators []build.Coordinator // sorted by id
	AdminKey     []byte              // PKIX DER; signs admissions, mints, burns and grants
	ClusterKey   []byte              // PKIX DER; signs for the cluster as a whole
	Founders     []Founder
	Operators    []build.Admit // sorted by operator
	// Drop is what every founding account, coordinators included, starts with.
	Drop escrow.Credits
	// Signature is the admin's over Digest.
	Signature []byte
}

// Bounds of a genesis.
const (
	MaxCoordinators = 9 // beyond that every commit waits for more disks and gains nothing
)

// Code is the canonical encoding.
func (g *Genesis) Code(c *wire.Coder) {
	g.codeSigned(c)
	c.Blob(&g.Signature, build.MaxSignatureBytes)
}

func (g *Genesis) codeSigned(c *wire.Coder) {
	c.String(&g.Name, build.MaxNameBytes)
	c.I64(&g.CreatedWallMillis)
	c.String(&g.Currency, build.MaxNameBytes)
	c.Bool(&g.Simulated)
	g.Params.Code(c)
	wire.Records(c, &g.Pools, MaxPools)
	wire.Records(c, &g.Coordinators, MaxCoordinators)
	c.Blob(&g.AdminKey, 512)
	c.Blob(&g.ClusterKey, 512)
	wire.Records(c, &g.Founders, build.MaxWorkers)
	wire.Records(c, &g.Operators, build.MaxWorkers)
	c.I64((*int64)(&g.Drop))
}

// unsigned is a genesis without its signature, as a record.
type unsigned struct{ *Genesis }

func (u unsigned) Code(c *wire.Coder) { u.codeSigned(c) }

// Digest is H("genesis" ‖ everything but the signature): the cluster's id.
func (g *Genesis) Digest() ID {
	return wire.NewHasher("genesis").Var(wire.Encode(unsigned{g})).Sum()
}

// Sign sets the admin's signature.
func (g *Genesis) Sign(sign func(msg []byte) ([]byte, error)) error {
	d := g.Digest()
	sig, err := sign(d[:])
	if err != nil {
		return fmt.Errorf("signing genesis: %w", err)
	}
	g.Signature = sig
	return nil
}

// Validate checks form, limits and the admin's signature.
func (g *Genesis) Validate() error {
	if err := g.Params.Validate(); err != nil {
		return fmt.Errorf("genesis parameters: %w", err)
	}
	if n := len(g.Coordinators); n < 1 || n > MaxCoordinators {
		return fmt.Errorf("genesis names %d coordinators, want 1 to %d", n, MaxCoordinators)
	}
	for i := range g.Coordinators {
		m := &g.Coordinators[i]
		if m.ID != build.AccountID(m.Key) || len(m.SealKey) != 32 || !ValidName(m.Name) {
			return fmt.Errorf("genesis: coordinator %q has a wrong id, seal key or name", m.Name)
		}
		if i > 0 && wire.Compare32(g.Coordinators[i-1].ID, m.ID) >= 0 {
			return errors.New("genesis: coordinators are not sorted by id")
		}
	}
	if len(g.Pools) == 0 || len(g.Pools) > MaxPools {
		return fmt.Errorf("genesis has %d pools, want 1 to %d", len(g.Pools), MaxPools)
	}
	for i := range g.Pools {
		if i > 0 && g.Pools[i-1].Name >= g.Pools[i].Name {
			return errors.New("genesis: pools are not sorted by name")
		}
		if err := checkPool(&g.Pools[i], g.pool); err != nil {
			return fmt.Errorf("genesis: %w", err)
		}
	}
	for i := range g.Operators {
		a := &g.Operators[i]
		sorted := slices.IsSortedFunc(a.Members, func(x, y build.Member) int { return wire.Compare32(x.Account, y.Account) })
		if !ValidName(a.Operator) || !sorted || i > 0 && g.Operators[i-1].Operator >= a.Operator {
			return fmt.Errorf("genesis: operator %q is out of order, or its members are", a.Operator)
		}
	}
	if g.Drop < 0 || g.Drop > 1<<50 {
		return fmt.Errorf("genesis: a drop of %s credits is out of range", g.Drop)
	}
	d := g.Digest()
	if err := wire.VerifySignature(g.AdminKey, d[:], g.Signature); err != nil {
		return fmt.Errorf("genesis: the admin's signature: %w", err)
	}
	return nil
}

// pool is the pool of a name.
func (g *Genesis) pool(name string) (*build.Pool, bool) {
	for i := range g.Pools {
		if g.Pools[i].Name == name {
			return &g.Pools[i], true
		}
	}
	return nil, false
}

// ValidName says whether a name of a node, pool, operator or account can stand
// in a file name and on a terminal: 1 to 64 letters, digits, ".", "_", "-",
// not beginning with "." or "-".
func ValidName(s string) bool {
	if len(s) < 1 || len(s) > 64 || s[0] == '.' || s[0] == '-' {
		return false
	}
	for _, r := range s {
		letter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
		if !letter && r != '.' && r != '_' && r != '-' {
			return false
		}
	}
	return true
}
