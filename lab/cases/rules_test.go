package cases

import (
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"gavel/lab"
	"gavel/raftfsm/auction"
)

// Cases of which the vectors have none: ties, many bids of one bidder, bounds.
func TestRules(t *testing.T) {
	for name, c := range map[string]struct{ text, expect string }{
		"the first listed wins a tie": {
			`"rule":"vickrey","reserve":9,"seller_bids":[{"id":"z","price":4},{"id":"a","price":4},{"id":"m","price":4}]`,
			`{"winner":"z","payment":4}`},
		"its domain's own second bid is no competition": {
			`"rule":"vickrey","reserve":9,"seller_bids":[{"id":"a","price":3,"domain":"d"},{"id":"b","price":4,"domain":"d"},{"id":"c","price":7}]`,
			`{"winner":"a","payment":7}`},
		"nobody bids": {`"rule":"vickrey","reserve":9,"seller_bids":[]`, `{"winner":null}`},
		"two bids say the price without a reserve": {
			`"rule":"vickrey","seller_bids":[{"id":"a","price":3},{"id":"b","price":4}]`, `{"winner":"a","payment":4}`},
		"a capped payment": {
			`"rule":"score","cap":5,"seller_bids":[{"id":"a","value":9,"price":1}]`,
			`{"scores":{"a":8},"winner":"a","reference":0,"payment":5,"payment_uncapped":9,"net_of_true_cost":4}`},
		"no failure costs more than c_l": {
			`"rule":"score-realized","c_l":3,"realized":1,"seller_bids":[{"id":"a","value":20,"price":5},{"id":"b","value":20,"price":10}]`,
			`{"winner":"a","reference":10,"payment":-3}`},
		"a reported score below 0 loses": {
			`"rule":"score-realized","reported_scores":{"a":-5},"winner_value":1,"winner_cost":1`, `{"scores":{"a":-5},"winner":null}`},
		"a reserve of the seller": {
			`"rule":"vickrey-forward","reserve":11,"buyer_bids":[{"id":"a","price":10},{"id":"b","price":12}]`, `{"winner":"b","payment":11}`},
		"nobody reaches the reserve": {
			`"rule":"vickrey-forward","reserve":13,"buyer_bids":[{"id":"b","price":12}]`, `{"winner":null}`},
		"vcg is the default": {
			`"rule":"batch","reserve":10,"units":2,"seller_bids":[{"id":"a","price":2,"capacity":3},{"id":"b","price":9}]`,
			`{"allocation":{"a":2},"payments":{"a":19}}`},
		"fewer slots than bids": {
			`"rule":"gsp-forward","slots":1,"buyer_bids":[{"id":"y","price":5},{"id":"x","price":9}]`, `{"order":["x"],"payments":{"x":5}}`},
		"filled by ratio, and too much revealed is forfeited": {
			`"rule":"blind-fill","supply":4,"buyer_bids":[{"id":"a","prepaid":9,"price_total":4,"quantity":2},{"id":"b","prepaid":9,"price_total":8,"quantity":2},{"id":"c","prepaid":9,"price_total":10,"quantity":1}]`,
			`{"filled":["b","a"],"payments_first":{"a":4,"b":8},"payments_uniform_last":{"a":4,"b":4},"refunds_first":{"a":5,"b":1},"refunds_uniform_last":{"a":5,"b":5},"forfeited":{"c":9}}`},
		"a uniform payment is rounded up": {
			`"rule":"blind-fill","supply":4,"buyer_bids":[{"id":"a","prepaid":9,"price_total":5,"quantity":1},{"id":"b","prepaid":9,"price_total":7,"quantity":3},{"id":"late","prepaid":4,"price_total":4,"quantity":4}]`,
			`{"filled":["a","b"],"payments_uniform_last":{"a":3,"b":7},"refunds_uniform_last":{"a":6,"b":2,"late":4},"refunds_first":{"a":4,"b":2,"late":4},"forfeited":{}}`},
		"an assignment": {
			`"rule":"assignment","builds":[{"id":"x","price":9},{"id":"y","price":9},{"id":"z","price":1}],"seller_bids":[{"id":"a","prices":{"x":1,"y":2}},{"id":"b","prices":{"x":2,"z":5}},{"id":"c"}]`,
			`{"assignment":{"x":"b","y":"a","z":null},"payments":{"a":9,"b":8},"cost":5}`},
		"one bidder, two ranges that follow each other": {
			`"rule":"candle-winners","periods":4,"buyer_bids":[{"id":"A","first":1,"last":2,"per_period":5},{"id":"A","first":3,"last":4,"per_period":7},{"id":"B","first":1,"last":4,"per_period":5}]`,
			`{"winners":[["A",1,2],["A",3,4]],"total":24,"losing_total":20,"losing_average":5}`},
		"a better bid stands, in whatever order": {
			`"rule":"candle-winners","periods":2,"buyer_bids":[{"id":"A","first":1,"last":2,"per_period":5},{"id":"B","first":1,"last":2,"per_period":4}]`,
			`{"winners":[["A",1,2]],"total":10,"losing_total":0,"losing_average":0}`},
		// A bidder's bids with a gap between them used to refuse the whole case.
		"a gap, and whose period it is": {
			`"rule":"candle-winners","periods":4,"buyer_bids":[{"id":"B","first":4,"last":4,"per_period":5},{"id":"B","first":1,"last":2,"per_period":5},{"id":"A","first":3,"last":3,"per_period":6}]`,
			`{"winners":[["B",1,2],["A",3,3],["B",4,4]],"total":21,"losing_total":0,"losing_average":0}`},
		"a gap that is nobody's": {
			`"rule":"candle-winners","periods":4,"buyer_bids":[{"id":"B","first":1,"last":2,"per_period":5},{"id":"B","first":4,"last":4,"per_period":5}]`,
			`{"winners":[["B",1,2],["B",4,4]],"total":15}`},
		// B won 2, 3 and 4 and was overbid on 3: to hold 2 and 4 was refused as if B
		// had bid for them in that order.
		"back into a gap that an overbid made":     {`"rule":"candle-bid","periods":4,"held":[["B",2,2],["B",4,4]],"bid":["B",3,3]`, `{"accepted":true}`},
		"in whatever order they are held":          {`"rule":"candle-bid","periods":4,"held":[["B",4,4],["B",2,2]],"bid":["B",3,3]`, `{"accepted":true}`},
		"another fills somebody's gap":             {`"rule":"candle-bid","periods":4,"held":[["A",1,4],["A",2,2],["A",4,4]],"bid":["B",3,3]`, `{"accepted":true}`},
		"away from a range that is held":           {`"rule":"candle-bid","periods":4,"held":[["B",2,2],["B",4,4]],"bid":["B",1,1]`, `{"accepted":false}`},
		"a range that somebody else holds":         {`"rule":"candle-bid","periods":4,"held":[["A",3,3],["B",2,2],["B",4,4]],"bid":["B",3,3]`, `{"accepted":true}`},
		"nothing is held, and every range is open": {`"rule":"candle-bid","periods":1,"bid":["B",1,1]`, `{"accepted":true}`},
		"equal totals: the lowest serialisation": {
			`"rule":"candle-winners","periods":2,"buyer_bids":[{"id":"A","first":1,"last":2,"per_period":5},{"id":"B","first":1,"last":1,"per_period":5},{"id":"C","first":2,"last":2,"per_period":5}]`,
			`{"winners":[["B",1,1],["C",2,2]],"total":10}`},
		"no candle bids":    {`"rule":"candle-winners","periods":4,"buyer_bids":[]`, `{"winners":[],"total":0,"losing_total":0,"losing_average":0}`},
		"odds of one pool":  {`"rule":"odds","N":20,"c":6,"k":3`, `{"rows":[{"all_colluding_numerator":20,"denominator":1140}]}`},
		"a sampled stake":   {`"rule":"stake","N":20,"c":6,"k":3,"R":1000,"X":999000,"sample_ppm":100000`, `{"stake":27879076,"panel":7}`},
		"a share of a pool": {`"rule":"lab-pool","float":true,"pool":10,"improvements":4,"own":1`, `{"share":2.5}`},
		"any forward mechanism that is solvable": {
			`"rule":"lab-second-price","float":true,"values":[4,2]`, `{"bids":[4,2],"payments":[2,0],"revenue":2,"sybil_proof":true}`},
	} {
		one, r, err := run("{" + c.text + `,"expect":` + c.expect + "}")
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if different, err := one.Compare(r); err != nil || len(different) > 0 {
			t.Errorf("%s: %q, %v", name, different, err)
		}
	}
}

// A case is drawn as the farm draws: by key where owners have one, in whatever
// order they are listed, and in the order listed where they have none.
func TestLotteryIsTheFarms(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		var seed [32]byte
		for i := range seed {
			seed[i] = byte(r.Uint32())
		}
		holdings := make([]auction.Holding, 1+r.IntN(6))
		var plain, keyed []string
		for i := range holdings {
			holdings[i] = auction.Holding{Owner: bidderKey(1000 * (i + 1)), Tickets: 1 + r.Uint64N(4)}
			h := holdings[i]
			plain = append(plain, fmt.Sprintf(`{"owner":"w%d","tickets":%d}`, 9-i, h.Tickets))
			keyed = append(keyed, fmt.Sprintf(`{"owner":"w%d","tickets":%d,"key":"%x"}`, 9-i, h.Tickets, h.Owner))
		}
		r.Shuffle(len(keyed), func(i, j int) { keyed[i], keyed[j] = keyed[j], keyed[i] })
		draws := 1 + r.IntN(12)
		places, err := auction.DrawTickets(seed, holdings, draws)
		if err != nil {
			t.Fatal(err)
		}
		want := make([]string, len(places))
		for i, at := range places {
			want[i] = fmt.Sprintf("w%d", 9-at)
		}
		for _, tickets := range [][]string{plain, keyed} {
			text := fmt.Sprintf(`{"rule":"lottery","seed_hex":"%s","draws":%d,"tickets":[%s]}`, hex.EncodeToString(seed[:]), draws, strings.Join(tickets, ","))
			_, got, err := run(text)
			if err != nil || fmt.Sprint(got["owners"]) != fmt.Sprint(want) {
				t.Fatalf("%s: %v, %v; want %v", text, got, err, want)
			}
		}
	}
}

// A score auction may have more different values than a requester may sign steps.
func TestManyDifferentValues(t *testing.T) {
	var bids []string
	for i := range 3 * auction.MaxSteps {
		bids = append(bids, fmt.Sprintf(`{"id":"b%d","value":%d,"price":%d}`, i, 1000+i, 500))
	}
	_, r, err := run(`{"rule":"score","seller_bids":[` + strings.Join(bids, ",") + `]}`)
	if err != nil || fmt.Sprintln(r["winner"], r["reference"], r["payment"]) != "b191 0.00069 0.000501\n" {
		t.Errorf("%v %v %v, %v", r["winner"], r["reference"], r["payment"], err)
	}
}

// Every rule that the laboratory can solve from values alone has a case.
func TestEveryEquilibriumHasARule(t *testing.T) {
	for _, m := range lab.Mechanisms() {
		_, r, err := run(`{"rule":"lab-` + m.Name + `","values":[4,2]}`)
		if m.Solvable && !m.Reverse && (err != nil || r["revenue"] == nil) {
			t.Errorf("%s: %v, %v", m.Name, r, err)
		}
		if (!m.Solvable || m.Reverse) && err == nil {
			t.Errorf("%s was solved: %v", m.Name, r)
		}
	}
}
