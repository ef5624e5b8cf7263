package clock

import (
	"encoding/binary"
	"errors"

	"golang.org/x/sys/unix"
)

// order is what the launcher executes.
type order struct {
	program   string
	argv, env []string
	filter    []unix.SockFilter
}

// maxOrderBytes is more than the kernel takes of arguments and environment.
const maxOrderBytes = 16 << 20

// errOrder is about bytes that are no order.
var errOrder = errors.New("malformed order to the launcher")

// append appends o's encoding to b: the length of what follows, the program, the
// arguments, the environment, the filter. Lengths and numbers take 4 bytes.
func (o order) append(b []byte) []byte {
	start := len(b)
	b = appendText(append(b, 0, 0, 0, 0), o.program)
	for _, list := range [][]string{o.argv, o.env} {
		b = binary.LittleEndian.AppendUint32(b, uint32(len(list)))
		for _, s := range list {
			b = appendText(b, s)
		}
	}
	b = binary.LittleEndian.AppendUint32(b, uint32(len(o.filter)))
	for _, i := range o.filter {
		b = binary.LittleEndian.AppendUint16(b, i.Code)
		b = append(b, i.Jt, i.Jf)
		b = binary.LittleEndian.AppendUint32(b, i.K)
	}
	binary.LittleEndian.PutUint32(b[start:], uint32(len(b)-start-4))
	return b
}

func appendText(b []byte, s string) []byte {
	return append(binary.LittleEndian.AppendUint32(b, uint32(len(s))), s...)
}

// decodeOrder reads what follows the length.
func decodeOrder(b []byte) (order, error) {
	d := decoder{rest: b}
	o := order{program: d.text(), argv: d.list(), env: d.list(), filter: d.instructions()}
	if d.bad || len(d.rest) != 0 || len(o.argv) == 0 {
		return order{}, errOrder
	}
	return o, nil
}

// decoder takes values off rest; after the first that does not fit, bad stays set.
type decoder struct {
	rest []byte
	bad  bool
}

func (d *decoder) take(n int) []byte {
	if n < 0 || n > len(d.rest) {
		d.bad, d.rest = true, nil
		return nil
	}
	taken := d.rest[:n]
	d.rest = d.rest[n:]
	return taken
}

// number takes a count of things of which each takes at least size bytes.
func (d *decoder) number(size int) int {
	b := d.take(4)
	if b == nil {
		return 0
	}
	n := binary.LittleEndian.Uint32(b)
	if uint64(n)*uint64(size) > uint64(len(d.rest)) {
		d.bad = true
		return 0
	}
	return int(n)
}

func (d *decoder) text() string { return string(d.take(d.number(1))) }

func (d *decoder) list() []string {
	n := d.number(4)
	list := make([]string, 0, n)
	for range n {
		list = append(list, d.text())
	}
	return list
}

func (d *decoder) instructions() []unix.SockFilter {
	n := d.number(8)
	list := make([]unix.SockFilter, 0, n)
	for range n {
		b := d.take(8)
		if b == nil {
			break
		}
		list = append(list, unix.SockFilter{Code: binary.LittleEndian.Uint16(b), Jt: b[2], Jf: b[3], K: binary.LittleEndian.Uint32(b[4:])})
	}
	return list
}
