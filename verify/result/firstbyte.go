package result

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

// End stands for a byte where a file has ended.
const End = -1

// ByteDifference is where two files part: at Offset, counted from 0, one has the
// byte A, the other B, each 0..255 or End.
type ByteDifference struct {
	Offset int64
	A, B   int
}

// FirstDifference reads two files block by block until they part. It returns nil
// if they are equal. Memory is constant.
func FirstDifference(a, b io.Reader) (*ByteDifference, error) {
	left, right := make([]byte, readBytes), make([]byte, readBytes)
	for offset := int64(0); ; {
		x, endA, errA := block(a, left)
		y, endB, errB := block(b, right)
		if !bytes.Equal(x, y) {
			n := commonPrefix(x, y)
			// A byte that a broken reader withheld is not the file's end.
			if n < len(x) && n < len(y) || n == len(x) && endA || n == len(y) && endB {
				return &ByteDifference{Offset: offset + int64(n), A: at(x, n), B: at(y, n)}, nil
			}
		}
		if err := errors.Join(errA, errB); err != nil {
			return nil, fmt.Errorf("comparing files from byte %d: %w", offset, err)
		}
		if endA && endB {
			return nil, nil
		}
		offset += int64(len(x))
	}
}

// block fills buf as far as r goes. end says that r ended within it: only io.EOF
// does, because a truncated download ends in io.ErrUnexpectedEOF.
func block(r io.Reader, buf []byte) (got []byte, end bool, err error) {
	for len(got) < len(buf) && err == nil {
		var n int
		n, err = r.Read(buf[len(got):])
		got = buf[:len(got)+n]
	}
	if err == io.EOF {
		return got, true, nil
	}
	return got, false, err
}

func commonPrefix(a, b []byte) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

func at(b []byte, i int) int {
	if i < len(b) {
		return int(b[i])
	}
	return End
}
