package pid1

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
)

// Report is what PID 1 tells of the command, one line for each step.
type Report struct {
	Started bool // the command runs, or could not be executed and Ended is set
	Ended   bool
	// Code is the exit code, of an end without Signal.
	Code int
	// Signal is what killed the command, or 0.
	Signal int
	// OOMKills is how many processes the kernel killed for the container's memory
	// limit; -1 where this program could not see the container's cgroup.
	OOMKills int64
	// Failure is why nothing could be started, for a fault of the sandbox.
	Failure string
}

// maxReportBytes bounds what is kept of standard error: three short lines.
const maxReportBytes = 4 << 10

func startedLine() string { return "started\n" }

func endedLine(code, signal int, oomKills int64) string {
	return fmt.Sprintf("ended %d %d %d\n", code, signal, oomKills)
}

func failedLine(err error) string {
	return "failed " + strings.ReplaceAll(err.Error(), "\n", " ") + "\n"
}

// ParseReport reads the report lines in text. Whatever is not a complete and
// well-formed line counts for nothing, because a killed PID 1 stops anywhere.
func ParseReport(text string) Report {
	r := Report{OOMKills: -1}
	for {
		line, rest, whole := strings.Cut(text, "\n")
		if !whole {
			return r
		}
		text = rest
		verb, args, _ := strings.Cut(line, " ")
		switch verb {
		case "started":
			r.Started = true
		case "failed":
			r.Failure = args
		case "ended":
			r.parseEnd(args)
		}
	}
}

func (r *Report) parseEnd(args string) {
	f := strings.Split(args, " ")
	if len(f) != 3 {
		return
	}
	code, errCode := strconv.ParseUint(f[0], 10, 8)
	signal, errSignal := strconv.ParseUint(f[1], 10, 7)
	kills, errKills := strconv.ParseInt(f[2], 10, 64)
	if errCode != nil || errSignal != nil || errKills != nil || kills < -1 {
		return
	}
	r.Ended, r.Code, r.Signal, r.OOMKills = true, int(code), int(signal), kills
}

// ReportReader collects report lines as they are written to it. It keeps a
// bounded beginning and never fails.
type ReportReader struct {
	// OnLine is called from Write with the Report after each further line.
	OnLine func(Report)

	text  []byte
	lines int
}

// Write takes all of p.
func (r *ReportReader) Write(p []byte) (int, error) {
	r.text = append(r.text, p[:min(len(p), maxReportBytes-len(r.text))]...)
	if n := bytes.Count(r.text, []byte("\n")); n > r.lines {
		r.lines = n
		r.OnLine(r.Report())
	}
	return len(p), nil
}

// Report is what has been reported so far. It must not run beside Write.
func (r *ReportReader) Report() Report { return ParseReport(string(r.text)) }

// Stray is what was written and is no report line. It must not run beside Write.
func (r *ReportReader) Stray() string {
	var b strings.Builder
	for line := range strings.Lines(string(r.text)) {
		verb, _, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		if verb != "started" && verb != "failed" && verb != "ended" {
			b.WriteString(line)
		}
	}
	return b.String()
}
