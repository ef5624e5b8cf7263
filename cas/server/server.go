package server

import (
	"context"
	"log/slog"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	bspb "google.golang.org/genproto/googleapis/bytestream"
	"google.golang.org/grpc"

	"gavel/cas"
	"gavel/cas/scope"
)

// Config is what a Server serves, and to whom.
type Config struct {
	Store  cas.Store
	Access scope.Access
	// AccountFrom names the account a call is made for. A gRPC status error is
	// passed on to the caller, any other becomes Unauthenticated.
	AccountFrom func(context.Context) ([32]byte, error)
	// Log receives failures of the store, of which callers see only that there was one.
	Log *slog.Logger
}

// Server implements both services. Instance names are accepted and ignored: an
// account is what separates callers.
type Server struct {
	repb.UnimplementedContentAddressableStorageServer
	bspb.UnimplementedByteStreamServer
	config  Config
	uploads *uploads
}

// New returns a server; Close it when its gRPC server has stopped.
func New(c Config) *Server {
	return &Server{config: c, uploads: newUploads()}
}

// Register adds both services to a gRPC server.
func (s *Server) Register(to *grpc.Server) {
	repb.RegisterContentAddressableStorageServer(to, s)
	bspb.RegisterByteStreamServer(to, s)
}

// Close gives up unfinished uploads and waits for the store to let go of them.
func (s *Server) Close() { s.uploads.close() }

// view is the store as the caller of ctx sees it.
func (s *Server) view(ctx context.Context) (scope.View, [32]byte, error) {
	account, err := s.config.AccountFrom(ctx)
	if err != nil {
		return scope.View{}, account, unauthenticated(err)
	}
	return scope.NewView(s.config.Store, s.config.Access, account), account, nil
}
