package sandbox

import (
	"fmt"
	"io"
	"sync"
)

// CappedLog passes the first limit bytes on to a writer and drops the rest,
// saying so once. Its Write never fails, so that neither a full log nor a
// broken reader can stop a build. It is safe for concurrent use.
type CappedLog struct {
	mu        sync.Mutex
	w         io.Writer // nil after it failed
	left      int64
	limit     int64
	truncated bool
}

// NewCappedLog returns a CappedLog before w; a nil w drops everything without counting it as cut.
func NewCappedLog(w io.Writer, limit int64) *CappedLog {
	if w == nil {
		w = io.Discard
	}
	return &CappedLog{w: w, left: limit, limit: limit}
}

// Write takes all of p.
func (l *CappedLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := len(p)
	if int64(n) > l.left {
		p = p[:l.left]
	}
	l.left -= int64(len(p))
	l.pass(p)
	if len(p) < n && !l.truncated {
		l.truncated = true
		l.pass(fmt.Appendf(nil, "\ngavel: the log is cut here, after %d bytes\n", l.limit))
	}
	return n, nil
}

func (l *CappedLog) pass(p []byte) {
	if l.w == nil || len(p) == 0 {
		return
	}
	if _, err := l.w.Write(p); err != nil {
		l.w, l.truncated = nil, true
	}
}

// Truncated says whether anything that was written was not passed on.
func (l *CappedLog) Truncated() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.truncated
}
