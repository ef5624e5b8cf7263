package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/big"
	"path"
	"path/filepath"

	"slices"
	"strconv"
	"strings"

	reapi "gavel/api/action"
	gavelv1 "gavel/api/gavel/v1"
	"gavel/api/seal"
	"gavel/cas"
	"gavel/cas/tree"
	"gavel/coordinator/images"
	"gavel/raftfsm/auction"
	"gavel/raftfsm/build"
	"gavel/raftfsm/draw"
	"gavel/raftfsm/escrow"
	"gavel/sandbox"
	"gavel/verify/attest"
)

const (
	defaultMaxPrice = 10 * escrow.One
	// deadlineMillis is how long, in farm time, a build may wait for an award.
	deadlineMillis = 3_600_000
)

// order is a build that is asked for, checked as far as that goes without a farm.
type order struct {
	dir         string
	action      reapi.Action
	samplePPM   uint32
	cached      bool
	validators  uint32
	maxPrice    credits
	budget      credits
	valueAtRisk credits
	pool        string
	priority    credits
	vary        build.Dimensions
	expect      []build.Expected
	receipt     string // file that keeps the farm's receipt, empty for none
}

// order reads the flags. Its errors are of exit status 2.
func (f *submitFlags) order(dir string, command []string) (*order, error) {
	if err := checkDir(dir); err != nil {
		return nil, err
	}
	o := &order{dir: dir, cached: f.cache, validators: f.validators, maxPrice: f.maxPrice, budget: f.budget, valueAtRisk: f.valueAtRisk,
		pool: f.pool, priority: f.priority, receipt: f.receipt}
	if f.onUnverified != "fail" && f.onUnverified != "warn" {
		return nil, usage("--on-unverified %q: want fail or warn", f.onUnverified)
	}
	if f.given("validators") && f.given("verify") {
		return nil, usage("--validators and --verify exclude each other: the latter draws two, if any")
	}
	a := &o.action
	a.Argv, a.TimeoutMillis = command, f.timeout.Milliseconds()
	var err error
	if a.Root, err = parseRoot(f.image); err != nil {
		return nil, err
	}
	if o.vary, err = parseVary(f.vary); err != nil {
		return nil, err
	}
	if a.Outputs, err = parseOutputs(f.outputs); err != nil {
		return nil, err
	}
	if o.expect, err = parseExpect(f.expect, a.Outputs); err != nil {
		return nil, err
	}
	if a.Env, err = parseEnv(f.env); err != nil {
		return nil, err
	}
	if o.samplePPM, err = parsePercent(f.verify); err != nil {
		return nil, err
	}
	if f.memory != "" {
		if a.Limits.MemoryBytes, err = parseBytes(f.memory); err != nil {
			return nil, usage("--memory %q: %v", f.memory, err)
		}
	}
	if f.cpus != "" {
		if a.Limits.CPUMillis, err = parseThousandths(f.cpus); err != nil {
			return nil, usage("--cpus %q: %v", f.cpus, err)
		}
	}
	if f.source != "" {
		if _, _, err := attest.ParseSource(f.source); err != nil {
			return nil, usage("--source: %v", err)
		}
		a.Source = f.source
	}
	if f.withhold {
		if f.cache {
			return nil, usage("--withhold and --cache exclude each other: a withheld command has a salt of its own each time, and no earlier build is like it")
		}
		o.withhold()
	}
	bounds := sandbox.Limits{MemoryBytes: a.Limits.MemoryBytes, CPUMillis: a.Limits.CPUMillis}
	if err := bounds.Validate(); err != nil {
		return nil, usage("%v", err)
	}
	if a.TimeoutMillis <= 0 || a.TimeoutMillis > build.MaxTimeoutMillis {
		return nil, usage("--timeout %v: want more than 0 and at most 24h", f.timeout)
	}
	return o, nil
}

// parseRoot takes host, a digest, or what can be a name in the farm.
func parseRoot(text string) (string, error) {
	if !sandbox.ValidRoot(text) && images.CheckName(text) != nil {
		return "", usage("--image %q is no image: want host, a name of gavel image list, or a digest sha256: and 64 lower-case hex digits", text)
	}
	return text, nil
}

func parseOutputs(list []string) ([]string, error) {
	if len(list) == 0 {
		return nil, usage("what is the result? Give --output PATH at least once")
	}
	var out []string
	for _, p := range list {
		clean := path.Clean(filepath.ToSlash(p))
		if p == "" || !build.CleanPath(clean) {
			return nil, usage("--output %q: want a path inside DIR, relative to it", p)
		}
		out = append(out, clean)
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

func parseEnv(list []string) ([]attest.EnvVar, error) {
	var out []attest.EnvVar
	for _, v := range list {
		name, value, ok := strings.Cut(v, "=")
		if !ok || name == "" {
			return nil, usage("--env %q: want NAME=VALUE", v)
		}
		out = append(out, attest.EnvVar{Name: name, Value: value})
	}
	slices.SortStableFunc(out, func(a, b attest.EnvVar) int { return strings.Compare(a.Name, b.Name) })
	for i := range out[:max(len(out)-1, 0)] {
		if out[i].Name == out[i+1].Name {
			return nil, usage("--env sets %s twice", out[i].Name)
		}
	}
	return out, nil
}

// parsePercent reads "5%" or "0.5%" as parts per million.
func parsePercent(text string) (uint32, error) {
	number, ok := strings.CutSuffix(text, "%")
	micro, err := escrow.Parse(number) // exact decimals with six places
	if !ok || err != nil || micro < 100 || micro > 100*escrow.One || micro%100 != 0 {
		return 0, usage("--verify %q: want a share above 0%% and up to 100%%, such as 5%%, with at most four decimals", text)
	}
	return uint32(micro / 100), nil
}

// parseThousandths reads "1.5" as 1500.
func parseThousandths(text string) (int64, error) {
	micro, err := escrow.Parse(text)
	if err != nil || micro <= 0 || micro%1000 != 0 {
		return 0, errors.New("want a number above 0 with at most three decimals")
	}
	return int64(micro / 1000), nil
}

var byteUnits = map[string]int64{
	"": 1, "b": 1, "k": 1 << 10, "kib": 1 << 10, "m": 1 << 20, "mib": 1 << 20, "g": 1 << 30, "gib": 1 << 30, "t": 1 << 40, "tib": 1 << 40,
	"kb": 1e3, "mb": 1e6, "gb": 1e9, "tb": 1e12,
}

// parseBytes reads "512MiB", "4G", "1.5GB": units with an i, or one letter, are
// powers of 1024.
func parseBytes(text string) (int64, error) {
	bad := errors.New("want a number of bytes, such as 512MiB or 4GiB")
	at := strings.LastIndexAny(text, "0123456789.") + 1
	unit, ok := byteUnits[strings.ToLower(strings.TrimSpace(text[at:]))]
	value, isNumber := new(big.Rat).SetString(text[:at])
	if !ok || !isNumber || strings.ContainsAny(text[:at], "/eExXpP_+") {
		return 0, bad
	}
	value.Mul(value, new(big.Rat).SetInt64(unit))
	n := new(big.Int).Quo(value.Num(), value.Denom())
	if n.Sign() <= 0 || !n.IsInt64() {
		return 0, bad
	}
	return n.Int64(), nil
}

// send uploads everything and submits. The request id is random: a submit that
// is typed again is another build.
func (o *order) send(ctx context.Context, f *farm, term *terminal) ([32]byte, error) {
	var id [32]byte
	info, err := f.Info(ctx)
	if err != nil {
		return id, err
	}
	var imageBytes uint64
	if o.action.Root, imageBytes, err = f.resolveImage(ctx, o.action.Root); err != nil {
		return id, err
	}
	if len(info.Pools) == 0 {
		return id, errors.New("the farm has no pool of workers")
	}
	pool, err := choosePool(info.Pools, o.pool)
	if err != nil {
		return id, err
	}
	terms, err := o.terms(info, pool, f)
	if err != nil {
		return id, err
	}
	store, err := f.blobs()
	if err != nil {
		return id, err
	}
	wanted, err := o.checkout(ctx)
	if err != nil {
		return id, err
	}
	var totals tree.Totals
	progress, options := term.upload(o.dir), o.sourceOptions()
	options.Progress = progress.show
	o.action.InputRoot, totals, err = tree.Upload(ctx, store, o.dir, options)
	progress.end(err == nil)
	if err != nil {
		return id, err
	}
	if o.action.Source != "" && o.action.InputRoot != wanted {
		return id, refused(fmt.Errorf("%s: %w", o.dir, tree.ErrChanged))
	}
	if err := o.uploadAction(ctx, store); err != nil {
		return id, err
	}
	terms.ActionDigest, terms.ActionBytes = o.action.Digest.Sum(), uint64(o.action.Digest.Size)
	terms.InputBytes = uint64(totals.Bytes) + imageBytes
	receipt, err := f.Do(ctx, build.TypeSubmit, &build.Submit{Terms: *terms})
	if err != nil {
		return id, err
	}
	f.remind(ctx, term, pool)
	return [32]byte(receipt.Subject), keepReceipt(o.receipt, receipt)
}

// choosePool is the pool of a name, or the farm's first.
func choosePool(pools []*gavelv1.Pool, name string) (*gavelv1.Pool, error) {
	var names []string
	for _, p := range pools {
		if name == "" || p.Name == name {
			return p, nil
		}
		names = append(names, p.Name)
	}
	return nil, usage("there is no pool %q on this farm: there are %s", name, strings.Join(names, ", "))
}

// defaultPrice fits the maximum price to the pool's lane: none in a lottery, and
// in a batch pool what its reserve can cost, unless one is given.
func (o *order) defaultPrice(pool *gavelv1.Pool) error {
	switch pool.Lane {
	case build.LaneLottery.String():
		if o.maxPrice.given {
			return usage("pool %s gives its slots to tickets: leave --max-price out", pool.Name)
		}
		o.maxPrice.value = 0
	case build.LaneBatch.String():
		rules := build.BatchRules{Reserve: escrow.Credits(pool.Reserve), Metered: pool.Metered}
		return o.batchPrice(pool.Name, &rules)
	}
	return nil
}

// batchPrice is what a build of a batch pool can cost, unless more is offered.
func (o *order) batchPrice(pool string, rules *build.BatchRules) error {
	most := rules.Most(o.action.TimeoutMillis)
	why, cheaper := fmt.Sprintf("the reserve of pool %s", pool), ""
	if rules.Metered {
		timeout := lastingMillis(o.action.TimeoutMillis)
		why = fmt.Sprintf("what a build of pool %s can cost: its reserve of %s a core-second for all of --timeout %s", pool, rules.Reserve, timeout)
		cheaper = ", or a shorter --timeout"
	}
	switch {
	case most > maxAmount:
		return usage("%s is more than %s credits, the most that the farm takes: give a shorter --timeout", why, maxAmount)
	case !o.maxPrice.given:
		o.maxPrice.value = most
	case o.maxPrice.value < most:
		return usage("--max-price %s is below %s, %s. Give --max-price %s%s", o.maxPrice.value, most, why, most, cheaper)
	}
	return nil
}

// terms are what the requester signs, but for what only the upload tells.
func (o *order) terms(info *gavelv1.InfoResponse, pool *gavelv1.Pool, f *farm) (*build.Terms, error) {
	key, err := seal.ReadKey(f.file.Requester.LogKey)
	if err != nil {
		return nil, err
	}
	t := &build.Terms{
		Pool: pool.Name, Platform: o.action.Root, TimeoutMillis: o.action.TimeoutMillis, Validators: o.validators,
		SamplePPM: o.samplePPM, DeadlineMillis: info.FarmMillis + deadlineMillis, LogKey: key.Public(), Cached: o.cached, Vary: o.vary, Expect: o.expect,
	}
	if t.SamplePPM == 0 {
		t.SamplePPM = draw.PPM
	}
	if pool.Lane == build.LaneHouse.String() {
		if o.maxPrice.given || o.budget.given || o.valueAtRisk.given || o.priority.given {
			return nil, usage("pool %s is its owner's own and knows no amounts: leave --max-price, --budget, --value-at-risk and --priority out", pool.Name)
		}
		return t, nil
	}
	if err := o.defaultPrice(pool); err != nil {
		return nil, err
	}
	for _, a := range []struct {
		flag  string
		value credits
	}{{"max-price", o.maxPrice}, {"budget", o.budget}, {"value-at-risk", o.valueAtRisk}, {"priority", o.priority}} {
		if err := costs(a.flag, a.value.value, 0, maxAmount); err != nil {
			return nil, err
		}
	}
	p := build.Params{AuctioneerFee: escrow.Credits(info.AuctioneerFee), ValidatorFee: escrow.Credits(info.ValidatorFee), UploadFee: escrow.Credits(info.UploadFee)}
	t.Reserve, t.Value, t.ValueAtRisk = o.maxPrice.value, auction.Constant(o.maxPrice.value), o.valueAtRisk.value
	t.Priority = o.priority.value
	if t.Budget = o.budget.value; !o.budget.given {
		t.Budget = t.MinBudget(&p)
	}
	return t, nil
}

func (o *order) uploadAction(ctx context.Context, to cas.Uploader) error {
	action, command, err := o.action.Encode()
	if err != nil {
		return err
	}
	var blobs []cas.Blob
	for _, raw := range [][]byte{command, action} {
		blobs = append(blobs, cas.Blob{Digest: cas.Of(raw), Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(raw)), nil }})
	}
	if err := to.Upload(ctx, blobs, func(cas.Digest) {}); err != nil {
		return fmt.Errorf("uploading the command: %w", err)
	}
	return nil
}

// megabytes is a size for people.
func megabytes(n int64) string {
	if n < 100_000 {
		return strconv.FormatInt(n, 10) + " bytes"
	}
	return fmt.Sprintf("%.1f MB", float64(n)/1e6)
}
