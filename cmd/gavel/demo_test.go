package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	gavelv1 "gavel/api/gavel/v1"
	"gavel/raftfsm/build"
	"gavel/raftfsm/escrow"
)

// recorded are the views of three builds as a real demonstration received them.
func recorded(t testing.TB) (names []string, views map[string][]*gavelv1.Build) {
	t.Helper()
	names, views = []string{"hello-c", "hello-go", "clock"}, make(map[string][]*gavelv1.Build)
	for _, name := range names {
		f, err := os.Open(filepath.Join("testdata", "demo", name+".jsonl"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		lines := bufio.NewScanner(f)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			b := new(gavelv1.Build)
			if err := protojson.Unmarshal(lines.Bytes(), b); err != nil {
				t.Fatal(err)
			}
			views[name] = append(views[name], b)
		}
		if err := lines.Err(); err != nil || len(views[name]) < 2 {
			t.Fatalf("%s: %d views, %v", name, len(views[name]), err)
		}
	}
	return names, views
}

// doneBuilds are the recorded builds at their end, as promised in every way.
func doneBuilds(t testing.TB) (builds []*demoBuild) {
	names, views := recorded(t)
	for i, name := range names {
		b := &demoBuild{
			demoProject: &demoProject{name: name, output: "hello", verdict: []build.State{build.Judged, build.Agreed, build.NonDeterministic}[i]},
			took:        time.Duration(i+1) * time.Second, proven: []string{"worker-1", "worker-2"},
		}
		b.view = proto.Clone(views[name][len(views[name])-1]).(*gavelv1.Build)
		b.report = newReport(b.view)
		sum := digest.FromString(name)
		b.report.Outputs = []outputReport{{Path: b.output, Digest: sum, Size: 9}}
		b.served = map[string]digest.Digest{b.output: sum}
		if b.verdict != build.NonDeterministic {
			b.reference = sum
		}
		builds = append(builds, b)
	}
	return builds
}

func goodLedger() *ledgerReport {
	return &ledgerReport{Minted: 120, Total: 120, Accounts: []accountReport{{Name: "requester", Role: "requester", Available: 100}, {Name: "worker-1", Role: "worker", Stake: 20}}}
}

// tellAll is the whole show of the recorded builds, every nth view of them and
// the last, on a terminal or in plain lines.
func tellAll(t testing.TB, nth int, colour bool) string {
	var out bytes.Buffer
	s := &screen{w: &out, colour: colour, live: colour}
	story := newStory(s)
	names, views := recorded(t)
	builds := doneBuilds(t)
	for i, name := range names {
		s.heading("Build of %s", name)
		story.begin()
		for n, b := range views[name] {
			if n%nth == 0 || n == len(views[name])-1 {
				story.tell(b)
			}
		}
		story.end(builds[i])
	}
	ledger := goodLedger()
	sum := newDemoSummary(builds, ledger, true, 20*time.Second)
	sum.write(s, builds, ledger, sum.broken(builds))
	return out.String()
}

func TestDemoStoryGolden(t *testing.T) {
	golden(t, "demo/plain.txt", []byte(tellAll(t, 1, false)))
	golden(t, "demo/colour.txt", []byte(tellAll(t, 1, true)))
}

// A slow reader misses views; what it is told at the end is the same but for
// events of one kind that came in several views.
func TestDemoStoryLosesNothingWithViews(t *testing.T) {
	all := strings.Split(tellAll(t, 1, false), "\n")
	for _, nth := range []int{2, 5, 1000} {
		few := strings.Split(tellAll(t, nth, false), "\n")
		slices.Sort(few)
		for _, line := range all {
			if _, found := slices.BinarySearch(few, line); !found {
				t.Errorf("with every %dth view the story lacks %q", nth, line)
			}
		}
	}
	if seen := strings.Count(strings.Join(all, "\n"), "nobody can undercut"); seen != 1 {
		t.Errorf("explained %d times, want once", seen)
	}
	if strings.Contains(strings.Join(all, "\n"), "\x1b") {
		t.Error("plain lines hold escape sequences")
	}
}

// Before the verdict no digest may be on the screen.
func TestDemoStoryShowsDigestsAfterTheVerdict(t *testing.T) {
	names, views := recorded(t)
	for _, name := range names {
		var out bytes.Buffer
		story := newStory(&screen{w: &out})
		story.begin()
		for _, b := range views[name] {
			story.tell(b)
			if shown := strings.Contains(out.String(), "verdict"); shown != (b.Verdict != "") || strings.Contains(out.String(), "…  ") && !shown {
				t.Fatalf("%s: verdict %q, and on the screen:\n%s", name, b.Verdict, &out)
			}
		}
	}
}

// Every promise, when broken, is found and named.
func TestDemoFindsBrokenPromises(t *testing.T) {
	good := doneBuilds(t)
	if broken := newDemoSummary(good, goodLedger(), false, 0).broken(good); len(broken) != 1 || !strings.Contains(broken[0], "audit") {
		t.Errorf("an audit that found something: %q", broken)
	}
	if broken := newDemoSummary(good, goodLedger(), true, 0).broken(good); len(broken) > 0 {
		t.Fatalf("all was as promised, and yet: %q", broken)
	}
	for what, c := range map[string]struct {
		change func(judged, agreed, clock *demoBuild, l *ledgerReport)
		want   string
	}{
		"another verdict":   {func(j, _, _ *demoBuild, _ *ledgerReport) { j.report.Verdict = "agreed" }, "verdict"},
		"clock agreed":      {func(_, _, c *demoBuild, _ *ledgerReport) { c.report.Verdict = "agreed" }, "clock: the verdict"},
		"honest winner":     {func(j, _, _ *demoBuild, _ *ledgerReport) { j.report.Winner = "worker-1" }, "worker-1 won"},
		"nobody slashed":    {func(j, _, _ *demoBuild, _ *ledgerReport) { j.report.slashed = nil }, "slashed were"},
		"an honest slashed": {func(_, a, _ *demoBuild, _ *ledgerReport) { a.report.slashed = []string{"worker-1"} }, "hello-go: slashed were"},
		"clock slashed":     {func(_, _, c *demoBuild, _ *ledgerReport) { c.report.slashed = []string{"worker-8"} }, "clock: slashed were"},
		"no refund":         {func(j, _, _ *demoBuild, _ *ledgerReport) { j.view.Transfers = j.view.Transfers[:1] }, "full refund"},
		"forged output":     {func(j, _, _ *demoBuild, _ *ledgerReport) { j.served["hello"] = digest.FromString("forged") }, "output"},
		"wrong reference":   {func(j, _, _ *demoBuild, _ *ledgerReport) { j.reference = digest.FromString("here") }, "differs from what this machine"},
		"nothing served":    {func(_, a, _ *demoBuild, _ *ledgerReport) { a.served = nil }, "was to be delivered"},
		"panel split": {func(j, _, _ *demoBuild, _ *ledgerReport) {
			j.report.Panel[0].Agreed, j.report.Panel[1].Agreed = false, false
		}, "of a panel of 5"},
		"no panel":         {func(j, _, _ *demoBuild, _ *ledgerReport) { j.report.Panel = nil }, "of a panel of 0"},
		"validator silent": {func(_, a, _ *demoBuild, _ *ledgerReport) { a.report.Validators[0].Agreed = false }, "validators agree"},
		"first price":      {func(_, a, _ *demoBuild, _ *ledgerReport) { a.view.Payment = a.view.Price }, "second price"},
		"command failed":   {func(_, a, _ *demoBuild, _ *ledgerReport) { a.report.ExitCode = 1 }, "want exited 0"},
		"bad attestation":  {func(_, a, _ *demoBuild, _ *ledgerReport) { a.doubts = []string{"the attestation of x"} }, "attestation of x"},
		"no attestations":  {func(_, a, _ *demoBuild, _ *ledgerReport) { a.proven = nil }, "attested"},
		"money from air":   {func(_, _, _ *demoBuild, l *ledgerReport) { l.Minted++ }, "ledger"},
		"debt":             {func(_, _, _ *demoBuild, l *ledgerReport) { l.Accounts[0].Available -= 200; l.Accounts[1].Stake += 200 }, "ledger"},
		"still held":       {func(_, _, _ *demoBuild, l *ledgerReport) { l.Accounts[1].Stake, l.Accounts[1].Held = 0, 20 }, "ledger"},
		"escrow left": {func(_, _, _ *demoBuild, l *ledgerReport) {
			l.Accounts[1].Role = escrow.Escrow.String()
			l.Accounts[1].Available, l.Accounts[1].Stake = 20, 0
		}, "ledger"},
	} {
		builds, ledger := doneBuilds(t), goodLedger()
		c.change(builds[0], builds[1], builds[2], ledger)
		broken := newDemoSummary(builds, ledger, true, 0).broken(builds)
		if !strings.Contains(strings.Join(broken, "\n"), c.want) {
			t.Errorf("%s: found %q, want one that says %q", what, broken, c.want)
		}
	}
}

func TestDemoSummaryJSON(t *testing.T) {
	builds := doneBuilds(t)
	var out bytes.Buffer
	if err := newDemoSummary(builds, goodLedger(), true, 20*time.Second).encode(&out); err != nil {
		t.Fatal(err)
	}
	if strings.Count(out.String(), "\n") != 1 {
		t.Errorf("%d lines, want one", strings.Count(out.String(), "\n"))
	}
	var got map[string]json.RawMessage
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if len(got) != 5 || string(got["audit_ok"]) != "true" || string(got["slashed"]) != `["worker-8"]` || string(got["ledger_ok"]) != "true" || string(got["elapsed_ms"]) != "20000" {
		t.Errorf("got %s", &out)
	}
	one, err := json.Marshal(builds[0].report)
	if err != nil || !bytes.HasPrefix(got["builds"], append([]byte("["), one...)) {
		t.Errorf("builds are %s, want them as submit prints them: %s, %v", got["builds"], one, err)
	}
}

// The forger's stake must cover the bond of the first build and nothing after it.
func TestDemoForgerCanForgeOnce(t *testing.T) {
	stake, err := forgerStake()
	if err != nil {
		t.Fatal(err)
	}
	_, views := recorded(t)
	for name, list := range views {
		bond := escrow.Credits(list[len(list)-1].Stake)
		if name == "hello-c" && bond != stake {
			t.Errorf("the farm asked for a bond of %v with all workers there, the forger stakes %v", bond, stake)
		}
		if bond <= 0 || bond > stake {
			t.Errorf("%s: a bond of %v", name, bond)
		}
	}
}

func TestDemoFlags(t *testing.T) {
	id := "sha256:" + strings.Repeat("a", 64)
	for _, c := range []struct {
		f    demoFlags
		root string
	}{
		{demoFlags{sandbox: "native"}, "host"}, {demoFlags{sandbox: "docker", image: id}, id},
		{demoFlags{sandbox: "docker"}, ""}, {demoFlags{sandbox: "native", image: id}, ""}, {demoFlags{sandbox: "docker", image: "debian"}, ""},
	} {
		root, err := c.f.root()
		if root != c.root || (err == nil) != (c.root != "") {
			t.Errorf("%+v: root %q, %v; want %q", c.f, root, err, c.root)
		}
	}
}

func TestDemoWraps(t *testing.T) {
	long := strings.Repeat("wörter ", 40)
	for _, text := range []string{"", "short", long, strings.Repeat("x", 300)} {
		lines := wrap(text)
		if strings.Join(lines, " ") != text {
			t.Errorf("%q was wrapped into %q", text, lines)
		}
		for _, line := range lines {
			if strings.Contains(text, " ") && len([]rune(line)) > textWidth {
				t.Errorf("a line of %d characters", len([]rune(line)))
			}
		}
	}
}

// What the demonstration calls its reference is what the project's own build
// gives; the project that differs at every build does so here too.
func TestDemoProjectsBuildHere(t *testing.T) {
	p := &demoPlace{scratch: t.TempDir()}
	clock := &demoProject{name: "clock", command: []string{"sh", "build.sh"}, output: "clock"}
	if err := p.buildHere(t.Context(), clock); err != nil {
		t.Fatal(err)
	}
	first := clock.reference
	if err := os.RemoveAll(filepath.Join(p.scratch, "here")); err != nil {
		t.Fatal(err)
	}
	if err := p.buildHere(t.Context(), clock); err != nil || clock.reference == first {
		t.Errorf("two builds of clock are the same, %v (%v)", first, err)
	}
	broken := &demoProject{name: "hello", command: []string{"sh", "-c", "echo no; exit 3"}, output: "hello"}
	if err := p.buildHere(t.Context(), broken); err == nil || !strings.Contains(err.Error(), "no") {
		t.Errorf("a build that fails: %v, want its output", err)
	}
	if err := p.buildHere(t.Context(), &demoProject{name: "absent", command: []string{"sh"}}); err == nil {
		t.Error("a project that is not there was built")
	}
}
