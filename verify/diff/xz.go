package diff

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"hash/crc64"
	"io"
	"slices"

	"github.com/ulikunitz/xz/lzma"
)

// readXZ reads the .xz file format 1.2.0 around the library's LZMA2: its own reader
// of that format allocates whatever dictionary a block asks for, up to 4 GiB.
func readXZ(s *session, b Blob) (*archive, error) {
	x := &xzReader{blob: b, r: &offsetReader{r: s.reader(b)}}
	if err := x.stream(); err != nil {
		return nil, err
	}
	check := x.check
	open, closer, err := s.eager(x)
	if err != nil {
		return nil, err
	}
	out := packed("content", []field{{name: "kind of check in the xz header", value: fmt.Sprintf("%d", check), cause: Toolchain}}, open)
	out.closers = append(out.closers, closer)
	return out, nil
}

// xzReader decompresses streams of blocks, and checks each against its checksum.
type xzReader struct {
	blob  Blob
	r     *offsetReader
	check byte
	block io.Reader // nil between blocks
	sum   hash.Hash // of the block so far, nil for a kind that is not computed
	start int64     // of the block's compressed data
}

var errXZ = errors.New("not a well-formed xz file")

// checkBytes is the size of a check by its kind.
var checkBytes = [16]int{0, 4, 4, 4, 8, 8, 8, 16, 16, 16, 32, 32, 32, 64, 64, 64}

func (x *xzReader) full(n int) ([]byte, error) {
	out := make([]byte, n)
	if _, err := io.ReadFull(x.r, out); err != nil {
		return nil, fmt.Errorf("%w: it ends at byte %d", errXZ, x.r.at)
	}
	return out, nil
}

// stream reads a stream's header.
func (x *xzReader) stream() error {
	h, err := x.full(12)
	switch {
	case err != nil:
		return err
	case string(h[:6]) != "\xfd7zXZ\x00" || h[6] != 0 || h[7]&0xf0 != 0 || crc32.ChecksumIEEE(h[6:8]) != binary.LittleEndian.Uint32(h[8:]):
		return fmt.Errorf("%w: the stream's header at byte %d does not hold", errXZ, x.r.at-12)
	}
	x.check = h[7]
	return nil
}

func (x *xzReader) Read(p []byte) (int, error) {
	for {
		if x.block == nil {
			if err := x.next(); err != nil {
				return 0, err
			}
		}
		n, err := x.block.Read(p)
		if x.sum != nil {
			x.sum.Write(p[:n])
		}
		if err == io.EOF {
			x.block = nil
			err = x.endBlock()
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
}

// next enters the next block, passing over indexes and into further streams; at the
// end of the last it is io.EOF.
func (x *xzReader) next() error {
	for {
		size, err := x.full(1)
		if err != nil {
			return err
		}
		if size[0] != 0 {
			return x.enter(size[0])
		}
		if err := x.index(); err != nil {
			return err
		}
		if err := x.padding(); err != nil {
			return err
		}
		if err := x.stream(); err != nil {
			return err
		}
	}
}

// enter reads a block's header, whose first byte was size.
func (x *xzReader) enter(size byte) error {
	h, err := x.full(int(size)*4 + 3)
	if err != nil {
		return err
	}
	body := h[:len(h)-4]
	sum := crc32.Update(crc32.ChecksumIEEE([]byte{size}), crc32.IEEETable, body)
	if sum != binary.LittleEndian.Uint32(h[len(h)-4:]) {
		return fmt.Errorf("%w: the block's header at byte %d does not hold", errXZ, x.r.at)
	}
	in := bytes.NewReader(body)
	flags, err := in.ReadByte()
	if err != nil {
		return fmt.Errorf("%w: the block's header is empty", errXZ)
	}
	if flags&3 != 0 {
		return fmt.Errorf("%w: it is filtered for one kind of processor", errBound)
	}
	for _, bit := range []byte{0x40, 0x80} { // sizes that need not be there
		if flags&bit != 0 {
			if _, err := binary.ReadUvarint(in); err != nil {
				return fmt.Errorf("%w: a size in a block's header: %w", errXZ, err)
			}
		}
	}
	filter := make([]byte, 3)
	if _, err := io.ReadFull(in, filter); err != nil || filter[0] != 0x21 || filter[1] != 1 {
		return fmt.Errorf("%w: it uses a filter other than LZMA2", errBound)
	}
	window := lzma2Window(filter[2])
	if window > maxWindowBytes {
		return fmt.Errorf("%w: it asks for a dictionary of %d bytes", errBound, window)
	}
	x.start, x.sum = x.r.at, newCheck(x.check)
	x.block, err = lzma.Reader2Config{DictCap: int(max(window, lzma.MinDictCap))}.NewReader2(x.r)
	if err != nil {
		return fmt.Errorf("reading an xz block: %w", err)
	}
	return nil
}

// lzma2Window is the dictionary size in bytes that a filter's one byte stands for.
func lzma2Window(bits byte) int64 {
	if bits &= 0x3f; bits >= 40 {
		return 1<<32 - 1
	}
	return int64(2|bits&1) << (bits/2 + 11)
}

// endBlock passes over what follows a block's data.
func (x *xzReader) endBlock() error {
	padding, err := x.full(int(-(x.r.at - x.start) & 3))
	if err != nil {
		return err
	}
	if !allZero(padding) {
		return fmt.Errorf("%w: padding at byte %d", errXZ, x.r.at)
	}
	check, err := x.full(checkBytes[x.check&15])
	if err != nil || x.sum == nil {
		return err
	}
	got := x.sum.Sum(nil)
	if x.check != checkSHA256 {
		slices.Reverse(got) // stored little-endian
	}
	if !bytes.Equal(got, check) {
		return fmt.Errorf("%w: the checksum of a block that ends at byte %d does not hold", errXZ, x.r.at)
	}
	return nil
}

const (
	checkCRC32  = 1
	checkCRC64  = 4
	checkSHA256 = 10
)

func newCheck(kind byte) hash.Hash {
	switch kind {
	case checkCRC32:
		return crc32.NewIEEE()
	case checkCRC64:
		return crc64.New(crc64.MakeTable(crc64.ECMA))
	case checkSHA256:
		return sha256.New()
	}
	return nil
}

// index passes over an index, whose first byte was read, and the footer.
func (x *xzReader) index() error {
	start := x.r.at - 1
	records, err := x.uvarint()
	if err != nil {
		return err
	}
	for i := uint64(0); i < records; i++ {
		for range 2 {
			if _, err := x.uvarint(); err != nil {
				return err
			}
		}
	}
	if _, err := x.full(int(-(x.r.at-start)&3) + 4); err != nil {
		return err
	}
	footer, err := x.full(12)
	if err == nil && string(footer[10:]) != "YZ" {
		err = fmt.Errorf("%w: the footer at byte %d does not hold", errXZ, x.r.at-12)
	}
	return err
}

func (x *xzReader) uvarint() (uint64, error) {
	v, err := binary.ReadUvarint(byteReader{x.r})
	if err != nil {
		return 0, fmt.Errorf("%w: a number at byte %d: %w", errXZ, x.r.at, err)
	}
	return v, nil
}

type byteReader struct{ r io.Reader }

func (b byteReader) ReadByte() (byte, error) {
	var one [1]byte
	_, err := io.ReadFull(b.r, one[:])
	return one[0], err
}

// padding passes over zeros between streams; io.EOF says that nothing follows.
func (x *xzReader) padding() error {
	for x.r.at < x.blob.Size() {
		var peek [4]byte
		n, err := x.blob.ReadAt(peek[:], x.r.at)
		if n < len(peek) {
			return fmt.Errorf("%w: %d bytes after its end (%w)", errXZ, n, err)
		}
		if !allZero(peek[:]) {
			return nil
		}
		if _, err := x.full(4); err != nil {
			return err
		}
	}
	return io.EOF
}
