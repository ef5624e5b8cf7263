package cases

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"gavel/raftfsm/auction"
)

func TestRefusals(t *testing.T) {
	vickrey := func(bids string) string { return `{"rule":"vickrey","reserve":10,"seller_bids":` + bids + `}` }
	batch := func(fields string) string {
		return `{"rule":"batch","reserve":10,"seller_bids":[{"id":"a","price":1}],` + fields + `}`
	}
	stake := func(fields string) string { return `{"rule":"stake",` + fields + `}` }
	seed := strings.Repeat("07", 32)
	lottery := func(fields string) string { return `{"rule":"lottery","seed_hex":"` + seed + `",` + fields + `}` }
	for _, c := range []struct{ text, code, says string }{
		// What is no case.
		{"", "malformed", "empty"},
		{" \n", "malformed", "empty"},
		{"{", "malformed", "ends in the middle"},
		{`{"rule":"vickrey"`, "malformed", "ends in the middle"},
		{"nonsense", "malformed", "invalid character"},
		{"null", "malformed", "want one JSON object"},
		{"[]", "malformed", "want an object"},
		{"7", "malformed", "want an object"},
		{`"vickrey"`, "malformed", "want an object"},
		{vickrey(`[]`) + "}", "malformed", "something follows"},
		{vickrey(`[]`) + vickrey(`[]`), "malformed", "something follows"},
		{vickrey(`[]`) + "x", "malformed", "something follows"},
		{"{\"rule\":\"vick\xffrey\"}", "malformed", "UTF-8"},
		{strings.Repeat("[", 1_000_000), "malformed", "depth"},
		{`{"rule":"vickrey","expect":` + strings.Repeat("[", 1_000_000), "malformed", "depth"},
		{`{}`, "malformed", "no rule: want one of assignment, batch"},
		{`{"rule":"dutch"}`, "unknown-rule", `"dutch": want one of assignment, batch`},
		{`{"rule":7}`, "malformed", "rule is of type number: want a text"},
		{`{"note":"all","cases":[]}`, "malformed", "a file of cases"},
		{`{"rule":"vickrey","colour":1}`, "malformed", "colour"},
		{vickrey(`[{"id":"a","prize":1}]`), "malformed", "prize"},
		{vickrey(`[{"id":"a","Price":1}]`), "malformed", "case-sensitive"},
		{`{"RULE":"vickrey","reserve":1,"seller_bids":[]}`, "malformed", "case-sensitive"},
		{`{"rule":"vickrey","rule":"batch"}`, "duplicate", `"rule" is given twice in the case`},
		{vickrey(`[{"id":"a","price":1,"price":2}]`), "duplicate", `"price" is given twice in seller_bids`},
		{vickrey(`[{"id":"a","price":1,"\u0070rice":2}]`), "duplicate", `"price"`},
		{`{"rule":"candle-ranges","periods":4,"expect":{"ranges":10,"ranges":10}}`, "duplicate", `"ranges" is given twice in expect`},
		{`{"rule":"score-realized","reported_scores":{"a":1,"a":2},"winner_value":1,"winner_cost":1}`, "duplicate", `"a" is given twice in reported_scores`},

		// Amounts.
		{vickrey(`[{"id":"a","price":1.5}]`), "malformed", "price is 1.5: want a whole number"},
		{vickrey(`[{"id":"a","price":1e3}]`), "malformed", "plain digits"},
		{vickrey(`[{"id":"a","price":"5"}]`), "malformed", "price is of type string: want a whole number"},
		{vickrey(`[{"id":"a","price":true}]`), "malformed", "want a whole number"},
		{vickrey(`[{"id":"a","price":{}}]`), "malformed", "want a whole number"},
		{vickrey(`[{"id":"a","price":NaN}]`), "malformed", "invalid character 'N'"},
		{vickrey(`[{"id":"a","price":-1}]`), "out-of-range", `the price of "a" is -1`},
		{vickrey(`[{"id":"a","price":4611686018427387905}]`), "out-of-range", "2^62"},
		{vickrey(`[{"id":"a","price":9223372036854775808}]`), "out-of-range", "number that fits"},
		{vickrey(`[{"id":"a","price":-99999999999999999999}]`), "out-of-range", "number that fits"},
		{vickrey(`[{"id":"a"}]`), "malformed", `"a" of seller_bids has no price`},
		{vickrey(`[{"id":"a","price":null}]`), "malformed", "has no price"},
		{`{"rule":"vickrey","reserve":-1,"seller_bids":[]}`, "out-of-range", "reserve is -1"},
		{`{"rule":"vickrey","reserve":"10","seller_bids":[]}`, "malformed", "reserve is of type string"},

		// Bids.
		{vickrey(`[{"price":1}]`), "malformed", "entry 1 of seller_bids has no name"},
		{vickrey(`[{"id":"","price":1}]`), "malformed", "has no name"},
		{vickrey(`[{"id":7,"price":1}]`), "malformed", "want a text"},
		{vickrey(`[{"id":"` + strings.Repeat("a", 129) + `","price":1}]`), "out-of-range", "129 bytes"},
		{vickrey(`[{"id":"a","price":1,"domain":"` + strings.Repeat("a", 129) + `"}]`), "out-of-range", "128 bytes"},
		{vickrey(`[{"id":"a","price":1},{"id":"a","price":2}]`), "duplicate", `"a" is in seller_bids twice`},
		{vickrey(`{"id":"a"}`), "malformed", "want a list"},
		{vickrey(`null`), "malformed", "seller_bids is missing"},
		{`{"rule":"vickrey","reserve":10}`, "malformed", "seller_bids is missing"},
		{`{"rule":"vickrey","seller_bids":[{"id":"a","price":1}]}`, "malformed", "reserve is missing"},
		{`{"rule":"score","seller_bids":[{"id":"a","price":1}]}`, "malformed", "has no value"},
		{`{"rule":"score","cap":1,"floor":2,"seller_bids":[]}`, "out-of-range", "a floor of at most the cap"},
		{`{"rule":"score-realized","seller_bids":[{"id":"a","value":2,"price":1}]}`, "malformed", "null for a failure"},
		{`{"rule":"score-realized","realized":"much","seller_bids":[]}`, "malformed", "realized is of type string"},
		{`{"rule":"score-realized","realized":-5,"seller_bids":[]}`, "out-of-range", "realized is -5"},
		{`{"rule":"score-realized","realized":null,"c_l":-5,"seller_bids":[]}`, "out-of-range", "c_l is -5"},
		{`{"rule":"score-realized","reported_scores":{"a":1},"winner_cost":1}`, "malformed", "winner_value is missing"},
		{`{"rule":"score-realized","reported_scores":{"a":-9223372036854775808},"winner_value":1,"winner_cost":1}`, "out-of-range", "score"},

		// Many units.
		{batch(`"pricing":"vcg"`), "malformed", "units is missing"},
		{batch(`"units":0`), "out-of-range", "units is 0"},
		{batch(`"units":-1`), "out-of-range", "units is -1"},
		{batch(`"units":1.5`), "malformed", "units is 1.5"},
		{batch(`"units":18446744073709551615`), "out-of-range", "1 to 1099511627776"},
		{batch(`"units":1,"pricing":"dutch"`), "out-of-range", "want vcg, uniform, uniform-last, gsp or first"},
		{`{"rule":"batch","reserve":10,"units":1,"seller_bids":[{"id":"a","price":1,"capacity":0}]}`, "out-of-range", "the capacity of a is 0"},
		{`{"rule":"batch","units":9,"seller_bids":[{"id":"a","price":1,"capacity":9}]}`, "overflow", "2^62"},
		// They told a key of zeros for whomever it was about.
		{`{"rule":"batch","units":1099511627776,"pricing":"first","seller_bids":[{"id":"z","price":1},{"id":"a","price":4611686018427387904,"capacity":1099511627776}]}`, "overflow", `units of "a": `},
		{`{"rule":"gsp-forward","buyer_bids":[]}`, "malformed", "slots is missing"},
		{`{"rule":"gsp-forward","slots":0,"buyer_bids":[]}`, "out-of-range", "slots is 0"},
		{`{"rule":"blind-fill","supply":0,"buyer_bids":[]}`, "out-of-range", "supply is 0"},
		{`{"rule":"blind-fill","supply":1,"buyer_bids":[{"id":"a","prepaid":0}]}`, "out-of-range", "prepaid 0"},
		{`{"rule":"blind-fill","supply":1,"buyer_bids":[{"id":"a","prepaid":5,"price_total":5}]}`, "malformed", "price_total and quantity"},
		{`{"rule":"blind-fill","supply":1,"buyer_bids":[{"id":"a","prepaid":5,"price_total":5,"quantity":0}]}`, "out-of-range", "quantity of a is 0"},
		{`{"rule":"assignment","builds":[],"seller_bids":[]}`, "out-of-range", "1 to 128 builds"},
		{`{"rule":"assignment","builds":[{"id":"x","price":5}],"seller_bids":[{"id":"a","prices":{"y":1}}]}`, "malformed", "none of the builds"},
		{`{"rule":"assignment","builds":[{"id":"x","price":5}],"seller_bids":[{"id":"a","prices":{"x":-1}}]}`, "out-of-range", `"a" for "x" is -1`},
		{`{"rule":"assignment","builds":[{"id":"x","price":5},{"id":"x","price":5}],"seller_bids":[]}`, "duplicate", `"x"`},

		// Candles.
		{`{"rule":"candle-ranges"}`, "malformed", "periods is missing"},
		{`{"rule":"candle-ranges","periods":0}`, "out-of-range", "0 periods"},
		{`{"rule":"candle-ranges","periods":5}`, "out-of-range", "1 to 4"},
		{`{"rule":"candle-ranges","periods":300}`, "out-of-range", "periods is 300"},
		{`{"rule":"candle-winners","periods":4,"buyer_bids":[{"id":"B","first":3,"last":2,"per_period":1}]}`, "out-of-range", `"B": `},
		{`{"rule":"candle-winners","periods":4,"buyer_bids":[{"id":"B","first":1,"last":2,"per_period":0}]}`, "out-of-range", "want more than 0"},
		{`{"rule":"candle-winners","periods":4,"buyer_bids":[{"id":"B","first":1,"last":2,"per_period":4611686018427387904}]}`, "overflow", "2^62"},
		{`{"rule":"candle-winners","periods":4,"buyer_bids":[{"id":"B","first":1,"last":2,"per_period":5},{"id":"B","first":1,"last":2,"per_period":6}]}`, "duplicate", "bids twice"},
		{`{"rule":"candle-bid","periods":4,"held":[]}`, "malformed", "bid is missing"},
		{`{"rule":"candle-bid","periods":4,"bid":["B",1]}`, "malformed", "no range"},
		{`{"rule":"candle-bid","periods":4,"bid":["B",1,2,3]}`, "malformed", "no range"},
		{`{"rule":"candle-bid","periods":4,"bid":["B",1,2.5]}`, "malformed", "no range"},
		{`{"rule":"candle-bid","periods":4,"bid":["B",1,5]}`, "out-of-range", `"B": `},
		{`{"rule":"candle-bid","periods":4,"bid":["",1,4]}`, "malformed", "has no name"},
		{`{"rule":"candle-bid","periods":4,"held":[null],"bid":["B",1,4]}`, "malformed", "no range"},
		{`{"rule":"candle-bid","periods":4,"held":[["A",1,2],["B",1,2]],"bid":["B",1,4]}`, "duplicate", "held twice"},
		{`{"rule":"candle-bid","periods":4,"held":[["A",3,2]],"bid":["B",1,4]}`, "out-of-range", `"A": periods 3 to 2`},
		{`{"rule":"candle-bid","periods":3,"held":[["A",1,4]],"bid":["B",1,3]}`, "out-of-range", `"A": periods 1 to 4`},
		{`{"rule":"candle-bid","periods":4,"held":[["",1,4]],"bid":["B",1,3]}`, "malformed", "has no name"},
		{`{"rule":"candle-bid","periods":4,"held":{"A":1},"bid":["B",1,3]}`, "malformed", "held is of type object: want a list"},
		{`{"rule":"candle-slots","slots":0}`, "out-of-range", "slots is 0"},

		// Draws, odds, stakes.
		{`{"rule":"draw","n":5}`, "malformed", "seed_hex"},
		{`{"rule":"draw","n":5,"seed_hex":"07"}`, "malformed", "32 bytes"},
		{`{"rule":"draw","n":0,"seed_hex":"` + seed + `"}`, "out-of-range", "n = 0"},
		{`{"rule":"draw","n":2000000000,"seed_hex":"` + seed + `"}`, "out-of-range", "1 to 1048576"},
		{lottery(`"tickets":[]`), "out-of-range", "0 owners"},
		{lottery(`"tickets":[{"owner":"a","tickets":0}]`), "out-of-range", "0 tickets"},
		{lottery(`"tickets":[{"owner":"a","tickets":1},{"owner":"a","tickets":1}]`), "duplicate", `"a" is in tickets twice`},
		{lottery(`"tickets":[{"owner":"a","tickets":1099511627776},{"owner":"b","tickets":1}]`), "out-of-range", "in all"},
		{lottery(`"tickets":[{"owner":"a","tickets":1099511627776},{"owner":"b","tickets":1}]`), "out-of-range", `owner "b" has 1 tickets`},
		{lottery(`"tickets":[{"owner":"a","tickets":1}],"draws":0`), "out-of-range", "0 draws"},
		{lottery(`"tickets":[{"owner":"a","tickets":1}],"draws":5000`), "out-of-range", "1 to 4096"},
		{lottery(`"tickets":[{"owner":"a","tickets":1,"key":"` + seed + `"},{"owner":"b","tickets":1}]`), "malformed", "all or none"},
		{lottery(`"tickets":[{"owner":"a","tickets":1,"key":"` + seed + `"},{"owner":"b","tickets":1,"key":"` + seed + `"}]`), "duplicate", "key"},
		{lottery(`"tickets":[{"owner":"a","tickets":1,"key":"07"}]`), "malformed", "32 bytes"},
		{`{"rule":"odds","rows":[]}`, "out-of-range", "0 rows"},
		{`{"rule":"odds","N":20,"c":21,"k":1}`, "out-of-range", "21 colluding"},
		{`{"rule":"odds","N":20,"c":-1,"k":1}`, "out-of-range", "-1 colluding"},
		{`{"rule":"odds","N":20,"c":1,"k":0}`, "out-of-range", "0 validators"},
		{`{"rule":"odds","N":2000000,"c":1,"k":1}`, "out-of-range", "2000000 domains"},
		{stake(`"N":20,"c":6,"k":3`), "malformed", "R is missing"},
		{stake(`"N":20,"c":6,"k":3,"R":-1,"X":0`), "out-of-range", "R is -1"},
		{stake(`"N":20,"c":6,"k":3,"R":4611686018427387904,"X":1`), "overflow", "2^62"},
		{stake(`"N":20,"c":6,"k":3,"R":4611686018427387904,"X":0,"sample_ppm":1`), "overflow", "2^62"},
		{stake(`"N":20,"c":6,"k":3,"R":1,"X":0,"sample_ppm":0`), "no-stake", "sampling rate"},
		{stake(`"N":20,"c":6,"k":3,"R":1,"X":0,"sample_ppm":1000001`), "out-of-range", "1000001 ppm"},
		{stake(`"N":4,"c":1,"k":3,"R":1,"X":0`), "no-stake", "more validators"},
		{stake(`"N":20,"c":6,"k":3,"panel":99,"R":1,"X":0`), "out-of-range", "panel of 99"},
		{stake(`"N":20,"c":6,"k":3,"panel":4,"R":1,"X":0`), "out-of-range", "panels are odd"},

		// The laboratory.
		{`{"rule":"lab-pool","improvements":0}`, "out-of-range", ""},
		{`{"rule":"lab-pool","pool":1,"reserved":1}`, "duplicate", "pool and reserved are the same"},
		{`{"rule":"lab-pool","own":1,"improvement":1}`, "duplicate", "own and improvement are the same"},
		{`{"rule":"lab-candle-strategy","n":101,"V":100}`, "malformed", "Vmax is missing"},
		{`{"rule":"lab-candle-strategy","n":1,"V":100,"Vmax":60}`, "out-of-range", ""},
		{`{"rule":"lab-candle-strategy","n":101,"V":100,"Vmax":60,"alpha":0}`, "out-of-range", "alpha is 0"},
		{`{"rule":"lab-candle-strategy","n":101,"V":100,"Vmax":60,"alpha":0.009}`, "out-of-range", "alpha is 0.009"},
		{`{"rule":"lab-lottery-all-pay","values":[4,2],"price":-1}`, "malformed", "unknown field"},
		{`{"rule":"lab-vickrey","values":[4,2]}`, "unknown-rule", "lab-vickrey"},
		{`{"rule":"lab-tullock","bids":[]}`, "out-of-range", ""},
		{`{"rule":"lab-tullock","bids":[-1,2],"alpha":2}`, "out-of-range", ""},
		{`{"rule":"lab-tullock","bids":[1e999,2],"alpha":2}`, "out-of-range", "number that fits"},
		{`{"rule":"lab-tullock","values":[4,2],"alpha":0}`, "out-of-range", "alpha is 0"},
		{`{"rule":"lab-collusion","values":[4,2]}`, "malformed", "eps is missing"},
		{`{"rule":"lab-proportional-all-pay","values":[]}`, "out-of-range", ""},
		{`{"rule":"lab-proportional-all-pay","values":["4"]}`, "malformed", "want a number"},
		{`{"rule":"lab-proportional-all-pay","values":[-4,2]}`, "out-of-range", ""},
	} {
		_, r, err := run(c.text)
		var refused *Refusal
		if !errors.As(err, &refused) {
			t.Errorf("%.200s: %v, %v; want a refusal", c.text, r, err)
			continue
		}
		if strings.Contains(refused.Detail, "not a valid") { // the code says so, and what it is not is no help
			t.Errorf("%.200s: %v", c.text, err)
		}
		if refused.Code != c.code || !strings.Contains(refused.Detail, c.says) || refused.Detail == "" {
			t.Errorf("%.200s: %v; want %s and %q", c.text, err, c.code, c.says)
		}
	}
}

// The largest cases that are not refused are cleared in a time that a person
// waits: a bound on sizes is only worth what it bounds.
func TestLimitsAreQuick(t *testing.T) {
	names := func(n int, rest string) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, `{"id":"w%d",%s},`, i, strings.ReplaceAll(rest, "#", fmt.Sprint(i%1000)))
		}
		return strings.TrimSuffix(b.String(), ",")
	}
	var holders, row strings.Builder
	for i := range auction.MaxHolders {
		fmt.Fprintf(&holders, `{"owner":"w%d","tickets":1000},`, i)
	}
	for i := range auction.MaxAssigned {
		fmt.Fprintf(&row, `"w%d":%d,`, i, i*7919%1000)
	}
	seed := strings.Repeat("07", 32)
	for name, text := range map[string]string{
		"batch":      `{"rule":"batch","reserve":1000,"units":1000000,"seller_bids":[` + names(30_000, `"price":#,"capacity":9`) + `]}`,
		"score":      `{"rule":"score","seller_bids":[` + names(30_000, `"price":1,"value":#`) + `]}`,
		"assignment": `{"rule":"assignment","builds":[` + names(auction.MaxAssigned, `"price":900`) + `],"seller_bids":[` + names(auction.MaxAssigned, `"prices":{`+strings.TrimSuffix(row.String(), ",")+`}`) + `]}`,
		"lottery":    `{"rule":"lottery","seed_hex":"` + seed + `","draws":4096,"tickets":[` + strings.TrimSuffix(holders.String(), ",") + `]}`,
		"draw":       `{"rule":"draw","seed_hex":"` + seed + `","n":1048576}`,
		"odds":       `{"rule":"odds","rows":[` + strings.TrimSuffix(strings.Repeat(`{"N":1000000,"c":500000,"k":64},`, maxOddsRows), ",") + `]}`,
		"stake":      `{"rule":"stake","N":1000000,"c":250000,"k":64,"R":1000,"X":1000000}`,
	} {
		start := time.Now()
		if _, _, err := run(text); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		t.Logf("%s: %v", name, time.Since(start))
		if took := time.Since(start); took > time.Minute {
			t.Errorf("%s takes %v", name, took)
		}
	}
}
