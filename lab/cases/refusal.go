package cases

import (
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"gavel/raftfsm/auction"
	"gavel/raftfsm/escrow"
)

// Refusal is why a case cannot be cleared: a code for programs and a sentence.
type Refusal struct {
	Code   string // malformed, out-of-range, overflow, duplicate, unknown-rule, no-stake
	Detail string
}

func (r *Refusal) Error() string { return fmt.Sprintf("refused (%s): %s", r.Code, r.Detail) }

// of is the refusal with the name of whoever it is about.
func (r *Refusal) of(name string) *Refusal { return refuse(r.Code, "%q: %s", name, r.Detail) }

func refuse(code, format string, args ...any) *Refusal {
	return &Refusal{Code: code, Detail: fmt.Sprintf(format, args...)}
}

// RefusalOf gives a rule's error its code.
func RefusalOf(err error) *Refusal {
	var r *Refusal
	switch {
	case errors.As(err, &r):
		return r
	case errors.Is(err, escrow.ErrOverflow):
		return refuse("overflow", "%s", plain(err))
	case errors.Is(err, auction.ErrNoStake):
		return refuse("no-stake", "%s", plain(err))
	}
	return refuse("out-of-range", "%s", plain(err))
}

// plain is an error without the words by which a program knows it for a refusal:
// the code says so.
func plain(err error) string {
	return strings.ReplaceAll(err.Error(), auction.ErrRefused.Error()+": ", "")
}

// keyWord is where a rule's error tells the first bytes of somebody's key.
var keyWord = regexp.MustCompile(`\b(of|owner|follows|worker) [0-9a-f]{8}\b`)

// renamed is the refusal of a rule's error with names in place of keys.
func renamed(err error, who map[[32]byte]string) *Refusal {
	short := make(map[string]string, len(who))
	for key, name := range who {
		short[hex.EncodeToString(key[:4])] = name
	}
	r := *RefusalOf(err)
	r.Detail = keyWord.ReplaceAllStringFunc(r.Detail, func(found string) string {
		word, key, _ := strings.Cut(found, " ")
		name, ok := short[key]
		if !ok {
			return found
		}
		return fmt.Sprintf("%s %q", word, name)
	})
	return &r
}

func compareText(a, b string) int { return strings.Compare(a, b) }
