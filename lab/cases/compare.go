package cases

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"strings"

	"gavel/raftfsm/wire"
)

// Compare holds a result against the case's expect and returns a sentence for
// each field that differs. Numbers of laboratory cases may differ by the case's
// tolerance; every other value is exact. Fields that are not expected, and the
// expectation's note, are not compared. Odds without an expect are held against
// the numbers in their rows.
func (c *Case) Compare(r Result) ([]string, error) {
	want, err := c.expectation()
	if err != nil {
		return nil, err
	}
	raw, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encoding result: %w", err)
	}
	var got map[string]any
	if err := decodeNumbers(raw, &got); err != nil {
		return nil, fmt.Errorf("decoding result: %w", err)
	}
	tolerance := 0.0
	if c.Float {
		tolerance = max(c.Tolerance, 1e-12)
	}
	return differences("", got, want, tolerance), nil
}

// expectation is what the case expects, without the note.
func (c *Case) expectation() (map[string]any, error) {
	raw := []byte(c.Expect)
	if len(raw) == 0 && len(c.Rows) > 0 {
		var err error
		if raw, err = json.Marshal(map[string]any{"rows": c.Rows}); err != nil {
			return nil, fmt.Errorf("encoding rows: %w", err)
		}
	}
	if len(raw) == 0 {
		return nil, refuse("malformed", "the case has no expect to compare with")
	}
	var want map[string]any
	if err := decodeNumbers(raw, &want); err != nil {
		return nil, refuse("malformed", "expect is no object")
	}
	delete(want, "note")
	if len(want) == 0 {
		return nil, refuse("malformed", "the case's expect says nothing")
	}
	return want, nil
}

// decodeNumbers decodes JSON and keeps numbers as they are written.
func decodeNumbers(raw []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	return d.Decode(into)
}

// differences compares the fields of want, and those of each of its rows.
func differences(where string, got, want map[string]any, tolerance float64) []string {
	var out []string
	for _, field := range wire.SortedKeys(want, compareText) {
		g, ok := got[field]
		wantRows, isRows := want[field].([]any)
		gotRows, haveRows := g.([]any)
		if field == "rows" && isRows && haveRows && len(gotRows) == len(wantRows) {
			for i := range wantRows {
				wantRow, isRow := wantRows[i].(map[string]any)
				gotRow, _ := gotRows[i].(map[string]any)
				if isRow {
					out = append(out, differences(fmt.Sprintf("row %d: ", i+1), gotRow, wantRow, tolerance)...)
					continue
				}
				out = append(out, fmt.Sprintf("row %d is an object, expected %s", i+1, text(wantRows[i])))
			}
			continue
		}
		if !ok {
			out = append(out, fmt.Sprintf("%s%s is not told, expected %s", where, field, text(want[field])))
		} else if !alike(g, want[field], tolerance) {
			out = append(out, fmt.Sprintf("%s%s is %s, expected %s", where, field, text(g), text(want[field])))
		}
	}
	return out
}

// text is decoded JSON as JSON.
func text(v any) string {
	raw, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(raw)
}

// alike compares decoded JSON.
func alike(got, want any, tolerance float64) bool {
	switch w := want.(type) {
	case json.Number:
		g, ok := got.(json.Number)
		return ok && near(g, w, tolerance)
	case []any:
		g, ok := got.([]any)
		if !ok || len(g) != len(w) {
			return false
		}
		for i := range w {
			if !alike(g[i], w[i], tolerance) {
				return false
			}
		}
		return true
	case map[string]any:
		g, ok := got.(map[string]any)
		if !ok || len(g) != len(w) {
			return false
		}
		for k := range w {
			if v, ok := g[k]; !ok || !alike(v, w[k], tolerance) {
				return false
			}
		}
		return true
	}
	return reflect.DeepEqual(got, want)
}

// near compares two numbers, exactly where the tolerance is 0: an integer has one
// spelling in JSON, but for zeros behind a point.
func near(got, want json.Number, tolerance float64) bool {
	if tolerance > 0 {
		g, gErr := got.Float64()
		w, wErr := want.Float64()
		return gErr == nil && wErr == nil && math.Abs(g-w) <= tolerance
	}
	whole, fraction, _ := strings.Cut(want.String(), ".")
	return got == want || strings.Trim(fraction, "0") == "" && whole == got.String()
}
