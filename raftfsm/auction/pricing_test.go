package auction

import (
	"errors"
	"testing"
)

func TestPricingNames(t *testing.T) {
	for pricing, name := range map[Pricing]string{PricingVCG: "vcg", PricingUniform: "uniform", PricingUniformLast: "uniform-last", PricingGSP: "gsp", PricingFirst: "first"} {
		if got, err := ParsePricing(name); err != nil || got != pricing || pricing.String() != name {
			t.Errorf("%q is %v, %v; want %v", name, got, err, pricing)
		}
	}
}

func FuzzParsePricing(f *testing.F) {
	for p := Pricing(0); p <= PricingFirst+1; p++ {
		f.Add(p.String())
	}
	f.Fuzz(func(t *testing.T, text string) {
		switch p, err := ParsePricing(text); {
		case err == nil && (!p.Valid() || p.String() != text):
			t.Fatalf("%q is %v", text, p)
		case err != nil && (p != 0 || !errors.Is(err, ErrRefused)):
			t.Fatalf("%q: %v, %v", text, p, err)
		}
	})
}
