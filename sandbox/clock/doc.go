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
//	fork+exec │  │ exec, fork, signal stops,│ notifications of clock_gettime,
//	          ▼  │ waits, times of files    │ gettimeofday and time
//	       launcher ────exec────▶ command ──fork──▶ descendants
//
// The launcher is this same program, between fork and exec. It installs the filter
// that notifies, hands its listener to PID 1, waits until it is traced, installs the
// caller's own filter and executes the command. It needs the five threads that a Go
// program has, for two milliseconds, and nothing of the file system but
// /proc/self/exe, or the path that its caller names.
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
// /proc; that ptrace, and a listener of its own seccomp filter, are refused (EPERM,
// EBUSY); and EINTR from the calls that signal(7) lists (epoll_wait, semop and the
// like) when a signal arrives that it ignores.
//
// # Waiting until a time
//
// A program that waits until a time of day computes it from the clock it sees.
// futex (which is pthread_cond_timedwait, sem_timedwait and so on) and
// clock_nanosleep are given the moment of the machine's clock that is as far away.
//
// # Times of files
//
// Files get the machine's times, on the file system and so in outputs. What programs read
// of them is the clock's: stat, fstat, lstat, newfstatat and statx stop at their end, where
// the tracer replaces each time that lies between the command's start, less the kernel's
// tick, and now, by what the clock showed then. So a file that was just made, a copy of its
// time and an archive of it bear the time that the program sees, and with steps they are
// the same in each run of the same step. Earlier times, which inputs and the image have,
// and later ones, which a program can only have set, stay. These stay too:
// the times of change and birth of inputs, which are those of their staging.
//
// With steps, what is made within one has one time: make(1) takes it for up to date, and
// a program that waits until a file is newer waits for the next step. A clock that
// shows, during the command, times that the machine also shows during it gives files a
// time that is moved twice, if a program sets it to what it saw.
//
// # What keeps the machine's time
//
//   - Times of files that no call above tells: on the file system, of 32-bit programs, by
//     io_uring, which most sandboxes refuse, and the times of System V's IPC.
//   - Timers set to absolute times (timer_settime, timerfd_settime), message queues'
//     time limits, adjtimex, which most sandboxes refuse, and the boot time in /proc/stat.
//   - Processes that PID 1 may not write to, because their program may be executed but
//     not read, or because they made themselves undumpable.
//   - Children made with CLONE_UNTRACED, whose waits until a time and questions for
//     times of files fail with ENOSYS, and x32 programs.
//   - Absolute waits of 32-bit programs, whose clock is otherwise set.
//
// # Why it is no hole
//
// PID 1 keeps ptrace and process_vm_writev for itself, so it must not have the
// filter that refuses them; the launcher installs that for the command, and the
// notifying one only tells calls apart. Of a tracee PID 1 reads the registers, its stack at exec,
// the two numbers of a wait and the three or four times of a file. It trusts none of them: the
// search of the stack is bounded, and all it does with an address is to read at most 64 bytes
// from it or write times to it, with the kernel checking that the process has that memory. Nothing a process gives reaches another
// or PID 1's own memory, and no descriptor or path of a tracee is ever used.
//
// It writes to the process that the kernel says waits for the answer, after asking
// whether it still does. A process id is not given out again before the tracer has
// collected its process, and ids are given out in a circle, so that one cannot come
// to mean another process between the question and the write; if it did, that other
// would be one of the same command's. A caller that is gone makes the write fail.
//
// # What PID 1 needs
//
// Linux 5.5 with seccomp filters; kernel.yama.ptrace_scope 0 or 1; and of an outer
// filter seccomp, ptrace, wait4, ioctl, socketpair, sendmsg, recvmsg, prctl, dup3,
// close_range (or fcntl), and process_vm_readv with process_vm_writev or else openat,
// pread64 and pwrite64 on /proc. Docker's own profile allows these since version 19.03 on
// Linux 4.8 or later. No capability is needed. Whatever is missing is a *SetupError,
// before the command has run.
//
// # Cost
//
// As measured on two cores of amd64 by the benchmarks: a command that only starts takes 3 to
// 4 milliseconds more, which is the launcher; two hundred commands under a shell take 1.2 to 1.7
// times as long; asking the time takes 7 microseconds instead of a tenth of one. A fork or exec
// has two or three stops, a signal one; all else is as fast as ever.
//
// Asking for the times of a file, found or not, has two stops: 14 microseconds where program and
// tracer take turns on one CPU, so that a walk that does nothing else takes 9 times as
// long, and 50 to 150, for 25 to 80 times, where each time the other of two idle CPUs of a
// virtual machine has to be woken. Compiling small C files takes 1.3 to 1.6 times as long,
// without these stops 1.1. Binding the tracer to one CPU would make the idle machine as fast as one
// CPU, and one where another program keeps that CPU busy ten times as slow; so it is not bound.
package clock
