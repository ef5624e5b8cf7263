package clock

import (
	"bytes"
	"reflect"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

func TestOrderComesBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := order{
			program: rapid.String().Draw(t, "program"),
			argv:    rapid.SliceOfN(rapid.String(), 1, 9).Draw(t, "argv"),
			env:     rapid.SliceOfN(rapid.String(), 0, 9).Draw(t, "env"),
			filter: rapid.SliceOfN(rapid.Custom(func(t *rapid.T) unix.SockFilter {
				return unix.SockFilter{Code: rapid.Uint16().Draw(t, "code"), Jt: rapid.Byte().Draw(t, "jt"), Jf: rapid.Byte().Draw(t, "jf"), K: rapid.Uint32().Draw(t, "k")}
			}), 0, 9).Draw(t, "filter"),
		}
		got, err := decodeOrder(o.append(nil)[4:])
		if err != nil || !reflect.DeepEqual(got, o) {
			t.Fatalf("%+v, %v; want %+v", got, err, o)
		}
	})
}

func sampleOrder() []byte {
	return order{"/bin/sh", []string{"sh", ""}, []string{"A=1"}, refusing(1)}.append(nil)[4:]
}

func TestTruncatedOrdersAreRefused(t *testing.T) {
	whole := sampleOrder()
	for n := range whole {
		if _, err := decodeOrder(whole[:n]); err == nil {
			t.Errorf("the first %d of %d bytes decode", n, len(whole))
		}
	}
	if _, err := decodeOrder(append(whole, 0)); err == nil {
		t.Error("a byte too many decodes")
	}
	if _, err := decodeOrder((order{program: "x"}).append(nil)[4:]); err == nil {
		t.Error("an order without a name decodes")
	}
}

func FuzzDecodeOrder(f *testing.F) {
	f.Add(sampleOrder())
	f.Add([]byte{0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		if o, err := decodeOrder(b); err == nil && !bytes.Equal(o.append(nil)[4:], b) {
			t.Errorf("%x decodes and encodes to %x", b, o.append(nil)[4:])
		}
	})
}
