// Package wire is the one canonical codec of everything that is replicated or
// hashed: commands, events, snapshots and signed requests. It never guesses: a
// value has exactly one encoding, and the decoder refuses every other byte
// string. Integers are big-endian and fixed width, variable fields carry a u32
// length, lists a u32 count, maps are sorted lists.
//
// One method per record, Code(*Coder), serves both directions, so that what is
// written and what is read cannot drift apart:
//
//	func (b *Bid) Code(c *wire.Coder) {
//		c.Bytes32(&b.Auction)
//		c.I64(&b.Price)
//		c.Blob(&b.Note, 256)
//	}
package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// ErrNotCanonical is wrapped by every decoding error: the bytes are not what
// Encode would have written for any value.
var ErrNotCanonical = errors.New("not a canonical encoding")

// Record is anything that has a canonical encoding.
type Record interface {
	Code(*Coder)
}

// Coder walks a record's fields in order, either appending them to a buffer or
// reading them from one. The zero Coder encodes. After the first error every
// call is a no-op, so a Code method needs no error handling of its own.
type Coder struct {
	buf      []byte
	decoding bool
	err      error
}

// Encode returns r's canonical encoding.
func Encode(r Record) []byte {
	c := Coder{buf: make([]byte, 0, 1024)} // most records fit; growing would copy
	r.Code(&c)
	if c.err != nil {
		// A record that cannot be encoded breaks a limit its constructor must have checked.
		panic(fmt.Sprintf("wire: encoding %T: %v", r, c.err))
	}
	return c.buf
}

// Decode fills r from b. Every byte must be used.
func Decode(b []byte, r Record) error {
	c := Coder{buf: b, decoding: true}
	r.Code(&c)
	if c.err == nil && len(c.buf) != 0 {
		c.fail("%d bytes left over", len(c.buf))
	}
	if c.err != nil {
		return fmt.Errorf("decoding %T: %w", r, c.err)
	}
	return nil
}

// Decoding tells a Code method which way it is going, for the rare record
// whose shape depends on a field already read.
func (c *Coder) Decoding() bool { return c.decoding }

// Err is the first error met.
func (c *Coder) Err() error { return c.err }

// Refuse marks what was read as not canonical, for checks that only the record knows.
func (c *Coder) Refuse(format string, args ...any) { c.fail(format, args...) }

func (c *Coder) fail(format string, args ...any) {
	if c.err == nil {
		c.err = fmt.Errorf("%w: %s", ErrNotCanonical, fmt.Sprintf(format, args...))
	}
}

// take returns the next n bytes of input, or nil after an error.
func (c *Coder) take(n int) []byte {
	if c.err != nil {
		return nil
	}
	if len(c.buf) < n {
		c.fail("%d bytes wanted, %d left", n, len(c.buf))
		return nil
	}
	b := c.buf[:n]
	c.buf = c.buf[n:]
	return b
}

// U8 codes one byte.
func (c *Coder) U8(v *uint8) {
	if !c.decoding {
		c.buf = append(c.buf, *v)
		return
	}
	if b := c.take(1); b != nil {
		*v = b[0]
	}
}

// U16 codes two bytes, big-endian.
func (c *Coder) U16(v *uint16) {
	if !c.decoding {
		c.buf = binary.BigEndian.AppendUint16(c.buf, *v)
		return
	}
	if b := c.take(2); b != nil {
		*v = binary.BigEndian.Uint16(b)
	}
}

// U32 codes four bytes, big-endian.
func (c *Coder) U32(v *uint32) {
	if !c.decoding {
		c.buf = binary.BigEndian.AppendUint32(c.buf, *v)
		return
	}
	if b := c.take(4); b != nil {
		*v = binary.BigEndian.Uint32(b)
	}
}

// U64 codes eight bytes, big-endian.
func (c *Coder) U64(v *uint64) {
	if !c.decoding {
		c.buf = binary.BigEndian.AppendUint64(c.buf, *v)
		return
	}
	if b := c.take(8); b != nil {
		*v = binary.BigEndian.Uint64(b)
	}
}

// I64 codes a two's complement integer in eight bytes, big-endian.
func (c *Coder) I64(v *int64) {
	u := uint64(*v)
	c.U64(&u)
	if c.decoding { // encoding only reads: two readers may encode one record
		*v = int64(u)
	}
}

// Bool codes 0 or 1; any other byte is refused.
func (c *Coder) Bool(v *bool) {
	var b uint8
	if *v {
		b = 1
	}
	c.U8(&b)
	if c.decoding {
		if b > 1 {
			c.fail("bool is %d", b)
		}
		*v = b == 1
	}
}

// Bytes16 codes 16 bytes as they are.
func (c *Coder) Bytes16(v *[16]byte) { c.fixed(v[:]) }

// Bytes32 codes 32 bytes as they are.
func (c *Coder) Bytes32(v *[32]byte) { c.fixed(v[:]) }

func (c *Coder) fixed(v []byte) {
	if !c.decoding {
		c.buf = append(c.buf, v...)
		return
	}
	if b := c.take(len(v)); b != nil {
		copy(v, b)
	}
}

// Blob codes at most limit bytes behind their u32 length. Decoding copies, and
// an empty blob decodes as nil.
func (c *Coder) Blob(v *[]byte, limit int) {
	n := c.length(len(*v), limit)
	if !c.decoding {
		c.buf = append(c.buf, *v...)
		return
	}
	*v = nil
	if b := c.take(n); len(b) > 0 {
		*v = append([]byte(nil), b...)
	}
}

// String codes at most limit bytes of text behind their u32 length. NUL is
// refused: no name of ours has one, and C programs would cut it there.
func (c *Coder) String(v *string, limit int) {
	n := c.length(len(*v), limit)
	if !c.decoding {
		c.buf = append(c.buf, *v...)
		return
	}
	b := c.take(n)
	for _, x := range b {
		if x == 0 {
			c.fail("NUL in a string")
			return
		}
	}
	*v = string(b)
}

// length codes a u32 count and holds it to limit.
func (c *Coder) length(n, limit int) int {
	u := uint32(n)
	if n > limit {
		c.fail("length %d, limit %d", n, limit)
		return 0
	}
	c.U32(&u)
	if c.decoding && int(u) > limit {
		c.fail("length %d, limit %d", u, limit)
		return 0
	}
	return int(u)
}

// Strings codes a list of at most limit strings of at most each bytes.
func (c *Coder) Strings(v *[]string, limit, each int) {
	List(c, v, limit, func(c *Coder, s *string) { c.String(s, each) })
}

// List codes at most limit elements behind their u32 count, in the order given.
// An empty list decodes as nil.
func List[T any](c *Coder, v *[]T, limit int, code func(*Coder, *T)) {
	n := c.length(len(*v), limit)
	if !c.decoding {
		for i := range *v {
			code(c, &(*v)[i])
		}
		return
	}
	*v = nil
	// Every element takes at least a byte: a count beyond what is left is a lie
	// and must not size an allocation.
	if n > len(c.buf) {
		c.fail("%d elements in %d bytes", n, len(c.buf))
		return
	}
	for i := 0; i < n && c.err == nil; i++ {
		var e T
		code(c, &e)
		*v = append(*v, e)
	}
}

// Records codes at most limit records behind their u32 count.
func Records[T any, P interface {
	*T
	Record
}](c *Coder, v *[]T, limit int) {
	List(c, v, limit, func(c *Coder, e *T) { P(e).Code(c) })
}

// SortedMap codes a map as a list of strictly ascending keys with their values.
// less must be a strict order of keys; decoding refuses repeats and disorder.
func SortedMap[K comparable, V any](c *Coder, m *map[K]V, limit int, compare func(a, b K) int, key func(*Coder, *K), value func(*Coder, *V)) {
	n := c.length(len(*m), limit)
	if !c.decoding {
		for _, k := range SortedKeys(*m, compare) {
			v := (*m)[k]
			key(c, &k)
			value(c, &v)
		}
		return
	}
	*m = make(map[K]V)
	var last K
	for i := 0; i < n && c.err == nil; i++ {
		var k K
		var v V
		key(c, &k)
		value(c, &v)
		if i > 0 && c.err == nil && compare(last, k) >= 0 {
			c.fail("map keys out of order")
		}
		last = k
		(*m)[k] = v
	}
}

// Fixed48 codes 48 bytes as they are: a compressed point of BLS12-381's G1.
func Fixed48(c *Coder, v *[48]byte) { c.fixed(v[:]) }
