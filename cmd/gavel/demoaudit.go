package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"gavel/verify/audit"
)

// demoAuditPatience is how long the log may take to show the last build: its epoch
// ends two seconds of farm time after it began.
const demoAuditPatience = 15 * time.Second

// audit replays the farm's log, as anybody could, once it shows all builds.
func (d *demonstration) audit(ctx context.Context, builds int) (*audit.Report, error) {
	d.screen.heading("An audit, from the log alone")
	for deadline := time.Now().Add(demoAuditPatience); ; {
		r := audit.Request{Genesis: d.place.farm.genesis(), Fresh: true, Out: io.Discard}
		if err := d.place.farm.log(ctx, &r); err != nil {
			return nil, err
		}
		report, err := r.Audit(ctx)
		if errors.Is(err, audit.ErrUnusable) && time.Now().Before(deadline) {
			report, err = new(audit.Report), nil // it shows nothing yet
		}
		if err != nil {
			return nil, fmt.Errorf("auditing the log: %w", err)
		}
		complete := report.Builds+report.Undelivered >= uint64(builds) && report.Auctions >= uint64(builds) && report.Unpublished == 0
		if complete || !report.Clean() {
			d.showAudit(report)
			return report, nil
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("the log shows %d of %d builds after %v", report.Builds+report.Undelivered, builds, demoAuditPatience)
		}
		select {
		case <-time.After(250 * time.Millisecond):
		case <-ctx.Done():
			return nil, errors.Join(errors.New("the audit was interrupted"), ctx.Err())
		}
	}
}

func (d *demonstration) showAudit(r *audit.Report) {
	d.screen.step("log", "%d leaves under a checkpoint that %d coordinators signed", r.Leaves, len(r.Cosigners))
	d.screen.step("replayed", "%d commands; %d auctions, %d draws and %d transfers computed again", r.Commands, r.Auctions, r.Draws, r.Transfers)
	for i := range r.Deviations {
		d.screen.warn("deviates: %v", r.Deviations[i])
	}
	if r.Clean() {
		d.screen.because("Nothing deviates. Change one byte of the log, and this names the leaf and the field.")
	}
}
