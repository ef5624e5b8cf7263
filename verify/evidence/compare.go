package evidence

import (
	"fmt"
	"reflect"

	"gavel/verify/attest"
)

// differences names the fields of a summary that are not as they should be.
func differences(want, got *attest.Summary) (out []string) {
	w, g := reflect.ValueOf(want).Elem(), reflect.ValueOf(got).Elem()
	for i := range w.NumField() {
		a, b := w.Field(i), g.Field(i)
		if a.Kind() == reflect.Slice && a.Len() == 0 && b.Len() == 0 {
			continue
		}
		if !reflect.DeepEqual(a.Interface(), b.Interface()) {
			out = append(out, fmt.Sprintf("%s: want %s, got %s", w.Type().Field(i).Name, clip(a), clip(b)))
		}
	}
	return out
}

// clip is a value for a person, not too long.
func clip(v reflect.Value) string {
	text := fmt.Sprintf("%v", v.Interface())
	if v.Kind() == reflect.Array {
		text = fmt.Sprintf("%x", v.Interface())
	}
	if len(text) > 200 {
		return text[:200] + "…"
	}
	return text
}
