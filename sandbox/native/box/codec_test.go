package box

import (
	"bytes"
	"gavel/sandbox/clock"
	"reflect"
	"testing"

	"golang.org/x/sys/unix"
)

func samplePlan() *Plan {
	return &Plan{
		Steps: []Step{
			{Op: Directory, Target: "usr", Flags: 0o755},
			{Op: Tree, FD: -1, Source: "/a b", Target: "etc", Flags: unix.MOUNT_ATTR_RDONLY},
			{Op: Protect, Target: "proc/sys", Options: "x=\x00y"},
		},
		CPUs: []int{3, 1}, FixedAddresses: true, Clock: true, Time: clock.Setting{StartSeconds: 1_000_000_000, StepSeconds: 60},
		Hostname: "gavel", Loopback: true, Epoch: -1, WorkRoot: "/build", Dir: "/build/x",
		Argv: []string{"make", ""}, Env: []string{"A=1"}, Umask: 0o22,
		Rooted: true, Limits: []Limit{{Resource: unix.RLIMIT_NOFILE, Soft: 1, Hard: 1 << 40}, {Resource: unix.RLIMIT_STACK, Hard: ^uint64(0)}}, PollBytes: ^uint64(0),
	}
}

func TestMessagesSurviveTheirEncoding(t *testing.T) {
	for _, p := range []*Plan{samplePlan(), {}} {
		got, err := DecodePlan(p.Encode())
		if err != nil || !reflect.DeepEqual(got, p) {
			t.Errorf("%+v became %+v (%v)", p, got, err)
		}
	}
	r := Report{Kind: Signaled, Code: -9, Errno: unix.ENOENT, Nanos: 1 << 50, Text: "why"}
	if got, err := DecodeReport(r.Encode()); err != nil || got != r {
		t.Errorf("%+v became %+v (%v)", r, got, err)
	}
	q := Request{Network: true, UID: 1234, Ranged: true}
	if got, err := DecodeRequest(q.Encode()); err != nil || got != q {
		t.Errorf("%+v became %+v (%v)", q, got, err)
	}
}

func TestLongReportsFitTheirBuffer(t *testing.T) {
	r := Report{Kind: SetupFailed, Text: string(make([]byte, 5000))}
	if n := len(r.Encode()); n != MaxReportBytes {
		t.Errorf("%d bytes, want %d", n, MaxReportBytes)
	}
}

func TestTruncatedPlansAreRefused(t *testing.T) {
	whole := samplePlan().Encode()
	for n := range whole {
		if _, err := DecodePlan(whole[:n]); err == nil {
			t.Fatalf("the first %d of %d bytes decode", n, len(whole))
		}
	}
	if _, err := DecodePlan(append(whole, 0)); err == nil {
		t.Error("a byte too many decodes")
	}
}

func FuzzDecodePlan(f *testing.F) {
	f.Add(samplePlan().Encode())
	f.Add((&Plan{}).Encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		if p, err := DecodePlan(b); err == nil && !bytes.Equal(p.Encode(), b) {
			t.Errorf("%x decodes and encodes to %x", b, p.Encode())
		}
	})
}

func FuzzDecodeReport(f *testing.F) {
	f.Add(Report{Kind: Exited, Code: 3}.Encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, err := DecodeReport(b); err == nil && len(b) <= MaxReportBytes && !bytes.Equal(r.Encode(), b) {
			t.Errorf("%x decodes and encodes to %x", b, r.Encode())
		}
	})
}

func FuzzDecodeRequest(f *testing.F) {
	f.Add(Request{Network: true}.Encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		if q, err := DecodeRequest(b); err == nil && !bytes.Equal(q.Encode(), b) {
			t.Errorf("%x decodes and encodes to %x", b, q.Encode())
		}
	})
}
