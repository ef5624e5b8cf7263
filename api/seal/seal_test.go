package seal_test

import (
	"bytes"
	"cmp"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"gavel/api/seal"
	"gavel/raftfsm/build"
	"gavel/raftfsm/wire"
)

func key(t testing.TB) *seal.PrivateKey {
	t.Helper()
	k, err := seal.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func id(b byte) (out build.ID) {
	for i := range out {
		out[i] = b
	}
	return out
}

// coordinators makes n of them, sorted by id, with their keys.
func coordinators(t testing.TB, n int) ([]build.Coordinator, []*seal.PrivateKey) {
	t.Helper()
	var cs []build.Coordinator
	var keys []*seal.PrivateKey
	for i := range n {
		k := key(t)
		public := k.Public()
		cs = append(cs, build.Coordinator{ID: id(byte(i + 1)), Name: "c", SealKey: public[:]})
		keys = append(keys, k)
	}
	return cs, keys
}

func opening() *build.Opening {
	return &build.Opening{
		Summary: build.Summary{Status: build.StatusExited, ExitCode: 3, Shape: id(7), Content: id(8), ManifestBytes: 9, OutputBytes: 10},
		Nonce:   id(11), StartedWallMillis: 12, FinishedWallMillis: 13, Signature: bytes.Repeat([]byte{14}, 72),
	}
}

func TestLodgementOpensForEveryCoordinator(t *testing.T) {
	want := wire.Encode(opening())
	for _, n := range []int{1, 3, 9} {
		cs, keys := coordinators(t, n)
		lodged, err := seal.Lodgement(cs, id(1), id(2), id(3), id(4), opening())
		if err != nil {
			t.Fatal(err)
		}
		for i, k := range keys {
			got, err := seal.OpenLodgement(k, i, n, id(1), id(2), id(3), id(4), lodged)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(wire.Encode(got), want) {
				t.Errorf("coordinator %d of %d opened something else", i, n)
			}
		}
	}
}

func TestLodgementOpensNowhereElse(t *testing.T) {
	cs, keys := coordinators(t, 3)
	lodged, err := seal.Lodgement(cs, id(1), id(2), id(3), id(4), opening())
	if err != nil {
		t.Fatal(err)
	}
	open := func(k *seal.PrivateKey, index, count int, cluster, b, lease, commitment build.ID, lodged []byte) func() error {
		return func() error {
			_, err := seal.OpenLodgement(k, index, count, cluster, b, lease, commitment, lodged)
			return err
		}
	}
	var short build.Lodgement
	short.Sealed = [][]byte{{1}, nil, make([]byte, 48)}
	flipped := slices.Clone(lodged)
	flipped[4+4+40] ^= 1
	for name, try := range map[string]func() error{
		"another's key":      open(keys[1], 0, 3, id(1), id(2), id(3), id(4), lodged),
		"another's message":  open(keys[0], 1, 3, id(1), id(2), id(3), id(4), lodged),
		"another cluster":    open(keys[0], 0, 3, id(9), id(2), id(3), id(4), lodged),
		"another build":      open(keys[0], 0, 3, id(1), id(9), id(3), id(4), lodged),
		"another lease":      open(keys[0], 0, 3, id(1), id(2), id(9), id(4), lodged),
		"another commitment": open(keys[0], 0, 3, id(1), id(2), id(3), id(9), lodged),
		"wrong count":        open(keys[0], 0, 2, id(1), id(2), id(3), id(4), lodged),
		"index below":        open(keys[0], -1, 3, id(1), id(2), id(3), id(4), lodged),
		"index beyond":       open(keys[0], 3, 3, id(1), id(2), id(3), id(4), lodged),
		"not canonical":      open(keys[0], 0, 3, id(1), id(2), id(3), id(4), append(slices.Clone(lodged), 0)),
		"nothing":            open(keys[0], 0, 3, id(1), id(2), id(3), id(4), nil),
		"one byte":           open(keys[0], 0, 3, id(1), id(2), id(3), id(4), wire.Encode(&short)),
		"empty":              open(keys[0], 1, 3, id(1), id(2), id(3), id(4), wire.Encode(&short)),
		"low-order point":    open(keys[0], 2, 3, id(1), id(2), id(3), id(4), wire.Encode(&short)),
		"flipped bit":        open(keys[0], 0, 3, id(1), id(2), id(3), id(4), flipped),
	} {
		if err := try(); !errors.Is(err, seal.ErrOpen) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	before := slices.Clone(lodged)
	if err := open(keys[0], 0, 3, id(1), id(2), id(3), id(4), lodged)(); err != nil || !bytes.Equal(before, lodged) {
		t.Errorf("opening it again: %v, changed its input: %v", err, !bytes.Equal(before, lodged))
	}
}

func TestLodgementRefusesBadCoordinators(t *testing.T) {
	cs, _ := coordinators(t, 3)
	reversed := slices.Clone(cs)
	slices.SortFunc(reversed, func(a, b build.Coordinator) int { return cmp.Compare(b.ID[0], a.ID[0]) })
	short := slices.Clone(cs)
	short[1].SealKey = short[1].SealKey[:31]
	lowOrder := slices.Clone(cs)
	lowOrder[2].SealKey = make([]byte, 32)
	many, _ := coordinators(t, seal.MaxCoordinators+1)
	large, _ := coordinators(t, seal.MaxCoordinators) // cannot fit into a commit
	for name, list := range map[string][]build.Coordinator{
		"none": nil, "disorder": reversed, "repeat": {cs[0], cs[0]}, "short key": short, "low-order key": lowOrder, "many": many, "too large": large,
	} {
		if _, err := seal.Lodgement(list, id(1), id(2), id(3), id(4), opening()); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestLogRoundTripAndBinding(t *testing.T) {
	k, other := key(t), key(t)
	for _, size := range []int{0, 1, seal.MaxLogChunkBytes} {
		plain := bytes.Repeat([]byte("x"), size)
		sealed, err := seal.Log(k.Public(), id(1), id(2), 5, plain)
		if err != nil {
			t.Fatal(err)
		}
		if len(sealed) > seal.MaxSealedLogChunkBytes {
			t.Fatalf("%d bytes sealed into %d", size, len(sealed))
		}
		got, err := seal.OpenLog(k, id(1), id(2), 5, sealed)
		if err != nil || !bytes.Equal(got, plain) {
			t.Fatalf("%d bytes: %v", size, err)
		}
		for name, try := range map[string]func() ([]byte, error){
			"key":      func() ([]byte, error) { return seal.OpenLog(other, id(1), id(2), 5, sealed) },
			"build":    func() ([]byte, error) { return seal.OpenLog(k, id(9), id(2), 5, sealed) },
			"lease":    func() ([]byte, error) { return seal.OpenLog(k, id(1), id(9), 5, sealed) },
			"sequence": func() ([]byte, error) { return seal.OpenLog(k, id(1), id(2), 6, sealed) },
		} {
			if _, err := try(); !errors.Is(err, seal.ErrOpen) {
				t.Errorf("another %s: got %v", name, err)
			}
		}
	}
	if _, err := seal.Log(k.Public(), id(1), id(2), 0, make([]byte, seal.MaxLogChunkBytes+1)); err == nil {
		t.Error("a chunk beyond the limit was sealed")
	}
	if _, err := seal.Log([32]byte{}, id(1), id(2), 0, nil); err == nil {
		t.Error("a chunk was sealed to a low-order point")
	}
	if _, err := seal.OpenLog(k, id(1), id(2), 0, make([]byte, seal.MaxSealedLogChunkBytes+1)); !errors.Is(err, seal.ErrOpen) {
		t.Errorf("a sealed chunk beyond the limit: got %v", err)
	}
}

func TestKeyFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log.key")
	k := key(t)
	if err := seal.WriteKey(path, k); err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Fatalf("mode %v, %v", st.Mode(), err)
	}
	if err := seal.WriteKey(path, key(t)); !errors.Is(err, fs.ErrExist) {
		t.Errorf("replacing a key: got %v", err)
	}
	got, err := seal.ReadKey(path)
	if err != nil {
		t.Fatal(err)
	}
	if got.Public() != k.Public() {
		t.Error("another key came back")
	}
	if entries, err := os.ReadDir(filepath.Dir(path)); err != nil || len(entries) != 1 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
	if _, err := seal.ReadKey(path + "x"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing key: got %v", err)
	}
}

func TestParsePEMRefusesOtherKeys(t *testing.T) {
	encode := func(k any) []byte {
		der, err := x509.MarshalPKCS8PrivateKey(k)
		if err != nil {
			t.Fatal(err)
		}
		return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	}
	p256, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	x25519, _ := ecdh.X25519().GenerateKey(rand.Reader)
	if _, err := seal.ParsePEM(encode(x25519)); err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{
		"empty": nil, "text": []byte("hello"), "p256": encode(p256), "trailing": append(encode(x25519), 'x'),
		"type": pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: nil}), "garbage": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte{1}}),
	} {
		if _, err := seal.ParsePEM(data); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// Whatever is lodged, opening it never panics and never yields an opening that
// was not sealed for that very place.
func FuzzOpenLodgement(f *testing.F) {
	cs, keys := coordinators(f, 2)
	lodged, err := seal.Lodgement(cs, id(1), id(2), id(3), id(4), opening())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(lodged)
	f.Add([]byte{0, 0, 0, 0})
	want := wire.Encode(opening())
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := seal.OpenLodgement(keys[0], 0, 2, id(1), id(2), id(3), id(4), data)
		if err == nil && !bytes.Equal(wire.Encode(got), want) {
			t.Fatal("opened something that was never sealed")
		}
		if err != nil && !errors.Is(err, seal.ErrOpen) {
			t.Fatalf("got %v", err)
		}
	})
}

func FuzzParsePEM(f *testing.F) {
	data, err := key(f).MarshalPEM()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		k, err := seal.ParsePEM(data)
		if err != nil {
			return
		}
		again, err := k.MarshalPEM()
		if err != nil {
			t.Fatal(err)
		}
		if back, err := seal.ParsePEM(again); err != nil || back.Public() != k.Public() {
			t.Fatalf("does not come back: %v", err)
		}
	})
}
