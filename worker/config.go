package worker

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"gavel/raftfsm/build"
	"gavel/raftfsm/escrow"
	"gavel/worker/engine"
)

// Amount is an amount of credits, written as a decimal string such as "1.25".
type Amount escrow.Credits

// MarshalText writes the amount as decimal credits.
func (a Amount) MarshalText() ([]byte, error) { return []byte(escrow.Credits(a).String()), nil }

// UnmarshalText reads decimal credits.
func (a *Amount) UnmarshalText(text []byte) error {
	c, err := escrow.Parse(string(text))
	if err != nil {
		return err
	}
	*a = Amount(c)
	return nil
}

// The kinds of sandbox.
const (
	SandboxNative = engine.Native
	SandboxDocker = engine.Docker
	SandboxOCI    = engine.OCI
)

// Sandboxes are all kinds.
var Sandboxes = engine.Kinds

// The ways in which a worker can be made to misbehave, on purpose: for
// demonstrations and tests of what the farm does about it.
const (
	MisbehaveForge    = "forge"    // bids low, and alters its results as a builder
	MisbehaveCopy     = "copy"     // as a validator commits to a guess instead of building
	MisbehaveWithhold = "withhold" // never uploads outputs
	MisbehaveLazy     = "lazy"     // as a validator commits to an empty result without building
	MisbehaveCrash    = "crash"    // kills itself when its first command starts
	MisbehaveGarble   = "garble"   // lodges openings that do not decrypt
)

var misbehaviours = []string{MisbehaveForge, MisbehaveCopy, MisbehaveWithhold, MisbehaveLazy, MisbehaveCrash, MisbehaveGarble}

// Config is all that a worker is told at its start.
type Config struct {
	// Name is how people call it; unique in the farm.
	Name string `json:"name"`
	// Dir is its own directory: journal, caches, outputs not yet asked for, log.
	// One process uses it at a time.
	Dir string `json:"dir"`
	// Endpoints are HOST:PORT of coordinators; one that answers is enough.
	Endpoints []string `json:"endpoints"`
	// KeyFile holds its signing key, made by "gavel keys"; or a KMS URI.
	KeyFile string `json:"key_file"`

	// Pool it works in.
	Pool string `json:"pool"`
	// Operator it belongs to, admitted by the farm's administrator.
	Operator string `json:"operator"`
	// Machine it runs on, admitted with the operator.
	Machine string `json:"machine"`

	// Sandbox is "native" (the default), "docker", or "oci".
	Sandbox string `json:"sandbox,omitempty"`
	// Runtime is an OCI runtime: one that the Docker engine knows, such as "runsc",
	// or, of the sandbox "oci", a program of this machine, such as "crun".
	Runtime string `json:"runtime,omitempty"`
	// SpareContainer has the sandbox "docker" keep one started container waiting for
	// the next build like the last: a build then starts several times as fast, and an
	// idle worker shows in docker ps.
	SpareContainer bool `json:"spare_container,omitempty"`
	// ImageBytes bounds the images that it keeps, unpacked or in the engine; 32 GiB unless set.
	ImageBytes int64 `json:"image_bytes,omitempty"`

	// Price is a flat price for a build, in credits.
	Price *Amount `json:"price,omitempty"`
	// PricePerSecond is a price for a second of building, in credits; the time is
	// estimated from past builds. One of Price and PricePerSecond is set, and
	// neither in a house pool.
	PricePerSecond *Amount `json:"price_per_second,omitempty"`
	// Ask is what it asks for an action of a batch pool, in credits; its flat
	// price unless set. AskPerSecond is for a core-second, in metered pools.
	Ask          *Amount `json:"ask,omitempty"`
	AskPerSecond *Amount `json:"ask_per_second,omitempty"`
	// AskCapacity is how many actions of one epoch it takes, at most 2^32. Unset, it
	// takes what it can finish in an epoch, by how long builds took it so far.
	AskCapacity uint64 `json:"ask_capacity,omitempty"`
	// FinishedPrice is what it asks for a result that it has already, in credits:
	// where an auction is for an action whose outputs it still keeps, its bid
	// commits to them and promises them at once. Unset, it bids for its slot alone.
	FinishedPrice *Amount `json:"finished_price,omitempty"`
	// Stake is what it puts up when it registers, in credits; its own credits
	// must cover it. A build locks a part of it.
	Stake Amount `json:"stake,omitempty"`
	// MinFee is the least validator's fee it works for, in credits.
	MinFee Amount `json:"min_fee,omitempty"`

	// Slots is how many builds it runs at once; 1 unless set.
	Slots int `json:"slots,omitempty"`
	// CacheBytes bounds its cache of inputs, and once more the outputs it keeps
	// until they are asked for; 4 GiB unless set.
	CacheBytes int64 `json:"cache_bytes,omitempty"`
	// LogFile gets a line for each event; DIR/worker.log unless set.
	LogFile string `json:"log_file,omitempty"`

	// Misbehave makes it dishonest on purpose: "forge", "copy", "withhold",
	// "lazy", "crash" or "garble". Leave it out.
	Misbehave string `json:"misbehave,omitempty"`
}

// ReadConfig reads a JSON file. Keys it does not know are refused.
func ReadConfig(path string) (Config, error) {
	f, err := os.Open(path)
	if err != nil {
		return Config{}, fmt.Errorf("reading the worker's configuration: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxConfigBytes+1))
	if err != nil {
		return Config{}, fmt.Errorf("reading the worker's configuration %s: %w", path, err)
	}
	c, err := parseConfig(data)
	if err != nil {
		return Config{}, fmt.Errorf("reading the worker's configuration %s: %w", path, err)
	}
	return c, nil
}

func parseConfig(data []byte) (Config, error) {
	var c Config
	if len(data) > maxConfigBytes {
		return c, fmt.Errorf("it is larger than %d bytes", maxConfigBytes)
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&c); err != nil {
		return c, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return c, errors.New("there is more after the JSON object")
	}
	return c.withDefaults(), c.withDefaults().validate()
}

func (c Config) withDefaults() Config {
	if c.Sandbox == "" {
		c.Sandbox = SandboxNative
	}
	if c.Slots == 0 {
		c.Slots = 1
	}
	if c.CacheBytes == 0 {
		c.CacheBytes = 4 << 30
	}
	if c.ImageBytes == 0 {
		c.ImageBytes = 32 << 30
	}
	if c.LogFile == "" && c.Dir != "" {
		c.LogFile = filepath.Join(c.Dir, "worker.log")
	}
	return c
}

func (c Config) validate() error {
	for _, f := range []struct{ key, value string }{
		{"name", c.Name}, {"dir", c.Dir}, {"key_file", c.KeyFile}, {"pool", c.Pool}, {"operator", c.Operator}, {"machine", c.Machine},
	} {
		if f.value == "" {
			return fmt.Errorf("%q is missing", f.key)
		}
	}
	for _, f := range []struct{ key, value string }{{"name", c.Name}, {"pool", c.Pool}, {"operator", c.Operator}, {"machine", c.Machine}} {
		if len(f.value) > build.MaxNameBytes || strings.ContainsRune(f.value, 0) {
			return fmt.Errorf("%q is not a name of at most %d bytes", f.key, build.MaxNameBytes)
		}
	}
	switch {
	case len(c.Endpoints) == 0:
		return errors.New(`"endpoints" names no coordinator; write HOST:PORT of at least one`)
	case !slices.Contains(Sandboxes, c.Sandbox):
		return fmt.Errorf("sandbox %q is none of %s", c.Sandbox, strings.Join(Sandboxes, ", "))
	case c.Runtime != "" && c.Sandbox == SandboxNative:
		return fmt.Errorf("runtime %q needs the sandbox %q or %q", c.Runtime, SandboxDocker, SandboxOCI)
	case c.SpareContainer && c.Sandbox != SandboxDocker:
		return fmt.Errorf("a spare container needs the sandbox %q", SandboxDocker)
	case c.ImageBytes < 1<<20:
		return fmt.Errorf("room for images of %d bytes is too small; want at least 1 MiB", c.ImageBytes)
	case c.Price != nil && c.PricePerSecond != nil:
		return errors.New(`"price" and "price_per_second" are both set; keep one`)
	case c.Slots < 1 || c.Slots > 1024:
		return fmt.Errorf("%d slots; want 1 to 1024", c.Slots)
	case c.AskCapacity > build.MaxCapacity:
		return fmt.Errorf(`"ask_capacity" is %d; the farm takes asks for at most %d actions of an epoch`, c.AskCapacity, uint64(build.MaxCapacity))
	case c.CacheBytes < 1<<20:
		return fmt.Errorf("a cache of %d bytes is too small; want at least 1 MiB", c.CacheBytes)
	case c.Misbehave != "" && !slices.Contains(misbehaviours, c.Misbehave):
		return fmt.Errorf("misbehaviour %q is none of %s", c.Misbehave, strings.Join(misbehaviours, ", "))
	}
	for _, a := range []*Amount{c.Price, c.PricePerSecond, c.Ask, c.AskPerSecond, c.FinishedPrice, &c.Stake, &c.MinFee} {
		if a != nil && *a < 0 {
			return fmt.Errorf("an amount of %s credits is negative", escrow.Credits(*a))
		}
	}
	return nil
}
