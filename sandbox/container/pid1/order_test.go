package pid1

import (
	"bytes"
	"errors"
	"io"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"

	"gavel/sandbox/clock"
)

func orders() *rapid.Generator[Order] {
	text := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"", "a", strings.Repeat("x", 70_000)}))
	return rapid.Custom(func(t *rapid.T) Order {
		return Order{
			Dir:            text.Draw(t, "dir"),
			Argv:           rapid.SliceOfN(text, 1, 8).Draw(t, "argv"),
			Env:            rapid.SliceOfN(text, 0, 8).Draw(t, "env"),
			Umask:          rapid.Uint32Range(0, 0o777).Draw(t, "umask"),
			CPUs:           rapid.SliceOfN(rapid.Uint32Range(0, maxCPUs-1), 0, 8).Draw(t, "cpus"),
			FixedAddresses: rapid.Bool().Draw(t, "fixed addresses"),
			Clock:          rapid.Bool().Draw(t, "clock"),
			Time:           clock.Setting{StartSeconds: rapid.Int64().Draw(t, "start"), StepSeconds: rapid.Int64().Draw(t, "step")},
		}
	})
}

func same(a, b Order) bool {
	return a.Dir == b.Dir && slices.Equal(a.Argv, b.Argv) && slices.Equal(a.Env, b.Env) &&
		a.Umask == b.Umask && slices.Equal(a.CPUs, b.CPUs) && a.FixedAddresses == b.FixedAddresses && a.Clock == b.Clock && a.Time == b.Time
}

func TestOrderComesBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := orders().Draw(t, "order")
		r := bytes.NewReader(append(AppendOrder(nil, o), "rest"...))
		got, err := ReadOrder(iotest.OneByteReader(r))
		if err != nil || !same(got, o) {
			t.Fatalf("read %+v, %v; wrote %+v", got, err, o)
		}
		if rest, _ := io.ReadAll(r); string(rest) != "rest" {
			t.Fatalf("left %q of what follows", rest)
		}
	})
}

func TestOrderRefused(t *testing.T) {
	good := AppendOrder(nil, Order{Dir: "/build", Argv: []string{"make", "all"}, Env: []string{"A=b"}, Umask: 0o22, CPUs: []uint32{1, 3}, FixedAddresses: true})
	for cut := range good {
		if _, err := ReadOrder(bytes.NewReader(good[:cut])); err == nil {
			t.Errorf("the first %d of %d bytes were taken", cut, len(good))
		}
	}
	for name, b := range map[string][]byte{
		"no command":      AppendOrder(nil, Order{Dir: "/"}),
		"too long":        {0x7f, 0xff, 0xff, 0xff},
		"bytes too many":  append([]byte{0, 0, 0, byte(len(good) - 3)}, append(slices.Clone(good[4:]), 0)...),
		"long string":     {0, 0, 0, 4, 0xff, 0xff, 0xff, 0xff},
		"many strings":    {0, 0, 0, 8, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff},
		"large umask":     AppendOrder(nil, Order{Dir: "/", Argv: []string{"a"}, Umask: 0o1000}),
		"no such CPU":     AppendOrder(nil, Order{Dir: "/", Argv: []string{"a"}, CPUs: []uint32{0, maxCPUs}}),
		"fixed how":       with(good, len(good)-21, 2),
		"clocked how":     with(good, len(good)-17, 2),
		"many CPUs":       {0, 0, 0, 25, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 'a', 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff},
		"nothing at all":  {0, 0, 0, 0},
		"list without it": {0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 1},
	} {
		if o, err := ReadOrder(bytes.NewReader(b)); !errors.Is(err, ErrOrder) {
			t.Errorf("%s: %+v, %v", name, o, err)
		}
	}
}

// with is b with another byte in one place.
func with(b []byte, at int, value byte) []byte {
	b = slices.Clone(b)
	b[at] = value
	return b
}

func FuzzReadOrder(f *testing.F) {
	f.Add(AppendOrder(nil, Order{Dir: "/build", Argv: []string{"a", ""}, Env: []string{"K=V"}, CPUs: []uint32{2}, FixedAddresses: true}))
	f.Add([]byte{0, 0, 0, 8, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		o, err := ReadOrder(bytes.NewReader(b))
		if err != nil {
			return
		}
		again := AppendOrder(nil, o)
		if !bytes.HasPrefix(b, again) {
			t.Errorf("%x is not the encoding %x of what it was read as", b, again)
		}
		if back, err := ReadOrder(bytes.NewReader(again)); err != nil || !reflect.DeepEqual(back, o) {
			t.Errorf("%+v came back as %+v, %v", o, back, err)
		}
	})
}
