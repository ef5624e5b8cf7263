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
	Instance
	// Instances are stores of their own, by REAPI instance name. Any other name
	// means the Instance above: an account is what separates callers there.
	Instances map[string]Instance
	// AccountFrom names the account a call is made for. A gRPC status error is
	// passed on to the caller, any other becomes Unauthenticated.
	AccountFrom func(context.Context) ([32]byte, error)
	// Log receives failures of the store, of which callers see only that there was one.
	Log *slog.Logger
}

// Instance is a store and what accounts may do in it.
type Instance struct {
	Store  cas.Store
	Access scope.Access
}

// Server implements both services.
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

// caller is the account of a call.
func (s *Server) caller(ctx context.Context) ([32]byte, error) {
	account, err := s.config.AccountFrom(ctx)
	if err != nil {
		return account, unauthenticated(err)
	}
	return account, nil
}

// viewOf is an instance's store as an account sees it.
func (s *Server) viewOf(account [32]byte, instance string) scope.View {
	of, own := s.config.Instances[instance]
	if !own {
		of = s.config.Instance
	}
	return scope.NewView(of.Store, of.Access, account)
}

// view is an instance's store as the caller of ctx sees it.
func (s *Server) view(ctx context.Context, instance string) (scope.View, error) {
	account, err := s.caller(ctx)
	if err != nil {
		return scope.View{}, err
	}
	return s.viewOf(account, instance), nil
}
