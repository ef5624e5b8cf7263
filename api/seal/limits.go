package seal

const (
	// overheadBytes is what sealing adds: the 32-byte encapsulated key and the
	// 16-byte tag of Poly1305 (RFC 9180 sections 7.1 and 7.3).
	overheadBytes = 32 + 16

	// MaxSealedLogChunkBytes bounds a sealed chunk of a log: small enough to be
	// held in memory many times over, large enough that the overhead is noise.
	MaxSealedLogChunkBytes = 64 << 10

	// MaxLogChunkBytes bounds a chunk before it is sealed.
	MaxLogChunkBytes = MaxSealedLogChunkBytes - overheadBytes

	// MaxCoordinators is the most that build.Lodgement has room for.
	MaxCoordinators = 64

	// maxKeyFileBytes is far above a PEM of an X25519 key, about 120 bytes.
	maxKeyFileBytes = 4096
)
