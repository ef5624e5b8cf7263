package main

import (
	"bytes"
	"errors"
	"testing"

	"gavel/verify/diff"
)

// What strangers wrote is shown, never acted upon; what paint made is left alone.
func TestTerminalShowsStrangersTexts(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"a name, ümlaut and 漢字", "a name, ümlaut and 漢字"},
		{"two\n\tlines", "two\n\tlines"},
		{"a\x1b[31mb", `a\x1b[31mb`},
		{"\r\x00\x7f", `\r\x00\x7f`},
		{"\u009b31m", `\u009b31m`},
		{"abc\u202ecba", `abc\u202ecba`},
		{"\xff\xc3\x28 \ufffd", `\xff\xc3( ` + "\ufffd"},
	} {
		var out, err bytes.Buffer
		term := &terminal{out: &out, err: &err, colour: true}
		term.print("%s %v", c.text, errors.New(c.text))
		term.say("%s", c.text)
		if want := c.want + " " + c.want + "\n"; out.String() != want || err.String() != c.want+"\n" {
			t.Errorf("%q: printed %q and %q", c.text, &out, &err)
		}
		out.Reset()
		term.print("%s", term.paint(red, c.text))
		if want := "\x1b[31m" + c.want + "\x1b[0m\n"; out.String() != want {
			t.Errorf("%q in red: printed %q", c.text, &out)
		}
	}
	for name, want := range map[string]string{"out/hello": "out/hello", "a\nb": `"a\nb"`, "": `""`, `say "hi"`: `"say \"hi\""`, "e\x1b[31mx": `"e\x1b[31mx"`} {
		if got := diff.QuoteWhole(name); got != want {
			t.Errorf("%q: %s, want %s", name, got, want)
		}
	}
}
