package api

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"

	gavelv1 "gavel/api/gavel/v1"
	"gavel/raftfsm/build"
	"gavel/raftfsm/wire"
)

// reconnect is how a connection that broke is tried again: quickly, because the
// calls above it already pause between rounds.
var reconnect = backoff.Config{BaseDelay: backoffFirst, Multiplier: 2, Jitter: 0.2, MaxDelay: time.Second}

// Options say where a farm is and who calls.
type Options struct {
	// Endpoints are HOST:PORT of coordinators, at least one. Those that the farm
	// itself names are tried after them.
	Endpoints []string
	// Signer signs commands and tokens; nil calls anonymously, which only Info allows.
	Signer Signer
	// Cluster, where not zero, is the only cluster that will do.
	Cluster [32]byte
	// CoordinatorKeys, where given, are the keys (PKIX DER, from a genesis the
	// caller trusts) whose receipts are believed. Otherwise those that Info names
	// are, which proves a receipt to third parties only as far as Info is trusted.
	CoordinatorKeys [][]byte
	// Patience bounds how long a call goes on while no coordinator can serve it;
	// 0 is DefaultPatience.
	Patience time.Duration
}

// Client speaks to one cluster through any of its coordinators. It is safe for
// concurrent use.
type Client struct {
	conn    *failover
	farm    gavelv1.FarmClient
	signer  Signer
	trusted map[[32]byte][]byte // nil: those of info

	mu      sync.Mutex // guards what follows
	account [32]byte   // zero until it is known
	cluster [32]byte
	info    *gavelv1.InfoResponse
	asked   time.Time // when info came
}

// Dial finds a coordinator that answers and learns which cluster it is of. It
// gives up with ErrNoCluster when ctx ends or patience does.
func Dial(ctx context.Context, o Options) (*Client, error) {
	if len(o.Endpoints) == 0 || len(o.Endpoints) > MaxEndpoints {
		return nil, fmt.Errorf("%d endpoints given, want 1 to %d: name a farm with --farm DIR", len(o.Endpoints), MaxEndpoints)
	}
	if o.Patience == 0 {
		o.Patience = DefaultPatience
	}
	conn := newFailover(append([]string(nil), o.Endpoints...), o.Patience)
	c := &Client{conn: conn, farm: gavelv1.NewFarmClient(conn), signer: o.Signer, cluster: o.Cluster}
	if len(o.CoordinatorKeys) > 0 {
		c.trusted = make(map[[32]byte][]byte)
		for _, key := range o.CoordinatorKeys {
			c.trusted[build.AccountID(key)] = key
		}
	}
	if _, err := c.Info(ctx); err != nil {
		return nil, errors.Join(err, conn.close())
	}
	if c.signer != nil {
		conn.authenticate(NewCredentials(c.cluster, AudienceFarm, c.signer))
	}
	return c, nil
}

// Close ends all connections; calls under way fail.
func (c *Client) Close() error { return c.conn.close() }

// Account is the id of the signer's account: the hash of its first key. Which
// account a key speaks for that took another's place only the farm knows, so it is
// asked once; a farm that lies gains nothing, because commands are taken from an
// account's own key only.
func (c *Client) Account(ctx context.Context) ([32]byte, error) {
	c.mu.Lock()
	known := c.account
	c.mu.Unlock()
	if known != [32]byte{} {
		return known, nil
	}
	if c.signer == nil {
		return known, errors.New("nobody's account: no key was given")
	}
	self, err := c.farm.Self(ctx, &gavelv1.SelfRequest{})
	switch {
	case err != nil:
		return known, fmt.Errorf("asking whose key this is: %w", err)
	case len(self.Account) != 32:
		return known, fmt.Errorf("asking whose key this is: an account id of %d bytes", len(self.Account))
	}
	known = [32]byte(self.Account)
	if self.Known {
		c.mu.Lock()
		c.account = known
		c.mu.Unlock()
	}
	return known, nil
}

// Cluster is the id of the cluster, its genesis' digest.
func (c *Client) Cluster() [32]byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cluster
}

// Farm makes the plain calls of the contract; unary ones fail over and are
// repeated while no coordinator can serve them.
func (c *Client) Farm() gavelv1.FarmClient { return c.farm }

// CASConn carries the calls of a content-addressed storage client: ByteStream
// and ContentAddressableStorage are served by every coordinator.
func (c *Client) CASConn() grpc.ClientConnInterface { return c.conn }

// Info asks afresh and refuses another cluster than the one dialled.
func (c *Client) Info(ctx context.Context) (*gavelv1.InfoResponse, error) {
	info, err := c.farm.Info(ctx, &gavelv1.InfoRequest{})
	if err != nil {
		return nil, fmt.Errorf("asking the farm for its particulars: %w", err)
	}
	if len(info.Cluster) != 32 {
		return nil, fmt.Errorf("what answers is no gavel coordinator: its cluster id has %d bytes; check the endpoints", len(info.Cluster))
	}
	id := [32]byte(info.Cluster)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cluster != [32]byte{} && c.cluster != id {
		return nil, fmt.Errorf("what answers is cluster %x, expected %x: do the endpoints belong to another farm?", id[:4], c.cluster[:4])
	}
	c.cluster, c.info, c.asked = id, info, time.Now()
	for _, m := range info.Coordinators {
		c.conn.learn([]string{m.Address})
	}
	return info, nil
}

// recent returns an Info of at most infoMaxAge and how old it is.
func (c *Client) recent(ctx context.Context) (*gavelv1.InfoResponse, time.Duration, error) {
	c.mu.Lock()
	info, age := c.info, time.Since(c.asked)
	c.mu.Unlock()
	if age <= infoMaxAge {
		return info, age, nil
	}
	info, err := c.Info(ctx)
	return info, 0, err
}

// FarmMillis is farm time as of the last Info, at most ten minutes ago: a lower
// bound, for deadlines that are minutes and more away.
func (c *Client) FarmMillis(ctx context.Context) (int64, error) {
	info, _, err := c.recent(ctx)
	if err != nil {
		return 0, err
	}
	return info.FarmMillis, nil
}

// Do signs and sends a command under a fresh random request id, and returns
// when it is applied. See DoAs for the errors.
func (c *Client) Do(ctx context.Context, kind build.Type, payload wire.Record) (*gavelv1.Receipt, error) {
	var request [16]byte
	if _, err := rand.Read(request[:]); err != nil {
		return nil, fmt.Errorf("making a request id: %w", err)
	}
	return c.DoAs(ctx, request, kind, payload)
}

// DoAs is Do under a request id that the caller chose, so that it can repeat
// the command after its own restart. A *RefusedError changed nothing;
// ErrOutcomeUnknown may have; any other error happened before anything was sent.
func (c *Client) DoAs(ctx context.Context, request [16]byte, kind build.Type, payload wire.Record) (*gavelv1.Receipt, error) {
	if c.signer == nil {
		return nil, fmt.Errorf("a %s command must be signed: no key was given", kind)
	}
	info, age, err := c.recent(ctx)
	if err != nil {
		return nil, err
	}
	until := info.FarmMillis + (age + commandValidity).Milliseconds()
	receipt, err := c.send(ctx, request, kind, payload, info, until)
	var refused *RefusedError
	if !errors.As(err, &refused) || refused.Code != build.CodeStale {
		return receipt, err
	}
	// A coordinator that had just come back may have told a farm time of long ago,
	// and everything sent since was out of date before it left.
	fresh, infoErr := c.Info(ctx)
	if infoErr != nil || fresh.FarmMillis <= until {
		return receipt, err
	}
	return c.send(ctx, request, kind, payload, fresh, fresh.FarmMillis+commandValidity.Milliseconds())
}

// send signs a command that is valid until a farm time, sends it and checks the receipt.
func (c *Client) send(ctx context.Context, request [16]byte, kind build.Type, payload wire.Record, info *gavelv1.InfoResponse, until int64) (*gavelv1.Receipt, error) {
	account, err := c.Account(ctx)
	if err != nil {
		return nil, err
	}
	command := build.Command{Version: build.Version, Type: kind, Request: request, Sender: account, ValidUntilMillis: until, Payload: wire.Encode(payload)}
	cluster := c.Cluster()
	if command.Signature, err = c.signer.Sign(command.SigningBytes(cluster)); err != nil {
		return nil, fmt.Errorf("signing a %s command: %w", kind, err)
	}
	raw := wire.Encode(&command)
	receipt, err := c.farm.Send(ctx, &gavelv1.SendRequest{Command: raw})
	if err != nil {
		return nil, sendError(kind, err)
	}
	keys := c.trusted
	if keys == nil {
		keys = coordinatorKeys(info)
	}
	if err := VerifyReceipt(cluster, keys, raw, receipt); err != nil {
		return nil, fmt.Errorf("sending a %s command: %w: %w", kind, ErrOutcomeUnknown, err)
	}
	if receipt.Code != uint32(build.Done) {
		return receipt, &RefusedError{Code: build.Code(receipt.Code), Detail: receipt.Detail}
	}
	return receipt, nil
}

// sendError says what is known of a command whose sending failed.
func sendError(kind build.Type, err error) error {
	if retryable(err) || isCut(err) {
		return fmt.Errorf("sending a %s command: %w: %w", kind, ErrOutcomeUnknown, err)
	}
	return fmt.Errorf("sending a %s command: %w", kind, err)
}

func coordinatorKeys(info *gavelv1.InfoResponse) map[[32]byte][]byte {
	keys := make(map[[32]byte][]byte)
	for _, m := range info.Coordinators {
		keys[build.AccountID(m.PublicKey)] = m.PublicKey
	}
	return keys
}
