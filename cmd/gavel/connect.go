package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	"gavel/api"
	gavelv1 "gavel/api/gavel/v1"
	"gavel/cas/client"
	"gavel/verify/keys"
)

// signer is a key from a file or a KMS as api wants it.
type signer struct{ *keys.Signer }

// PublicPKIX implements api.Signer.
func (s signer) PublicPKIX() []byte { return s.Public }

// keyFlag adds --key.
func keyFlag(c *cobra.Command, path *string) {
	c.Flags().StringVar(path, "key", "", "the signing key `FILE` of the account that asks (default: the farm's requester)")
}

// farm is a farm that answers, and on whose behalf we call it.
type farm struct {
	*api.Client
	dir  farmDir
	file *farmFile
}

// connect finds the farm that flag means and speaks for its requester.
func connect(ctx context.Context, flag string) (*farm, error) {
	return connectAs(ctx, flag, "")
}

// connectAs speaks for the owner of a key in the farm's keys/, the requester if
// name is empty.
func connectAs(ctx context.Context, flag, name string) (*farm, error) {
	if name == "" {
		return connectKey(ctx, flag, "")
	}
	dir, err := findFarm(flag)
	if err != nil {
		return nil, err
	}
	return connectKey(ctx, flag, dir.key(name))
}

// connectKey speaks for the owner of a key file, the requester if path is empty.
func connectKey(ctx context.Context, flag, path string) (*farm, error) {
	dir, err := findFarm(flag)
	if err != nil {
		return nil, err
	}
	file, err := dir.read()
	if err != nil {
		return nil, err
	}
	if path == "" {
		path = file.Requester.Key
	}
	key, err := keys.Load(ctx, path)
	if err != nil {
		return nil, refused(fmt.Errorf("%w. Nothing was sent", err))
	}
	o := api.Options{Endpoints: file.Endpoints, Signer: signer{key}}
	if err := dir.trust(&o); err != nil {
		return nil, err
	}
	if err := reachable(ctx, file.Endpoints); err != nil {
		return nil, &exit{code: exitNoFarm, err: fmt.Errorf("the farm in %s does not answer at %s (%w). What it acknowledged is safe in its directory. Start it with `gavel up --dir %s`",
			dir, strings.Join(file.Endpoints, ", "), err, dir)}
	}
	c, err := api.Dial(ctx, o)
	if err != nil {
		return nil, &exit{code: exitNoFarm, err: plain(err)}
	}
	return &farm{Client: c, dir: dir, file: file}, nil
}

// reachTimeout is how long a farm whose every address refuses connections is
// given: its calls are more patient, but a farm that is not running should be
// told of at once.
const reachTimeout = 3 * time.Second

// reachable returns as soon as one endpoint accepts a connection.
func reachable(ctx context.Context, endpoints []string) error {
	ctx, cancel := context.WithTimeout(ctx, reachTimeout)
	defer cancel()
	last := errors.New("farm.json names no endpoint")
	for {
		for _, e := range endpoints {
			c, err := new(net.Dialer).DialContext(ctx, "tcp", e)
			if err == nil {
				return c.Close()
			}
			if ctx.Err() == nil {
				last = err
			}
		}
		t := time.NewTimer(100 * time.Millisecond)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return last
		}
	}
}

// blobs is the farm's blob store as this account sees it.
func (f *farm) blobs() (*client.Client, error) {
	return client.New([]grpc.ClientConnInterface{f.CASConn()}, client.Options{})
}

// images is the farm's store of images.
func (f *farm) images() (*client.Client, error) {
	return client.New([]grpc.ClientConnInterface{f.CASConn()}, client.Options{Instance: api.ImagesInstance})
}

const (
	minBuildPrefix = 8   // hex digits that name a build
	listedBuilds   = 500 // through which a prefix is looked for: as many as the farm lists at once
)

// onBuild connects to the farm of dir and does something with one of its builds.
func onBuild(ctx context.Context, dir, name string, do func(f *farm, id [32]byte) error) error {
	f, err := connect(ctx, dir)
	if err != nil {
		return err
	}
	defer f.Close()
	id, err := f.build(ctx, name)
	if err != nil {
		return err
	}
	return do(f, id)
}

// build finds a build by its id in hex or an unambiguous beginning of it.
func (f *farm) build(ctx context.Context, text string) ([32]byte, error) {
	text = strings.ToLower(text)
	if raw, err := hex.DecodeString(text); err == nil && len(raw) == 32 {
		return [32]byte(raw), nil
	}
	if len(text) < minBuildPrefix || len(text) >= 64 || strings.Trim(text, "0123456789abcdef") != "" {
		return [32]byte{}, usage("%q is no build: want its id of 64 hex digits, or at least the first %d", text, minBuildPrefix)
	}
	list, err := f.Farm().ListBuilds(ctx, &gavelv1.ListBuildsRequest{Limit: listedBuilds})
	if err != nil {
		return [32]byte{}, fmt.Errorf("looking for build %s: %w", text, plain(err))
	}
	var found [][]byte
	for _, b := range list.Builds {
		if strings.HasPrefix(hex.EncodeToString(b.Id), text) {
			found = append(found, b.Id)
		}
	}
	switch len(found) {
	case 0:
		return [32]byte{}, refused(fmt.Errorf("none of the newest %d builds begins with %s: give the whole id for an older one", len(list.Builds), text))
	case 1:
		return [32]byte(found[0]), nil
	}
	return [32]byte{}, refused(fmt.Errorf("%d builds begin with %s: give more digits", len(found), text))
}
