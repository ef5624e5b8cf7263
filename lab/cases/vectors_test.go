package cases

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

// vectorCases are the cases of testdata/market.json, as they are written.
func vectorCases(t testing.TB) []json.RawMessage {
	t.Helper()
	raw, err := os.ReadFile("../../testdata/market.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Cases []json.RawMessage `json:"cases"`
	}
	if err := json.Unmarshal(raw, &file); err != nil {
		t.Fatal(err)
	}
	if len(file.Cases) != 55 {
		t.Fatalf("%d cases, want 55", len(file.Cases))
	}
	return file.Cases
}

// run reads and clears a case.
func run(text string) (*Case, Result, error) {
	c, err := Read(strings.NewReader(text))
	if err != nil {
		return nil, nil, err
	}
	r, err := Clear(c)
	return c, r, err
}

func TestVectors(t *testing.T) {
	for _, text := range vectorCases(t) {
		c, r, err := run(string(text))
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		different, err := c.Compare(r)
		if err != nil || len(different) > 0 {
			t.Errorf("%s: %v, %v", c.ID, different, err)
		}
	}
}

// perturbed are copies of decoded JSON with one leaf changed, or one entry of an
// object or a list dropped, each.
func perturbed(v any) []any {
	switch v := v.(type) {
	case json.Number:
		return []any{json.Number("12345678901234567"), v.String()} // a number told as a text is another
	case string:
		return []any{v + "'", nil}
	case bool:
		return []any{!v, fmt.Sprint(v)}
	case nil:
		return []any{"somebody", json.Number("0")}
	case []any:
		out := []any{slices.Clone(v[:len(v)-1])}
		for i := range v {
			for _, x := range perturbed(v[i]) {
				list := slices.Clone(v)
				list[i] = x
				out = append(out, list)
			}
		}
		return out
	case map[string]any:
		out := []any{map[string]any{}}
		for k := range v {
			for _, x := range perturbed(v[k]) {
				m := map[string]any{k: x}
				for other := range v {
					if other != k {
						m[other] = v[other]
					}
				}
				out = append(out, m)
			}
		}
		return out
	}
	panic(fmt.Sprintf("%T", v))
}

// A comparison that finds nothing is worth as much as what it would have found:
// every number, name and list of every expectation, changed, must be reported.
func TestCompareFindsEachChange(t *testing.T) {
	changes := 0
	for _, text := range vectorCases(t) {
		c, r, err := run(string(text))
		if err != nil {
			t.Fatal(err)
		}
		want, err := c.expectation()
		if err != nil {
			t.Fatal(err)
		}
		for field := range want {
			list := append(perturbed(want[field]), "nothing of the kind")
			if rows, ok := want[field].([]any); ok && field == "rows" {
				list = perturbed(rows)[1:] // of rows, as of results, all that is not told passes
				list = slices.DeleteFunc(list, func(v any) bool {
					return slices.ContainsFunc(v.([]any), func(row any) bool { return len(row.(map[string]any)) == 0 })
				})
			}
			if m, ok := want[field].(map[string]any); ok && len(m) == 0 {
				list = list[1:]
			}
			for _, x := range list {
				if c.Expect, err = json.Marshal(map[string]any{field: x}); err != nil {
					t.Fatal(err)
				}
				changes++
				if different, err := c.Compare(r); err != nil || len(different) != 1 || !strings.Contains(different[0], field) && field != "rows" {
					t.Errorf("%s: expecting %s, found %q, %v", c.ID, c.Expect, different, err)
				}
			}
		}
	}
	if changes < 500 {
		t.Errorf("only %d changes were tried", changes)
	}
}

// Beyond 2^53 floats cannot tell neighbours apart, and amounts reach 2^62.
func TestCompareIsExact(t *testing.T) {
	for _, c := range []struct {
		want  string
		alike bool
	}{
		{"4611686018427387903", true}, {"4611686018427387902", false}, {"4611686018427387904", false},
		{"4611686018427387903.0", true}, {"4611686018427387903.5", false}, {"46116860184273879.03e2", false},
	} {
		text := `{"rule":"vickrey","reserve":4611686018427387904,"seller_bids":[{"id":"a","price":1},{"id":"b","price":4611686018427387903}],"expect":{"payment":` + c.want + `}}`
		one, r, err := run(text)
		if err != nil {
			t.Fatal(err)
		}
		different, err := one.Compare(r)
		if err != nil || (len(different) == 0) != c.alike {
			t.Errorf("expecting %s: %q, %v", c.want, different, err)
		}
	}
}

func TestCompareNeedsAnExpectation(t *testing.T) {
	for _, expect := range []string{"", `,"expect":null`, `,"expect":{}`, `,"expect":{"note":"x"}`, `,"expect":[1]`, `,"expect":7`} {
		one, r, err := run(`{"rule":"candle-ranges","periods":4` + expect + `}`)
		if err != nil || r["ranges"] != 10 {
			t.Fatalf("%s: %v, %v", expect, r, err)
		}
		_, err = one.Compare(r)
		var refused *Refusal
		if !errors.As(err, &refused) || refused.Code != "malformed" {
			t.Errorf("%s: %v, want malformed", expect, err)
		}
	}
}

// A result printed and read again as an expectation is met.
func TestResultsRoundTrip(t *testing.T) {
	for _, text := range vectorCases(t) {
		c, r, err := run(string(text))
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if err := json.NewEncoder(&out).Encode(r); err != nil {
			t.Fatalf("%s: %v", c.ID, err)
		}
		c.Expect, c.Float = out.Bytes(), false
		if different, err := c.Compare(r); err != nil || len(different) > 0 {
			t.Errorf("%s: %q, %v", c.ID, different, err)
		}
	}
}

// FuzzClear holds reading and clearing to their word: a result that is JSON, or a
// refusal with a code and a sentence.
func FuzzClear(f *testing.F) {
	for _, text := range vectorCases(f) {
		f.Add([]byte(text))
	}
	f.Add([]byte(`{"rule":"lottery","seed_hex":"` + strings.Repeat("07", 32) + `","tickets":[{"owner":"a","tickets":2},{"owner":"b","tickets":1}],"draws":5}`))
	f.Add([]byte(`{"rule":"assignment","builds":[{"id":"x","price":9},{"id":"y","price":9}],"seller_bids":[{"id":"a","prices":{"x":1,"y":2}},{"id":"b","prices":{"x":2}}]}`))
	codes := []string{"malformed", "out-of-range", "overflow", "duplicate", "unknown-rule", "no-stake"}
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := Read(bytes.NewReader(text))
		var r Result
		if err == nil {
			r, err = Clear(c)
		}
		if err != nil {
			var refused *Refusal
			if !errors.As(err, &refused) || !slices.Contains(codes, refused.Code) || refused.Detail == "" {
				t.Fatalf("%s: %v is no refusal with a code", text, err)
			}
			return
		}
		if _, err := json.Marshal(r); err != nil {
			t.Fatalf("%s: a result that is no JSON: %v", text, err)
		}
		if _, err := c.Compare(r); err != nil {
			var refused *Refusal
			if !errors.As(err, &refused) {
				t.Fatalf("%s: comparing: %v", text, err)
			}
		}
	})
}
