package duty

import (
	"bytes"
	"context"
	"crypto/ecdh"
	"crypto/hpke"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"gavel/api/seal"
	"gavel/raftfsm"
	"gavel/raftfsm/beacon"
	"gavel/raftfsm/build"
	"gavel/raftfsm/wire"
)

// wantShares checks that every member has its share on disk and in memory, and
// no polynomial any more.
func wantShares(t *testing.T, b *bench) {
	t.Helper()
	if !b.ready() {
		t.Fatalf("no key; refused: %v", b.refused)
	}
	for i, m := range b.members {
		held := m.held(b)
		if held == nil {
			t.Fatalf("member %d has no share", i+1)
		}
		if err := held.share.Check(held.group.Shares[i]); err != nil {
			t.Error(err)
		}
		st, err := os.Stat(filepath.Join(m.dir, "beacon-share.pem"))
		if err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("share file: %v, %v", st, err)
		}
		if _, err := os.Stat(filepath.Join(m.dir, "beacon-dealing.pem")); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the polynomial is still there: %v", err)
		}
	}
}

// held is a member's share of the key in use, nil where it has none.
func (m *member) held(b *bench) *heldShare {
	var key beacon.GroupKey
	b.read(func(s *raftfsm.State) { key = s.Keys().Group.Key })
	m.duties.keys.mu.Lock()
	defer m.duties.keys.mu.Unlock()
	if h := m.duties.keys.held[key]; h != nil && h.group != nil {
		return h
	}
	return nil
}

func TestKeyGeneration(t *testing.T) {
	for _, n := range []int{1, 3, 5} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			b := newBench(t, n, 0)
			synctest.Test(t, func(t *testing.T) {
				defer b.start()()
				pass(time.Second)
				wantShares(t, b)
				if len(b.refused) != 0 {
					t.Errorf("refused: %v", b.refused)
				}
			})
		})
	}
}

// A node that restarts reads its share; where the file is lacking, damaged or of
// another key, it computes the same share again.
func TestShareSurvivesRestart(t *testing.T) {
	b, other := newBench(t, 3, 0), newBench(t, 3, 0)
	synctest.Test(t, func(t *testing.T) {
		for _, x := range []*bench{b, other} {
			stop := x.start()
			pass(time.Second)
			wantShares(t, x)
			stop()
		}
		m := b.members[1]
		path := filepath.Join(m.dir, "beacon-share.pem")
		good, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		foreign, err := os.ReadFile(filepath.Join(other.members[1].dir, "beacon-share.pem"))
		if err != nil {
			t.Fatal(err)
		}
		for name, content := range map[string][]byte{"kept": good, "missing": nil, "cut": good[:40], "of another cluster": foreign} {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			if content != nil {
				if err := os.WriteFile(path, content, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			m.start()
			settle()
			now, err := os.ReadFile(path)
			if err != nil || !bytes.Equal(now, good) {
				t.Errorf("%s: the share did not come back: %v", name, err)
			}
			m.stop()
		}
	})
}

// A node that dies between writing its polynomial and posting its deal goes on
// with the same polynomial.
func TestDealingIsTakenUpAgain(t *testing.T) {
	b := newBench(t, 3, 0)
	m := b.members[2]
	dealing, err := beacon.NewDealing(rand.Reader, beacon.Ceremony{Cluster: b.genesis.Digest(), Members: 3}, 3)
	if err != nil {
		t.Fatal(err)
	}
	if err := writeSecret(filepath.Join(m.dir, "beacon-dealing.pem"), dealing.Bytes()); err != nil {
		t.Fatal(err)
	}
	want, err := dealing.Deal(b.receivers(t))
	if err != nil {
		t.Fatal(err)
	}
	// Another's file, and one that was damaged, are not taken.
	for i, content := range [][]byte{dealing.Bytes(), []byte("x")} {
		if err := os.WriteFile(filepath.Join(b.members[i].dir, "beacon-dealing.pem"), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		defer b.start()()
		pass(time.Second)
		wantShares(t, b)
		b.read(func(s *raftfsm.State) {
			var got beacon.Deal
			if err := wire.Decode(s.Keys().Deals[2], &got); err != nil {
				t.Fatal(err)
			}
			if got.Commitments[0] != want.Commitments[0] {
				t.Error("a new polynomial was drawn")
			}
		})
	})
}

func (b *bench) receivers(t *testing.T) (out []hpke.PublicKey) {
	for _, m := range b.members {
		public := m.seal.Public()
		key, err := hpke.DHKEM(ecdh.X25519()).NewPublicKey(public[:])
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, key)
	}
	return out
}

// Member 3 seals garbage to member 1. It is complained of; if it then shows the
// share in the open, its deal counts, and if not, the key is made without it.
func TestBadDealIsComplainedOf(t *testing.T) {
	for _, justifies := range []bool{true, false} {
		t.Run(fmt.Sprint("justifies=", justifies), func(t *testing.T) {
			b := newBench(t, 3, 0)
			dealing, err := beacon.NewDealing(rand.Reader, beacon.Ceremony{Cluster: b.genesis.Digest(), Members: 3}, 3)
			if err != nil {
				t.Fatal(err)
			}
			receivers := b.receivers(t)
			receivers[0] = receivers[1]
			deal, err := dealing.Deal(receivers)
			if err != nil {
				t.Fatal(err)
			}
			b.send(b.members[2].signer, build.TypeDeal, &build.Deal{Deal: wire.Encode(deal)})
			if justifies {
				if err := writeSecret(filepath.Join(b.members[2].dir, "beacon-dealing.pem"), dealing.Bytes()); err != nil {
					t.Fatal(err)
				}
			}
			synctest.Test(t, func(t *testing.T) {
				defer b.start()()
				pass(time.Second)
				want := 3
				if !justifies {
					if b.ready() {
						t.Fatal("the key did not wait for the justification")
					}
					b.tick(60_000)
					pass(time.Second)
					want = 2
				}
				wantShares(t, b)
				b.read(func(s *raftfsm.State) {
					if got := s.Keys().Qualified; len(got) != want {
						t.Errorf("qualified dealers %v, want %d", got, want)
					}
				})
			})
		})
	}
}

func TestNewRefusesForeignKeys(t *testing.T) {
	b := newBench(t, 3, 0)
	m := b.members[0]
	other, err := seal.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]Config{
		"seal key": {Genesis: b.genesis, Self: m.id, SealKey: other},
		"self":     {Genesis: b.genesis, Self: ID{1}, SealKey: m.seal},
	} {
		if _, err := New(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// handOver begins a handover, signed by the bench's admin.
func (b *bench) handOver() {
	b.t.Helper()
	b.send(b.admin, build.TypeHandover, &build.Handover{Reason: "yearly"})
}

// A handover makes a new key beside the old one. Once it is in use every member has
// its share of that alone, also after a restart at any moment of it.
func TestHandoverOfTheGroupKey(t *testing.T) {
	b := newBench(t, 3, 0)
	synctest.Test(t, func(t *testing.T) {
		stop := b.start()
		pass(time.Second)
		wantShares(t, b)
		var old beacon.GroupKey
		b.read(func(s *raftfsm.State) { old = s.Keys().Group.Key })
		b.handOver()
		pass(2 * time.Second)
		b.read(func(s *raftfsm.State) {
			stage, note := s.HandoverUnderWay()
			if stage != 0 || s.Keys().Group.Key == old || len(s.FormerKeys()) != 1 {
				t.Fatalf("the handover is %v (%s); refused: %v", stage, note, b.refused)
			}
		})
		wantShares(t, b)
		for _, m := range b.members {
			for _, name := range []string{"beacon-share-next.pem", "beacon-dealing-next.pem"} {
				if _, err := os.Stat(filepath.Join(m.dir, name)); !errors.Is(err, os.ErrNotExist) {
					t.Errorf("%s is still there: %v", name, err)
				}
			}
		}
		stop()
		for _, m := range b.members {
			if err := os.Rename(filepath.Join(m.dir, "beacon-share.pem"), filepath.Join(m.dir, "beacon-share-next.pem")); err != nil {
				t.Fatal(err)
			}
		}
		stop = b.start() // as one that stopped just after the key came into use
		pass(time.Second)
		wantShares(t, b)
		b.handOver()
		pass(2 * time.Second)
		b.read(func(s *raftfsm.State) {
			if len(s.FormerKeys()) != 2 {
				t.Errorf("%d former keys", len(s.FormerKeys()))
			}
		})
		wantShares(t, b)
		stop()
	})
}

// A member that is away when a key is made has its share of it when it comes back.
func TestHandoverWithoutAMember(t *testing.T) {
	b := newBench(t, 3, 0)
	synctest.Test(t, func(t *testing.T) {
		stop := b.start()
		pass(time.Second)
		b.members[2].stop()
		b.handOver()
		pass(time.Second)
		b.tick(30_000)
		pass(time.Second)
		b.tick(30_000)
		pass(5 * time.Second)
		b.read(func(s *raftfsm.State) {
			if len(s.FormerKeys()) != 1 || len(s.Keys().Qualified) != 2 {
				stage, note := s.HandoverUnderWay()
				t.Fatalf("the handover is %v (%s)", stage, note)
			}
		})
		b.members[2].start()
		pass(time.Second)
		wantShares(t, b)
		stop()
	})
}

// Whose key was revoked is not asked to vouch: its word would not count.
func TestRevokedMemberDoesNotVouch(t *testing.T) {
	b := newBench(t, 3, 0)
	synctest.Test(t, func(t *testing.T) {
		defer b.start()()
		pass(time.Second)
		m := b.members[1]
		b.send(b.admin, build.TypeRevoke, &build.Revoke{Account: m.id, Key: m.id})
		pass(time.Second)
		d := b.members[0].duties
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		_, err := d.collect(ctx, build.TypeStored, ID{1}, ID{2}, ID{3}, func(context.Context, ID, ID) ([]byte, error) {
			return b.members[0].Sign(build.VouchBytes(build.TypeStored, d.cluster, ID{1}, ID{2}, ID{3}))
		})
		if !errors.Is(err, errRevoked) {
			t.Errorf("collecting ends with %v", err)
		}
	})
}
