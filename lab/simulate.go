package lab

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"strconv"

	"golang.org/x/sync/errgroup"
)

// session is what stays the same through an experiment.
type session struct {
	Experiment
	market      *market
	draws       *distribution
	ticket      float64   // a lottery's price; 0 is no lottery
	falseValues []float64 // of shills
	honestly    *shading  // where honest bids are shaded
	colluding   *shading  // then, of a ring's best against the outsiders
	domains     []string  // of names
}

// round is one draw of everything that is random.
type round struct {
	values, quantiles []float64
	seed              [32]byte // of ties and tickets
}

const (
	chunkRounds = 1024 // of one source of randomness, so that workers change nothing
	pilotRounds = 2 * chunkRounds
)

// Simulate runs an experiment. The deviation and honest play face the same draws
// (common random numbers). Which strategy sybils follow is chosen by the mean
// gain in a pilot with draws of its own, so that the choice does not flatter the
// estimate. Errors wrap ErrInput or are the context's.
func Simulate(ctx context.Context, e Experiment) (*Report, error) {
	s, err := newSession(e)
	if err != nil {
		return nil, fmt.Errorf("simulating: %w", err)
	}
	with, err := s.pilot(ctx)
	if err != nil {
		return nil, fmt.Errorf("simulating: %w", err)
	}
	sums, err := s.run(ctx, s.Rounds, 0, with)
	if err != nil {
		return nil, fmt.Errorf("simulating: %w", err)
	}
	return &Report{
		Experiment: s.Experiment, Strategy: s.describe(with),
		Revenue: sums[revenue].estimate(), Efficiency: sums[efficiency].estimate(),
		Fairness: sums[fairness].estimate(), Gini: sums[gini].estimate(),
		HonestRevenue: sums[honestRevenue].estimate(), Utility: sums[utility].estimate(),
		HonestUtility: sums[honestUtility].estimate(), Gain: sums[gain].estimate(),
	}, nil
}

func newSession(e Experiment) (*session, error) {
	m, d, err := e.validate()
	if err != nil {
		return nil, err
	}
	s := &session{Experiment: e, market: m, draws: d}
	if m.name == "lottery-all-pay" || m.name == "lottery-winner-pays" {
		s.ticket = e.Reserve
		if s.ticket == 0 {
			s.ticket = d.quantile(0.5) / 100
		}
		s.ticket = amount(credits(s.ticket))
	}
	for j := range e.Shills {
		s.falseValues = append(s.falseValues, d.value(float64(j+1)/float64(e.Shills+1)))
	}
	if m.shaded {
		s.honestly = newShading(d, e.Bidders-1, e.Reserve)
		if e.Ring > 0 {
			s.colluding = newShading(d, e.Bidders-e.Ring, e.Reserve)
		}
	}
	for i := range e.names() {
		s.domains = append(s.domains, strconv.Itoa(i))
	}
	return s, nil
}

// pilot chooses the strategy that gains most on average.
func (s *session) pilot(ctx context.Context) (strategy, error) {
	all := s.strategies()
	best, most := all[0], math.Inf(-1)
	for _, with := range all {
		if len(all) == 1 {
			break
		}
		sums, err := s.run(ctx, min(s.Rounds, pilotRounds), 1<<63, with)
		if err != nil {
			return best, err
		}
		if sums[gain].mean > most {
			best, most = with, sums[gain].mean
		}
	}
	return best, nil
}

// What is measured each round.
const (
	revenue = iota
	efficiency
	fairness
	gini
	honestRevenue
	utility
	honestUtility
	gain
	measures
)

type tallies [measures]moments

// run plays rounds in chunks, each from its own source, and adds them up in order:
// the result depends on the experiment alone.
func (s *session) run(ctx context.Context, rounds int, stream uint64, with strategy) (*tallies, error) {
	chunks := make([]tallies, (rounds+chunkRounds-1)/chunkRounds)
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0))
	for c := range chunks {
		group.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			random := rand.New(rand.NewPCG(s.Seed, stream|uint64(c)))
			return s.chunk(random, min(chunkRounds, rounds-c*chunkRounds), with, &chunks[c])
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	total := new(tallies)
	for c := range chunks {
		for i := range total {
			total[i].merge(chunks[c][i])
		}
	}
	return total, nil
}

func (s *session) chunk(random *rand.Rand, rounds int, with strategy, into *tallies) error {
	r := &round{values: make([]float64, s.Bidders), quantiles: make([]float64, s.Bidders)}
	var t trades
	for range rounds {
		s.draw(random, r)
		honest, err := s.play(r, s.honest(r), &t)
		if err != nil {
			return err
		}
		deviant, err := s.play(r, s.deviant(r, with), &t)
		if err != nil {
			return err
		}
		for i, x := range [measures]float64{
			revenue: deviant.revenue, efficiency: deviant.efficiency, fairness: deviant.fairness, gini: deviant.gini,
			honestRevenue: honest.revenue, utility: deviant.utility, honestUtility: honest.utility, gain: exact(deviant.utility - honest.utility),
		} {
			into[i].add(x)
		}
	}
	return nil
}

func (s *session) draw(random *rand.Rand, r *round) {
	for i := range r.values {
		r.quantiles[i] = random.Float64()
		r.values[i] = s.draws.value(r.quantiles[i])
	}
	for i := 0; i < len(r.seed); i += 8 {
		binary.BigEndian.PutUint64(r.seed[i:], random.Uint64())
	}
}
