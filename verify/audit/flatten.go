package audit

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
)

// flatten lists the scalars of a JSON document by path: "predicate.levels.0".
func flatten(raw []byte) map[string]string {
	out := map[string]string{}
	var v any
	if err := json.Unmarshal(raw, &v); err != nil {
		out["json"] = err.Error()
		return out
	}
	flattenInto(out, "", v)
	return out
}

func flattenInto(out map[string]string, path string, v any) {
	under := func(name string) string {
		if path == "" {
			return name
		}
		return path + "." + name
	}
	switch v := v.(type) {
	case map[string]any:
		for name, inner := range v { // into a map: the order does not matter
			flattenInto(out, under(name), inner)
		}
	case []any:
		for i, inner := range v {
			flattenInto(out, under(strconv.Itoa(i)), inner)
		}
	case string:
		out[path] = v
	case float64:
		out[path] = strconv.FormatFloat(v, 'f', -1, 64)
	default:
		out[path] = fmt.Sprint(v)
	}
}

// differing calls found for every field in which two JSON documents differ, in
// the order of their paths, at most maxFields times.
func differing(want, got []byte, found func(field, want, got string)) {
	w, g := flatten(want), flatten(got)
	all := maps.Clone(w)
	maps.Copy(all, g)
	left := maxFields
	for _, field := range slices.Sorted(maps.Keys(all)) {
		a, inWant := w[field]
		b, inGot := g[field]
		if a == b && inWant == inGot || left == 0 {
			continue
		}
		left--
		if !inWant {
			a = "absent"
		}
		if !inGot {
			b = "absent"
		}
		found(field, a, b)
	}
}
