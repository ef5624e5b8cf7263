package clock

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestSettingAfter(t *testing.T) {
	for _, c := range []struct {
		setting        Setting
		elapsed        time.Duration
		seconds, nanos int64
	}{
		{Setting{100, 0}, 0, 100, 0},
		{Setting{100, 0}, 1500 * time.Millisecond, 101, 5e8},
		{Setting{100, 60}, 59999 * time.Millisecond, 100, 0},
		{Setting{100, 60}, 60 * time.Second, 160, 0},
		{Setting{100, 1}, 1999 * time.Millisecond, 101, 0},
		{Setting{100, 0}, -time.Second, 100, 0},
	} {
		if seconds, nanos := c.setting.after(c.elapsed); seconds != c.seconds || nanos != c.nanos {
			t.Errorf("%+v after %v: %d.%09d, want %d.%09d", c.setting, c.elapsed, seconds, nanos, c.seconds, c.nanos)
		}
	}
}

func TestClockNeverRunsBackOrAhead(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := Setting{rapid.Int64Range(0, math.MaxUint32).Draw(t, "start"), rapid.Int64Range(0, 86400).Draw(t, "step")}
		early := time.Duration(rapid.Int64Range(0, int64(time.Hour*1000)).Draw(t, "early"))
		late := early + time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(t, "more"))
		at := func(d time.Duration) int64 {
			seconds, nanos := s.after(d)
			if nanos < 0 || nanos >= second || s.StepSeconds > 0 && (nanos != 0 || (seconds-s.StartSeconds)%s.StepSeconds != 0) {
				t.Fatalf("%d.%09d is between steps", seconds, nanos)
			}
			return (seconds-s.StartSeconds)*second + nanos
		}
		if at(early) > at(late) || at(late) > int64(late) || int64(late)-at(late) >= max(s.StepSeconds*second, 1) {
			t.Fatalf("shows %d after %d and %d after %d", at(early), early, at(late), late)
		}
	})
}

func TestInMachineTime(t *testing.T) {
	moments := func(name string, low int64) *rapid.Generator[[2]int64] {
		return rapid.Custom(func(t *rapid.T) [2]int64 {
			return [2]int64{rapid.Int64Range(low, low+1<<33).Draw(t, name), rapid.Int64Range(0, second-1).Draw(t, name+" nanos")}
		})
	}
	rapid.Check(t, func(t *rapid.T) {
		wanted, shown, real := moments("wanted", 0).Draw(t, "w"), moments("shown", 0).Draw(t, "s"), moments("real", 1<<34).Draw(t, "r")
		got, ok := inMachineTime(wanted, shown, real)
		distance := func(a, b [2]int64) [2]int64 { // as seconds and nanoseconds that are positive
			d := [2]int64{a[0] - b[0], a[1] - b[1]}
			if d[1] < 0 {
				d = [2]int64{d[0] - 1, d[1] + second}
			}
			return d
		}
		if !ok || got[1] < 0 || got[1] >= second || distance(got, real) != distance(wanted, shown) {
			t.Fatalf("%v, %v", got, ok)
		}
	})
	for _, wanted := range [][2]int64{{-1, 0}, {0, -1}, {0, second}, {math.MaxInt64, 0}, {math.MinInt64, 0}} {
		if got, ok := inMachineTime(wanted, [2]int64{100, 0}, [2]int64{50, 0}); ok {
			t.Errorf("%v became %v", wanted, got)
		}
	}
	if got, ok := inMachineTime([2]int64{10, 0}, [2]int64{100, 0}, [2]int64{50, 0}); !ok || got != [2]int64{} {
		t.Errorf("long past: %v, %v", got, ok)
	}
}
