package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gavel/api"
	"gavel/raftfsm/build"
	"gavel/raftfsm/wire"
	"gavel/verify/audit"
	"gavel/verify/audit/audittest"
)

// coordinatorOf is a party of a made-up world as api wants a signer.
type coordinatorOf struct{ *audittest.Party }

func (c coordinatorOf) PublicPKIX() []byte { return c.PKIX }

// A copy of a log is audited from the command line: good, with a byte changed, and
// gone; and copied once more.
func TestAuditCommand(t *testing.T) {
	w, err := audittest.New(audittest.Options{Seed: 6})
	if err != nil {
		t.Fatal(err)
	}
	s, err := w.Serve()
	if err != nil {
		t.Fatal(err)
	}
	dir, again := t.TempDir(), filepath.Join(t.TempDir(), "again")
	if err := s.Write(dir); err != nil {
		t.Fatal(err)
	}
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	gavel := func(want int, args ...string) (string, string) {
		t.Helper()
		var out, errs bytes.Buffer
		if got := run(t.Context(), args, &out, &errs); got != want {
			t.Errorf("gavel %s: exit status %d, want %d: %s", strings.Join(args, " "), got, want, errs.String())
		}
		return out.String(), errs.String()
	}
	text, _ := gavel(0, "audit", "--dir", dir)
	for _, says := range []string{"nothing deviates", "not proven:", "SIMULATED", "compare cluster"} {
		if !strings.Contains(text, says) {
			t.Errorf("the report does not say %q:\n%s", says, text)
		}
	}
	gavel(0, "audit", "export", "-o", again, "--dir", dir)
	if _, says := gavel(2, "audit", "export", "-o", again, "--dir", dir); !strings.Contains(says, again+" is not empty") || strings.Contains(says, "can be audited") {
		t.Errorf("exported over itself: %s", says)
	}
	gavel(2, "audit", "export", "--dir", dir)
	gavel(2, "audit", "--dir", filepath.Join(dir, "missing"))
	gavel(2, "audit", "--dir", dir, "--url", "http://127.0.0.1:1")
	gavel(2, "audit", "--dir", dir, "--cluster", "12")
	farm, another := t.TempDir(), strings.Repeat("ab", 32)
	if err := os.WriteFile(farmDir(farm).genesis(), wire.Encode(s.Genesis), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, says := gavel(2, "audit", "--farm", farm, "--cluster", another); !strings.Contains(says, fmt.Sprintf("the farm in %s is cluster %x, not %s", farm, w.Cluster, another)) {
		t.Errorf("another cluster: %s", says)
	}

	// A receipt as a coordinator signs it, and as gavel submit keeps it.
	var batch build.Batch
	for i := len(w.Entries) - 1; len(batch.Commands) == 0; i-- {
		if wire.Decode(w.Entries[i].Data, &batch) != nil || len(batch.Commands) == 0 || !batch.Commands[0].Type.Signed() {
			batch = build.Batch{}
			continue
		}
		receipt, err := api.NewReceipt(w.Cluster, coordinatorOf{w.Coordinators[0]}, wire.Encode(&batch.Commands[0]), w.Entries[i].Index, w.Applied[i].Outcomes[0])
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "receipt.json")
		if err := keepReceipt(path, receipt); err != nil {
			t.Fatal(err)
		}
		if text, _ := gavel(0, "audit", "--fresh", "--dir", dir, "--receipt", path); !strings.Contains(text, "receipts: 1") {
			t.Error(text)
		}
		receipt.Index--
		if receipt.Signature, err = w.Coordinators[0].Sign([]byte("something else")); err != nil {
			t.Fatal(err)
		}
		if err := keepReceipt(path, receipt); err != nil {
			t.Fatal(err)
		}
		gavel(2, "audit", "--fresh", "--dir", dir, "--receipt", path)
	}

	name := filepath.Join(again, "epoch", "2")
	raw, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	raw[len(raw)/2] ^= 1
	if err := os.WriteFile(name, raw, 0o644); err != nil {
		t.Fatal(err)
	}
	text, _ = gavel(1, "audit", "--dir", again, "--json")
	var report struct {
		Leaves, Builds, Auctions, Draws, Transfers *uint64
		Deviations                                 []struct {
			Leaf             *uint64
			Field, Want, Got *string
		}
	}
	if err := json.Unmarshal([]byte(text), &report); err != nil {
		t.Fatal(err)
	}
	if report.Leaves == nil || report.Builds == nil || report.Auctions == nil || report.Draws == nil || report.Transfers == nil || len(report.Deviations) == 0 || report.Deviations[0].Leaf == nil || report.Deviations[0].Field == nil {
		t.Errorf("the report is %s", text)
	}
}

// checkAudit replays the log of a farm that runs, its coordinators' logs held
// together, and a copy of it. What settled a moment ago is logged in a moment, and
// its entries are shown when their epoch has ended.
func checkAudit(t *testing.T, f *testFarm, builds uint64) {
	t.Helper()
	var report audit.Report
	for deadline := time.Now().Add(30 * time.Second); (report.Builds < builds || report.Auctions < builds) && time.Now().Before(deadline); time.Sleep(300 * time.Millisecond) {
		code, out, stderr := call(t.Context(), "audit", "--farm", f.dir, "--fresh", "--json")
		if code == exitUsage && strings.Contains(stderr, "audit again") {
			continue // no epoch is shown yet
		}
		if err := json.Unmarshal([]byte(out), &report); code != exitDone || err != nil {
			t.Fatalf("audit: %d %v %s%s", code, err, out, stderr)
		}
	}
	if report.Builds < builds || report.Auctions < builds || !report.Simulated || len(report.Cosigners) < 2 {
		t.Errorf("the audit of %d builds reports %+v", builds, report)
	}
	copied := filepath.Join(t.TempDir(), "copy")
	if code, _, stderr := call(t.Context(), "audit", "export", "-o", copied, "--farm", f.dir); code != exitDone {
		t.Fatalf("audit export: %d %s", code, stderr)
	}
	if code, out, stderr := call(t.Context(), "audit", "--dir", copied, "--fresh"); code != exitDone || !strings.Contains(out, "nothing deviates") {
		t.Errorf("audit of the copy: %d %s%s", code, out, stderr)
	}
}
