package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"image/png"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	gavelv1 "gavel/api/gavel/v1"
	"gavel/lab"
	"gavel/lab/cases"
	"gavel/raftfsm/auction"
	"gavel/raftfsm/build"
	"gavel/raftfsm/escrow"
)

// vector is what these tests use of a case in testdata/market.json.
type vector struct {
	ID, Rule string
	Values   []float64
	N, C, K  int
	R, X     escrow.Credits
	Rows     []map[string]any
	Expect   map[string]any
	text     []byte
}

func labVectors(t *testing.T) []vector {
	t.Helper()
	raw, err := os.ReadFile("../../testdata/market.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Cases []json.RawMessage }
	if err := json.Unmarshal(raw, &file); err != nil {
		t.Fatal(err)
	}
	list := make([]vector, len(file.Cases))
	for i, text := range file.Cases {
		d := json.NewDecoder(bytes.NewReader(text))
		if err := d.Decode(&list[i]); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		list[i].text = text
	}
	if len(list) != 55 {
		t.Fatalf("%d vectors, want 55", len(list))
	}
	return list
}

// labJSON runs a laboratory's subcommand and decodes what it prints.
func labJSON(t *testing.T, into any, args ...string) {
	t.Helper()
	args = append([]string{"lab"}, append(args, "--json")...)
	code, out, stderr := call(t.Context(), args...)
	if code != exitDone {
		t.Fatalf("gavel %s: exit %d, %s", strings.Join(args, " "), code, stderr)
	}
	if err := json.Unmarshal([]byte(out), into); err != nil {
		t.Fatalf("gavel %s: %v in %s", strings.Join(args, " "), err, out)
	}
}

func TestLabClearVectors(t *testing.T) {
	dir := t.TempDir()
	for _, v := range labVectors(t) {
		path := filepath.Join(dir, v.ID+".json")
		if err := os.WriteFile(path, v.text, 0o644); err != nil {
			t.Fatal(err)
		}
		code, out, stderr := call(t.Context(), "lab", "clear", path, "--check")
		if code != exitDone || stderr != "" || !json.Valid([]byte(out)) {
			t.Errorf("%s: exit %d, %s%s", v.ID, code, out, stderr)
		}
	}
}

func TestLabClearFromStandardInput(t *testing.T) {
	for text, want := range map[string]struct {
		code        int
		out, stderr string
	}{
		`{"rule":"candle-ranges","periods":4,"expect":{"ranges":10}}`: {exitDone, "{\"ranges\":10}\n", ""},
		`{"rule":"candle-ranges","periods":4,"expect":{"ranges":11}}`: {exitFailed, "{\"ranges\":10}\n", "ranges is 10, expected 11"},
		`{"rule":"candle-ranges","periods":4}`:                        {exitUsage, "{\"ranges\":10}\n", "refused (malformed): the case has no expect"},
		`{"rule":"candle-ranges","periods":9}`:                        {exitUsage, "", "refused (out-of-range): 9 periods"},
		`{"rule":"dutch"}`:                                            {exitUsage, "", "refused (unknown-rule): there is no rule \"dutch\""},
		`nonsense`:                                                    {exitUsage, "", "refused (malformed)"},
	} {
		var out, stderr bytes.Buffer
		root := rootCommand()
		root.SetArgs([]string{"lab", "clear", "-", "--check"})
		root.SetIn(strings.NewReader(text))
		root.SetOut(&out)
		root.SetErr(&stderr)
		code := exitDone
		if err := root.ExecuteContext(t.Context()); err != nil {
			e, ok := err.(*exit)
			if !ok {
				t.Fatalf("%s: %v", text, err)
			}
			code = e.code
			fmt.Fprint(&stderr, e.Error())
		}
		if code != want.code || out.String() != want.out || !strings.Contains(stderr.String(), want.stderr) {
			t.Errorf("%s: exit %d, %q, %q; want %+v", text, code, out.String(), stderr.String(), want)
		}
	}
}

func TestLabMechanisms(t *testing.T) {
	var list []lab.Mechanism
	labJSON(t, &list, "mechanisms")
	if !slices.Equal(list, lab.Mechanisms()) || len(list) < 10 {
		t.Errorf("%d mechanisms in JSON, want %d", len(list), len(lab.Mechanisms()))
	}
	_, table, _ := call(t.Context(), "lab", "mechanisms")
	words := strings.Join(strings.Fields(table), " ")
	for _, m := range list {
		if !strings.Contains(table, "\n"+m.Name+":") {
			t.Errorf("the table lacks %s", m.Name)
		}
	}
	for _, title := range []string{"WHO CONTROLS", "WHAT IS SOLD", "WHEN", "PRICE SIGNAL", "WINNER"} {
		if !strings.Contains(words, title) {
			t.Errorf("the table lacks the column %s", title)
		}
	}
}

// Each mechanism that the vectors solve is a row with the vectors' numbers.
func TestLabCompareVectors(t *testing.T) {
	compared := 0
	for _, v := range labVectors(t) {
		if len(v.Values) == 0 || v.Rule == "lab-collusion" {
			continue
		}
		values := amounts(v.Values)
		var rows []map[string]any
		labJSON(t, &rows, "compare", "--values", values.String())
		at := slices.IndexFunc(rows, func(r map[string]any) bool { return "lab-"+r["mechanism"].(string) == v.Rule })
		if at < 0 {
			t.Errorf("%s: no row", v.ID)
			continue
		}
		for field, want := range v.Expect {
			if field == "note" {
				continue
			}
			compared++
			if !near(rows[at][field], want, 1e-4) {
				t.Errorf("%s: %s is %v, want %v", v.ID, field, rows[at][field], want)
			}
		}
	}
	if compared < 25 {
		t.Errorf("only %d numbers compared", compared)
	}
}

// near compares decoded JSON.
func near(got, want any, tolerance float64) bool {
	switch w := want.(type) {
	case float64:
		g, ok := got.(float64)
		return ok && math.Abs(g-w) <= tolerance
	case []any:
		g, ok := got.([]any)
		return ok && slices.EqualFunc(g, w, func(x, y any) bool { return near(x, y, tolerance) })
	}
	return got == want
}

func TestLabCompare(t *testing.T) {
	var rows []map[string]any
	labJSON(t, &rows, "compare", "--costs", "1,2,3", "--reserve", "5", "--units", "2")
	for _, r := range rows {
		switch r["mechanism"] {
		case "vickrey":
			t.Errorf("it trades one unit: %v", r)
		case "vcg":
			if !near(r["payments"], []any{3.0, 3.0, 0.0}, 1e-9) || !near(r["revenue"], 6.0, 1e-9) {
				t.Errorf("vcg: %v", r)
			}
		}
		for _, field := range []string{"bids", "allocations", "payments", "revenue", "fairness", "pure_equilibrium", "sybil_proof"} {
			if r["error"] == nil && r[field] == nil {
				t.Errorf("%v has no %s", r["mechanism"], field)
			}
		}
	}
	labJSON(t, &rows, "compare", "--costs", "1,2,3", "--reserve", "5", "--units", "2", "--mechanism", "vickrey,vcg") // named, it says so
	if text, _ := rows[0]["error"].(string); len(rows) != 2 || !strings.Contains(text, "2 units, but it allocates one; take vcg, uniform, uniform-last, gsp or first") {
		t.Errorf("vickrey by name: %v", rows)
	}
	labJSON(t, &rows, "compare", "--values", "4, 2", "--mechanism", "tullock,second-price", "--alpha", "0.5")
	if len(rows) != 2 || rows[0]["mechanism"] != "tullock" || rows[1]["mechanism"] != "second-price" || rows[0]["sybil_proof"] != false {
		t.Errorf("restricted: %v", rows)
	}
	_, table, _ := call(t.Context(), "lab", "compare", "--values", "4,2")
	if !strings.Contains(table, "proportional-winner-pays  1.138 0.7518   0.6022 0.3978") {
		t.Errorf("the table has no row of four digits:\n%s", table)
	}
}

func TestLabOddsVectors(t *testing.T) {
	for _, v := range labVectors(t) {
		for _, row := range v.Rows {
			var got map[string]any
			labJSON(t, &got, "odds", "--workers", fmt.Sprint(row["N"]), "--colluders", fmt.Sprint(row["c"]), "--validators", fmt.Sprint(row["k"]))
			for field, want := range row {
				if got[field] != want {
					t.Errorf("%v: %s is %v", row, field, got[field])
				}
			}
		}
		if v.Rule != "stake" {
			continue
		}
		var got map[string]any
		labJSON(t, &got, "stake", "--workers", fmt.Sprint(v.N), "--colluders", fmt.Sprint(v.C), "--validators", fmt.Sprint(v.K),
			"--max-price", v.R.String(), "--value-at-risk", v.X.String())
		for field, want := range v.Expect {
			if !near(got[field], want, 0) {
				t.Errorf("%s: %s is %v, want %v", v.ID, field, got[field], want)
			}
		}
	}
}

// Without sampling and with it, exactly: at a tenth, nine forgeries of ten pass
// unseen and the rest end as before.
func TestLabSampling(t *testing.T) {
	args := []string{"--workers", "20", "--colluders", "6", "--validators", "3"}
	var got struct {
		Samples []struct {
			PPM     uint32 `json:"sample_ppm"`
			Unseen  [2]int `json:"p_unseen"`
			All     [2]int `json:"p_all"`
			Stake   int64  `json:"stake"`
			Refused string `json:"code"`
		} `json:"samples"`
		Stake int64 `json:"stake"`
	}
	labJSON(t, &got, append([]string{"odds", "--sample", "100%,10%"}, args...)...)
	if s := got.Samples; len(s) != 2 || s[0].All != [2]int{1, 57} || s[0].Unseen != [2]int{0, 1} || s[1].All != [2]int{1, 570} || s[1].Unseen != [2]int{9, 10} {
		t.Errorf("odds: %+v", got)
	}
	labJSON(t, &got, append([]string{"stake", "--max-price", "0.001", "--value-at-risk", "0.999", "--sample", "5%,0.0001%"}, args...)...)
	for _, s := range got.Samples {
		want, err := auction.Stake(20, 6, 3, 7, 1000, 999_000, uint64(s.PPM))
		if err != nil || int64(want) != s.Stake {
			t.Errorf("at %d ppm: %d, want %d, %v", s.PPM, s.Stake, want, err)
		}
	}
	if len(got.Samples) != 2 || got.Stake != got.Samples[0].Stake {
		t.Errorf("stake: %+v", got)
	}
	_, table, _ := call(t.Context(), append([]string{"lab", "stake", "--max-price", "0.001", "--value-at-risk", "0.999", "--sample", "5%"}, args...)...)
	if !strings.Contains(table, "100 %             0.077522") || !strings.Contains(table, "5 %               58.769692") {
		t.Errorf("the table:\n%s", table)
	}
	labJSON(t, &got, "stake", "--workers", "20", "--colluders", "6", "--validators", "3", "--max-price", "1000000000000", "--sample", "100%,0.0001%")
	if s := got.Samples; s[0].Refused != "" || s[1].Refused != "overflow" {
		t.Errorf("a rate at which the stake overflows: %+v", s)
	}
}

func TestLabCandle(t *testing.T) {
	var got map[string]float64
	labJSON(t, &got, "candle", "--bidders", "101", "--value", "100", "--rival", "60")
	for _, v := range labVectors(t) {
		for field, want := range v.Expect {
			if v.Rule == "lab-candle-strategy" && !near(got[field], want, 0.001) {
				t.Errorf("%s is %v, want %v", field, got[field], want)
			}
		}
	}
}

func TestLabSimulate(t *testing.T) {
	args := []string{"simulate", "--mechanism", "vickrey", "--bidders", "4", "--reserve", "2", "--rounds", "2000", "--shade", "0.3"}
	var first, again lab.Report
	labJSON(t, &first, args...)
	labJSON(t, &again, args...)
	if first != again {
		t.Errorf("the same seed tells %+v and %+v", first, again)
	}
	if first.Mechanism != "vickrey" || first.Gain.High > 0 {
		t.Errorf("shading pays under vickrey: %+v", first)
	}
	_, table, _ := call(t.Context(), append([]string{"lab"}, args...)...)
	if !strings.Contains(table, "It does not pay") {
		t.Errorf("the table:\n%s", table)
	}
}

func TestLabPlots(t *testing.T) {
	dir := t.TempDir()
	pool := []string{"--workers", "20", "--colluders", "6", "--validators", "3"}
	for name, args := range map[string][]string{
		"compare":  {"compare", "--values", "4,2"},
		"many":     {"compare", "--values", "9,8,7,6,5,4,3,2,1"},
		"reverse":  {"compare", "--costs", "0,2", "--reserve", "5"},
		"simulate": {"simulate", "--mechanism", "vickrey", "--reserve", "2", "--rounds", "100", "--sybils", "2"},
		"candle":   {"candle", "--bidders", "101", "--value", "100", "--rival", "60"},
		"hopeless": {"candle", "--bidders", "2", "--value", "1", "--rival", "100", "--alpha", "0.5"},
		"odds":     append([]string{"odds"}, pool...),
		"lone":     {"odds", "--workers", "1", "--colluders", "1", "--validators", "1"},
		"stake":    append([]string{"stake", "--max-price", "1"}, pool...),
		"nothing":  append([]string{"stake", "--max-price", "0"}, pool...),
	} {
		for _, ext := range []string{".svg", ".png"} {
			path := filepath.Join(dir, name+ext)
			code, out, stderr := call(t.Context(), append(append([]string{"lab"}, args...), "--plot", path)...)
			if code != exitDone || out == "" {
				t.Errorf("%s: exit %d, %s", name, code, stderr)
				continue
			}
			raw, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if ext == ".png" {
				_, err = png.Decode(bytes.NewReader(raw))
			} else {
				d := xml.NewDecoder(bytes.NewReader(raw))
				for err == nil {
					_, err = d.Token()
				}
				if err == io.EOF {
					err = nil
				}
			}
			if err != nil || len(raw) < 1000 {
				t.Errorf("%s%s: %d bytes, %v", name, ext, len(raw), err)
			}
		}
	}
}

func TestLabRefusals(t *testing.T) {
	odds := func(n, c, k string) []string {
		return []string{"odds", "--workers", n, "--colluders", c, "--validators", k}
	}
	stake := func(more ...string) []string {
		return append([]string{"stake", "--workers", "20", "--colluders", "6", "--validators", "3"}, more...)
	}
	for _, c := range []struct {
		args []string
		says string
	}{
		{[]string{"clear"}, "CASE.json is missing"},
		{[]string{"clear", "missing.json"}, "reading the case"},
		{[]string{"clear", "a.json", "b.json"}, "one argument too many"},
		{[]string{"compare"}, "--values"},
		{[]string{"compare", "--values", "4,2", "--costs", "1"}, "--values and --costs are both given"},
		{[]string{"compare", "--values", "4,2", "--units", "2", "--mechanism", "tullock"}, "it allocates one; take gsp-slots\n"},
		{[]string{"simulate", "--mechanism", "vickrey", "--reserve", "2", "--units", "2"}, "take vcg, uniform, uniform-last, gsp or first\n"},
		{[]string{"simulate", "--mechanism", "second-price", "--units", "2"}, "take gsp-slots\n"},
		{[]string{"compare", "--values", "4,x"}, "refused (malformed): \"x\" is no number"},
		{[]string{"compare", "--values", "4,,2"}, "refused (malformed)"},
		{[]string{"compare", "--values", "4,NaN"}, "refused (malformed)"},
		{[]string{"compare", "--values", "4,1e999"}, "refused (malformed)"},
		{[]string{"compare", "--values", "4,0"}, "refused (out-of-range)"},
		{[]string{"compare", "--values", "4,-2"}, "refused (out-of-range)"},
		{[]string{"compare", "--values", "1e300,2"}, "refused (out-of-range)"},
		{[]string{"compare", "--values", "1" + strings.Repeat(",1", 2000)}, "refused (out-of-range)"},
		{[]string{"compare", "--values", "4,2", "--units", "0"}, "refused (out-of-range): --units is 0"},
		{[]string{"compare", "--values", "4,2", "--alpha", "-1"}, "refused (out-of-range): --alpha is -1"},
		{[]string{"compare", "--values", "4,2", "--reserve", "NaN"}, "refused (out-of-range): --reserve is NaN"},
		{[]string{"compare", "--values", "4,2", "--mechanism", "dutch"}, "refused (unknown-rule): --mechanism \"dutch\""},
		{[]string{"compare", "--values", "4,2", "--mechanism", "vickrey"}, "want one of lottery-all-pay"},
		{[]string{"compare", "--values", "4,2", "--mechanism", "tullock,tullock"}, "refused (duplicate)"},
		{[]string{"compare", "--costs", "1,2"}, "reserve"},
		{[]string{"compare", "--values", "4,2", "--plot", "x.pdf"}, ".svg or .png"},
		{[]string{"compare", "--values", "4,2", "--plot", "nowhere/x.png"}, "no directory nowhere"},
		{[]string{"clear", "."}, "is a directory"},
		{[]string{"mechanisms", "more"}, "one argument too many"},
		{odds("0", "0", "1"), "refused (out-of-range)"},
		{odds("20", "21", "3"), "refused (out-of-range)"},
		{odds("20", "-1", "3"), "refused (out-of-range)"},
		{odds("20", "6", "0"), "refused (out-of-range)"},
		{odds("20", "6", "65"), "refused (out-of-range)"},
		{odds("99999999", "6", "3"), "refused (out-of-range)"},
		{odds("many", "6", "3"), "invalid argument"},
		{append(odds("20", "6", "3"), "--panel", "-1"), "refused (out-of-range)"},
		{append(odds("20", "6", "3"), "--panel", "9"), "refused (out-of-range)"},
		{append(odds("20", "6", "3"), "--panel", "4"), "panels are odd"},
		{stake("--max-price", "1", "--panel", "6"), "panels are odd"},
		{stake("--max-price", "1", "--reserve", "2"), "--max-price and --reserve are the same: give one"},
		{append(odds("20", "6", "3"), "--sample", "5"), "--sample \"5\""},
		{append(odds("20", "6", "3"), "--sample", "0%"), "--sample"},
		{append(odds("20", "6", "3"), "--sample", "101%"), "--sample"},
		{append(odds("20", "6", "3"), "--sample", "5%,5%"), "refused (duplicate)"},
		{stake(), "what is at stake"},
		{stake("--max-price", "-1"), "negative"},
		{stake("--max-price", "99999999999999999999"), "more than there can be"},
		{stake("--max-price", "4611686018427", "--value-at-risk", "4611686018427"), "refused (overflow)"},
		{stake("--max-price", "1", "--panel", "0"), "refused (no-stake)"},
		{stake("--max-price", "1", "--plot", "stake"), ".svg or .png"},
		{[]string{"candle"}, "Give --bidders N --value V"},
		{[]string{"odds"}, "Give --workers N --colluders C"},
		{[]string{"odds", "--workers", "20"}, "Give --workers N --colluders C"},
		{[]string{"stake", "--max-price", "1"}, "Give --workers N --colluders C"},
		{[]string{"candle", "--bidders", "1", "--value", "1"}, "refused (out-of-range)"},
		{[]string{"candle", "--bidders", "5", "--value", "-1"}, "refused (out-of-range)"},
		{[]string{"candle", "--bidders", "5", "--value", "1", "--alpha", "2"}, "refused (out-of-range)"},
		{[]string{"candle", "--bidders", "5", "--value", "1", "--alpha", "0"}, "refused (out-of-range)"},
		{[]string{"simulate"}, "--mechanism"},
		{[]string{"simulate", "--mechanism", "dutch"}, "refused (unknown-rule)"},
		{[]string{"simulate", "--mechanism", "vickrey", "--reserve", "2", "--distribution", "dutch"}, "refused (out-of-range)"},
		{[]string{"simulate", "--mechanism", "vickrey", "--reserve", "2", "--bidders", "0"}, "refused (out-of-range)"},
		{[]string{"simulate", "--mechanism", "vickrey", "--reserve", "2", "--rounds", "0"}, "refused (out-of-range)"},
		{[]string{"simulate", "--mechanism", "vickrey", "--reserve", "2", "--rounds", "-5"}, "refused (out-of-range)"},
		{[]string{"simulate", "--mechanism", "vcg", "--reserve", "2", "--units", "0"}, "refused (out-of-range): --units is 0"},
		{[]string{"simulate", "--mechanism", "vickrey", "--reserve", "-2"}, "refused (out-of-range)"},
		{[]string{"simulate", "--mechanism", "vickrey", "--reserve", "2", "--ring", "99"}, "refused (out-of-range)"},
	} {
		code, out, stderr := call(t.Context(), append([]string{"lab"}, c.args...)...)
		if code != exitUsage || !strings.Contains(stderr, c.says) || out != "" {
			t.Errorf("gavel lab %.200s: exit %d, %q, %.300q; want %q", strings.Join(c.args, " "), code, out, stderr, c.says)
		}
		if strings.Contains(stderr, "not a valid") {
			t.Errorf("gavel lab %.200s: %q, which helps nobody", strings.Join(c.args, " "), stderr)
		}
	}
}

// What gavel ticket list --draw prints is a case that gavel lab clear draws again,
// in whatever order it lists the owners.
func TestTicketCaseIsDrawnAgain(t *testing.T) {
	id := func(n byte) build.ID { return build.ID{n} }
	d := build.TicketDraw{Number: 3, Wanted: 6, Sigma: [48]byte{9}, Holdings: []auction.Holding{{Owner: id(1), Tickets: 5}, {Owner: id(2), Tickets: 1}, {Owner: id(7), Tickets: 3}}}
	places, err := auction.DrawTickets(sha256.Sum256(d.Sigma[:]), d.Holdings, 6)
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range places {
		d.Owners = append(d.Owners, d.Holdings[at].Owner)
	}
	v := &poolView{PoolView: &gavelv1.PoolView{Names: map[string]string{}}}
	for n, name := range map[byte]string{1: "zoe", 2: "adam"} { // in another order than their keys; the third has none
		key := id(n)
		v.Names[hex.EncodeToString(key[:])] = name
	}
	v.market.Lottery.Drawn = []build.TicketDraw{d}
	c := v.lottery().Draws[0]
	for range 2 {
		text, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		one, err := cases.Read(bytes.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		result, err := cases.Clear(one)
		if err != nil {
			t.Fatal(err)
		}
		if different, err := one.Compare(result); err != nil || len(different) > 0 || len(result["owners"].([]string)) != 6 {
			t.Errorf("%s: %v %v, %v", text, result, different, err)
		}
		slices.Reverse(c.Tickets)
	}
}
