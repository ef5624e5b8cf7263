package diff

import (
	"regexp"
	"slices"
	"strings"
)

// sameParts says whether two texts hold the same lists in another order, as a set or a
// dictionary that is printed twice does. Anything else that moved, such as the operands
// of a command or a value from one key to another, is no order.
func sameParts(a, b string) string {
	if len(a) > maxTokensBytes || len(b) > maxTokensBytes || len(a) != len(b) {
		return ""
	}
	x, n, okA := inOneOrder(a)
	y, _, okB := inOneOrder(b)
	if !okA || !okB || x != y {
		return ""
	}
	return partsMoved(n)
}

func partsMoved(n int) string {
	return "the same " + decimal(int64(n)) + " parts in another order, as of a set, a hash table or a directory"
}

// inOneOrder writes a text with the parts of all its lists sorted, and says how many
// parts the longest has; not ok where brackets or quotes do not match.
func inOneOrder(text string) (sorted string, most int, ok bool) {
	p := &partsReader{text: text}
	parts, ok := p.list(0, 0)
	return strings.Join(parts, ","), p.most, ok && p.at == len(text)
}

// partsReader reads a text with lists in brackets.
type partsReader struct {
	text string
	at   int
	most int
}

// list reads on to the closing bracket, and returns what is between the commas.
func (p *partsReader) list(closing byte, depth int) (parts []string, ok bool) {
	var part strings.Builder
	for ; p.at < len(p.text); p.at++ {
		switch c := p.text[p.at]; {
		case c == closing && closing != 0:
			return append(parts, part.String()), true
		case c == ',':
			parts = append(parts, part.String())
			part.Reset()
		case c == '"', c == '\'' && (p.at == 0 || !wordByte(p.text[p.at-1])):
			end := quoteEnd(p.text, p.at)
			if end < 0 {
				return nil, false
			}
			part.WriteString(p.text[p.at:end])
			p.at = end - 1
		case c == '(' || c == '[' || c == '{':
			inner, ok := p.bracket(c, depth)
			if !ok {
				return nil, false
			}
			part.WriteString(inner)
		case c == ')' || c == ']' || c == '}':
			return nil, false
		default:
			part.WriteByte(c)
		}
	}
	return append(parts, part.String()), closing == 0
}

// bracket reads a pair of brackets; p.at is at the opening one before, and at the
// closing one after.
func (p *partsReader) bracket(open byte, depth int) (string, bool) {
	if depth >= maxPartsDepth {
		return "", false
	}
	closing := map[byte]byte{'(': ')', '[': ']', '{': '}'}[open]
	from := p.at
	p.at++
	parts, ok := p.list(closing, depth+1)
	if !ok {
		return "", false
	}
	raw, separator := p.text[from+1:p.at], ","
	before := p.text[:from]
	index := before != "" && (wordByte(before[len(before)-1]) || strings.ContainsAny(before[len(before)-1:], ")]")) && !strings.HasSuffix(before, "map")
	switch {
	case open == '(' || index || strings.ContainsAny(raw, ";\n"): // arguments, an index, code
	case len(parts) > 1:
		for i := range parts {
			parts[i] = strings.TrimSpace(parts[i])
		}
		p.sort(parts)
	case open == '[' && plainWords.MatchString(raw):
		parts, separator = strings.Split(raw, " "), " "
		p.sort(parts)
	}
	return string(open) + strings.Join(parts, separator) + string(closing), true
}

// plainWords are a list without commas, as Go prints one; the words of a test in a
// shell have spaces around them.
var plainWords = regexp.MustCompile(`^[\w./@+][^\s=;|&$<>(){}\[\]]*(?: [\w./@+][^\s=;|&$<>(){}\[\]]*)+$`)

func (p *partsReader) sort(parts []string) {
	p.most = max(p.most, len(parts))
	slices.Sort(parts)
}

// quoteEnd is where the string that begins at a quote ends, -1 if it does not.
func quoteEnd(text string, at int) int {
	for i := at + 1; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case text[at]:
			return i + 1
		}
	}
	return -1
}

// sameLinesOfAList tells whether two runs of lines are the parts of one list in two
// orders, where no comma is after the last.
func sameLinesOfAList(a, b []string) bool {
	parts := func(lines []string) (out []string, ok bool) {
		for _, l := range lines {
			text, _, ok := inOneOrder(strings.TrimSuffix(strings.Trim(l, " \t"), ","))
			if !ok {
				return nil, false
			}
			out = append(out, text)
		}
		return out, true
	}
	x, okA := parts(a)
	y, okB := parts(b)
	if !okA || !okB || slices.Equal(x, y) {
		return false
	}
	slices.Sort(x)
	slices.Sort(y)
	return slices.Equal(x, y)
}
