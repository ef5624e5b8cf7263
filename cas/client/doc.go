// Package client owns the calling side of REAPI v2's ContentAddressableStorage
// and ByteStream. It never hands out a byte sequence as a blob without verifying
// digest and size, whatever the server said of it, and never retries forever.
// Small blobs travel in batches, large ones in streams that continue where a
// lost connection left them.
package client
