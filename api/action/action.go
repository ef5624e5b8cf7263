// Package action is how a build is written as a REAPI Action and Command, read
// back, and stated in a provenance. It stores, fetches and runs nothing. It
// keeps two invariants: what Encode writes Decode reads, byte for byte the same
// again; and Provenance is a function of the action, the record and the result
// alone, so that the worker that signs and every coordinator that checks derive
// the same statement.
package action

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"gavel/cas"
	"gavel/raftfsm/build"
	"gavel/raftfsm/escrow"
	"gavel/verify/attest"
)

// SourceDateEpoch is the time of every input and of SOURCE_DATE_EPOCH, unless
// the build's own environment says otherwise: 1980-01-01 UTC in seconds, the
// earliest that a zip archive can hold.
const SourceDateEpoch = 315_532_800

// The platform properties there are. Limits are decimal numbers.
const (
	propertyRoot   = "root"   // "host" or an image's config digest
	propertyMemory = "memory" // bytes
	propertyCPUs   = "cpus"   // CPUs, at most three decimals
	propertyPids   = "pids"   // processes
	propertyDisk   = "disk"   // bytes
	propertySource = "source" // git+URL@COMMIT: the commit whose tree the input root is
)

// withheldSalt begins the salt of an action whose command and environment its
// requester withholds from what is published; 32 random bytes follow. Workers and
// coordinators see all of it, as they see the action. Other salts mean nothing here.
const withheldSalt = "gavel/v1/withheld\x00"

// ErrMalformed is wrapped where an action cannot be built as it is written: its
// requester must write it differently.
var ErrMalformed = errors.New("not an action this farm can build")

// Action is what is to be built. Zero limits mean the sandbox's defaults.
type Action struct {
	Digest    cas.Digest // of the encoded Action; set by Encode and Decode
	Command   cas.Digest // of the encoded Command; set by Encode and Decode
	InputRoot cas.Digest // of the root Directory

	Argv          []string
	Env           []attest.EnvVar // sorted by name, none twice
	Outputs       []string        // clean relative paths, sorted, none twice
	WorkDir       string          // clean and relative to the input root; empty is the root
	Root          string          // "host" or an image's config digest
	TimeoutMillis int64
	Limits        attest.Limits
	Source        string // attest.ParseSource's form; empty for none
	// Salt is random where command and environment are withheld from the published
	// provenance, which then holds a commitment under it; nil where they are not.
	Salt *[32]byte

	command []byte // the encoded Command, of an action with a Salt
}

// Withheld opens the commitment that stands for the command in the provenance of
// an encoded or decoded action; nil where it is not withheld.
func (a *Action) Withheld() *attest.Withheld {
	if a.Salt == nil {
		return nil
	}
	return &attest.Withheld{Salt: *a.Salt, Command: a.command}
}

// Encode returns the REAPI messages, canonical, and sets their digests.
func (a *Action) Encode() (action, command []byte, err error) {
	if err := a.validate(); err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	c := &repb.Command{Arguments: a.Argv, OutputPaths: a.Outputs, WorkingDirectory: a.WorkDir}
	for _, v := range a.Env {
		c.EnvironmentVariables = append(c.EnvironmentVariables, &repb.Command_EnvironmentVariable{Name: v.Name, Value: v.Value})
	}
	marshal := proto.MarshalOptions{Deterministic: true}
	if command, err = marshal.Marshal(c); err != nil {
		return nil, nil, fmt.Errorf("encoding command: %w", err)
	}
	a.Command, a.command = digestOf(command), command
	m := &repb.Action{
		CommandDigest: a.Command.Proto(), InputRootDigest: a.InputRoot.Proto(), Platform: a.platform(),
		Timeout: durationpb.New(time.Duration(a.TimeoutMillis) * time.Millisecond),
	}
	if a.Salt != nil {
		m.Salt = append([]byte(withheldSalt), a.Salt[:]...)
	}
	if action, err = marshal.Marshal(m); err != nil {
		return nil, nil, fmt.Errorf("encoding action: %w", err)
	}
	a.Digest = digestOf(action)
	return action, command, nil
}

func digestOf(raw []byte) cas.Digest { return cas.OfSum(sha256.Sum256(raw), int64(len(raw))) }

// platform lists the properties, sorted by name.
func (a *Action) platform() *repb.Platform {
	p := &repb.Platform{}
	add := func(name, value string) {
		p.Properties = append(p.Properties, &repb.Platform_Property{Name: name, Value: value})
	}
	number := func(name string, value int64) {
		if value != 0 {
			add(name, strconv.FormatInt(value, 10))
		}
	}
	if a.Limits.CPUMillis != 0 {
		add(propertyCPUs, (escrow.Credits(a.Limits.CPUMillis) * 1000).String()) // exact decimals with six places
	}
	number(propertyDisk, a.Limits.DiskBytes)
	number(propertyMemory, a.Limits.MemoryBytes)
	number(propertyPids, a.Limits.Pids)
	add(propertyRoot, a.Root)
	if a.Source != "" {
		add(propertySource, a.Source)
	}
	return p
}

// CommandDigest reads which command an encoded action is for, so that it can be fetched.
func CommandDigest(action []byte) (cas.Digest, error) {
	var m repb.Action
	if err := proto.Unmarshal(action, &m); err != nil {
		return cas.Digest{}, fmt.Errorf("%w: not a REAPI Action: %w", ErrMalformed, err)
	}
	d, err := cas.FromProto(m.CommandDigest)
	if err != nil {
		return cas.Digest{}, fmt.Errorf("%w: command: %w", ErrMalformed, err)
	}
	return d, nil
}

// ReadCommand reads the arguments and the environment of an encoded command alone.
func ReadCommand(command []byte) (argv []string, env []attest.EnvVar, err error) {
	var c repb.Command
	if err := proto.Unmarshal(command, &c); err != nil {
		return nil, nil, fmt.Errorf("%w: not a REAPI Command: %w", ErrMalformed, err)
	}
	for _, v := range c.EnvironmentVariables {
		env = append(env, attest.EnvVar{Name: v.Name, Value: v.Value})
	}
	return c.Arguments, env, nil
}

// Decode reads an action and its command. Errors wrap ErrMalformed.
func Decode(action, command []byte) (*Action, error) {
	a := &Action{Digest: digestOf(action), Command: digestOf(command), command: command}
	if err := a.decode(action, command); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return a, nil
}

func (a *Action) decode(action, command []byte) error {
	var m repb.Action
	var c repb.Command
	if err := proto.Unmarshal(action, &m); err != nil {
		return fmt.Errorf("not a REAPI Action: %w", err)
	}
	if err := proto.Unmarshal(command, &c); err != nil {
		return fmt.Errorf("not a REAPI Command: %w", err)
	}
	named, err := cas.FromProto(m.CommandDigest)
	if err != nil {
		return fmt.Errorf("command: %w", err)
	}
	if named != a.Command {
		return fmt.Errorf("the action names command %s, this is %s", named, a.Command)
	}
	if a.InputRoot, err = cas.FromProto(m.InputRootDigest); err != nil {
		return fmt.Errorf("input root: %w", err)
	}
	a.WorkDir = c.WorkingDirectory
	if a.Argv, a.Env, err = ReadCommand(command); err != nil {
		return err
	}
	if a.Outputs = c.OutputPaths; len(a.Outputs) == 0 {
		//lint:ignore SA1019 clients of REAPI 2.0 have two lists, each sorted
		a.Outputs = slices.Concat(c.GetOutputFiles(), c.GetOutputDirectories())
		slices.Sort(a.Outputs)
	}
	platform := m.Platform
	if platform == nil {
		//lint:ignore SA1019 clients of REAPI 2.0 put it here
		platform = c.GetPlatform()
	}
	if err := a.readPlatform(platform); err != nil {
		return err
	}
	if err := a.readSalt(m.Salt); err != nil {
		return err
	}
	if m.Timeout == nil || !m.Timeout.IsValid() {
		return errors.New("the timeout is missing or malformed")
	}
	a.TimeoutMillis = m.Timeout.AsDuration().Milliseconds()
	return a.validate()
}

func (a *Action) readSalt(salt []byte) error {
	rest, ok := bytes.CutPrefix(salt, []byte(withheldSalt))
	if !ok {
		return nil
	}
	a.Salt = new([32]byte)
	if len(rest) != len(a.Salt) {
		return fmt.Errorf("a salt of %d bytes that withholds the command, want %d", len(rest), len(a.Salt))
	}
	*a.Salt = [32]byte(rest)
	return nil
}

func (a *Action) readPlatform(platform *repb.Platform) error {
	seen := make(map[string]bool)
	for _, p := range platform.GetProperties() {
		if seen[p.Name] {
			return fmt.Errorf("platform property %q is given twice", p.Name)
		}
		seen[p.Name] = true
		var err error
		switch p.Name {
		case propertyRoot:
			a.Root = p.Value
		case propertySource:
			a.Source = p.Value
		case propertyMemory:
			a.Limits.MemoryBytes, err = positive(p.Value)
		case propertyPids:
			a.Limits.Pids, err = positive(p.Value)
		case propertyDisk:
			a.Limits.DiskBytes, err = positive(p.Value)
		case propertyCPUs:
			a.Limits.CPUMillis, err = thousandths(p.Value)
		default:
			err = errors.New("this farm knows root, memory, cpus, pids, disk and source")
		}
		if err != nil {
			return fmt.Errorf("platform property %q: %w", p.Name, err)
		}
	}
	return nil
}

func positive(s string) (int64, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n <= 0 {
		return 0, fmt.Errorf("%q is not a positive whole number", s)
	}
	return n, nil
}

// thousandths reads a decimal with at most three places, "1.5" as 1500.
func thousandths(s string) (int64, error) {
	micro, err := escrow.Parse(s) // exact decimals with six places
	if err != nil || micro <= 0 || micro%1000 != 0 {
		return 0, fmt.Errorf("%q is not a number of CPUs with at most three decimals", s)
	}
	return int64(micro / 1000), nil
}

// validate checks what every worker would trip over.
func (a *Action) validate() error {
	if len(a.Argv) == 0 || a.Argv[0] == "" {
		return errors.New("the command is empty")
	}
	if a.Root == "" {
		return errors.New("no platform root named: want \"host\" or an image digest")
	}
	if a.TimeoutMillis <= 0 {
		return fmt.Errorf("a timeout of %d ms", a.TimeoutMillis)
	}
	if l := a.Limits; min(l.MemoryBytes, l.CPUMillis, l.Pids, l.DiskBytes) < 0 {
		return errors.New("a limit is negative")
	}
	if a.Source != "" {
		if _, _, err := attest.ParseSource(a.Source); err != nil {
			return err
		}
	}
	if a.WorkDir != "" && !build.CleanPath(a.WorkDir) {
		return fmt.Errorf("the working directory %q is not a clean relative path", a.WorkDir)
	}
	for i, v := range a.Env {
		if v.Name == "" || strings.ContainsAny(v.Name, "=\x00") || strings.ContainsRune(v.Value, 0) {
			return fmt.Errorf("environment variable %q has no usable name or a NUL in its value", v.Name)
		}
		if i > 0 && a.Env[i-1].Name >= v.Name {
			return fmt.Errorf("environment variable %q is out of order or given twice", v.Name)
		}
	}
	for i, p := range a.Outputs {
		// A path out of the working directory stays inside the tree or is refused.
		if !build.CleanPath(p) || !build.CleanPath(path.Join(a.WorkDir, p)) {
			return fmt.Errorf("output path %q is not a clean relative path", p)
		}
		if i > 0 && a.Outputs[i-1] >= p {
			return fmt.Errorf("output path %q is out of order or given twice", p)
		}
	}
	return nil
}

// Author is who built, as the farm's record has it.
type Author struct {
	Cluster, Build build.ID
	Worker         *build.Worker
	Role           attest.Role // of a panel's seat: validator
	Simulated      bool        // as in genesis
	// The author's wall clock in milliseconds since 1970.
	StartedWallMillis, FinishedWallMillis int64
}

// AuthorOf is the author of an opened attempt at a build: the worker as it was when
// it committed, in the role that its seat has.
func AuthorOf(cluster, of build.ID, a *build.Attempt, worker build.Worker, simulated bool) Author {
	worker.Class = a.Class
	by := Author{
		Cluster: cluster, Build: of, Worker: &worker, Role: attest.RoleValidator, Simulated: simulated,
		StartedWallMillis: a.Opening.StartedWallMillis, FinishedWallMillis: a.Opening.FinishedWallMillis,
	}
	if a.Round == build.RoundFirst && a.Seat == 0 {
		by.Role = attest.RoleBuilder
	}
	return by
}

// Provenance is what the author states about a result of this action, which was
// encoded or decoded. Worker and coordinators derive the same from the same bytes;
// what is withheld is so by the action itself.
func (a *Action) Provenance(by Author, result *build.Manifest) *attest.Provenance {
	p := &attest.Provenance{
		Cluster: by.Cluster, Build: by.Build, Role: by.Role, Simulated: by.Simulated,
		Builder: attest.Builder{Name: by.Worker.Name, Operator: by.Worker.Operator, Key: by.Worker.ID, Class: by.Worker.Class},
		Action:  blob(a.Digest), InputRoot: blob(a.InputRoot), Source: a.Source,
		WorkingDirectory: a.WorkDir, Platform: a.Root, Outputs: a.Outputs,
		TimeoutMillis: a.TimeoutMillis, SourceDateEpoch: SourceDateEpoch, Limits: a.Limits,
		Result: result, StartedMillis: by.StartedWallMillis, FinishedMillis: by.FinishedWallMillis,
	}
	if w := a.Withheld(); w != nil {
		commitment := w.Commitment()
		p.Withheld = &commitment
	} else {
		p.Command, p.Argv, p.Env = blob(a.Command), a.Argv, a.Env
	}
	return p
}

func blob(d cas.Digest) attest.Digest { return attest.Digest{SHA256: d.Sum(), SizeBytes: d.Size} }
