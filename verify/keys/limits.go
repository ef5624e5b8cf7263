package keys

// maxKeyFileBytes bounds what is read as a key: a PEM of ours has below 300
// bytes, one with its curve's parameters and comments a few thousand.
const maxKeyFileBytes = 64 << 10
