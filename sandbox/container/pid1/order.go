package pid1

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"gavel/sandbox/clock"
)

// Order is what to start.
type Order struct {
	Dir  string   // absolute working directory
	Argv []string // at least the command's name
	Env  []string // exactly the command's environment, "K=V"
	// Umask is the command's, at most 0o777.
	Umask uint32
	// CPUs are the numbers of those it may run on; none are all.
	CPUs []uint32
	// FixedAddresses turns the randomisation of its addresses off.
	FixedAddresses bool
	// Clock says that it sees a time of day of its own, as of Time.
	Clock bool
	Time  clock.Setting
}

// maxOrderBytes is the most an Order may take, twice the kernel's usual room
// for arguments and environment.
const maxOrderBytes = 4 << 20

// maxCPUs is the kernel's largest number of CPUs, of any configuration.
const maxCPUs = 8192

// ErrOrder is wrapped by ReadOrder's errors about what was sent.
var ErrOrder = errors.New("malformed order")

// AppendOrder appends o's encoding to b: the length of what follows, then Dir,
// the number of Argv and each, the number of Env and each, Umask, the number of
// CPUs and each, 1 for FixedAddresses or else 0, the same for Clock, and the start
// and step of Time, each as its high and its low half. Lengths and numbers are 4
// bytes big-endian, strings have their length in front.
func AppendOrder(b []byte, o Order) []byte {
	start := len(b)
	b = appendString(append(b, 0, 0, 0, 0), o.Dir)
	for _, list := range [][]string{o.Argv, o.Env} {
		b = binary.BigEndian.AppendUint32(b, uint32(len(list)))
		for _, s := range list {
			b = appendString(b, s)
		}
	}
	b = binary.BigEndian.AppendUint32(b, o.Umask)
	b = binary.BigEndian.AppendUint32(b, uint32(len(o.CPUs)))
	for _, cpu := range o.CPUs {
		b = binary.BigEndian.AppendUint32(b, cpu)
	}
	for _, set := range []bool{o.FixedAddresses, o.Clock} {
		var n uint32
		if set {
			n = 1
		}
		b = binary.BigEndian.AppendUint32(b, n)
	}
	for _, n := range []int64{o.Time.StartSeconds, o.Time.StepSeconds} {
		b = binary.BigEndian.AppendUint64(b, uint64(n))
	}
	binary.BigEndian.PutUint32(b[start:], uint32(len(b)-start-4))
	return b
}

func appendString(b []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint32(b, uint32(len(s))), s...)
}

// ReadOrder reads one Order, and nothing after it, from r.
func ReadOrder(r io.Reader) (Order, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return Order{}, fmt.Errorf("reading an order's length: %w", err)
	}
	n := binary.BigEndian.Uint32(head[:])
	if n > maxOrderBytes {
		return Order{}, fmt.Errorf("%w: it has %d bytes, at most %d are taken", ErrOrder, n, maxOrderBytes)
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(r, body); err != nil {
		return Order{}, fmt.Errorf("reading an order: %w", err)
	}
	d := decoder{rest: body}
	o := Order{Dir: d.text(), Argv: d.list(), Env: d.list(), Umask: uint32(d.number()), CPUs: d.numbers()}
	fixed, clocked := d.number(), d.number()
	o.FixedAddresses, o.Clock = fixed == 1, clocked == 1
	o.Time = clock.Setting{StartSeconds: d.long(), StepSeconds: d.long()}
	if d.bad || len(d.rest) != 0 || len(o.Argv) == 0 {
		return Order{}, fmt.Errorf("%w: its lengths do not add up or it names no command", ErrOrder)
	}
	if o.Umask > 0o777 || fixed > 1 || clocked > 1 {
		return Order{}, fmt.Errorf("%w: a umask of %o, or neither 0 nor 1 for fixed addresses or a clock but %d and %d", ErrOrder, o.Umask, fixed, clocked)
	}
	for _, cpu := range o.CPUs {
		if cpu >= maxCPUs {
			return Order{}, fmt.Errorf("%w: there is no CPU %d", ErrOrder, cpu)
		}
	}
	return o, nil
}

// decoder takes values off rest; after the first that does not fit, bad stays set.
type decoder struct {
	rest []byte
	bad  bool
}

func (d *decoder) long() int64 { return int64(d.number())<<32 | int64(d.number()) }

func (d *decoder) number() int {
	if len(d.rest) < 4 {
		d.bad = true
		return 0
	}
	n := binary.BigEndian.Uint32(d.rest)
	d.rest = d.rest[4:]
	return int(n)
}

func (d *decoder) text() string {
	n := d.number()
	if n > len(d.rest) {
		d.bad = true
		return ""
	}
	s := string(d.rest[:n])
	d.rest = d.rest[n:]
	return s
}

func (d *decoder) list() []string {
	n := d.number()
	if n > len(d.rest)/4 { // each string takes at least its length
		d.bad = true
		return nil
	}
	list := make([]string, 0, n)
	for range n {
		list = append(list, d.text())
	}
	return list
}

func (d *decoder) numbers() []uint32 {
	n := d.number()
	if n > len(d.rest)/4 {
		d.bad = true
		return nil
	}
	var list []uint32
	for range n {
		list = append(list, uint32(d.number()))
	}
	return list
}
