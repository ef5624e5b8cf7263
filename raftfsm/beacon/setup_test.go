package beacon_test

import (
	"crypto/ecdh"
	"crypto/hpke"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"testing"

	bls "github.com/consensys/gnark-crypto/ecc/bls12-381"
	"github.com/consensys/gnark-crypto/ecc/bls12-381/fp"

	"gavel/raftfsm/beacon"
)

// farm is a finished ceremony with everyone's secrets in one place.
type farm struct {
	ceremony beacon.Ceremony
	private  []hpke.PrivateKey
	public   []hpke.PublicKey
	dealings []*beacon.Dealing
	deals    []*beacon.Deal
	group    *beacon.Group
	shares   []beacon.Share
}

func ceremony(members int) beacon.Ceremony {
	return beacon.Ceremony{Cluster: sha256.Sum256([]byte("test farm")), Round: 7, Members: uint32(members)}
}

// deal runs the ceremony up to the posted deals.
func deal(t testing.TB, members int) *farm {
	t.Helper()
	f := &farm{ceremony: ceremony(members)}
	for range members {
		key, err := hpke.DHKEM(ecdh.X25519()).GenerateKey()
		if err != nil {
			t.Fatal(err)
		}
		f.private, f.public = append(f.private, key), append(f.public, key.PublicKey())
	}
	for i := range members {
		d, err := beacon.NewDealing(rand.Reader, f.ceremony, uint32(i+1))
		if err != nil {
			t.Fatal(err)
		}
		posted, err := d.Deal(f.public)
		if err != nil {
			t.Fatal(err)
		}
		f.dealings, f.deals = append(f.dealings, d), append(f.deals, posted)
	}
	return f
}

// finish completes the ceremony with the deals of the qualified dealers.
func (f *farm) finish(t testing.TB, qualified ...int) *farm {
	t.Helper()
	var deals []*beacon.Deal
	for _, d := range qualified {
		deals = append(deals, f.deals[d-1])
	}
	var err error
	if f.group, err = beacon.Assemble(f.ceremony, deals); err != nil {
		t.Fatal(err)
	}
	for j := range f.private {
		var parts []beacon.Secret
		for _, d := range deals {
			s, err := beacon.OpenShare(f.ceremony, d, uint32(j+1), f.private[j])
			if err != nil {
				t.Fatal(err)
			}
			parts = append(parts, s)
		}
		share, err := beacon.CombineShares(uint32(j+1), parts, f.group.Shares[j])
		if err != nil {
			t.Fatal(err)
		}
		f.shares = append(f.shares, share)
	}
	return f
}

// setup is a whole honest ceremony.
func setup(t testing.TB, members int) *farm {
	t.Helper()
	f := deal(t, members)
	var all []int
	for i := range members {
		all = append(all, i+1)
	}
	return f.finish(t, all...)
}

func (f *farm) sign(t testing.TB, msg []byte) beacon.Signature {
	t.Helper()
	var partials []beacon.Partial
	for _, s := range f.shares[:f.ceremony.Threshold()] {
		partials = append(partials, s.Sign(msg))
	}
	sig, err := f.group.Combine(msg, partials)
	if err != nil {
		t.Fatal(err)
	}
	return sig
}

func message(i int) []byte {
	return beacon.Message(sha256.Sum256([]byte("cluster")), "seats", sha256.Sum256([]byte("build")), uint64(i))
}

// badG1 and badG2 are encodings that must never be taken for points.
func badG1() map[string][48]byte {
	_, _, g1, _ := bls.Generators()
	out := map[string][48]byte{"identity": {0xc0}, "zeros": {}, "ones": ones[[48]byte]()}
	outside := bls.GeneratePointNotInG1(fp.NewElement(5))
	var p bls.G1Affine
	p.FromJacobian(&outside)
	out["outside the subgroup"] = p.Bytes()
	raw := g1.Bytes()
	raw[0] &^= 0x80
	out["uncompressed flag"] = raw
	// x = p, the same as 0 but not below the field's prime.
	big := fp.Modulus().FillBytes(make([]byte, 48))
	big[0] |= 0x80
	out["x not reduced"] = [48]byte(big)
	return out
}

func badG2() map[string][96]byte {
	_, _, _, g2 := bls.Generators()
	out := map[string][96]byte{"identity": {0xc0}, "zeros": {}, "ones": ones[[96]byte]()}
	outside := bls.GeneratePointNotInG2(bls.E2{A0: fp.NewElement(3), A1: fp.NewElement(5)})
	var p bls.G2Affine
	p.FromJacobian(&outside)
	out["outside the subgroup"] = p.Bytes()
	raw := g2.Bytes()
	raw[0] &^= 0x80
	out["uncompressed flag"] = raw
	big := append(fp.Modulus().FillBytes(make([]byte, 48)), make([]byte, 48)...)
	big[0] |= 0x80
	out["x not reduced"] = [96]byte(big)
	return out
}

func ones[T [48]byte | [96]byte]() (out T) {
	for i := range len(out) {
		out[i] = 0xff
	}
	return out
}

// subsets calls visit with every choice of k of 0..n-1.
func subsets(n, k int, visit func([]int)) {
	var walk func(from int, chosen []int)
	walk = func(from int, chosen []int) {
		if len(chosen) == k {
			visit(chosen)
			return
		}
		for i := from; i < n; i++ {
			walk(i+1, append(chosen[:len(chosen):len(chosen)], i))
		}
	}
	walk(0, nil)
}

func name(members int) string { return fmt.Sprintf("%d-of-%d", beacon.Threshold(members), members) }
