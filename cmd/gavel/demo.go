package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"

	gavelv1 "gavel/api/gavel/v1"
	"gavel/raftfsm/build"
	"gavel/raftfsm/escrow"
	"gavel/sandbox"
	"gavel/worker"
)

const (
	demoCoordinators = 3
	demoWorkers      = 8
	demoForger       = demoWorkers // the worker that forges
	demoValidators   = 2           // who rebuild each build
	// demoPatience ends a demonstration that is stuck; it takes half a minute on
	// an idle machine of two cores.
	demoPatience = 10 * time.Minute
	// forgedTries is how often the first project is submitted until the forger
	// wins it: on a machine that is very busy its bid may come too late.
	forgedTries = 3
)

// demoFlags are the flags of demo.
type demoFlags struct {
	json    bool
	dir     string
	keep    bool
	sandbox string
	image   string
}

func demoCommand() *cobra.Command {
	f := &demoFlags{}
	c := &cobra.Command{
		Use:   "demo",
		Short: "a farm, three builds and a cheat, in half a minute",
		Long: `Starts a farm of three coordinators and eight workers on this machine, each a process
of its own, and has it build three projects, showing every auction, draw and payment:

  a C program       worker-8 bids low, wins, and forges the result: it is caught
                    and loses its stake, and the requester gets the right output
                    for nothing (a small Go program where there is no C compiler)
  a Go program      bought at the second price, rebuilt by two others, all agree
  a program that embeds the time it is built: no two builds of it are alike, so
                    nobody is punished for it

Then it checks that all of this came true, that every attestation verifies without the
farm and that the ledger balances, and stops the farm. It needs Go in the PATH, and
neither root nor Docker:

  gavel demo
  gavel demo --dir farm      keep the farm: gavel up --dir farm starts it again
  gavel demo --sandbox docker --image "$(testdata/images/debian.sh --go)"

The image must hold Go, a C compiler and make. With --json the story goes to standard
error, and standard output is one line:
{"builds":[… as submit --json prints them …],"slashed":[NAME…],"ledger_ok":BOOL,"elapsed_ms":N}
The attestations that it names stay only with --dir or --keep.

Exit status: 0 all came true; 1 something did not, and the last lines say what; 2 bad
usage, or something that it needs is missing.`,
		Args: wants(),
		RunE: action(func(ctx context.Context, c *cobra.Command, _ []string) error { return demo(ctx, newTerminal(c), f) }),
	}
	flags := c.Flags()
	flags.BoolVar(&f.json, "json", false, "print one line of JSON on standard output; the story goes to standard error")
	flags.StringVar(&f.dir, "dir", "", "make the farm in `D`, new or empty, and leave it there (default: a temporary one)")
	flags.BoolVar(&f.keep, "keep", false, "leave everything where it was made, and say where")
	flags.StringVar(&f.sandbox, "sandbox", worker.SandboxNative, "native or docker")
	flags.StringVar(&f.image, "image", "", "the image's `DIGEST` (sha256:…) that --sandbox docker builds in")
	return c
}

// root is what the demonstration builds in.
func (f *demoFlags) root() (string, error) {
	switch {
	case f.sandbox == worker.SandboxDocker && f.image == "":
		return "", usage("--sandbox docker needs an image: give --image sha256:…, such as testdata/images/debian.sh --go prints")
	case f.sandbox != worker.SandboxDocker && f.image != "":
		return "", usage("--image %s: only --sandbox docker builds in images", f.image)
	case f.image == "":
		return "host", nil
	}
	if !sandbox.ValidRoot(f.image) || f.image == sandbox.HostRoot {
		return "", usage("--image %q: the demonstration's farm is new and knows images by their digest alone, sha256:…, as docker image inspect -f '{{.Id}}' prints it", f.image)
	}
	return f.image, nil
}

// demonstration is one run.
type demonstration struct {
	began  time.Time
	root   string // what it builds in: "host" or an image's digest
	place  *demoPlace
	screen *screen
	story  *story
	farm   *farm
}

// demo runs from nothing to the summary.
func demo(ctx context.Context, term *terminal, f *demoFlags) (err error) {
	root, err := f.root()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, demoPatience, fmt.Errorf("the demonstration was not done after %v", demoPatience))
	defer cancel()
	d := &demonstration{began: time.Now(), root: root, screen: newScreen(term, f.json)}
	d.story = newStory(d.screen)
	if d.place, err = newDemoPlace(f); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.place.leave(d.screen, err)) }()
	projects, err := d.place.projects(ctx, root)
	if err != nil {
		return err
	}
	up, err := d.startFarm(ctx, f.sandbox)
	if err != nil {
		return stopped(ctx, err)
	}
	watching, unwatch := context.WithCancel(ctx)
	defer up.stop()
	defer unwatch() // what stop ends is no news
	go up.watch(watching)
	if d.farm, err = connect(ctx, string(d.place.farm)); err != nil {
		return err
	}
	defer d.farm.Close()
	builds, err := d.runAll(ctx, projects)
	if err != nil {
		return stopped(ctx, err)
	}
	return d.conclude(ctx, builds, term.out, f.json)
}

// stopped is why it ended early: what calls say of an ended context is no news.
func stopped(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		return err
	}
	return fmt.Errorf("stopped before the end, and the farm with it: %w", context.Cause(ctx))
}

// startFarm starts the farm and returns once it takes work. The forger's stake
// covers the bond of one build: once it is slashed it cannot bid for the others.
func (d *demonstration) startFarm(ctx context.Context, sandbox string) (*upFarm, error) {
	stake, err := forgerStake()
	if err != nil {
		return nil, err
	}
	s := &upSettings{
		Coordinators: demoCoordinators, Workers: demoWorkers, Sandbox: sandbox, Listen: "127.0.0.1:0",
		Misbehave: map[int]string{demoForger: worker.MisbehaveForge}, Stake: map[int]worker.Amount{demoForger: worker.Amount(stake)},
	}
	d.screen.heading("A farm on this machine")
	d.screen.step("nodes", "%d coordinators and %d workers, each a process of its own and a party of its own", demoCoordinators, demoWorkers)
	d.screen.step("prices", "%s asks %s credits a build, and so on, up to %s of %s", workerName(1), askOf(d.place.farm, s, 1), askOf(d.place.farm, s, demoForger-1), workerName(demoForger-1))
	d.screen.step("cheat", "%s forges whatever it wins, and asks a tenth of its price to win it; it staked %s", workerName(demoForger), stake)
	up, err := openFarm(d.place.farm, s, func(string) bool { return false }, d.screen.warn)
	if err != nil {
		return nil, err
	}
	if err = up.start(); err == nil {
		err = up.waitReady(ctx)
	}
	if err != nil {
		up.stop()
		return nil, err
	}
	d.screen.step("ready", "after %.1f s", time.Since(d.began).Seconds())
	d.screen.because("Together the coordinators made a key that none of them has: none can steer a draw.")
	return up, nil
}

// askOf is what worker i asks for a build.
func askOf(dir farmDir, s *upSettings, i int) escrow.Credits {
	return escrow.Credits(*workerConfig(dir, s, i).Price)
}

// runAll builds one project after another, so that the story can be followed;
// the forged one first, so that the forger is out of stake for the others.
func (d *demonstration) runAll(ctx context.Context, projects []*demoProject) ([]*demoBuild, error) {
	var builds []*demoBuild
	for i, p := range projects {
		d.screen.heading("Build %d of %d: %s, %s", i+1, len(projects), p.name, p.title)
		for try := 1; ; try++ {
			b, err := d.build(ctx, p)
			if err != nil {
				return nil, fmt.Errorf("building %s: %w", p.name, plain(err))
			}
			if p.verdict == build.Judged && b.report.Winner != workerName(demoForger) && try < forgedTries {
				d.screen.warn("%s came too late to bid, on a busy machine: once more", workerName(demoForger))
				continue
			}
			builds = append(builds, b)
			break
		}
	}
	return builds, nil
}

// demoBuild is a project and what became of it.
type demoBuild struct {
	*demoProject
	view   *gavelv1.Build // as it was settled
	report *buildReport
	took   time.Duration
	served map[string]digest.Digest // digest of each downloaded file
	proven []string                 // workers whose attestations verify without the farm
	doubts []string                 // what of them does not
}

// build submits a project, tells its story while it lasts, and downloads it.
func (d *demonstration) build(ctx context.Context, p *demoProject) (*demoBuild, error) {
	if err := p.ready(); err != nil {
		return nil, err
	}
	order, err := p.order(d.root)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	id, err := order.send(ctx, d.farm, silent)
	if err != nil {
		return nil, err
	}
	b := &demoBuild{demoProject: p}
	d.story.begin()
	for view, err := range d.farm.WatchBuild(ctx, id) {
		if err != nil {
			return nil, err
		}
		b.view = view
		d.story.tell(view)
	}
	if err := ctx.Err(); err != nil || b.view == nil {
		return nil, errors.Join(errors.New("it could not be followed to its end"), err)
	}
	b.took = time.Since(began)
	if b.report, err = gather(ctx, d.farm, b.view, evidencePatience); err != nil {
		return nil, err
	}
	if err = d.place.download(ctx, d.farm, id, b); err != nil {
		return nil, err
	}
	d.story.end(b)
	return b, nil
}

// silent is the terminal of what the story tells in its own words.
var silent = &terminal{out: io.Discard, err: io.Discard}

// conclude prints the summary and settles whether all came true.
func (d *demonstration) conclude(ctx context.Context, builds []*demoBuild, out io.Writer, asJSON bool) error {
	ledger, _, err := d.farm.ledger(ctx)
	if err != nil {
		return err
	}
	audited, err := d.audit(ctx, len(builds))
	if err != nil {
		return stopped(ctx, err)
	}
	s := newDemoSummary(builds, ledger, audited.Clean(), time.Since(d.began))
	broken := s.broken(builds)
	s.write(d.screen, builds, ledger, broken)
	if asJSON {
		if err := s.encode(out); err != nil {
			return err
		}
	}
	if len(broken) > 0 {
		return &exit{code: exitFailed} // the summary has said why
	}
	return nil
}
