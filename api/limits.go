package api

import "time"

const (
	// MaxTokenLifetime bounds how long a token stolen from one call serves.
	MaxTokenLifetime = 10 * time.Minute
	// maxClockSkew is how far a caller's clock may run ahead of a coordinator's.
	maxClockSkew = 2 * time.Minute
	// maxTokenBytes bounds the metadata a stranger can make us decode: a token is
	// below 400 bytes.
	maxTokenBytes = 2048
	// maxKeyBytes is far above a PKIX DER Ed25519 (44) or P-256 (91) key.
	maxKeyBytes = 512
	// maxAudienceBytes fits "node/" and an id in hex.
	maxAudienceBytes = 128

	// DefaultPatience is how long a call goes on while no coordinator can serve
	// it: above an election and a node's restart.
	DefaultPatience = 30 * time.Second
	// sendTimeout bounds one try to have a command applied; the next try repeats
	// the same bytes elsewhere.
	sendTimeout = 10 * time.Second
	// infoTimeout bounds one try of Info: a hung node must not hold up a client.
	infoTimeout = 3 * time.Second
	// backoff between rounds over all endpoints, doubled from the first to the last.
	backoffFirst = 50 * time.Millisecond
	backoffLast  = 2 * time.Second
	// keepaliveTime and keepaliveTimeout find a peer that is gone without a
	// goodbye. gRPC clamps the former to at least 10 s.
	keepaliveTime    = 10 * time.Second
	keepaliveTimeout = 5 * time.Second

	// commandValidity is how far ahead a command's ValidUntil lies: retries must
	// fit in, replays must not.
	commandValidity = 5 * time.Minute
	// infoMaxAge keeps ValidUntil below the hour that the farm allows, however
	// little farm time passed since Info was asked for.
	infoMaxAge = 10 * time.Minute

	// MaxMessageBytes bounds a gRPC message that a coordinator takes: CAS batches
	// of 4 MiB and their framing.
	MaxMessageBytes = 4<<20 + 64<<10
	// MaxAnswerBytes bounds what a coordinator answers: the statements of a result
	// of very many files, or a ledger of very many accounts.
	MaxAnswerBytes = 64 << 20
	// MaxEndpoints bounds what a client will go through: a cluster has few
	// coordinators, and each of those may be named twice.
	MaxEndpoints = 64
)
