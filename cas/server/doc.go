// Package server owns the gRPC side of the store: REAPI v2's
// ContentAddressableStorage and ByteStream. It never decides who may see what:
// each call goes through the scope.View of the account that the caller's context
// names. Messages, batches and unfinished uploads are bounded, and what a caller
// learns from an error is about its own request, never about another account or
// the machine.
package server
