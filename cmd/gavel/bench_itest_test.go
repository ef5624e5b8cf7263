//go:build itest

package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"gavel/api"
	gavelv1 "gavel/api/gavel/v1"
	"gavel/raftfsm/build"
	"gavel/verify/keys"
)

const (
	// window is how long bids are taken, by default: no build starts sooner.
	window = 300 * time.Millisecond
	// startTrips and settleTrips are the commands of which each waits for the one
	// before it, from the submit to the award (submit, beacon, open, close, reveal,
	// beacon, clear) and from the builder's commitment to settlement (commit,
	// beacon, a seat's commit, opening, stored).
	startTrips  = 7
	settleTrips = 5
	// promised bounds both on an idle farm.
	promised = time.Second
	// tripProbes is how many commands are timed for the limit.
	tripProbes = 40
	// inFlight is how many submits wait at once where throughput is measured, and
	// submits how many there are.
	inFlight = 16
	submits  = 64
	// idleFor is how long the processor time of a farm without work is watched.
	idleFor = 5 * time.Second
	// benchPatience bounds all of a benchmark.
	benchPatience = 3 * time.Minute
)

// benchFarm is `gavel up` of the built binary, all of it default, and its requester.
type benchFarm struct {
	*farm
	inputs string
	term   *terminal
}

func startBenchFarm(ctx context.Context, b *testing.B) *benchFarm {
	binary, err := filepath.Abs("../../bin/gavel")
	if err != nil {
		b.Fatal(err)
	}
	if _, err := os.Stat(binary); err != nil {
		b.Fatalf("the farm is that of the built binary: run `make bench`, which builds it (%v)", err)
	}
	dir := b.TempDir()
	up := exec.Command(binary, "up", "--dir", dir, "--listen", "127.0.0.1:0")
	var said bytes.Buffer
	up.Stderr = &said
	out, err := up.StdoutPipe()
	if err == nil {
		err = up.Start()
	}
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := errors.Join(up.Process.Signal(syscall.SIGTERM), up.Wait()); err != nil {
			b.Errorf("stopping the farm: %v", err)
		}
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if !strings.HasPrefix(line, "ready ") {
		b.Fatalf("gavel up printed %q (%v): %s", line, err, &said)
	}
	f, err := connect(ctx, dir)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = f.Close() }) // nothing is under way
	inputs := b.TempDir()
	if err := os.WriteFile(filepath.Join(inputs, "in"), []byte("hello\n"), 0o644); err != nil {
		b.Fatal(err)
	}
	return &benchFarm{f, inputs, &terminal{out: io.Discard, err: io.Discard}}
}

// order is a build that does nearly nothing; no two are the same action.
func (f *benchFarm) order(b *testing.B, script string, run int) *order {
	flags := &submitFlags{
		maxPrice: credits{value: defaultMaxPrice}, validators: 2, verify: "100%", onUnverified: "fail", image: "host",
		env: []string{fmt.Sprint("RUN=", run)}, outputs: []string{"out"}, timeout: time.Minute, given: func(string) bool { return false },
	}
	o, err := flags.order(f.inputs, []string{"sh", "-c", script})
	if err != nil {
		b.Fatal(err)
	}
	return o
}

// lifetime is a build in wall times, all of this machine's one clock.
type lifetime struct {
	submitted    time.Time            // before anything is sent
	began, ended time.Time            // by the command itself, in its log
	seen         map[string]time.Time // when the requester first saw each state
}

func (l *lifetime) start() time.Duration  { return l.began.Sub(l.submitted) }
func (l *lifetime) settle() time.Duration { return l.seen["settled"].Sub(l.ended) }

// run has a build done while the farm is otherwise idle. The command tells its
// own times in its log, which is no part of the result.
func (f *benchFarm) run(ctx context.Context, b *testing.B, run int) *lifetime {
	o := f.order(b, "date +%s%N; cp in out; date +%s%N", run)
	l := &lifetime{submitted: time.Now(), seen: make(map[string]time.Time)}
	id, err := o.send(ctx, f.farm, f.term)
	if err != nil {
		b.Fatal(err)
	}
	l.seen["taken"] = time.Now()
	var last *gavelv1.Build
	for v, err := range f.WatchBuild(ctx, id) {
		if err != nil {
			b.Fatal(err)
		}
		if _, before := l.seen[v.State]; !before {
			l.seen[v.State] = time.Now()
		}
		last = v
	}
	if last == nil || last.Verdict != "agreed" {
		b.Fatalf("build %x ended with %v", id, last)
	}
	var log bytes.Buffer
	if err := f.logs(ctx, &terminal{out: &log, err: io.Discard}, id, false); err != nil {
		b.Fatal(err)
	}
	l.began, l.ended = commandTimes(b, log.String())
	return l
}

func commandTimes(b *testing.B, log string) (began, ended time.Time) {
	fields := strings.Fields(log)
	if len(fields) != 2 {
		b.Fatalf("the log has not two times: %q", log)
	}
	var at [2]time.Time
	for i, text := range fields {
		nanos, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			b.Fatal(err)
		}
		at[i] = time.Unix(0, nanos)
	}
	return at[0], at[1]
}

// trip is the median time of a command that changes nothing, at the leader: what
// any step of a build costs at least, with its signatures and its writes to disk.
func (f *benchFarm) trip(ctx context.Context, b *testing.B) time.Duration {
	cluster, err := f.Farm().Cluster(ctx, &gavelv1.ClusterRequest{})
	if err != nil {
		b.Fatal(err)
	}
	at := slices.IndexFunc(cluster.Nodes, func(n *gavelv1.NodeStatus) bool { return n.Name == cluster.Leader })
	if at < 0 {
		b.Fatalf("no leader among %v", cluster.Nodes)
	}
	key, err := keys.Load(ctx, f.file.Requester.Key)
	if err != nil {
		b.Fatal(err)
	}
	leader, err := api.Dial(ctx, api.Options{Endpoints: []string{cluster.Nodes[at].Address}, Signer: signer{key}, Cluster: f.Cluster()})
	if err != nil {
		b.Fatal(err)
	}
	defer leader.Close()
	var took []time.Duration
	for range tripProbes {
		begin := time.Now()
		receipt, err := leader.Do(ctx, build.TypeCancel, &build.Cancel{Build: [32]byte{1}})
		var refusal *api.RefusedError
		if !errors.As(err, &refusal) || receipt.Index == 0 {
			b.Fatalf("cancelling what is not there should be refused by Apply: %v, %v", receipt, err)
		}
		took = append(took, time.Since(begin))
	}
	return median(took)
}

func median(of []time.Duration) time.Duration {
	sorted := slices.Sorted(slices.Values(of))
	return sorted[len(sorted)/2]
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1e3 }

// idle is the share of a processor that the farm's nodes take while there is
// nothing to do, in thousandths.
func (f *benchFarm) idle(b *testing.B) float64 {
	before := f.ticks(b)
	time.Sleep(idleFor)        // what is measured
	const ticksPerSecond = 100 // USER_HZ of every Linux that Go runs on
	return float64(f.ticks(b)-before) / ticksPerSecond / idleFor.Seconds() * 1e3
}

// ticks is the processor time of all nodes so far; see proc_pid_stat(5).
func (f *benchFarm) ticks(b *testing.B) (sum int64) {
	for _, n := range f.file.Nodes {
		raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", n.PID))
		if err != nil {
			b.Fatalf("%s: %v", n.Name, err)
		}
		_, behindName, _ := strings.Cut(string(raw), ") ")
		for _, text := range strings.Fields(behindName)[11:13] { // utime, stime
			ticks, err := strconv.ParseInt(text, 10, 64)
			if err != nil {
				b.Fatalf("%s: %v", n.Name, err)
			}
			sum += ticks
		}
	}
	return sum
}

// BenchmarkIdleFarm holds the promise that on an idle farm with the default
// windows a command starts within a second of its submit, uploading included,
// and has settled within a second of its end, rebuilds included. Reported, next
// to the medians: their ratios to the sum of the waits that the protocol cannot
// do without, of which the round trips are measured in the same run.
func BenchmarkIdleFarm(b *testing.B) {
	ctx, cancel := context.WithTimeout(b.Context(), benchPatience)
	defer cancel()
	f := startBenchFarm(ctx, b)
	f.run(ctx, b, -1) // caches are empty only once
	var lives []*lifetime
	for b.Loop() {
		lives = append(lives, f.run(ctx, b, len(lives)))
	}
	trip := f.trip(ctx, b)
	of := func(measure func(*lifetime) time.Duration) time.Duration {
		var all []time.Duration
		for _, l := range lives {
			all = append(all, measure(l))
		}
		return median(all)
	}
	start, settle := of((*lifetime).start), of((*lifetime).settle)
	rebuild := of(func(l *lifetime) time.Duration { return l.ended.Sub(l.began) })
	b.ReportMetric(0, "ns/op") // the mean of whole builds says less than the medians
	b.ReportMetric(millis(trip), "ms/round-trip")
	b.ReportMetric(f.idle(b), "idle-cpu-ms/s")
	b.ReportMetric(millis(start), "ms/submit-to-start")
	b.ReportMetric(float64(start)/float64(window+startTrips*trip), "x-start-limit")
	b.ReportMetric(millis(settle), "ms/end-to-settled")
	b.ReportMetric(float64(settle)/float64(rebuild+settleTrips*trip), "x-settle-limit")
	b.Logf("median ms after the submit at which the requester saw: %s", shown(of))
	if start >= promised || settle >= promised {
		b.Errorf("submit to start %v, end to settlement %v: promised is less than %v each", start, settle, promised)
	}
}

// shown lists the stages in the order in which they come.
func shown(of func(func(*lifetime) time.Duration) time.Duration) string {
	var out []string
	stage := func(name string, at func(*lifetime) time.Time) {
		out = append(out, fmt.Sprintf("%s %.0f", name, millis(of(func(l *lifetime) time.Duration {
			if t := at(l); !t.IsZero() {
				return t.Sub(l.submitted)
			}
			return 0
		}))))
	}
	see := func(states ...string) {
		for _, s := range states {
			stage(s, func(l *lifetime) time.Time { return l.seen[s] })
		}
	}
	see("taken", "bidding", "revealing", "awarded")
	stage("(command begins)", func(l *lifetime) time.Time { return l.began })
	see("running")
	stage("(command ends)", func(l *lifetime) time.Time { return l.ended })
	see("committed", "validating", "opening", "agreed", "settled")
	return strings.Join(out, ", ")
}

// BenchmarkSubmits tells how many submits a farm takes in a second, and how many
// builds it settles, with everything on this one machine.
func BenchmarkSubmits(b *testing.B) {
	ctx, cancel := context.WithTimeout(b.Context(), benchPatience)
	defer cancel()
	f := startBenchFarm(ctx, b)
	first, err := f.order(b, "cp in out", 0).send(ctx, f.farm, f.term)
	if err == nil {
		err = f.settled(ctx, first)
	}
	if err != nil {
		b.Fatal(err)
	}
	var taken, settled time.Duration
	for b.Loop() {
		t, s := f.flood(ctx, b)
		taken, settled = taken+t, settled+s
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(submits*b.N)/taken.Seconds(), "submits/s")
	b.ReportMetric(float64(submits*b.N)/settled.Seconds(), "settled/s")
}

// flood submits many builds and returns how long it took to have them taken, and
// to have them settled.
func (f *benchFarm) flood(ctx context.Context, b *testing.B) (taken, settled time.Duration) {
	orders := make(chan *order, submits)
	for i := range submits {
		orders <- f.order(b, "cp in out", i)
	}
	close(orders)
	ids, failed := make(chan [32]byte, submits), make(chan error, inFlight)
	begin := time.Now()
	var group sync.WaitGroup
	for range inFlight {
		group.Go(func() {
			for o := range orders {
				id, err := o.send(ctx, f.farm, f.term)
				if err != nil {
					failed <- err
					return
				}
				ids <- id
			}
		})
	}
	group.Wait()
	taken = time.Since(begin)
	close(ids)
	close(failed)
	for err := range failed {
		b.Fatal(err)
	}
	for id := range ids {
		if err := f.settled(ctx, id); err != nil {
			b.Fatal(err)
		}
	}
	return taken, time.Since(begin)
}

// settled waits until a build has settled with a verified result.
func (f *benchFarm) settled(ctx context.Context, id [32]byte) error {
	var last *gavelv1.Build
	for v, err := range f.WatchBuild(ctx, id) {
		if err != nil {
			return err
		}
		last = v
	}
	if last.GetVerdict() != "agreed" {
		return fmt.Errorf("build %x ended %s: %s", id, last.GetVerdict(), last.GetReason())
	}
	return nil
}
