package lab

import (
	"encoding/json"
	"math"
	"os"
	"strings"
	"testing"
)

// vector is a case of testdata/market.json whose rule is the laboratory's.
type vector struct {
	ID, Rule     string
	Tolerance    float64
	Values, Bids []float64
	Alpha, Eps   float64
	N            int
	V, Vmax      float64
	Expect       struct {
		Allocations, Bids, Utilities []float64
		Revenue, Fairness            *float64
		Pure                         *bool `json:"pure_equilibrium"`
		SybilProof                   *bool `json:"sybil_proof"`
		Share                        float64
		Chance                       float64 `json:"pr"`
		Utility                      float64 `json:"eu"`
		Document                     float64 `json:"alpha_document"`
		Best                         float64 `json:"alpha_best"`
		BestUtility                  float64 `json:"eu_best"`
	}
}

func labVectors(t *testing.T) map[string]vector {
	t.Helper()
	raw, err := os.ReadFile("../testdata/market.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Cases []json.RawMessage }
	if err := json.Unmarshal(raw, &file); err != nil {
		t.Fatal(err)
	}
	found := map[string]vector{}
	for _, text := range file.Cases {
		var head struct{ Rule string }
		if err := json.Unmarshal(text, &head); err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(head.Rule, "lab-") {
			continue
		}
		var v vector
		if err := json.Unmarshal(text, &v); err != nil {
			t.Fatal(err)
		}
		found[v.ID] = v
	}
	return found
}

func TestVectors(t *testing.T) {
	found := labVectors(t)
	ids := strings.Fields(`weekly-pool candle-strategy all-pay-4-2 all-pay-4-2-1 all-pay-4-2-2 all-pay-3-3-3
		winner-take-all-4-2 proportional-winner-pays-4-2 all-pay-highest-wins-4-2 tullock-alpha collusion-4-2`)
	for _, id := range ids {
		v, ok := found[id]
		if !ok {
			t.Errorf("testdata/market.json has no case %s", id)
			continue
		}
		t.Run(id, func(t *testing.T) { v.check(t) })
	}
	if len(found) != len(ids) {
		t.Errorf("%d laboratory cases, of which %d are tested", len(found), len(ids))
	}
}

func (v vector) check(t *testing.T) {
	tolerance := v.Tolerance
	if tolerance == 0 {
		tolerance = 1e-9
	}
	switch rule := strings.TrimPrefix(v.Rule, "lab-"); rule {
	case "pool":
		got, err := PoolShare(100_000, 10, 0.01)
		if err != nil || !near(got, v.Expect.Share, tolerance) {
			t.Errorf("PoolShare = %v, %v, want %v", got, err, v.Expect.Share)
		}
	case "candle-strategy":
		c := Candle{Bidders: v.N, Value: v.V, Rival: v.Vmax}
		alpha, utility := c.Best()
		for what, pair := range map[string][2]float64{
			"chance": {c.Chance(v.Alpha), v.Expect.Chance}, "utility": {c.Utility(v.Alpha), v.Expect.Utility},
			"document": {c.Document(), v.Expect.Document}, "best alpha": {alpha, v.Expect.Best}, "best utility": {utility, v.Expect.BestUtility},
		} {
			if !near(pair[0], pair[1], 1e-9) {
				t.Errorf("%s = %v, want %v", what, pair[0], pair[1])
			}
		}
	case "tullock":
		got, err := Shares(v.Bids, v.Alpha)
		sameList(t, "Shares", got, v.Expect.Allocations, tolerance)
		if err != nil {
			t.Error(err)
		}
	case "collusion":
		got, err := Collude(v.Values, v.Eps)
		sameList(t, "Collude", got, v.Expect.Utilities, tolerance)
		if err != nil {
			t.Error(err)
		}
	default:
		v.checkEquilibrium(t, rule, tolerance)
	}
}

func (v vector) checkEquilibrium(t *testing.T, mechanism string, tolerance float64) {
	out := solved(t, mechanism, Game{Values: v.Values})
	sameList(t, "allocations", out.Allocations, v.Expect.Allocations, tolerance)
	if v.Expect.Bids != nil {
		sameList(t, "bids", out.Bids, v.Expect.Bids, tolerance)
	}
	if want := v.Expect.Revenue; want != nil && !near(out.Revenue, *want, tolerance) {
		t.Errorf("revenue = %v, want %v", out.Revenue, *want)
	}
	if want := v.Expect.Fairness; want != nil && !near(out.Fairness, *want, tolerance) {
		t.Errorf("fairness = %v, want %v", out.Fairness, *want)
	}
	if want := v.Expect.Pure; want != nil && out.Pure != *want {
		t.Errorf("pure = %v, want %v", out.Pure, *want)
	}
	if want := v.Expect.SybilProof; want != nil && out.SybilProof != *want {
		t.Errorf("sybil proof = %v, want %v", out.SybilProof, *want)
	}
}

func solved(t *testing.T, mechanism string, g Game) *Outcome {
	t.Helper()
	out, err := Solve(mechanism, g)
	if err != nil {
		t.Fatalf("%v over %+v", err, g)
	}
	return out
}

func near(a, b, tolerance float64) bool { return math.Abs(a-b) <= tolerance }

func sameList(t *testing.T, what string, got, want []float64, tolerance float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s %v, want %v", what, got, want)
	}
	for i := range got {
		if !near(got[i], want[i], tolerance) {
			t.Errorf("%s %v, want %v", what, got, want)
			return
		}
	}
}
