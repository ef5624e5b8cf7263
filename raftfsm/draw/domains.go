package draw

import (
	"slices"
	"strings"

	"gavel/raftfsm/wire"
)

// Candidate is an eligible worker and the independence domain it counts for.
type Candidate struct {
	Domain string
	Worker [32]byte
}

// Compare orders candidates by domain, then worker.
func Compare(a, b Candidate) int {
	if c := strings.Compare(a.Domain, b.Domain); c != 0 {
		return c
	}
	return wire.Compare32(a.Worker, b.Worker)
}

// Domains is the ordered list of names that a seed draws: one worker of each
// domain. The domains, sorted by the bytes of their keys, are permuted; then,
// from the same stream and in permuted order, one worker of each is picked
// among that domain's workers sorted by id. A domain's chance of a seat does
// not depend on how many workers it has. Exact repeats count once; the order
// of candidates, which is left as it is, does not matter.
func Domains(seed [32]byte, candidates []Candidate) []Candidate {
	domains := groupByDomain(candidates)
	stream := NewStream(seed)
	order := stream.Permutation(len(domains))
	names := make([]Candidate, len(order))
	for seat, domain := range order {
		workers := domains[domain]
		names[seat] = workers[stream.Below(uint64(len(workers)))]
	}
	return names
}

// groupByDomain splits sorted, distinct candidates into runs of one domain.
func groupByDomain(candidates []Candidate) [][]Candidate {
	sorted := slices.Clone(candidates)
	slices.SortFunc(sorted, Compare)
	sorted = slices.Compact(sorted)
	var domains [][]Candidate
	start := 0
	for i := range sorted {
		if i+1 == len(sorted) || sorted[i+1].Domain != sorted[i].Domain {
			domains = append(domains, sorted[start:i+1])
			start = i + 1
		}
	}
	return domains
}
