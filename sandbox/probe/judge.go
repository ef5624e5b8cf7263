package probe

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"gavel/sandbox"
	"gavel/sandbox/probe/world"
)

// Verdict is how an attempt went.
type Verdict string

// The verdicts.
const (
	Denied     Verdict = "denied"
	Succeeded  Verdict = "succeeded"
	Impossible Verdict = "impossible" // this machine does not have what it takes
	Broke      Verdict = "broke"      // it was not made, or says nothing
)

type finding struct {
	verdict Verdict
	why     string
}

// judge looks first at what only shows outside, the same for every attempt,
// then at what the attempt said of itself.
func (s *suite) judge(p Probe, e *evidence) finding {
	if why := s.survivors(p, e); why != "" {
		return finding{Succeeded, why}
	}
	for _, look := range []func(*evidence) string{s.lostProcess, inputsChanged, s.outputsTame, logWithinLimit} {
		if why := look(e); why != "" {
			return finding{Succeeded, why}
		}
	}
	if why := outlasted(p, e); why != "" {
		return finding{Succeeded, why}
	}
	said, _ := e.log.said()
	switch {
	case e.err != nil && p.breaks && !errors.Is(e.err, context.Canceled):
		return finding{Succeeded, "the run ends in an error: " + e.err.Error()}
	case e.err != nil:
		return finding{Broke, "the run ended in an error: " + e.err.Error()}
	case (e.result.Status == sandbox.Exited || e.result.Status == sandbox.MissingOutput) && e.result.ExitCode == world.Succeeded:
		return finding{Succeeded, said}
	case e.result.Status == sandbox.Exited && e.result.ExitCode == world.Denied:
		return finding{Denied, said}
	case e.result.Status == sandbox.Exited && e.result.ExitCode == world.Absent:
		return finding{Impossible, said}
	case e.result.Status == sandbox.Signaled && e.result.Signal == int(unix.SIGSYS):
		return finding{Denied, "the filter of system calls kills it"}
	case p.Category == Orphans && e.result.Status == sandbox.Timeout:
		return finding{Succeeded, "the run waited for what the command left, until its time was over"}
	case p.hard:
		return finding{Denied, "a limit ends it: " + ended(e.result) + ": " + said}
	}
	return finding{Broke, "it ended in a way that says nothing: " + ended(e.result) + ": " + said}
}

func ended(r sandbox.Result) string {
	text := map[sandbox.Status]string{sandbox.Exited: "exit code " + strconv.Itoa(r.ExitCode), sandbox.Signaled: "signal " + strconv.Itoa(r.Signal),
		sandbox.Timeout: "out of time", sandbox.OOM: "out of memory", sandbox.MissingOutput: "missing outputs"}[r.Status]
	if r.Detail != "" {
		text += " (" + r.Detail + ")"
	}
	return text
}

// survivors finds processes of the run that live after it, and ends them.
func (s *suite) survivors(p Probe, e *evidence) string {
	looks := 1
	if p.Category == Orphans {
		looks = 20 // one that replaces itself is seldom seen at the first
	}
	for look := range looks {
		if look > 0 {
			time.Sleep(3 * time.Millisecond)
		}
		if why := s.surviving(e); why != "" {
			return why
		}
	}
	return ""
}

func (s *suite) surviving(e *evidence) string {
	dir, err := os.Open("/proc")
	if err != nil {
		return err.Error()
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return err.Error()
	}
	var found []string
	// The newest first: one that replaces itself is soon gone, and thousands that have
	// ended may be in the list.
	for _, name := range slices.Backward(names) {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		b, err := os.ReadFile(filepath.Join("/proc", name, "cmdline"))
		if err != nil || !bytes.Contains(b, []byte(e.mark)) {
			continue // ended meanwhile, or another's
		}
		found = append(found, fmt.Sprintf("%d (%s)", pid, bytes.ReplaceAll(bytes.TrimRight(b, "\x00"), []byte{0}, []byte(" "))))
		_ = unix.Kill(pid, unix.SIGKILL) // it is this suite's own, by its mark
	}
	if len(found) > 0 {
		return fmt.Sprintf("%d processes outlive the run, such as %s", len(found), found[0])
	}
	return ""
}

// lostProcess says whether the machine's process was ended or stopped.
func (s *suite) lostProcess(*evidence) string {
	s.machine.mu.Lock()
	defer s.machine.mu.Unlock()
	if !s.machine.awake() {
		return "a process of the machine was ended or stopped"
	}
	return ""
}

func inputsChanged(e *evidence) string {
	if e.changed != "" {
		return "the inputs' originals are changed: " + e.changed
	}
	return ""
}

func outlasted(p Probe, e *evidence) string {
	limit := e.spec.Limits.Timeout() + overtime
	if p.slow {
		limit += slowOvertime
	}
	if e.took > limit {
		return fmt.Sprintf("the run took %v with a time limit of %v", e.took.Round(time.Millisecond), e.spec.Limits.Timeout())
	}
	return ""
}

// logSaid is room for what a runner says when it cuts a log.
const logSaid = 1024

func logWithinLimit(e *evidence) string {
	if _, n := e.log.said(); n > e.spec.Limits.LogBytes+logSaid {
		return fmt.Sprintf("%d bytes of log came with a limit of %d", n, e.spec.Limits.LogBytes)
	}
	return ""
}

// Bounds on what is collected, as package sandbox promises them.
const (
	maxEntries = 250_000
	maxDepth   = 210
)

// outputsTame says what is wrong with what was collected: anything but plain
// files, directories and links that stay inside, without privileges, links to
// anything else or the secret, within the limits.
func (s *suite) outputsTame(e *evidence) string {
	var entries, total int64
	wrong := errors.New("")
	root := e.spec.OutputDir
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == root {
			return err
		}
		say := func(format string, a ...any) error {
			rel, _ := filepath.Rel(root, path) // below root
			wrong = fmt.Errorf("output %.100q %s", rel, fmt.Sprintf(format, a...))
			return wrong
		}
		if entries++; entries > maxEntries {
			return say("is one of more than %d", maxEntries)
		}
		if strings.Count(path, "/")-strings.Count(root, "/") > maxDepth {
			return say("is nested too deep")
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFDIR:
		case unix.S_IFLNK:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			if to := filepath.Join(filepath.Dir(path), target); filepath.IsAbs(target) || !strings.HasPrefix(to+"/", root+"/") {
				return say("leads to %s", target)
			}
			if real, err := filepath.EvalSymlinks(path); err == nil && !strings.HasPrefix(real+"/", root+"/") {
				return say("leads to %s", real)
			}
			return nil
		case unix.S_IFREG:
			if total += st.Size; total > e.spec.Limits.DiskBytes {
				return say("and those before it have %d bytes with a limit of %d", total, e.spec.Limits.DiskBytes)
			}
			if st.Nlink > 1 {
				return say("is a hard link to something else")
			}
			if b, err := os.ReadFile(path); err != nil || s.machine.world.IsSecret(b) {
				return say("holds the worker's secret (%v)", err)
			}
		default:
			return say("is no file, directory or link: mode %o", st.Mode)
		}
		if mode := st.Mode & 0o7777; mode != 0o755 && (mode != 0o644 || st.Mode&unix.S_IFMT == unix.S_IFDIR) {
			return say("has mode %o", mode)
		}
		if n, err := unix.Llistxattr(path, nil); err == nil && n > 0 {
			return say("has attributes of its own")
		}
		return nil
	})
	if err != nil && err != wrong {
		return "the outputs cannot be looked at: " + err.Error()
	}
	return wrong.Error()
}

// listing describes a tree: modes, owners, times, links, attributes and content.
func listing(root string) (string, error) {
	var b strings.Builder
	err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		attributes := make([]byte, 1024)
		n, _ := unix.Llistxattr(path, attributes) // not on every file system
		flags := 0
		if st.Mode&unix.S_IFMT == unix.S_IFREG {
			if f, err := os.Open(path); err == nil {
				flags, _ = unix.IoctlGetInt(int(f.Fd()), unix.FS_IOC_GETFLAGS) // as above
				f.Close()
			}
		}
		fmt.Fprintf(&b, "%s mode %o owner %d:%d size %d time %d.%d links %d flags %x attributes %q", rel, st.Mode, st.Uid, st.Gid, st.Size, st.Mtim.Sec, st.Mtim.Nsec, st.Nlink, flags, attributes[:max(n, 0)])
		if st.Mode&unix.S_IFMT == unix.S_IFREG && st.Size < 1<<16 {
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			fmt.Fprintf(&b, " %q", content)
		}
		b.WriteString("\n")
		return nil
	})
	return b.String(), err
}

// difference is the first line in which two listings differ.
func difference(before, after string) string {
	if before == after {
		return ""
	}
	was, is := strings.Split(before, "\n"), strings.Split(after, "\n")
	for i := range max(len(was), len(is)) {
		a, b := "nothing", "nothing"
		if i < len(was) {
			a = was[i]
		}
		if i < len(is) {
			b = is[i]
		}
		if a != b {
			return fmt.Sprintf("%.300s was %.300s", b, a)
		}
	}
	return "they differ"
}
