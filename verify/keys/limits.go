package keys

const (
	// maxKeyFileBytes bounds what is read as a key: a PEM of ours has below 300
	// bytes, an encrypted one 700, one with its curve's parameters and comments a few
	// thousand.
	maxKeyFileBytes = 64 << 10
	// maxPassphraseBytes bounds a passphrase: a sentence, or a long random text.
	maxPassphraseBytes = 1 << 10
)
