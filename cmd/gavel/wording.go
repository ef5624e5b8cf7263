package main

import (
	"fmt"
	"strings"
	"time"
)

// count is a number of things, with the word as the number wants it: "1 bid", "2 bids".
func count[N ~int | ~int64 | ~uint8 | ~uint32 | ~uint64](n N, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// periodRange names the periods of a lease: "period 4", "periods 1 to 4".
func periodRange(first, last uint8) string {
	if first == last {
		return fmt.Sprintf("period %d", first)
	}
	return fmt.Sprintf("periods %d to %d", first, last)
}

// farmSeconds is a farm time for people.
func farmSeconds(millis int64) string { return fmt.Sprintf("%.1f s", float64(millis)/1000) }

// farmNow says what the times beside it are compared with.
func farmNow(millis int64) string { return "it is " + farmSeconds(millis) + " of farm time" }

// lasting is a duration without the zeros that Go ends it with, and in days where
// hours would be beyond counting.
func lasting(d time.Duration) string {
	const day = 24 * time.Hour
	if d > 100*day {
		return count(int64(d/day), "day")
	}
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

func lastingMillis(n int64) string { return lasting(time.Duration(n) * time.Millisecond) }
