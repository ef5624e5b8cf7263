package native

import (
	"time"

	"gavel/sandbox"
	"gavel/sandbox/native/box"
)

// sparePatience is how long Close waits for word of a spare that was just cloned.
const sparePatience = 2 * time.Second

// A spare is a box that was cloned ahead and waits for a plan, so that a command
// does not wait for namespaces (half the time of a start). There is at most one:
// it holds a process and a cgroup, and under load there is no idle time to prepare more.

// makeSpare begins to prepare the box of the next Run, unless there is one.
func (r *Runner) makeSpare() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed || r.spare != nil {
		return
	}
	spare := make(chan *command, 1)
	r.spare = spare
	go func() {
		c, err := r.fresh(r.usual())
		if err != nil {
			c = nil // the Run that wanted it tries again and reports
		}
		spare <- c
	}()
}

// usual is the box that nearly every command wants, and every spare is.
func (r *Runner) usual() box.Request { return box.Request{UID: sandbox.UID, Ranged: r.ranged} }

// take returns a box that waits for its plan.
func (r *Runner) take(q box.Request) (*command, error) {
	if q == r.usual() {
		if c := r.takeSpare(); c != nil {
			if !c.process.dead() {
				return c, nil
			}
			if err := c.discard(); err != nil {
				return nil, unavailable(err)
			}
		}
	}
	return r.fresh(q)
}

func (r *Runner) takeSpare() *command {
	r.mu.Lock()
	spare := r.spare
	r.spare = nil
	r.mu.Unlock()
	if spare == nil {
		return nil
	}
	return <-spare
}

// dropSpare ends the spare; it is called when no Run can make another.
func (r *Runner) dropSpare() error {
	c := r.takeSpare()
	if c == nil {
		return nil
	}
	// Its pidfd lies unread in the socket: without it nobody could await its death.
	// Where the spawner died before it could send that, nothing ever comes.
	_ = c.control.SetReadDeadline(time.Now().Add(sparePatience)) // sockets have deadlines
	if report, fd, err := c.receive(); err == nil && fd >= 0 && report.Kind == box.Spawned {
		c.adopt(fd)
	}
	return c.discard()
}

// fresh clones a box now.
func (r *Runner) fresh(q box.Request) (*command, error) {
	p, err := r.spawner.wait()
	if err != nil {
		return nil, err
	}
	return r.launch(p, q)
}
