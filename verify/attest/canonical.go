package attest

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/cyberphone/json-canonicalization/go/src/webpki.org/jsoncanonicalizer"
)

// canonical is a value in RFC 8785 JSON. The types that are written declare their
// fields in the order of their names, so that encoding/json writes the canonical
// form in all but three cases: it escapes U+2028 and U+2029, it sorts a map's keys
// as UTF-8 where RFC 8785 sorts them as UTF-16 (isPlain), and a type may declare its
// fields otherwise, which the tests would find. An audit writes every statement of
// a log again, and the canonicaliser takes ten times as long.
func canonical(v any, plain bool) ([]byte, error) {
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, fmt.Errorf("encoding JSON: %w", err)
	}
	raw := bytes.TrimSuffix(out.Bytes(), []byte{'\n'})
	if plain && !bytes.Contains(raw, []byte(`\u202`)) {
		return raw, nil
	}
	raw, err := jsoncanonicalizer.Transform(raw)
	if err != nil {
		return nil, fmt.Errorf("encoding canonical JSON: %w", err)
	}
	return raw, nil
}

// isPlain says that keys are ASCII: those that UTF-8 and UTF-16 order alike.
func isPlain(keys []EnvVar) bool {
	for _, k := range keys {
		for i := range len(k.Name) {
			if k.Name[i] >= 0x80 {
				return false
			}
		}
	}
	return true
}
