package attest_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"flag"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	slsa "github.com/in-toto/attestation/go/predicates/provenance/v1"
	intoto "github.com/in-toto/attestation/go/v1"
	"google.golang.org/protobuf/encoding/protojson"
	"pgregory.net/rapid"

	"gavel/raftfsm/build"
	"gavel/verify/attest"
)

var update = flag.Bool("update", false, "write testdata/statement.json anew")

func sum(s string) [32]byte { return sha256.Sum256([]byte(s)) }

// sample is a provenance with every field set, and text that JSON escapes.
func sample() *attest.Provenance {
	return &attest.Provenance{
		Cluster: sum("cluster"), Build: sum("build"),
		Builder:   attest.Builder{Name: "w1", Operator: "Ada & Söhne", Key: sum("key"), Class: "linux/amd64 x86-64-v3"},
		Role:      attest.RoleBuilder,
		Action:    attest.Digest{SHA256: sum("action"), SizeBytes: 145},
		Command:   attest.Digest{SHA256: sum("command"), SizeBytes: 9_007_199_254_740_993},
		InputRoot: attest.Digest{SHA256: sum("inputs"), SizeBytes: 81},
		Argv:      []string{"sh", "-c", "make <in >out && echo \"\u2028\t€\""},
		Env:       []attest.EnvVar{{"V", "1"}, {"CC", "cc"}, {"ß", ""}},
		Platform:  "sha256:" + strings.Repeat("ab", 32), WorkingDirectory: "src", Outputs: []string{"bin", "log"},
		TimeoutMillis: 600_000, SourceDateEpoch: 1_700_000_000, Network: false,
		Limits: attest.Limits{MemoryBytes: 2 << 30, CPUMillis: 1000, Pids: 512, DiskBytes: 4 << 30},
		Result: &build.Manifest{Status: build.StatusExited, ExitCode: 0, Outputs: []build.Output{
			{Path: "bin", Type: build.OutputDir},
			{Path: "bin/app", Type: build.OutputFile, Executable: true, Digest: sum("hello reproducible world\n"), Size: 25},
			{Path: "bin/link", Type: build.OutputSymlink, Target: "app"},
			{Path: "log", Type: build.OutputFile, Digest: sum("log"), Size: 3},
		}},
		StartedMillis: 1_700_000_000_000, FinishedMillis: 1_700_000_012_345,
	}
}

func statement(t testing.TB, p *attest.Provenance) []byte {
	t.Helper()
	s, err := p.Statement()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// The bytes are signed: any change to this file breaks what was signed before.
func TestStatementBytesAreFixed(t *testing.T) {
	got := statement(t, sample())
	if *update {
		if err := os.WriteFile("testdata/statement.json", got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("testdata/statement.json")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("statement changed:\n%s\nwant\n%s", got, want)
	}
}

func TestStatementIsCanonicalAndValid(t *testing.T) {
	got := statement(t, sample())
	// encoding/json sorts keys bytewise, which for these keys is RFC 8785's
	// order, and its escapes can be turned off: an oracle that shares no code
	// with the canonicaliser.
	var tree any
	if err := json.Unmarshal(got, &tree); err != nil {
		t.Fatal(err)
	}
	var again bytes.Buffer
	e := json.NewEncoder(&again)
	e.SetEscapeHTML(false)
	if err := e.Encode(tree); err != nil {
		t.Fatal(err)
	}
	// JSON's own exception: Go escapes U+2028, RFC 8785 does not.
	oracle := strings.ReplaceAll(strings.TrimSuffix(again.String(), "\n"), `\u2028`, "\u2028")
	if oracle != string(got) {
		t.Errorf("not canonical:\n%s\n%s", got, oracle)
	}

	st := new(intoto.Statement)
	if err := protojson.Unmarshal(got, st); err != nil {
		t.Fatal(err)
	}
	if err := st.Validate(); err != nil {
		t.Error(err)
	}
	predicate, _ := protojson.Marshal(st.Predicate)
	p := new(slsa.Provenance)
	// Strict: every field of the predicate is one that SLSA v1 knows.
	if err := protojson.Unmarshal(predicate, p); err != nil {
		t.Fatal(err)
	}
	if err := p.Validate(); err != nil {
		t.Error(err)
	}
	if !strings.Contains(string(got), `"sizeBytes":"9007199254740993"`) {
		t.Error("an integer above 2⁵³ is not a decimal string")
	}
	if n := len(st.Subject); n != 2 || st.Subject[0].Name != "bin/app" || st.Subject[1].Name != "log" {
		t.Errorf("subjects %v: want the two regular files", st.Subject)
	}
}

// Equal provenances, equal bytes, whatever the order of variables; and each
// field changes the bytes.
func TestStatementIsAFunctionOfItsInputs(t *testing.T) {
	want := statement(t, sample())
	rng := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		p := sample()
		rng.Shuffle(len(p.Env), func(i, j int) { p.Env[i], p.Env[j] = p.Env[j], p.Env[i] })
		if !bytes.Equal(statement(t, p), want) {
			t.Fatal("the order of variables changed the statement")
		}
	}
	seen := map[string]string{string(want): "nothing"}
	for what, change := range map[string]func(*attest.Provenance){
		"cluster":       func(p *attest.Provenance) { p.Cluster[0]++ },
		"build":         func(p *attest.Provenance) { p.Build[0]++ },
		"name":          func(p *attest.Provenance) { p.Builder.Name = "w2" },
		"operator":      func(p *attest.Provenance) { p.Builder.Operator = "B" },
		"key":           func(p *attest.Provenance) { p.Builder.Key[0]++ },
		"class":         func(p *attest.Provenance) { p.Builder.Class = "v4" },
		"role":          func(p *attest.Provenance) { p.Role = attest.RoleValidator },
		"simulated":     func(p *attest.Provenance) { p.Simulated = true },
		"action":        func(p *attest.Provenance) { p.Action.SHA256[0]++ },
		"action size":   func(p *attest.Provenance) { p.Action.SizeBytes++ },
		"command":       func(p *attest.Provenance) { p.Command.SHA256[0]++ },
		"command size":  func(p *attest.Provenance) { p.Command.SizeBytes++ },
		"inputs":        func(p *attest.Provenance) { p.InputRoot.SHA256[0]++ },
		"input size":    func(p *attest.Provenance) { p.InputRoot.SizeBytes++ },
		"argv":          func(p *attest.Provenance) { p.Argv = append(p.Argv, "") },
		"env":           func(p *attest.Provenance) { p.Env[0].Value = "2" },
		"dir":           func(p *attest.Provenance) { p.WorkingDirectory = "" },
		"platform":      func(p *attest.Provenance) { p.Platform = "host" },
		"source":        func(p *attest.Provenance) { p.Source = "git+https://example.org/p@" + commit },
		"withheld":      func(p *attest.Provenance) { w, _ := withheld(); w.Source = ""; w.Platform = p.Platform; *p = *w },
		"outputs":       func(p *attest.Provenance) { p.Outputs = nil },
		"timeout":       func(p *attest.Provenance) { p.TimeoutMillis++ },
		"epoch":         func(p *attest.Provenance) { p.SourceDateEpoch++ },
		"network":       func(p *attest.Provenance) { p.Network = true },
		"memory":        func(p *attest.Provenance) { p.Limits.MemoryBytes++ },
		"cpu":           func(p *attest.Provenance) { p.Limits.CPUMillis++ },
		"pids":          func(p *attest.Provenance) { p.Limits.Pids++ },
		"disk":          func(p *attest.Provenance) { p.Limits.DiskBytes++ },
		"exit code":     func(p *attest.Provenance) { p.Result.ExitCode = 1 },
		"symlink":       func(p *attest.Provenance) { p.Result.Outputs[2].Target = "log" },
		"mode":          func(p *attest.Provenance) { p.Result.Outputs[1].Executable = false },
		"file":          func(p *attest.Provenance) { p.Result.Outputs[1].Digest[0]++ },
		"started":       func(p *attest.Provenance) { p.StartedMillis++ },
		"finished":      func(p *attest.Provenance) { p.FinishedMillis++ },
		"clock stepped": func(p *attest.Provenance) { p.FinishedMillis = 0 },
	} {
		p := sample()
		change(p)
		got := string(statement(t, p))
		if other, ok := seen[got]; ok {
			t.Errorf("changing %s says the same as changing %s", what, other)
		}
		seen[got] = what
	}
}

func TestStatementRefusals(t *testing.T) {
	for says, change := range map[string]func(*attest.Provenance){
		"role":              func(p *attest.Provenance) { p.Role = "panel" },
		"command is empty":  func(p *attest.Provenance) { p.Argv = nil },
		"result is missing": func(p *attest.Provenance) { p.Result = nil },
		"out of order":      func(p *attest.Provenance) { slices.Reverse(p.Result.Outputs) },
		"wall clock":        func(p *attest.Provenance) { p.FinishedMillis = 253_402_300_800_000 },
		"is -1 ms":          func(p *attest.Provenance) { p.StartedMillis = -1 },
		"set twice":         func(p *attest.Provenance) { p.Env = append(p.Env, attest.EnvVar{Name: "V"}) },
		`variable "\xff"`:   func(p *attest.Provenance) { p.Env[0].Value = "\xff" },
		`argument "\xfe"`:   func(p *attest.Provenance) { p.Argv[0] = "\xfe" },
		`output path "bin/`: func(p *attest.Provenance) { p.Result.Outputs[2].Path = "bin/\xff" },
		"declared output":   func(p *attest.Provenance) { p.Outputs[0] = "\xff" },
		"working directory": func(p *attest.Provenance) { p.WorkingDirectory = "\xff" },
		`builder "\xff"`:    func(p *attest.Provenance) { p.Builder.Class = "\xff" },
		`platform is "hos`:  func(p *attest.Provenance) { p.Platform = "hos" },
		`platform is "sha`:  func(p *attest.Provenance) { p.Platform = "sha256:" + strings.Repeat("AB", 32) },
	} {
		p := sample()
		change(p)
		if _, err := p.Statement(); !errors.Is(err, attest.ErrProvenance) || !strings.Contains(err.Error(), says) {
			t.Errorf("want an error that says %q, got %v", says, err)
		}
	}
}

func TestManifestIsSubjectWhereNoFileCameOut(t *testing.T) {
	p := sample()
	p.Result = &build.Manifest{Status: build.StatusTimeout}
	digest := sha256.Sum256(p.Result.Bytes())
	st := new(intoto.Statement)
	if err := protojson.Unmarshal(statement(t, p), st); err != nil {
		t.Fatal(err)
	}
	if len(st.Subject) != 1 || st.Subject[0].Name != attest.ManifestSubject {
		t.Fatalf("subjects %v", st.Subject)
	}
	pub, sign := ed25519Key(t)
	b := bundle(t, p, pub, sign)
	if r, err := attest.VerifyBundle(b, digest, pub); err != nil || r.Subjects[0] != attest.ManifestSubject {
		t.Errorf("%v, %v", r, err)
	}
}

// Whatever text a build holds, the statement says exactly that text.
func TestStatementKeepsText(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := sample()
		text := rapid.String()
		p.Argv = rapid.SliceOfN(text, 1, 4).Draw(t, "argv")
		p.Env = nil
		for name, value := range rapid.MapOfN(text, text, 0, 4).Draw(t, "env") {
			p.Env = append(p.Env, attest.EnvVar{Name: name, Value: value})
		}
		raw, err := p.Statement()
		if err != nil {
			t.Fatal(err)
		}
		var got struct {
			Predicate struct {
				BuildDefinition struct {
					ExternalParameters struct {
						Arguments   []string
						Environment map[string]string
					}
				}
			}
		}
		if err := json.Unmarshal(raw, &got); err != nil {
			t.Fatal(err)
		}
		external := got.Predicate.BuildDefinition.ExternalParameters
		if !slices.Equal(external.Arguments, p.Argv) || len(external.Environment) != len(p.Env) {
			t.Fatalf("%q became %q", p.Argv, external.Arguments)
		}
		for _, v := range p.Env {
			if external.Environment[v.Name] != v.Value {
				t.Fatalf("%q became %q", v, external.Environment)
			}
		}
	})
}
