package worker

import (
	"log/slog"

	"gavel/raftfsm/build"
)

// parts are what misbehaviour replaces in an honest worker; each kind is one
// decorator in a file of its own. They exist to show, on purpose and labelled in
// the log, what the farm does about such a worker.
type parts struct {
	cluster  cluster
	price    pricer
	executor executor
	lodge    lodger
	uploader uploader
}

// misbehave makes the parts dishonest.
func (p *parts) misbehave(kind string, from blobs, log *slog.Logger) {
	if kind == "" {
		return
	}
	log = log.With("misbehaviour", kind)
	log.Warn("THIS WORKER MISBEHAVES ON PURPOSE, because its configuration says so")
	switch kind {
	case MisbehaveForge:
		if p.price != nil {
			p.price = lowball{p.price}
		}
		p.executor = &forger{p.executor, log}
	case MisbehaveCopy:
		p.executor = &copier{inner: p.executor, blobs: from, log: log, known: make(map[build.ID]*build.Manifest)}
	case MisbehaveWithhold:
		p.uploader = withholder{log}
	case MisbehaveLazy:
		p.executor = &idler{p.executor, from, log}
	case MisbehaveCrash:
		p.cluster = &crasher{cluster: p.cluster, log: log, die: killSelf}
	case MisbehaveGarble:
		p.lodge = garbled(p.lodge, log)
	}
}
