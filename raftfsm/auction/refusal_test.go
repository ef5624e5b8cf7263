package auction

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gavel/raftfsm/escrow"
)

// refusal is what an exported function says to an input that is not valid.
type refusal struct {
	function, input string
	err             error
	wraps           error
	says            string // part of it: what is wanted, or what is wrong
}

// second is the error of a function that returns something else first.
func second[T any](_ T, err error) error { return err }

func third[T, U any](_ T, _ U, err error) error { return err }

const (
	huge   = escrow.Credits(math.MaxInt64)
	lowest = escrow.Credits(math.MinInt64)
)

func refusals(t *testing.T) []refusal {
	t.Helper()
	standing, err := NewStanding([]Entry{{ID: key(1), Price: escrow.MaxCredits, Units: 2}})
	if err != nil {
		t.Fatal(err)
	}
	ask, bid := []Ask{{Price: 1, Capacity: 1}}, Bid{Worker: key(1), Domain: "a", Price: 1}
	book := NewCandleBook(MaxPeriods)
	if err := book.Place(CandleBid{key(1), 1, 2, 5}); err != nil {
		t.Fatal(err)
	}
	prices, rows := []escrow.Credits{1}, [][]escrow.Credits{{1}}
	owners := []Holding{{Owner: key(1), Tickets: 1}, {Owner: key(2), Tickets: 1}}
	many := make([]escrow.Credits, MaxAsks+1)
	var all []refusal
	refuse := func(function string, wraps error, cases ...any) { // input, err, says, …
		for i := 0; i < len(cases); i += 3 {
			err, _ := cases[i+1].(error)
			all = append(all, refusal{function, cases[i].(string), err, wraps, cases[i+2].(string)})
		}
	}
	refuse("Assign", ErrRefused,
		"no builds", second(Assign(nil, rows)), "want 1 to 128 builds",
		"too many builds", second(Assign(make([]escrow.Credits, MaxAssigned+1), nil)), "want 1 to 128 builds",
		"too many workers", second(Assign(prices, make([][]escrow.Credits, MaxAssigned+1))), "at most 128 workers",
		"a negative reserve", second(Assign([]escrow.Credits{-1}, rows)), "want 0 to",
		"a huge reserve", second(Assign([]escrow.Credits{huge}, rows)), "want 0 to",
		"a huge price", second(Assign(prices, [][]escrow.Credits{{huge}})), "want at most",
		"a short row", second(Assign(prices, [][]escrow.Credits{{}})), "bids for 0 builds of 1")
	refuse("ClearBatch", ErrRefused,
		"no units", second(ClearBatch(ask, 0, 1, PricingVCG)), "want 1 to",
		"too many units", second(ClearBatch(ask, MaxUnits+1, 1, PricingVCG)), "want 1 to",
		"a negative reserve", second(ClearBatch(ask, 1, -1, PricingVCG)), "want 0 to",
		"a huge reserve", second(ClearBatch(ask, 1, huge, PricingVCG)), "want 0 to",
		"no rule", second(ClearBatch(ask, 1, 1, 0)), "want a pricing rule",
		"an unknown rule", second(ClearBatch(ask, 1, 1, PricingFirst+1)), "want a pricing rule",
		"too many asks", second(ClearBatch(make([]Ask, MaxAsks+1), 1, 1, PricingVCG)), "want at most",
		"a negative price", second(ClearBatch([]Ask{{Price: -1, Capacity: 1}}, 1, 1, PricingVCG)), "want 0 to",
		"a huge price", second(ClearBatch([]Ask{{Price: huge, Capacity: 1}}, 1, 1, PricingVCG)), "want 0 to",
		"no capacity", second(ClearBatch([]Ask{{Price: 1}}, 1, 1, PricingVCG)), "want 1 to",
		"a huge capacity", second(ClearBatch([]Ask{{Price: 1, Capacity: math.MaxUint64}}, 1, 1, PricingVCG)), "want 1 to")
	refuse("ClearBatch", escrow.ErrOverflow,
		"more than can be paid", second(ClearBatch([]Ask{{Price: escrow.MaxCredits, Capacity: 2}}, 2, escrow.MaxCredits, PricingFirst)), "paying 2 units")
	refuse("Standing.Clear", ErrRefused,
		"no units", second(standing.Clear(0, 1, PricingVCG)), "want 1 to",
		"a huge reserve", second(standing.Clear(1, huge, PricingVCG)), "want 0 to",
		"an unknown rule", second(standing.Clear(1, 1, 9)), "want a pricing rule")
	refuse("Standing.Clear", escrow.ErrOverflow,
		"more than can be paid", second(standing.Clear(2, escrow.MaxCredits, PricingVCG)), "paying 2 units")
	refuse("Standing.Prefix", escrow.ErrOverflow,
		"more than can be paid", second(standing.Prefix(2)), "cheapest 2 units")
	refuse("NewStanding", ErrRefused,
		"too many", second(NewStanding(make([]Entry, MaxAsks+1))), "want at most",
		"one bidder twice", second(NewStanding([]Entry{{Units: 1}, {Units: 2}})), "remove that first",
		"no units", second(NewStanding([]Entry{{}})), "want 1 to")
	refuse("Standing.Insert", ErrRefused,
		"one bidder twice", standing.Insert(Entry{ID: key(1), Units: 1}), "remove that first",
		"a negative price", standing.Insert(Entry{Price: -1, Units: 1}), "want 0 to",
		"a huge price", standing.Insert(Entry{Price: huge, Units: 1}), "want 0 to",
		"huge units", standing.Insert(Entry{Units: math.MaxUint64}), "want 1 to")
	refuse("Standing.Reduce", ErrRefused,
		"nobody's", standing.Reduce(key(9), 1), "has none",
		"no units", standing.Reduce(key(1), 0), "want 1 to",
		"more units than left", standing.Reduce(key(1), 3), "want 1 to")
	refuse("ParsePricing", ErrRefused,
		"nothing", second(ParsePricing("")), "want vcg",
		"another case", second(ParsePricing("VCG")), "want vcg",
		"a number that prints", second(ParsePricing("pricing-0")), "want vcg")
	refuse("ParseTicketRule", ErrRefused,
		"nothing", second(ParseTicketRule("")), "want all-pay")
	refuse("FillBlind", ErrRefused,
		"no supply", second(FillBlind(nil, 0, false)), "want 1 to",
		"a huge supply", second(FillBlind(nil, math.MaxUint64, false)), "want 1 to",
		"too many bids", second(FillBlind(make([]BlindBid, MaxAsks+1), 1, false)), "at most",
		"a negative prepayment", second(FillBlind([]BlindBid{{Prepaid: -1}}, 1, false)), "want amounts",
		"a huge prepayment", second(FillBlind([]BlindBid{{Prepaid: huge}}, 1, false)), "want amounts",
		"a negative total", second(FillBlind([]BlindBid{{Total: -1}}, 1, false)), "want amounts",
		"a huge quantity", second(FillBlind([]BlindBid{{Quantity: math.MaxUint64}}, 1, false)), "at most")
	refuse("CandleBid.Total", ErrRefused,
		"a range backwards", second(CandleBid{First: 3, Last: 2, PerPeriod: 1}.Total()), "want a range",
		"a huge range", second(CandleBid{First: 1, Last: 255, PerPeriod: 1}.Total()), "want a range",
		"a negative amount", second(CandleBid{First: 1, Last: 1, PerPeriod: -1}.Total()), "want more than 0")
	refuse("CandleBid.Validate", ErrRefused,
		"no periods", CandleBid{First: 1, Last: 1, PerPeriod: 1}.Validate(0), "want 1 to 4",
		"too many periods", CandleBid{First: 1, Last: 1, PerPeriod: 1}.Validate(5), "want 1 to 4",
		"period 0", CandleBid{First: 0, Last: 1, PerPeriod: 1}.Validate(4), "want a range",
		"nothing offered", CandleBid{First: 1, Last: 1}.Validate(4), "want more than 0",
		"a huge amount", CandleBid{First: 1, Last: 1, PerPeriod: huge}.Validate(4), "want more than 0")
	refuse("CandleBid.Validate", escrow.ErrOverflow,
		"more than all periods can sum", CandleBid{First: 1, Last: 1, PerPeriod: escrow.MaxCredits/MaxPeriods + 1}.Validate(4), "a period")
	refuse("CandleBook.Place", ErrRefused,
		"the same again", book.Place(CandleBid{key(2), 1, 2, 5}), "does not beat",
		"a gap", book.Place(CandleBid{key(1), 4, 4, 5}), "leave a gap",
		"beyond the last period", book.Place(CandleBid{key(2), 4, 5, 5}), "want a range",
		"a book of no periods", new(CandleBook).Place(CandleBid{key(2), 1, 1, 5}), "want 1 to 4")
	refuse("Clear", ErrRefused,
		"one worker twice", second(Clear([]Bid{bid, bid}, Constant(5), nil)), "bids twice",
		"a negative price", second(Clear([]Bid{{Domain: "a", Price: -1}}, Constant(5), nil)), "needs a price of at least 0",
		"too many bids", second(Clear(make([]Bid, MaxAsks+1), Constant(5), nil)), "want at most")
	refuse("Clear", escrow.ErrOverflow,
		"a value out of range", second(Clear([]Bid{bid}, Constant(huge), nil)), "scoring bid")
	refuse("Bid.Validate", ErrRefused,
		"no domain", Bid{}.Validate(), "a domain of 1 to",
		"a huge price", Bid{Domain: "a", Price: huge}.Validate(), "needs a price")
	refuse("SellOne", ErrRefused,
		"a negative bid", third(SellOne([]escrow.Credits{-1}, 0)), "want 0 to",
		"a negative reserve", third(SellOne(prices, -1)), "want 0 to",
		"a huge reserve", third(SellOne(prices, huge)), "want 0 to",
		"too many bids", third(SellOne(many, 0)), "want at most")
	refuse("SellSlots", ErrRefused,
		"no slots", third(SellSlots(prices, 0)), "want at least 1",
		"negative slots", third(SellSlots(prices, math.MinInt)), "want at least 1",
		"a huge bid", third(SellSlots([]escrow.Credits{huge}, 1)), "want 0 to",
		"too many bids", third(SellSlots(many, 1)), "want at most")
	refuse("PaymentWithin", ErrRefused,
		"bounds crossed", second(PaymentWithin(1, 0, 5, 4)), "want the lower one first",
		"a huge bound", second(PaymentWithin(1, 0, 0, huge)), "want the lower one first",
		"the lowest bound", second(PaymentWithin(1, 0, lowest, 0)), "want the lower one first")
	refuse("PaymentWithin", escrow.ErrOverflow,
		"a huge value", second(PaymentWithin(huge, 0, 0, 1)), "computing payment",
		"the lowest reference", second(PaymentWithin(0, lowest, 0, 1)), "computing payment")
	refuse("Payment", ErrRefused,
		"a negative reserve", second(Payment(1, 0, -1)), "want 0 to",
		"a huge reserve", second(Payment(1, 0, huge)), "want 0 to",
		"the lowest reserve", second(Payment(1, 0, lowest)), "want 0 to")
	refuse("FailurePayment", ErrRefused, "a negative reserve", second(FailurePayment(1, -1)), "want 0 to")
	refuse("FailurePayment", escrow.ErrOverflow, "a huge reference", second(FailurePayment(huge, 1)), "computing payment")
	refuse("CostCoveredFailurePayment", ErrRefused, "a negative reserve", second(CostCoveredFailurePayment(1, 0, -1)), "want 0 to")
	refuse("OddsOf", ErrRefused,
		"huge domains", second(OddsOf(math.MaxInt, 1, 1, 1)), "domains",
		"negative colluders", second(OddsOf(5, -1, 1, 3)), "colluding",
		"no validators", second(OddsOf(5, 1, 0, 3)), "0 validators",
		"a huge panel", second(OddsOf(5, 1, 1, math.MaxInt)), "panel of")
	refuse("Stake", ErrRefused,
		"a negative reserve", second(Stake(20, 6, 3, 7, -1, 1, PPM)), "reserve price",
		"a rate above one", second(Stake(20, 6, 3, 7, 1, 1, math.MaxUint64)), "sampling rate",
		"huge domains", second(Stake(math.MaxInt, 6, 3, 7, 1, 1, PPM)), "domains")
	refuse("Stake", escrow.ErrOverflow, "a huge value", second(Stake(20, 6, 3, 7, 1, escrow.MaxCredits, PPM)), "computing stake")
	refuse("Stake", ErrNoStake, "nobody convicts", second(Stake(4, 1, 3, 0, 1, 1, PPM)), "draw more validators")
	refuse("TicketCost", ErrRefused,
		"no tickets", second(TicketCost(1, 0)), "want 1 to",
		"too many tickets", second(TicketCost(1, math.MaxUint64)), "want 1 to",
		"a negative price", second(TicketCost(-1, 1)), "a price of at least 0",
		"a huge price", second(TicketCost(huge, 1)), "a price of at least 0")
	refuse("TicketCost", escrow.ErrOverflow, "more than there is", second(TicketCost(escrow.MaxCredits, 2)), "pricing 2 tickets")
	refuse("DrawTicket", ErrRefused,
		"nobody", second(DrawTicket(key(1), nil)), "nobody holds one",
		"an owner twice", second(DrawTicket(key(1), []Holding{owners[0], owners[0]})), "want each once",
		"out of order", second(DrawTicket(key(1), []Holding{owners[1], owners[0]})), "want each once",
		"no tickets", second(DrawTicket(key(1), []Holding{{Owner: key(1), Tickets: 0}})), "want at least 1",
		"huge tickets", second(DrawTicket(key(1), []Holding{{Owner: key(1), Tickets: math.MaxUint64}})), "in all",
		"too many in all", second(DrawTicket(key(1), []Holding{{Owner: key(1), Tickets: MaxTickets}, {Owner: key(2), Tickets: 1}})), "in all")
	refuse("DrawTickets", ErrRefused,
		"negative slots", second(DrawTickets(key(1), owners, -1)), "want 0 to",
		"too many slots", second(DrawTickets(key(1), owners, MaxSlots+1)), "want 0 to",
		"too many owners", second(DrawTickets(key(1), make([]Holding, MaxHolders+1), 1)), "want at most",
		"an owner twice, no slots", second(DrawTickets(key(1), []Holding{owners[0], owners[0]}, 0)), "want each once")
	refuse("ValueFunction.Validate", ErrRefused,
		"no steps", ValueFunction{}.Validate(5), "needs 1 to",
		"above the reserve", Constant(6).Validate(5), "no more than the reserve",
		"negative", Constant(-1).Validate(5), "never fall below 0",
		"huge", Constant(huge).Validate(huge), "no more than the reserve")
	return all
}

func TestRefusals(t *testing.T) {
	all := refusals(t)
	for _, r := range all {
		if !errors.Is(r.err, r.wraps) || !strings.Contains(fmt.Sprint(r.err), r.says) {
			t.Errorf("%s of %s: %v; want %q wrapping %q", r.function, r.input, r.err, r.says, r.wraps)
		}
	}
	for _, function := range fallible(t) {
		if !slices.ContainsFunc(all, func(r refusal) bool { return r.function == function }) {
			t.Errorf("%s can fail, but no input is known to be refused", function)
		}
	}
	t.Logf("%d refusals", len(all))
}

// fallible lists the exported functions and methods of this package that return an error.
func fallible(t *testing.T) (names []string) {
	t.Helper()
	files, err := filepath.Glob("*.go")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		syntax, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range syntax.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Name.IsExported() && returnsError(f) {
				names = append(names, qualified(f))
			}
		}
	}
	return names
}

func returnsError(f *ast.FuncDecl) bool {
	return f.Type.Results != nil && slices.ContainsFunc(f.Type.Results.List, func(result *ast.Field) bool {
		id, ok := result.Type.(*ast.Ident)
		return ok && id.Name == "error"
	})
}

// qualified is a function's name behind its receiver's type.
func qualified(f *ast.FuncDecl) string {
	if f.Recv == nil {
		return f.Name.Name
	}
	of := f.Recv.List[0].Type
	if star, ok := of.(*ast.StarExpr); ok {
		of = star.X
	}
	return of.(*ast.Ident).Name + "." + f.Name.Name
}

// Functions without an error have an answer to everything.
func TestTotalFunctions(t *testing.T) {
	for _, periods := range []int{math.MinInt, -3, 0, MaxPeriods + 1, math.MaxInt} {
		if got := RangeCount(periods); got != 0 {
			t.Errorf("%d ranges of %d periods", got, periods)
		}
	}
	if a, b := CommunitySlots(math.MaxUint64); a+b != math.MaxUint64 || a != math.MaxUint64/5 {
		t.Errorf("%d and %d slots", a, b)
	}
	for _, n := range []int{math.MinInt, -1, 0, 1, math.MaxInt} {
		for _, k := range []int{math.MinInt, -1, 0, 1, math.MaxInt} {
			if size := PanelSize(n, k); size < 0 || size == 1 || size%2 == 0 && size != 0 {
				t.Errorf("a panel of %d for n = %d, k = %d", size, n, k)
			}
			if p := AllColluding(n, k, n); p.Sign() < 0 {
				t.Errorf("odds %v of n = %d, k = %d", p, n, k)
			}
		}
		if c := Colluders(math.MaxUint64, n); c != max(0, n) {
			t.Errorf("%d colluders of %d", c, n)
		}
	}
	if Pricing(0).String() != "pricing-0" || Pricing(255).Valid() || TicketRule(0).String() != "ticket-rule-0" {
		t.Error("an unknown rule has a name")
	}
	defer func() {
		if recover() == nil {
			t.Error("a sample of none is drawn")
		}
	}()
	CloseSample(key(1), 0)
}
