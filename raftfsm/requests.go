package raftfsm

import (
	"container/heap"

	"gavel/raftfsm/build"
	"gavel/raftfsm/wire"
)

// request is a remembered command that must not be carried out twice.
type request struct {
	Sender     ID
	ValidUntil int64
	Outcome    build.Outcome
}

// Code is the canonical encoding.
func (r *request) Code(c *wire.Coder) {
	c.Bytes32(&r.Sender)
	c.I64(&r.ValidUntil)
	c.U32((*uint32)(&r.Outcome.Code))
	c.String(&r.Outcome.Detail, 4096)
	c.Bytes32(&r.Outcome.Subject)
}

// Bounds of what is remembered: no sender can fill the table alone.
const (
	// MaxRequests bounds remembered request ids; each lives for at most an hour of farm time.
	MaxRequests = 65536
	// maxRequestsEach is one sender's part, more than a request each second.
	maxRequestsEach = 4096
)

// addRequest remembers a request.
func (s *State) addRequest(key ID, r *request) {
	s.requests[key] = r
	s.touch(kindRequest, key)
	s.indexRequest(key, r)
}

// indexRequest keeps the derived order of expiry and the count by sender.
func (s *State) indexRequest(key ID, r *request) {
	heap.Push(&s.expiry, deadlineEntry{r.ValidUntil, key})
	s.requestsBy[r.Sender]++
}

// roomForRequest forgets what could not be repeated any more, and says whether
// one more of sender's can be remembered.
func (s *State) roomForRequest(sender ID) build.Outcome {
	for len(s.expiry) > 0 && s.expiry[0].at < s.now {
		key := heap.Pop(&s.expiry).(deadlineEntry).id
		from := s.requests[key].Sender
		if s.requestsBy[from]--; s.requestsBy[from] == 0 {
			delete(s.requestsBy, from)
		}
		delete(s.requests, key)
		s.touch(kindRequest, key)
	}
	if len(s.requests) >= MaxRequests || s.requestsBy[sender] >= maxRequestsEach {
		return build.Refuse(build.CodeBusy, "%d requests of this sender and %d of all are remembered: try again later", s.requestsBy[sender], len(s.requests))
	}
	return build.Outcome{}
}
