package action

import (
	"bytes"
	"encoding/hex"
	"errors"
	"reflect"
	"strings"
	"testing"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/protobuf/proto"

	"gavel/cas"
	"gavel/raftfsm/build"
	"gavel/verify/attest"
)

func sample() *Action {
	return &Action{
		InputRoot: cas.Of([]byte("tree")), Argv: []string{"make", "-j2"}, Env: []attest.EnvVar{{Name: "A", Value: "1"}, {Name: "B", Value: ""}},
		Outputs: []string{"bin/app", "lib"}, WorkDir: "src", Root: "host", TimeoutMillis: 61_500,
		Limits: attest.Limits{MemoryBytes: 1 << 30, CPUMillis: 1500, Pids: 100, DiskBytes: 1 << 31},
	}
}

const commit = "0123456789abcdef0123456789abcdef01234567"

// withheld is an action of a commit, whose command is withheld.
func withheld() *Action {
	a := sample()
	a.Source, a.Salt = "git+https://example.org/p.git@"+commit, &[32]byte{1, 2, 3}
	return a
}

func TestEncodeDecode(t *testing.T) {
	for name, a := range map[string]*Action{
		"full":     sample(),
		"withheld": withheld(),
		"least":    {InputRoot: cas.Empty, Argv: []string{"true"}, Root: "sha256:" + strings.Repeat("a", 64), TimeoutMillis: 1},
	} {
		action, command, err := a.Encode()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if d, err := CommandDigest(action); err != nil || d != cas.Of(command) {
			t.Errorf("%s: command digest %v, %v", name, d, err)
		}
		got, err := Decode(action, command)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if !reflect.DeepEqual(got, a) {
			t.Errorf("%s: got %+v, want %+v", name, got, a)
		}
	}
}

func TestRefusals(t *testing.T) {
	for name, change := range map[string]func(*Action){
		"no command":       func(a *Action) { a.Argv = nil },
		"empty command":    func(a *Action) { a.Argv[0] = "" },
		"no root":          func(a *Action) { a.Root = "" },
		"no time":          func(a *Action) { a.TimeoutMillis = 0 },
		"negative limit":   func(a *Action) { a.Limits.Pids = -1 },
		"absolute workdir": func(a *Action) { a.WorkDir = "/src" },
		"climbing workdir": func(a *Action) { a.WorkDir = "../src" },
		"climbing output":  func(a *Action) { a.Outputs[0] = "../bin" },
		"absolute output":  func(a *Action) { a.Outputs[0] = "/bin" },
		"output twice":     func(a *Action) { a.Outputs[1] = a.Outputs[0] },
		"outputs unsorted": func(a *Action) { a.Outputs[0] = "z" },
		"env unsorted":     func(a *Action) { a.Env[0].Name = "C" },
		"env twice":        func(a *Action) { a.Env[0].Name = "B" },
		"env name with =":  func(a *Action) { a.Env[0].Name = "A=B" },
		"env NUL":          func(a *Action) { a.Env[0].Value = "\x00" },
		"source":           func(a *Action) { a.Source = "git+https://example.org/p.git@main" },
	} {
		a := sample()
		change(a)
		if _, _, err := a.Encode(); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: encoded, %v", name, err)
		}
	}
}

func TestDecodeRefusesForeignMessages(t *testing.T) {
	for name, change := range map[string]func(*repb.Action, *repb.Command){
		"unknown property":   func(a *repb.Action, _ *repb.Command) { a.Platform.Properties[0].Name = "memroy" },
		"property twice":     func(a *repb.Action, _ *repb.Command) { a.Platform.Properties[0].Name = "root" },
		"memory in words":    func(a *repb.Action, _ *repb.Command) { a.Platform.Properties[2].Value = "much" },
		"cpus too precise":   func(a *repb.Action, _ *repb.Command) { a.Platform.Properties[0].Value = "1.0001" },
		"no timeout":         func(a *repb.Action, _ *repb.Command) { a.Timeout = nil },
		"no input root":      func(a *repb.Action, _ *repb.Command) { a.InputRootDigest = nil },
		"malformed digest":   func(a *repb.Action, _ *repb.Command) { a.InputRootDigest.Hash = "abc" },
		"another command":    func(a *repb.Action, _ *repb.Command) { a.CommandDigest = cas.Of([]byte("x")).Proto() },
		"short salt":         func(a *repb.Action, _ *repb.Command) { a.Salt = []byte(withheldSalt + "short") },
		"malformed argument": func(_ *repb.Action, c *repb.Command) { c.Arguments = nil },
	} {
		raw, rawCommand, err := sample().Encode()
		if err != nil {
			t.Fatal(err)
		}
		var a repb.Action
		var c repb.Command
		if proto.Unmarshal(raw, &a) != nil || proto.Unmarshal(rawCommand, &c) != nil {
			t.Fatal("cannot read back")
		}
		change(&a, &c)
		rawCommand, _ = proto.MarshalOptions{Deterministic: true}.Marshal(&c)
		if name == "malformed argument" {
			a.CommandDigest = cas.Of(rawCommand).Proto()
		}
		raw, _ = proto.Marshal(&a)
		if _, err := Decode(raw, rawCommand); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// The worker that signs and the coordinator that checks start from bytes alone.
func TestProvenanceIsAFunctionOfTheBytes(t *testing.T) {
	raw, command, err := sample().Encode()
	if err != nil {
		t.Fatal(err)
	}
	by := Author{Worker: &build.Worker{Name: "w", Operator: "o", Class: "c"}, Role: attest.RoleBuilder, StartedWallMillis: 5, FinishedWallMillis: 6}
	result := &build.Manifest{Status: build.StatusExited}
	var statements [][]byte
	for range 2 {
		a, err := Decode(raw, command)
		if err != nil {
			t.Fatal(err)
		}
		s, err := a.Provenance(by, result).Statement()
		if err != nil {
			t.Fatal(err)
		}
		statements = append(statements, s)
	}
	if !bytes.Equal(statements[0], statements[1]) {
		t.Error("two statements of one build")
	}
	for _, part := range []string{`"make"`, `"bin/app"`, `"memoryBytes":"1073741824"`, `"cpuMillis":"1500"`, `"sourceDateEpoch":"315532800"`} {
		if !bytes.Contains(statements[0], []byte(part)) {
			t.Errorf("statement lacks %s", part)
		}
	}
}

// What is withheld is in no published byte, and both sides state the same.
func TestWithheldCommandIsNotStated(t *testing.T) {
	a := withheld()
	raw, command, err := a.Encode()
	if err != nil {
		t.Fatal(err)
	}
	open, _, err := sample().Encode()
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(raw, open) {
		t.Error("the salt does not change the action's digest")
	}
	by := Author{Worker: &build.Worker{Name: "w", Operator: "o", Class: "c"}, Role: attest.RoleBuilder}
	result := &build.Manifest{Status: build.StatusExited}
	st, err := a.Provenance(by, result).Statement()
	if err != nil {
		t.Fatal(err)
	}
	decoded, err := Decode(raw, command)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := decoded.Provenance(by, result).Statement(); err != nil || !bytes.Equal(again, st) {
		t.Errorf("whoever decodes the action states\n%s\nand not\n%s\n%v", again, st, err)
	}
	for _, secret := range []string{`"make"`, `-j2`, `"environment"`, `"arguments"`, a.Command.Hash, `"command"`} {
		if bytes.Contains(st, []byte(secret)) {
			t.Errorf("the statement holds %s", secret)
		}
	}
	commitment := decoded.Withheld().Commitment()
	for _, said := range []string{hex.EncodeToString(commitment[:]), a.Source, `"gitCommit":"` + commit + `"`, a.Digest.Hash} {
		if !bytes.Contains(st, []byte(said)) {
			t.Errorf("the statement lacks %s", said)
		}
	}
	if sample().Withheld() != nil {
		t.Error("an open action withholds")
	}
	// Another requester's salt, such as REAPI clients set, withholds nothing.
	var m repb.Action
	if err := proto.Unmarshal(open, &m); err != nil {
		t.Fatal(err)
	}
	m.Salt = []byte("a namespace")
	salted, _ := proto.Marshal(&m)
	_, command, _ = sample().Encode()
	if got, err := Decode(salted, command); err != nil || got.Salt != nil {
		t.Errorf("%+v, %v", got, err)
	}
}

func FuzzDecode(f *testing.F) {
	raw, command, err := sample().Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw, command)
	raw, command, err = withheld().Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw, command)
	f.Fuzz(func(t *testing.T, raw, command []byte) {
		a, err := Decode(raw, command)
		if err != nil {
			return
		}
		again, againCommand, err := a.Encode()
		if err != nil {
			t.Fatalf("decoded but does not encode: %v", err)
		}
		if _, err := Decode(again, againCommand); err != nil {
			t.Fatalf("encoded but does not decode: %v", err)
		}
	})
}
