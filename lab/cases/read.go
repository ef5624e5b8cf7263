package cases

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"unicode/utf8"
)

// maxCaseBytes bounds a case: a million asks fit.
const maxCaseBytes = 128 << 20

// Read reads one case. Fields it does not know or that are given twice, numbers
// that are no whole ones where amounts are due, and anything after the case are
// refused with a *Refusal; other errors are the reader's.
func Read(r io.Reader) (*Case, error) {
	raw, err := io.ReadAll(io.LimitReader(r, maxCaseBytes+1))
	if err != nil {
		return nil, fmt.Errorf("reading case: %w", err)
	}
	switch {
	case len(raw) > maxCaseBytes:
		return nil, refuse("out-of-range", "a case of more than %d bytes", maxCaseBytes)
	case len(bytes.TrimSpace(raw)) == 0:
		return nil, refuse("malformed", "the case is empty: want one JSON object")
	case !utf8.Valid(raw):
		return nil, refuse("malformed", "the case is no UTF-8 text")
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	var c *Case
	if err := d.Decode(&c); err != nil {
		return nil, decodeRefusal(err)
	}
	if c == nil {
		return nil, refuse("malformed", "the case is null: want one JSON object")
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, refuse("malformed", "something follows the case: want one JSON object")
	}
	d = json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	return c, exact(d, reflect.TypeFor[Case](), "the case")
}

// decodeRefusal says in words what encoding/json says in types.
func decodeRefusal(err error) error {
	var r *Refusal
	var t *json.UnmarshalTypeError
	switch {
	case errors.As(err, &r):
		return r
	case errors.Is(err, io.ErrUnexpectedEOF):
		return refuse("malformed", "the case ends in the middle: want one JSON object")
	case !errors.As(err, &t):
		text := strings.TrimPrefix(err.Error(), "json: ")
		if text == `unknown field "cases"` {
			text += ": this is a file of cases, want one of them"
		}
		return refuse("malformed", "%s", text)
	}
	where := t.Field
	if where == "" {
		where = "the case"
	}
	number, isNumber := strings.CutPrefix(t.Value, "number ")
	whole := strings.Trim(number, "-0123456789") == ""
	switch kind := t.Type.Kind(); {
	case isNumber && (kind == reflect.Float64 || whole && integer(kind)):
		return refuse("out-of-range", "%s is %s: want a number that fits; amounts are 0 to 2^62 micro-credits", where, number)
	case isNumber && integer(kind):
		return refuse("malformed", "%s is %s: want a whole number in plain digits; amounts are micro-credits", where, number)
	}
	return refuse("malformed", "%s is of type %s: want %s", where, t.Value, wanted(t.Type))
}

func integer(k reflect.Kind) bool { return reflect.Int <= k && k <= reflect.Uint64 }

// wanted says what JSON a Go type is read from.
func wanted(t reflect.Type) string {
	switch k := t.Kind(); {
	case integer(k):
		return "a whole number"
	case k == reflect.Float64:
		return "a number"
	case k == reflect.String:
		return "a text"
	case k == reflect.Bool:
		return "true or false"
	case k == reflect.Slice:
		return "a list"
	}
	return "an object"
}

// exact refuses what encoding/json lets pass in the value that comes next: keys
// given twice, of which it takes the last, and keys that differ from a field's in
// case alone. The text is valid JSON, so it is nested no deeper than Decode allows.
func exact(d *json.Decoder, t reflect.Type, where string) error {
	token, err := d.Token()
	if err != nil {
		return decodeRefusal(err)
	}
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch token {
	case json.Delim('{'):
		err = exactObject(d, t, where)
	case json.Delim('['):
		var of reflect.Type
		if t != nil && t.Kind() == reflect.Slice {
			of = t.Elem()
		}
		for d.More() && err == nil {
			err = exact(d, of, where)
		}
	default:
		return nil
	}
	if err != nil {
		return err
	}
	if _, err := d.Token(); err != nil { // the closing bracket
		return decodeRefusal(err)
	}
	return nil
}

func exactObject(d *json.Decoder, t reflect.Type, where string) error {
	seen := map[string]struct{}{}
	for d.More() {
		token, err := d.Token()
		if err != nil {
			return decodeRefusal(err)
		}
		key, _ := token.(string)
		if _, ok := seen[key]; ok {
			return refuse("duplicate", "%q is given twice in %s", key, where)
		}
		seen[key] = struct{}{}
		var of reflect.Type
		switch {
		case t != nil && t.Kind() == reflect.Struct:
			if of = fieldType(t, key); of == nil {
				return refuse("malformed", "unknown field %q in %s: fields are case-sensitive", key, where)
			}
		case t != nil && t.Kind() == reflect.Map:
			of = t.Elem()
		}
		if err := exact(d, of, key); err != nil {
			return err
		}
	}
	return nil
}

// fieldType is the type of the field that JSON calls key, or nil.
func fieldType(t reflect.Type, key string) reflect.Type {
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		if name == key {
			return t.Field(i).Type
		}
	}
	return nil
}
