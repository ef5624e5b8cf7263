package clock

import (
	"encoding/binary"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// in carries out a script in a directory of its own and wants exit code 0.
func in(t *testing.T, dir string, step int64, script string, arguments ...string) string {
	t.Helper()
	d := shown(step, append([]string{"sh", "-c", script}, arguments...)...)
	d.Dir = dir
	o, log := carryOut(t, d)
	if o.Code != 0 || o.Signal != 0 {
		t.Fatalf("%s ended with %+v: %s", script, o, log)
	}
	return log
}

// Whoever asks, by whatever call, sees the clock's time on what the command wrote.
func TestShownTimesOfFiles(t *testing.T) {
	const start = "2208988800"
	for name, c := range map[string]struct{ script, want string }{
		"stat":                {"touch x; stat -c '%X %Y %Z' x; stat -c %y x", start + " " + start + " " + start + "\n2040-01-01 00:00:00.000000000 +0000\n"},
		"birth":               {"echo > x; stat -c %W x | sed s/^0$/" + start + "/", start + "\n"}, // 0 where a file system has none
		"date":                {"touch x; date -r x +%s.%N", start + ".000000000\n"},
		"find newer":          {"touch x; find x -newermt 2039-12-31; find x -newermt 2040-01-02; find x -printf '%T@\\n'", "x\n" + start + ".0000000000\n"},
		"tar":                 {"echo a > x; tar cf - x | tar --full-time -tvf - | awk '{print $4, $5}'", "2040-01-01 00:00:00\n"},
		"tar's other times":   {"echo a > x; tar --format=posix -cf - x | tr -d '\\0' | grep -aoE '[acm]time=[0-9.]+' | sort -u", "atime=" + start + "\nctime=" + start + "\n"},
		"ls":                  {"touch x; ls -l --time-style=+%s x | cut -d' ' -f6", start + "\n"},
		"test -nt":            {"touch x; sleep 0.05; touch y; test y -nt x; echo $?; test x -nt y; echo $?", "1\n1\n"},
		"a directory":         {"mkdir d; stat -c %Y d .", start + "\n" + start + "\n"},
		"a link":              {"ln -s none l; stat -c %Y l", start + "\n"},
		"standard input":      {"echo > x; stat -c %Y - < x", start + "\n"},
		"copied time":         {"touch x; cp -p x y; touch -r x z; stat -c %Y y z", start + "\n" + start + "\n"},
		"future time":         {"touch -d 2030-01-01T00:00:00Z x; stat -c %Y x", "1893456000\n"},
		"past time":           {"touch -d 1980-01-01T00:00:00Z x; stat -c '%X %Y %Z' x", "315532800 315532800 " + start + "\n"},
		"time before 1970":    {"touch -d 1960-01-01T00:00:00Z x; stat -c %Y x", "-315619200\n"},
		"missing":             {"stat -c %Y missing 2>&1; echo $?", "stat: cannot statx 'missing': No such file or directory\n1\n"},
		"bad descriptor":      {"stat -c %Y - <&- 2>&1 | sed 's/.*: //'", "Bad file descriptor\n"},
		"go":                  {"echo > x; $0 stats x", start + "\n"},
		"go with signals":     {"echo > x; $0 signalled-stats x", start + "\ntrue\n"},
		"perl":                {"echo > x; perl -e 'print join(\" \", (stat \"x\")[8..10], (lstat \"x\")[9]), \"\\n\"; open F, \"x\"; print((stat F)[9], \"\\n\")'", start + " " + start + " " + start + " " + start + "\n" + start + "\n"},
		"raw":                 {"echo > x; $0 raw-stats x", "errno 0 bad address bad address bad address bad address bad address bad file descriptor\nerrno 0 " + start + " " + start + " " + start + " 1\nno such file or directory true errno 0 " + start + "\n"},
		"killed while asking": {"echo > x; for i in $(seq 20); do timeout -s KILL 0.0$((i % 10)) $0 stats x >/dev/null 2>&1 & done; wait; stat -c %Y x", start + "\n"},
		"many":                {"echo > x; i=0; while test $i -lt 200; do stat -c %Y x; i=$((i+1)); done | sort -u; yes x | head -1000 | xargs stat -c %Y | sort | uniq -c | tr -d ' '", start + "\n1000" + start + "\n"},
		"at once":             {"for i in $(seq 50); do (echo > x$i; stat -c %Y x$i) & done | sort -u", start + "\n"},
		"stopped":             {"echo > x; $0 stats x & for i in $(seq 30); do kill -STOP $!; sleep 0.001; kill -CONT $!; sleep 0.002; done 2>/dev/null; wait $!; echo $?", start + "\n0\n"},
		"execs":               {"for i in $(seq 20); do $0 stats-exec .; done | sort -u", start + "\n"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := in(t, t.TempDir(), 3600, c.script, build(t, runtime.GOARCH)); got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

// What the command only reads keeps its times, though being read changes when that was.
func TestInputsKeepTheirTimes(t *testing.T) {
	dir := t.TempDir()
	input := filepath.Join(dir, "input")
	if err := os.WriteFile(input, []byte("text"), 0o644); err != nil {
		t.Fatal(err)
	}
	old := time.Unix(315532800, 5)
	if err := os.Chtimes(input, old, old); err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Stat(input, &st); err != nil {
		t.Fatal(err)
	}
	time.Sleep(2 * tick) // staging ends before the command starts
	want := time.Unix(st.Ctim.Unix()).UTC().Format("2006-01-02 15:04:05.000000000 -0700")
	if got := in(t, dir, 3600, "stat -c '%y|%x|%z' input; cat input; stat -c %y input"); got != "1980-01-01 00:00:00.000000005 +0000|1980-01-01 00:00:00.000000005 +0000|"+want+"\ntext1980-01-01 00:00:00.000000005 +0000\n" {
		t.Errorf("%q, want a change at %s", got, want)
	}
}

// A clock without steps tells files' times apart, and none is later than what it shows.
func TestRunningTimesOfFiles(t *testing.T) {
	got := in(t, t.TempDir(), 0, `touch x; sleep 0.1; touch y; test y -nt x && echo newer; find y -newer x
		a=$(date +%s%N); sleep 0.05; touch z; z=$(date -r z +%s%N); b=$(date +%s%N); test $a -le $z && test $z -le $b && echo between`)
	if got != "newer\ny\nbetween\n" {
		t.Errorf("%q", got)
	}
}

// make neither builds again what is built, nor leaves what has changed, nor sees skew.
func TestMakeIsUpToDate(t *testing.T) {
	for step, changed := range map[int64]string{3600: "nothing\n", 0: "two\n"} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "Makefile"), []byte("all: two\none: input\n\tcp input one; echo one\ntwo: one\n\tcp one two; echo two\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "input"), []byte("text"), 0o644); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"Makefile", "input"} {
			if err := os.Chtimes(filepath.Join(dir, name), time.Unix(315532800, 0), time.Unix(315532800, 0)); err != nil {
				t.Fatal(err)
			}
		}
		got := in(t, dir, step, "make -s 2>&1; make -s -q && echo nothing; sleep 0.1; touch one; make -s 2>&1; make -s -q && echo nothing")
		want := "one\ntwo\nnothing\n" + strings.TrimPrefix(changed, "nothing\n") + "nothing\n"
		if got != want {
			t.Errorf("with step %d: %q, want %q", step, got, want)
		}
	}
}

// An engine's filter may refuse the quick way to the memory of others.
func TestTimesOfFilesByFiles(t *testing.T) {
	d := shown(60, "sh", "-c", "echo > x; stat -c %Y x; $0 stats x", build(t, runtime.GOARCH))
	d.Dir, d.Outer = t.TempDir(), refusing(unix.SYS_PROCESS_VM_READV, unix.SYS_PROCESS_VM_WRITEV)
	if o, got := carryOut(t, d); o.Code != 0 || got != "2208988800\n2208988800\n" {
		t.Errorf("%+v %q", o, got)
	}
}

// Moments that are none, or lie outside of the run, stay; all others are the clock's, in order.
func TestOfFile(t *testing.T) {
	f := newFace(Setting{start2040, 0})
	f.start.Store(int64(time.Second))
	began := f.made.Add(time.Second)
	now := began.Add(time.Hour)
	numbers := func(at time.Time) [2]int64 { return [2]int64{at.Unix(), int64(at.Nanosecond())} }
	for name, c := range map[string]struct {
		moment, want [2]int64
		ok           bool
	}{
		"start":        {numbers(began), [2]int64{start2040, 0}, true},
		"a tick early": {numbers(began.Add(-tick)), [2]int64{start2040, 0}, true},
		"too early":    {numbers(began.Add(-tick - 1)), [2]int64{}, false},
		"a minute":     {numbers(began.Add(time.Minute + 7)), [2]int64{start2040 + 60, 7}, true},
		"now":          {numbers(now), [2]int64{start2040 + 3600, 0}, true},
		"after now":    {numbers(now.Add(1)), [2]int64{}, false},
		"far":          {[2]int64{math.MaxInt64, 0}, [2]int64{}, false},
		"long ago":     {[2]int64{math.MinInt64, 0}, [2]int64{}, false},
		"no nanos":     {[2]int64{began.Unix() + 1, second}, [2]int64{}, false},
		"less nanos":   {[2]int64{began.Unix() + 1, -1}, [2]int64{}, false},
	} {
		if got, ok := f.ofFile(c.moment, now); got != c.want || ok != c.ok {
			t.Errorf("%s: %v %v, want %v %v", name, got, ok, c.want, c.ok)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		f.setting.StepSeconds = rapid.Int64Range(0, 86400).Draw(t, "step")
		early := time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(t, "early"))
		late := time.Duration(rapid.Int64Range(int64(early), int64(time.Hour)).Draw(t, "late"))
		a, aOK := f.ofFile(numbers(began.Add(early)), now)
		b, bOK := f.ofFile(numbers(began.Add(late)), now)
		if !aOK || !bOK || a[0] > b[0] || a[0] == b[0] && a[1] > b[1] {
			t.Fatalf("%v %v is after %v %v", a, aOK, b, bOK)
		}
	})
}

// statBuffer is where it stays, as no stack does.
var statBuffer unix.Stat_t

// The end of a call is told by its registers alone. Nothing is kept on the heap, as it happens
// at each question in programs that collect no garbage.
func TestShowTimesByRegisters(t *testing.T) {
	tree := Tree{face: newFace(Setting{start2040, 60})}
	tree.registers.have = wideRegisterBytes
	buffer := &statBuffer
	made := tree.face.made.Unix() + 1
	a := abis[0]
	for _, c := range []struct {
		name     string
		call     uint64
		argument int
		result   uint64
		changes  bool
	}{
		{"fstat", uint64(a.fstat), 1, 0, true},
		{"newfstatat", uint64(a.newfstatat), 2, 0, true},
		{"with a high half that the kernel ignores", 1<<32 | uint64(a.fstat), 1, 0, true},
		{"failed", uint64(a.fstat), 1, ^uint64(unix.EIO) + 1, false},
		{"interrupted", uint64(a.fstat), 1, ^uint64(512) + 1, false}, // ERESTARTSYS
		{"another call", unix.SYS_READ, 1, 0, false},
		{"no call", ^uint64(0), 1, 0, false},
	} {
		tree.registers.bytes = [len(tree.registers.bytes)]byte{}
		tree.registers.setWord(wideCall, c.call)
		tree.registers.setWord(wideArgument[c.argument], uint64(uintptr(unsafe.Pointer(buffer))))
		tree.registers.setWord(wideResult, c.result)
		for time.Now().Unix() <= made {
			time.Sleep(10 * time.Millisecond)
		}
		kept := unix.Stat_t{Dev: 1, Ino: 2, Size: made, Blocks: made}
		ask := func() {
			*buffer = kept
			buffer.Mtim = unix.Timespec{Sec: made, Nsec: 5}
			tree.showTimes(os.Getpid())
		}
		if n := testing.AllocsPerRun(100, ask); n != 0 {
			t.Errorf("%s: %v allocations", c.name, n)
		}
		want := kept
		if want.Mtim = (unix.Timespec{Sec: made, Nsec: 5}); c.changes {
			want.Mtim = unix.Timespec{Sec: start2040}
		}
		if *buffer != want {
			t.Errorf("%s: %+v, want %+v", c.name, *buffer, want)
		}
	}
}

// Only times of the run change in a buffer, whatever else it holds, and in either form.
func TestShowInChangesOnlyTimesOfTheRun(t *testing.T) {
	f := newFace(Setting{start2040, 60})
	now := f.made.Add(time.Hour)
	le := binary.LittleEndian
	rapid.Check(t, func(t *rapid.T) {
		wideNanos := rapid.Bool().Draw(t, "wide")
		times := rapid.IntRange(0, mostFileTimes).Draw(t, "times")
		b := rapid.SliceOfN(rapid.Byte(), times*timeBytes, times*timeBytes).Draw(t, "buffer")
		ran := make([]bool, times)
		for i := range ran {
			ran[i] = rapid.Bool().Draw(t, "ran")
			if at := b[i*timeBytes:]; ran[i] {
				le.PutUint64(at, uint64(f.made.Unix()+60))
				if le.PutUint32(at[8:], 5); wideNanos {
					le.PutUint64(at[8:], 5)
				}
			} else {
				at[7] = 1 // no time that was or will be
			}
		}
		want := append([]byte(nil), b...)
		any := false
		for i, r := range ran {
			if at := want[i*timeBytes:]; r {
				any = true
				seconds := f.made.Unix() + 60 - f.made.Unix()
				if f.made.Nanosecond() > 5 {
					seconds--
				}
				le.PutUint64(at, uint64(start2040+seconds/60*60))
				if le.PutUint32(at[8:], 0); wideNanos {
					le.PutUint64(at[8:], 0)
				}
			}
		}
		if changed := f.showIn(b, wideNanos, now); changed != any || string(b) != string(want) {
			t.Fatalf("%v %x, want %v %x", changed, b, any, want)
		}
	})
}
