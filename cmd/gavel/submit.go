package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"gavel/api"
	gavelv1 "gavel/api/gavel/v1"
	"gavel/raftfsm/build"
)

// submitFlags are the flags of submit.
type submitFlags struct {
	cache        bool
	farm         string
	json         bool
	key          string
	pool         string
	priority     credits
	detach       bool
	maxPrice     credits
	budget       credits
	valueAtRisk  credits
	validators   uint32
	verify       string
	onUnverified string
	receipt      string
	image        string
	env          []string
	outputs      []string
	expect       []string
	vary         []string
	timeout      time.Duration
	memory       string
	cpus         string
	source       string
	withhold     bool

	given func(flag string) bool
}

func submitCommand() *cobra.Command {
	f := &submitFlags{}
	c := &cobra.Command{
		Use:   "submit --output PATH… DIR -- COMMAND…",
		Short: "have a directory built, and the result verified",
		Long: `Uploads DIR, has COMMAND run in a copy of it, and waits until the build has settled.
COMMAND is no shell line: say sh -c '…' for one. What it leaves at each --output,
relative to DIR, is the result; gavel download fetches it.

  gavel submit --farm farm --output bin/app . -- make bin/app
  gavel submit --farm farm --output app --env GOFLAGS=-trimpath src -- go build -o app .
  gavel submit --farm farm --image debian:12 --output out --memory 4GiB . -- ./build.sh
  gavel submit --farm farm --vary --output app.tar . -- ./release.sh

The command runs without a network as user 65534 in /build, a writable copy of DIR,
with PATH, HOME=/tmp, TMPDIR=/tmp, HOSTNAME=gavel, TZ=UTC, LC_ALL=C.UTF-8,
SOURCE_DATE_EPOCH and what --env adds. On a farm without Docker it sees this
machine's own tools (--image host, the default).

The winner of an auction builds it, at most --max-price is paid, and --validators
machines of other operators, drawn at random, build it again. Differing results are
built once more, then by a panel; who is found wrong loses its stake, and you get the
right result all the same. The escrow takes --budget (all that it may cost) and
returns what is left over. In a batch pool the price is fixed when the epoch ends; the
result is there before. In a lottery pool a ticket is needed (gavel ticket buy), and no
price. --verify 5% leaves 95 % of builds unverified, by lot.

With --vary each validator builds once more with another build path, host name, user
id, umask, locale (one that images rarely have: programs then fall back to plain C),
time zone, clock, number of CPUs, directory order and without address randomisation,
and finds out which of them changes the result. The verdict is about the fixed
environment as ever; each varied build earns one more validator's fee.

--image names a root by a name or digest of gavel image list.

With --expect PATH=sha256:HEX, a digest that somebody else published for an output, the
report says whether the farm's result has it, and so do transcript and evidence. It
decides nothing: a build with another result is verified and paid all the same.

With --source the attestations name the commit, and gavel verify --source CLONE makes
the input root of it again. DIR must be the top of a clean checkout, to the last byte,
ignored files too; .git is left out. With --withhold the attestations hold a salted
commitment in place of command and environment; who builds sees them all the same, and
withheld.json, beside the attestations, opens it (gavel verify --open).

Auctioned builds run on strangers' machines: put no secrets into them.

Attestations, one of each machine, are left in DIR-OF-FARM/attestations/BUILD.

Exit status: 0 a verified result, and the command succeeded (also: an unsampled
one); 1 the command failed, timed out, ran out of memory or left an output unmade,
and all agree, or --vary found that the result depends on the environment; 2 bad usage, or refused before anything ran; 3 not verified, or --vary
could vary nothing (0 with --on-unverified warn); 4 no farm answers; 5 verified and
succeeded, but an output is not what --expect says.`,
		Args: func(_ *cobra.Command, args []string) error {
			switch {
			case len(args) == 0:
				return usage("what shall be built? Give DIR -- COMMAND…")
			case len(args) == 1:
				return usage("how is %s built? Give the command after --, such as -- make", args[0])
			}
			return nil
		},
		RunE: action(func(ctx context.Context, c *cobra.Command, args []string) error {
			f.given = c.Flags().Changed
			return submit(ctx, newTerminal(c), f, args[0], args[1:])
		}),
	}
	f.addMarket(c)
	flags := c.Flags()
	flags.SetInterspersed(true)
	flags.StringVar(&f.image, "image", "host", "the root it runs in: the `NAME` or digest (sha256:…) of an image, or host")
	flags.StringSliceVar(&f.vary, "vary", nil, "have validators vary the environment: all, or some of "+build.VaryAll.String())
	flags.Lookup("vary").NoOptDefVal = varyDefault
	flags.StringArrayVar(&f.outputs, "output", nil, "a `PATH` of the result, relative to DIR; repeat it for more")
	flags.StringArrayVar(&f.expect, "expect", nil, "`PATH=sha256:HEX`: what somebody published for an output; repeat it for more")
	flags.StringVar(&f.source, "source", "", "the commit that DIR is a clean checkout of, as `git+URL@COMMIT`, with its whole id")
	flags.BoolVar(&f.withhold, "withhold", false, "have attestations hold a commitment in place of command and environment")
	flags.BoolVar(&f.cache, "cache", false, "let your own earlier verified result of the same build answer, if there is one")
	flags.DurationVar(&f.timeout, "timeout", 10*time.Minute, "how long the command may run")
	return c
}

// addMarket adds the flags of whatever is asked of a farm.
func (f *submitFlags) addMarket(c *cobra.Command) {
	flags := c.Flags()
	farmFlag(c, &f.farm)
	flags.BoolVar(&f.json, "json", false, "print the result as JSON; progress goes to standard error")
	f.maxPrice = credits{value: defaultMaxPrice}
	flags.Var(&f.maxPrice, "max-price", "the most that the winner is paid, in credits")
	flags.Var(&f.budget, "budget", "the most that everything may cost (default: the maximum price and all fees)")
	flags.StringVar(&f.pool, "pool", "", "the pool that builds it (default: the farm's first; gavel pool list shows all)")
	flags.Var(&f.priority, "priority", "what a place further ahead in the queue is worth, in credits; it costs what the next behind offers")
	keyFlag(c, &f.key)
	flags.BoolVar(&f.detach, "detach", false, "do not wait: print the build's id once it is taken")
	flags.Var(&f.valueAtRisk, "value-at-risk", "what a wrong result could be worth to somebody; raises the stakes")
	flags.Uint32Var(&f.validators, "validators", 2, "how many others build it again")
	flags.StringVar(&f.verify, "verify", "100%", "the chance that it is built again at all, such as 5%")
	flags.StringVar(&f.receipt, "receipt", "", "keep the farm's signed receipt in `FILE`: gavel audit --receipt holds the log to it")
	flags.StringVar(&f.onUnverified, "on-unverified", "fail", "fail (exit status 3) or warn (0) where the result is not verified")
	flags.StringArrayVar(&f.env, "env", nil, "`K=V` adds a variable; repeat it for more")
	flags.StringVar(&f.memory, "memory", "", "how much memory it may use, such as 4GiB (default 2GiB)")
	flags.StringVar(&f.cpus, "cpus", "", "how many CPUs it may use, such as 1.5 (default: all)")
}

// submit is a build from a directory to its settlement.
func submit(ctx context.Context, term *terminal, f *submitFlags, dir string, command []string) error {
	order, err := f.order(dir, command)
	if err != nil {
		return err
	}
	farm, err := connectKey(ctx, f.farm, f.key)
	if err != nil {
		return err
	}
	defer farm.Close()
	return f.carryOut(ctx, term, farm, order)
}

// carryOut has a farm do what is ordered, and reports.
func (f *submitFlags) carryOut(ctx context.Context, term *terminal, farm *farm, order *order) error {
	id, err := order.send(ctx, farm, term)
	if err != nil {
		return refusedUnless(err)
	}
	text := hex.EncodeToString(id[:])
	term.say("build %s", text)
	order.keepWithheld(farm, term, id)
	if f.detach {
		return printDetached(ctx, farm, term, f.json, id)
	}
	if f.cache {
		if b, err := farm.Farm().GetBuild(ctx, &gavelv1.GetBuildRequest{Build: id[:]}); err == nil && b.State == build.Settled.String() {
			term.say("this earlier build of yours answers; nothing is built or paid again. It went so:")
		}
	}
	report, err := follow(ctx, farm, term, id)
	if err != nil {
		return undecided(ctx, farm, text, err)
	}
	if err := report.print(term, f.json); err != nil {
		return err
	}
	if code := report.exitCode(f.onUnverified == "warn"); code != exitDone {
		return &exit{code: code}
	}
	return nil
}

// refusedUnless is the exit of a build that was not taken: 2, unless the farm is away.
func refusedUnless(err error) error {
	return refusedAs("the build was not submitted, and nothing is owed", err)
}

// refusedAs is refusedUnless for whatever was not taken.
func refusedAs(what string, err error) error {
	var e *exit
	switch {
	case errors.As(err, &e):
		return err
	case errors.Is(err, api.ErrOutcomeUnknown):
		return &exit{code: exitNoFarm, err: errors.New("the farm has no majority of coordinators, or lost it: whether the build was taken is unknown. If it was, `gavel account` shows its escrow once they are back, and it goes on by itself; submitting again would be a second build")}
	case errors.Is(err, api.ErrNoCluster):
		return err
	}
	return refused(fmt.Errorf("%s: %w", what, plain(err)))
}

// undecided is the exit of somebody who did not learn how a build that was taken ended.
func undecided(ctx context.Context, f *farm, text string, err error) error {
	next := fmt.Sprintf("The build goes on: `gavel status %s --farm %s` shows it, `gavel cancel` ends it while nobody has won it", text[:minBuildPrefix+4], f.dir)
	switch {
	case ctx.Err() != nil:
		return &exit{code: exitUnverified, err: fmt.Errorf("stopped waiting for build %s. %s", text, next)}
	case errors.Is(err, api.ErrNoCluster):
		return &exit{code: exitNoFarm, err: fmt.Errorf("%w. What it acknowledged is safe. %s", err, next)}
	}
	return &exit{code: exitUnverified, err: fmt.Errorf("following build %s: %w. %s", text, plain(err), next)}
}

// follow shows a build's life until it has settled, and gathers what came of it.
func follow(ctx context.Context, f *farm, term *terminal, id [32]byte) (*buildReport, error) {
	var last *gavelv1.Build
	narrator := newNarrator()
	outer := ctx
	ctx, lost := context.WithCancelCause(ctx)
	defer lost(nil)
	go f.watchMajority(ctx, lost)
	for b, err := range f.WatchBuild(ctx, id) {
		if err != nil && errors.Is(context.Cause(ctx), api.ErrNoCluster) {
			err = context.Cause(ctx)
		}
		if err != nil {
			return nil, err
		}
		for _, line := range narrator.tell(b) {
			term.say("%s", line)
		}
		last = b
		if b.State == build.Pricing.String() {
			break // the result is there; what remains is its price
		}
	}
	if last == nil {
		return nil, errors.New("the farm showed nothing of it")
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	ctx = outer
	return gather(ctx, f, last, evidencePatience)
}

// How often it is asked whether the farm can decide anything, and for how long it
// may not before that is said: an election takes a second or two.
const (
	majorityInterval = 3 * time.Second
	majorityPatience = 30 * time.Second
)

// watchMajority ends a wait that nothing will come of: a coordinator that has
// lost the others shows the last that it knew, for ever.
func (f *farm) watchMajority(ctx context.Context, lost context.CancelCauseFunc) {
	since := time.Now()
	for ctx.Err() == nil {
		bounded, cancel := context.WithTimeout(ctx, majorityInterval)
		c, err := f.Farm().Cluster(bounded, &gavelv1.ClusterRequest{})
		cancel()
		switch {
		case err == nil && c.Leader != "":
			since = time.Now()
		case time.Since(since) > majorityPatience:
			lost(fmt.Errorf("%w: no majority of coordinators has been there for %v", api.ErrNoCluster, majorityPatience))
			return
		}
		select {
		case <-time.After(majorityInterval):
		case <-ctx.Done():
		}
	}
}

// printDetached shows a build that was taken and is not waited for.
func printDetached(ctx context.Context, f *farm, term *terminal, asJSON bool, id [32]byte) error {
	report, err := f.report(ctx, id)
	if err != nil {
		return undecided(ctx, f, hex.EncodeToString(id[:]), err)
	}
	if asJSON {
		return report.print(term, true)
	}
	term.print("%s", report.Build)
	return nil
}

// print shows a report, as JSON or for a person.
func (r *buildReport) print(term *terminal, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(term.out).Encode(r)
	}
	return r.write(term)
}

// checkDir refuses what is no directory to build.
func checkDir(dir string) error {
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return refused(fmt.Errorf("there is no directory %s: nothing was submitted. Name the directory to build before --", dir))
	case err != nil:
		return refused(fmt.Errorf("reading the directory to build: %w. Nothing was submitted", err))
	case !info.IsDir():
		return refused(fmt.Errorf("%s is no directory: nothing was submitted. Name the directory to build before --", dir))
	}
	return nil
}
