package main

import (
	"slices"
	"strings"
	"testing"

	"gavel/raftfsm/build"
	"gavel/raftfsm/escrow"
	"gavel/verify/attest"
)

func TestParseBytes(t *testing.T) {
	for text, want := range map[string]int64{
		"1": 1, "4096": 4096, "1k": 1024, "512MiB": 512 << 20, "512mib": 512 << 20, "4G": 4 << 30, "4GB": 4e9, "1.5GiB": 3 << 29, "0.5k": 512, "2 GiB": 2 << 30,
		"": -1, "0": -1, "-1": -1, "G": -1, "1.2.3": -1, "1e3": -1, "1/2G": -1, "ten": -1, "0.5": -1, "9999999999T": -1, "1Gi": -1, "0x10": -1, "+1": -1,
	} {
		got, err := parseBytes(text)
		if want < 0 && err == nil || want >= 0 && (err != nil || got != want) {
			t.Errorf("parseBytes(%q) = %d, %v; want %d", text, got, err, want)
		}
	}
}

func FuzzParseBytes(f *testing.F) {
	for _, s := range []string{"1", "512MiB", "1.5GB", "", "9999999999999999999T", "1/3k"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if n, err := parseBytes(s); err == nil && n <= 0 {
			t.Errorf("parseBytes(%q) = %d", s, n)
		}
	})
}

func TestParsePercent(t *testing.T) {
	for text, want := range map[string]uint32{
		"100%": 1_000_000, "5%": 50_000, "0.5%": 5_000, "0.0001%": 1,
		"0%": 0, "5": 0, "101%": 0, "-5%": 0, "0.00001%": 0, "%": 0, "five%": 0,
	} {
		got, err := parsePercent(text)
		if (err != nil) != (want == 0) || got != want {
			t.Errorf("parsePercent(%q) = %d, %v; want %d", text, got, err, want)
		}
	}
}

func TestParseThousandths(t *testing.T) {
	for text, want := range map[string]int64{"1": 1000, "1.5": 1500, "0.001": 1, "0": 0, "-1": 0, "1.0001": 0, "two": 0} {
		got, err := parseThousandths(text)
		if (err != nil) != (want == 0) || got != want {
			t.Errorf("parseThousandths(%q) = %d, %v; want %d", text, got, err, want)
		}
	}
}

func TestParseOutputs(t *testing.T) {
	got, err := parseOutputs([]string{"out/b", "./a", "out/b/", "a"})
	if err != nil || !slices.Equal(got, []string{"a", "out/b"}) {
		t.Errorf("got %q, %v", got, err)
	}
	for _, bad := range [][]string{nil, {""}, {".."}, {"/etc/passwd"}, {"a/../../b"}, {"."}, {"a\x00b"}} {
		if got, err := parseOutputs(bad); err == nil {
			t.Errorf("parseOutputs(%q) = %q", bad, got)
		}
	}
}

func TestParseEnv(t *testing.T) {
	got, err := parseEnv([]string{"B=2=3", "A="})
	if want := []attest.EnvVar{{Name: "A"}, {Name: "B", Value: "2=3"}}; err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v", got, err)
	}
	for _, bad := range [][]string{{"A"}, {"=1"}, {"A=1", "A=2"}} {
		if got, err := parseEnv(bad); err == nil {
			t.Errorf("parseEnv(%q) = %v", bad, got)
		}
	}
}

func TestParseRoot(t *testing.T) {
	id := "sha256:" + strings.Repeat("0a", 32)
	for _, good := range []string{"host", id, "debian", "debian:12", "team/go-1.26"} {
		if got, err := parseRoot(good); err != nil || got != good {
			t.Errorf("parseRoot(%q) = %q, %v", good, got, err)
		}
	}
	for _, bad := range []string{"", "Debian", "a b", "../x", id[:70], id + "0", strings.ToUpper(id), "sha512:" + id[7:]} {
		if got, err := parseRoot(bad); err == nil {
			t.Errorf("parseRoot(%q) = %q", bad, got)
		}
	}
}

func TestParseMisbehave(t *testing.T) {
	got, err := parseMisbehave([]string{"8=forge", "1=lazy"})
	if err != nil || len(got) != 2 || got[8] != "forge" || got[1] != "lazy" {
		t.Errorf("got %v, %v", got, err)
	}
	for _, bad := range []string{"forge", "8", "8=", "=forge", "x=forge"} {
		if _, err := parseMisbehave([]string{bad}); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
	if _, err := parseMisbehave([]string{"1=lazy", "1=copy"}); err == nil {
		t.Error("a worker misbehaves in two ways")
	}
}

// A maximum price that a batch pool cannot keep is refused with the sum it comes
// from and the ways out; none given, it is that sum.
func TestBatchPrice(t *testing.T) {
	for _, c := range []struct {
		metered bool
		reserve escrow.Credits
		timeout int64
		given   escrow.Credits // 0: none
		want    escrow.Credits
		says    string
	}{
		{metered: true, reserve: 2 * escrow.One, timeout: 3000, want: 6 * escrow.One},
		{metered: true, reserve: 2 * escrow.One, timeout: 3000, given: 7 * escrow.One, want: 7 * escrow.One},
		{metered: true, reserve: 2 * escrow.One, timeout: 3000, given: 3 * escrow.One,
			says: "--max-price 3 is below 6, what a build of pool p can cost: its reserve of 2 a core-second for all of --timeout 3s. Give --max-price 6, or a shorter --timeout"},
		{reserve: 2 * escrow.One, timeout: 3000, given: escrow.One, says: "--max-price 1 is below 2, the reserve of pool p. Give --max-price 2"},
		{reserve: 2 * escrow.One, timeout: 3000, want: 2 * escrow.One},
		{metered: true, reserve: maxUnitReserve, timeout: build.MaxTimeoutMillis, says: "give a shorter --timeout"},
	} {
		o := &order{maxPrice: credits{value: c.given, given: c.given > 0}}
		o.action.TimeoutMillis = c.timeout
		err := o.batchPrice("p", &build.BatchRules{Reserve: c.reserve, Metered: c.metered})
		if c.says == "" && (err != nil || o.maxPrice.value != c.want) || c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%+v: %v, %v", c, o.maxPrice.value, err)
		}
	}
}
