package main

import (
	"testing"
	"time"
)

func TestNumbersReadAsPeopleSayThem(t *testing.T) {
	for got, want := range map[string]string{
		count(0, "bid"):                   "0 bids",
		count(1, "bid"):                   "1 bid",
		count(uint64(2), "bid"):           "2 bids",
		periodRange(4, 4):                 "period 4",
		periodRange(1, 4):                 "periods 1 to 4",
		farmNow(212_449):                  "it is 212.4 s of farm time",
		lasting(time.Hour):                "1h",
		lasting(90 * time.Minute):         "1h30m",
		lasting(10 * time.Second):         "10s",
		lasting(10 * time.Minute):         "10m",
		lasting(time.Hour + time.Second):  "1h0m1s",
		lasting(0):                        "0s",
		lastingMillis(1 << 40):            "12725 days",
		lastingMillis(24 * 3_600 * 1_000): "24h",
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
