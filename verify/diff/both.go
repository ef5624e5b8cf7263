package diff

import (
	"bytes"
	"encoding/binary"
	"errors"
)

// errUnread says that the first side is not what is read here, errOther that the sides
// say other things.
var (
	errUnread = errors.New("not read")
	errOther  = errors.New("it differs in more")
)

// both reads two sides of one format in step. What it reads has to be equal but where
// a method hands out both values; the first failure stays in err.
type both struct {
	x, y  []byte
	i, j  int // what is read next
	order binary.ByteOrder
	err   error
}

// fail notes that something is wrong with the first side, or only with the second.
func (b *both) fail(first bool) {
	if b.err == nil {
		if b.err = errOther; first {
			b.err = errUnread
		}
	}
}

// fits tells whether both sides have as many bytes left.
func (b *both) fits(n, m uint64) bool {
	if b.err == nil && (n > uint64(len(b.x)-b.i) || m > uint64(len(b.y)-b.j)) {
		b.fail(n > uint64(len(b.x)-b.i))
	}
	return b.err == nil
}

// raw passes n bytes that are equal, and returns them; nil after a failure.
func (b *both) raw(n uint64) []byte {
	if !b.fits(n, n) {
		return nil
	}
	p, q := b.x[b.i:b.i+int(n)], b.y[b.j:b.j+int(n)]
	if !bytes.Equal(p, q) {
		b.fail(false)
		return nil
	}
	b.i, b.j = b.i+int(n), b.j+int(n)
	return p
}

// apart passes a number of n bytes that may be another one on each side.
func (b *both) apart(n int) (p, q uint64) {
	if !b.fits(uint64(n), uint64(n)) {
		return 0, 0
	}
	p, q = b.decode(b.x[b.i:b.i+n]), b.decode(b.y[b.j:b.j+n])
	b.i, b.j = b.i+n, b.j+n
	return p, q
}

// number passes a number of n bytes that is equal.
func (b *both) number(n int) uint64 {
	p, q := b.apart(n)
	if p != q {
		b.fail(false)
	}
	return p
}

func (b *both) decode(raw []byte) uint64 {
	switch len(raw) {
	case 1:
		return uint64(raw[0])
	case 2:
		return uint64(b.order.Uint16(raw))
	case 4:
		return uint64(b.order.Uint32(raw))
	case 8:
		return b.order.Uint64(raw)
	}
	b.fail(true)
	return 0
}

// leb passes a LEB128 that is equal; its value is right if it is unsigned.
func (b *both) leb() (v uint64) {
	for shift := 0; ; shift += 7 {
		raw := b.raw(1)
		if raw == nil {
			return 0
		}
		if shift < 64 {
			v |= uint64(raw[0]&0x7f) << shift
		}
		if raw[0]&0x80 == 0 {
			return v
		}
	}
}

// text passes a string that ends with NUL.
func (b *both) text() (p, q string) {
	if b.err != nil {
		return "", ""
	}
	n, m := bytes.IndexByte(b.x[b.i:], 0), bytes.IndexByte(b.y[b.j:], 0)
	if n < 0 || m < 0 {
		b.fail(n < 0)
		return "", ""
	}
	p, q = string(b.x[b.i:b.i+n]), string(b.y[b.j:b.j+m])
	b.i, b.j = b.i+n+1, b.j+m+1
	return p, q
}

// part is both for n bytes of the one and m of the other side, which it passes.
func (b *both) part(n, m uint64) *both {
	if !b.fits(n, m) {
		return &both{order: b.order, err: b.err}
	}
	out := &both{x: b.x[:b.i+int(n)], y: b.y[:b.j+int(m)], i: b.i, j: b.j, order: b.order}
	b.i, b.j = b.i+int(n), b.j+int(m)
	return out
}

// done tells whether nothing is left, or nothing can be read any more. Where only one
// side ends, they differ.
func (b *both) done() bool {
	x, y := b.i == len(b.x), b.j == len(b.y)
	if b.err == nil && x != y {
		b.fail(false)
	}
	return b.err != nil || x
}

// rest passes what is left of both, which is equal but for zeros at its end.
func (b *both) rest() {
	if b.err != nil {
		return
	}
	if !bytes.Equal(bytes.TrimRight(b.x[b.i:], "\x00"), bytes.TrimRight(b.y[b.j:], "\x00")) {
		b.fail(false)
		return
	}
	b.i, b.j = len(b.x), len(b.y)
}
