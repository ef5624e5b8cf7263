package main

import (
	"strings"
	"testing"

	"gavel/raftfsm/escrow"
)

// What is too large is refused with the most there can be.
func TestTooLargeNumbersNameTheMost(t *testing.T) {
	if _, err := parseCredits("99999999999999"); err == nil || !strings.Contains(err.Error(), "want at most 4611686018427.387904") {
		t.Errorf("an amount: %v", err)
	}
	if v, err := parseCredits("4611686018427.387904"); err != nil || v != escrow.MaxCredits {
		t.Errorf("the largest amount: %v, %v", v, err)
	}
	last := uint8(2)
	n := numberOf(&last, 1, 4)
	for _, bad := range []string{"300", "5", "0", "-1", "x", "", "99999999999999999999999"} {
		if err := n.Set(bad); err == nil || !strings.Contains(err.Error(), "from 1 to 4") || last != 2 {
			t.Errorf("%q: %v, and it is %d", bad, err, last)
		}
	}
	if err := n.Set("4"); err != nil || last != 4 || n.String() != "4" {
		t.Errorf("4: %v, and it is %d", err, last)
	}
}
