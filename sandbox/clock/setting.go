package clock

import (
	"sync/atomic"
	"time"
)

// Setting is what the command sees as the time of day.
type Setting struct {
	// StartSeconds is shown at the command's first instruction, seconds since 1970.
	StartSeconds int64
	// StepSeconds is by how much the clock advances at once; 0 runs smoothly.
	StepSeconds int64
}

// after is what the clock shows when elapsed has passed since the start. It
// never advances in steps that are not whole, so that two runs read the same.
func (s Setting) after(elapsed time.Duration) (seconds, nanos int64) {
	elapsed = max(elapsed, 0)
	whole := int64(elapsed / time.Second)
	if s.StepSeconds > 0 {
		return s.StartSeconds + whole - whole%s.StepSeconds, 0
	}
	return s.StartSeconds + whole, int64(elapsed % time.Second)
}

// face is a running clock, read by several threads.
type face struct {
	setting Setting
	made    time.Time
	start   atomic.Int64 // nanoseconds after made at which the command started
}

func newFace(s Setting) *face { return &face{setting: s, made: time.Now()} }

// begin makes this moment the command's start.
func (f *face) begin() { f.start.Store(int64(time.Since(f.made))) }

func (f *face) now() (seconds, nanos int64) {
	return f.setting.after(time.Since(f.made) - time.Duration(f.start.Load()))
}

// tick is by how much the times that the kernel gives files lag behind its clock at
// most: they are those of its last tick, of which the slowest has a hundred a second.
const tick = 10 * time.Millisecond

// ofFile is what this clock showed at a moment of the machine's clock, which now shows
// now. ok is false for one before the start or after now, which the command cannot have
// come by except by setting it. A moment stays the same to whoever asks again.
func (f *face) ofFile(moment [2]int64, now time.Time) (shown [2]int64, ok bool) {
	began := f.made.Add(time.Duration(f.start.Load()))
	if moment[0] < began.Unix()-1 || moment[0] > now.Unix() || moment[1] < 0 || moment[1] >= second {
		return shown, false
	}
	at := time.Unix(moment[0], moment[1])
	elapsed := at.Sub(began) // by the times of day, as at has no other
	if elapsed < -tick || at.After(now) {
		return shown, false
	}
	shown[0], shown[1] = f.setting.after(elapsed)
	return shown, true
}

const second = int64(time.Second)

// inMachineTime is the moment of the machine's clock, which now shows real, that is
// as far away as the moment of this one, which now shows shown. Programs ask to wake at
// the time they see plus a duration, and mean the duration. ok is false for
// what is no time, which the kernel then refuses, or one that is too far away to matter.
func inMachineTime(wanted, shown, real [2]int64) (moment [2]int64, ok bool) {
	const farSeconds = 1 << 40 // thirty thousand years
	if wanted[0] < 0 || wanted[0] > farSeconds || wanted[1] < 0 || wanted[1] >= second {
		return moment, false
	}
	moment[0] = real[0] + wanted[0] - shown[0]
	moment[1] = real[1] + wanted[1] - shown[1]
	for moment[1] < 0 {
		moment[0], moment[1] = moment[0]-1, moment[1]+second
	}
	for moment[1] >= second {
		moment[0], moment[1] = moment[0]+1, moment[1]-second
	}
	if moment[0] < 0 { // the kernel knows no time before 1970, and long past is past
		moment = [2]int64{}
	}
	return moment, true
}
