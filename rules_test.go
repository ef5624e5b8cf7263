package gavel_test

import (
	"fmt"
	"go/ast"
	"strings"
)

// room is what the packages under one directory may import. Paths match whole
// elements from the left; the standard library is open to all but the pure rooms.
type room struct {
	dir     string
	inside  []string // rooms of this module, besides its own
	outside []string // modules of others; anything means any
}

var (
	pureLeaves = []string{"raftfsm/wire", "raftfsm/escrow", "raftfsm/draw", "raftfsm/auction", "raftfsm/build"}
	leaves     = append([]string{"raftfsm/beacon"}, pureLeaves...)
	anything   = []string{""}
	isolation  = []string{"golang.org/x/sys", "github.com/opencontainers", "github.com/containerd/cgroups", "github.com/moby/sys"}
	protocol   = []string{"google.golang.org/grpc", "google.golang.org/protobuf"}
)

// house is the table of rooms in docs/ARCHITECTURE.md. A package belongs to the
// longest directory that holds it.
var house = []room{
	{"cmd/gavel", anything, anything},
	// The contract's commands are canonical records of the leaves, and its client
	// and the mapping of REAPI actions serve requesters and workers alike.
	{"api", append([]string{"cas", "verify/attest"}, pureLeaves...), append([]string{"github.com/bazelbuild/remote-apis"}, protocol...)},
	{"raftfsm", leaves, nil},
	// Deals and shares are replicated, and what is replicated has one codec.
	{"raftfsm/beacon", pureLeaves[:1], []string{"github.com/consensys/gnark-crypto"}},
	{"raftfsm/wire", nil, nil},
	{"raftfsm/escrow", pureLeaves[:1], nil},
	{"raftfsm/draw", pureLeaves[:2], nil},
	{"raftfsm/auction", pureLeaves[:3], nil},
	{"raftfsm/build", pureLeaves[:4], nil},
	{"coordinator", []string{"raftfsm", "api", "cas", "verify"}, anything},
	{"worker", append([]string{"sandbox", "verify", "cas", "api"}, pureLeaves...), anything},
	{"sandbox", nil, isolation},
	// The engine's client speaks its errors through containerd's module.
	{"sandbox/docker", []string{"sandbox"}, append([]string{"github.com/docker", "github.com/containerd/errdefs"}, isolation...)},
	// Layers come packed by gzip or zstd.
	{"sandbox/image", []string{"sandbox"}, append([]string{"github.com/google/go-containerregistry", "github.com/klauspost/compress"}, isolation...)},
	// It attacks every runner, so its driver knows them all.
	{"sandbox/probe", []string{"sandbox"}, isolation},
	{"cas", nil, append([]string{
		"github.com/bazelbuild/remote-apis", "google.golang.org/genproto", "github.com/opencontainers/go-digest",
		"github.com/klauspost/compress", "github.com/minio/minio-go", "golang.org/x/sys",
	}, protocol...)},
	// Verifying a draw means verifying the beacon; the rest is signatures, attestations and log proofs.
	// Its keys may be encrypted, and a passphrase is asked for on a terminal.
	{"verify", leaves, []string{
		"github.com/sigstore", "github.com/in-toto/attestation", "github.com/secure-systems-lab/go-securesystemslib",
		"github.com/cyberphone/json-canonicalization", "github.com/transparency-dev", "github.com/opencontainers/go-digest",
		"golang.org/x/mod", "golang.org/x/crypto", "golang.org/x/term", "google.golang.org/protobuf",
	}},
	// What the log says follows from what Apply leaves, and an audit runs the state
	// machine itself: a second one would have to be audited against the first.
	{"verify/evidence", append([]string{"raftfsm", "verify"}, leaves...), []string{"github.com/cyberphone/json-canonicalization"}},
	{"verify/dossier", append([]string{"raftfsm", "verify"}, leaves...), nil},
	{"verify/audit", append([]string{"raftfsm", "verify"}, leaves...), nil},
	// The small program is all of verify/ and the state machine, and nothing else.
	{"verify/cmd", append([]string{"raftfsm", "verify"}, leaves...), nil},
	// It looks into archives; what verifies a bundle does not need to.
	{"verify/diff", append([]string{"verify"}, leaves...), []string{"github.com/klauspost/compress", "github.com/ulikunitz/xz"}},
	{"lab", leaves, anything},
}

// reserved modules are imported in one room only, whatever else a room may import.
var reserved = map[string]string{
	"github.com/docker/docker":               "sandbox/docker",
	"github.com/google/go-containerregistry": "sandbox/image",
}

// pureStandard is all of the standard library that a pure room may import: no
// clock, randomness, I/O, goroutine, and no maps.Keys, whose order is random.
// Signatures are only verified there: making one needs a source of randomness.
var pureStandard = []string{
	"bytes", "cmp", "crypto/ecdsa", "crypto/ed25519", "crypto/elliptic", "crypto/sha256", "crypto/sha512", "encoding/base64", "encoding/binary", "encoding/hex",
	"errors", "fmt", "hash", "math", "math/big", "math/bits", "path", "slices", "sort", "strconv", "strings", "unicode", "unicode/utf8",
}

// under tells whether path is dir or below it.
func under(path, dir string) bool {
	return dir == "" || path == dir || strings.HasPrefix(path, dir+"/")
}

func underAny(path string, dirs []string) bool {
	for _, dir := range dirs {
		if under(path, dir) {
			return true
		}
	}
	return false
}

// roomOf is the rule that dir falls under.
func roomOf(dir string) (found room, ok bool) {
	for _, r := range house {
		if under(dir, r.dir) && (!ok || len(r.dir) > len(found.dir)) {
			found, ok = r, true
		}
	}
	return found, ok
}

func isPure(r room) bool {
	for _, leaf := range pureLeaves {
		if r.dir == leaf {
			return true
		}
	}
	return false
}

// importFinding says what is wrong with one import of a package in dir, or "".
func importFinding(r room, path string) string {
	if inner, ok := strings.CutPrefix(path, "gavel/"); ok {
		switch owner, known := roomOf(inner); {
		case under(inner, "cmd"):
			return "nobody imports cmd"
		case known && owner.dir == r.dir, underAny(inner, r.inside):
			return ""
		}
		return fmt.Sprintf("%s may not import %s", r.dir, inner)
	}
	if first, _, _ := strings.Cut(path, "/"); !strings.Contains(first, ".") {
		if isPure(r) && !underExactly(path, pureStandard) {
			return fmt.Sprintf("a pure room may not import %s", path)
		}
		return ""
	}
	for module, owner := range reserved {
		if under(path, module) && r.dir != owner {
			return fmt.Sprintf("only %s may import %s", owner, module)
		}
	}
	if !underAny(path, r.outside) {
		return fmt.Sprintf("%s may not import %s", r.dir, path)
	}
	return ""
}

func underExactly(path string, list []string) bool {
	for _, p := range list {
		if p == path {
			return true
		}
	}
	return false
}

// deterministicFindings are what may not occur where every replica must compute
// the same: clocks, randomness and floats; in a pure room also goroutines,
// channels and output.
func deterministicFindings(file *ast.File, pure bool, report func(ast.Node, string)) {
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.ImportSpec:
			switch path := strings.Trim(n.Path.Value, `"`); path {
			case "time", "math/rand", "math/rand/v2", "crypto/rand":
				report(n, "clocks and randomness are inputs here, not imports: "+path)
			}
		case *ast.BasicLit:
			if n.Kind.String() == "FLOAT" || n.Kind.String() == "IMAG" {
				report(n, "floats differ between machines: "+n.Value)
			}
		case *ast.Ident:
			switch n.Name {
			case "float32", "float64", "complex64", "complex128":
				report(n, "floats differ between machines: "+n.Name)
			}
		case *ast.SelectorExpr:
			selectorFinding(n, pure, report)
		case *ast.GoStmt, *ast.ChanType, *ast.SelectStmt:
			if pure {
				report(n, "goroutines and channels have no place in a pure room")
			}
		}
		return true
	})
}

func selectorFinding(n *ast.SelectorExpr, pure bool, report func(ast.Node, string)) {
	of, ok := n.X.(*ast.Ident)
	if !ok {
		return
	}
	name := n.Sel.Name
	bound := strings.HasPrefix(name, "MaxInt") || strings.HasPrefix(name, "MaxUint") || strings.HasPrefix(name, "MinInt")
	if of.Name == "math" && !bound {
		report(n, "floats differ between machines: math."+name)
	}
	if of.Name == "fmt" && pure && (strings.Contains(name, "rint") && !strings.HasPrefix(name, "Sprint") || strings.Contains(name, "Scan")) {
		report(n, "a pure room does no I/O: fmt."+name)
	}
}
