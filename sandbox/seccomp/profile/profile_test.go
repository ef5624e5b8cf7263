package profile

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"math/rand/v2"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"gavel/sandbox/seccomp"
)

// evaluate does what a runtime does with the profile: the action of the rule
// that holds. Two that disagree are an error, because nothing orders them.
func evaluate(t *testing.T, p *specs.LinuxSeccomp, name string, args [6]uint64) uint {
	t.Helper()
	const undecided = ^uint(0)
	found := undecided
	for _, r := range p.Syscalls {
		holds := false
		for _, n := range r.Names {
			holds = holds || n == name
		}
		for _, a := range r.Args {
			if a.Op != specs.OpMaskedEqual {
				t.Fatalf("%s: operator %s", name, a.Op)
			}
			holds = holds && args[a.Index]&a.Value == a.ValueTwo
		}
		if !holds {
			continue
		}
		answer := uint(0)
		if r.Action == specs.ActErrno {
			answer = *r.ErrnoRet
		}
		if found != undecided && found != answer {
			t.Fatalf("%s%v: two rules hold", name, args)
		}
		found = answer
	}
	if found == undecided {
		return *p.DefaultErrnoRet
	}
	return found
}

// judge is what package seccomp's own words mean.
func judge(j seccomp.Judgement, args [6]uint64) uint {
	matched := false
	for _, conditions := range j.Cases {
		all := true
		for _, c := range conditions {
			all = all && uint32(args[c.Arg])&c.Mask == c.Value
		}
		matched = matched || all
	}
	if matched == j.Deny {
		return uint(unix.EPERM)
	}
	return 0
}

func TestProfileDecidesAsTheProgramDoes(t *testing.T) {
	for _, supervisor := range []bool{false, true} {
		p := OCI(supervisor)
		if p.DefaultAction != specs.ActErrno || *p.DefaultErrnoRet != uint(unix.ENOSYS) || len(p.Architectures) != 1 {
			t.Errorf("default %s %d, architectures %v", p.DefaultAction, *p.DefaultErrnoRet, p.Architectures)
		}
		want := map[seccomp.Decision]uint{seccomp.Absent: uint(unix.ENOSYS), seccomp.Denied: uint(unix.EPERM), seccomp.Allowed: 0}
		for n, d := range seccomp.Calls(supervisor) {
			if d == seccomp.Judged {
				continue
			}
			if got := evaluate(t, p, names[n], [6]uint64{}); got != want[d] {
				t.Errorf("%s answers %d, want %d", names[n], got, want[d])
			}
		}
		for _, j := range seccomp.Judgements() {
			for _, args := range interesting(j) {
				if got, want := evaluate(t, p, names[j.Call], args), judge(j, args); got != want {
					t.Errorf("%s%x answers %d, want %d", names[j.Call], args, got, want)
				}
			}
		}
	}
}

// interesting are arguments around the borders of a judgement: each case, each
// case with one bit changed in either half, and any.
func interesting(j seccomp.Judgement) [][6]uint64 {
	var all [][6]uint64
	for _, conditions := range j.Cases {
		var base [6]uint64
		for _, c := range conditions {
			base[c.Arg] = uint64(c.Value)
		}
		all = append(all, base)
		for i := range base {
			for bit := range 64 {
				changed := base
				changed[i] ^= 1 << bit
				all = append(all, changed)
			}
		}
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		var args [6]uint64
		for i := range args {
			args[i] = random.Uint64() >> random.IntN(64)
		}
		all = append(all, args)
	}
	return all
}

func TestNamesAreThoseOfTheNumbers(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "names_"+runtime.GOARCH+".go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	checked := 0
	ast.Inspect(file, func(n ast.Node) bool {
		pair, ok := n.(*ast.KeyValueExpr)
		if !ok {
			return true
		}
		constant, name := pair.Key.(*ast.SelectorExpr).Sel.Name, pair.Value.(*ast.BasicLit).Value
		if want := `"` + strings.ToLower(strings.TrimPrefix(constant, "SYS_")) + `"`; name != want {
			t.Errorf("%s is called %s", constant, name)
		}
		checked++
		return true
	})
	if checked != len(names) {
		t.Errorf("checked %d of %d names", checked, len(names))
	}
	for n := range seccomp.Calls(false) {
		if names[n] == "" {
			t.Errorf("call %d has no name", n)
		}
	}
}

func TestDockerProfileIsTheSame(t *testing.T) {
	b, err := DockerProfile(true)
	if err != nil {
		t.Fatal(err)
	}
	var got specs.LinuxSeccomp
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(&got, OCI(true)) {
		t.Error("the JSON is another profile")
	}
	if len(b) > 128<<10 {
		t.Errorf("%d bytes", len(b))
	}
}
