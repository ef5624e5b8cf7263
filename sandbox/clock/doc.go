// Package clock gives one command and all its descendants a time of day of
// their own, whatever libc they use and however they are linked. It changes no
// other process, no file's times and no clock that only measures, and it opens no
// way out of a sandbox: it writes nothing but times, into the memory of whoever
// asked, where that one asked for them. It imports only the standard library and
// x/sys, without fmt, so that it links into the small first processes of sandboxes.
//
// Three roles; the launcher is told by argv[0]:
//
//	          ┌───────────────── PID 1 ──────────────────┐
//	          │  tracer and reaper        answerer       │
//	          │  (one locked thread)      (one thread)   │
//	          └──▲──────────────────────────▲────────────┘
//	fork+exec │  │ exec, fork, signal stops │ notifications of clock_gettime,
//	          ▼  │                          │ gettimeofday and time
//	       launcher ────exec────▶ command ──fork──▶ descendants
//
// The launcher is this same program, between fork and exec. It installs the filter
// that notifies, hands its listener to PID 1, waits until it is traced, installs the
// caller's own filter and executes the command. It needs the five threads that any Go
// program has, for two milliseconds.
//
// Programs ask the kernel the time without a system call, by code that it maps into
// them, the vDSO, which no filter sees. They find it by the entry AT_SYSINFO_EHDR of
// their auxiliary vector. At each exec the tracer blanks that entry before the new
// program's first instruction; every libc, and Go, then make the system call.
//
// # What stays the same
//
// Signals, stops, exit codes, sessions, zombies and orphans are those of an untraced
// tree. What a program can see: "TracerPid: 1" and the state "t" instead of "T" in
// /proc, that ptrace is refused with EPERM, and EINTR from the calls that signal(7)
// lists (epoll_wait, semop and the like) when a signal arrives that it ignores.
//
// # Waiting until a time
//
// A program that waits until a time of day computes it from the clock it sees.
// futex (which is pthread_cond_timedwait, sem_timedwait and so on) and
// clock_nanosleep are given the moment of the machine's clock that is as far away.
//
// # What keeps the machine's time
//
// Timers set to absolute times (timer_settime, timerfd_settime), message queues'
// time limits, and adjtimex, which most sandboxes refuse; the boot time in /proc/stat;
// processes that PID 1 may not write to, because their program is not readable or
// they made themselves undumpable; those that a program clones with CLONE_UNTRACED;
// absolute waits of 32-bit programs, whose clock is otherwise set; x32 programs.
// A clock that lies before the files' times makes make(1) warn of skew.
//
// # Why it is no hole
//
// PID 1 keeps ptrace and process_vm_writev for itself, so it must not have the
// filter that refuses them; the launcher installs it for the command. PID 1 reads of a
// tracee its registers and its stack at exec, and two numbers of a wait, and trusts
// none of them: sizes are bounded, and all it ever does with an address is read 16
// bytes from or write a time to it, with the kernel checking that the process itself may
// write there. It writes to the process that the kernel says is waiting for the answer.
// A process id is not used again before the tracer reaps it, and numbers are given out
// in a circle, so that it cannot come to mean another between the check and the write;
// if it did, that other would be one of the same command's. A caller that is gone makes a write fail.
//
// # Cost
//
// Measured on two cores (BenchmarkHello, BenchmarkTree and BenchmarkAsking, as ratios to the same
// without): see their doc comments. An exec or fork costs two or three stops, a
// signal one, asking the time two switches between processes; all else is as fast as ever.
package clock
