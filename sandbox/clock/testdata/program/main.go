// Command program is what the tests of package clock run under a clock: it does what its
// first argument names and prints what it sees.
package main

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

func main() {
	switch os.Args[1] {
	case "now":
		fmt.Println(time.Now().Unix())
	case "measure":
		measure()
	case "flood":
		flood(500, 2208988800)
	case "many":
		flood(5000, 0)
	case "trace":
		_, _, errno := syscall.Syscall6(syscall.SYS_PTRACE, syscall.PTRACE_TRACEME, 0, 0, 0, 0, 0)
		fmt.Println(errno == syscall.EPERM)
	case "undumpable": // 4 is PR_SET_DUMPABLE
		_, _, errno := syscall.Syscall(syscall.SYS_PRCTL, 4, 0, 0)
		fmt.Println(errno == 0, time.Now().Unix() < 2208988800)
	case "thread-exec": // from a thread that does not lead
		threads()
		done := make(chan error)
		go func() {
			runtime.LockOSThread()
			for syscall.Gettid() == syscall.Getpid() {
				runtime.Gosched()
			}
			done <- syscall.Exec("/proc/self/exe", []string{os.Args[0], "now"}, nil)
		}()
		fmt.Println(<-done)
	case "execs":
		for range 1000 {
			if err := exec.Command("/proc/self/exe", "nothing").Run(); err != nil {
				fmt.Println(err)
				os.Exit(1)
			}
		}
		fmt.Println("1000")
	case "raw":
		raw()
	case "until":
		until()
	case "stats":
		stats(os.Args[2])
	case "raw-stats":
		rawStats(os.Args[2])
	case "signalled-stats":
		signalledStats(os.Args[2])
	case "stats-exec": // while other threads ask
		go stats(os.Args[2])
		go stats(os.Args[2])
		runtime.LockOSThread()
		if err := os.WriteFile("made", nil, 0o666); err != nil {
			panic(err)
		}
		time.Sleep(2 * time.Millisecond)
		fmt.Println(syscall.Exec("/usr/bin/stat", []string{"stat", "-c", "%Y", "made"}, os.Environ()))
	case "nothing":
	}
}

// threads makes some that stay.
func threads() {
	var ready sync.WaitGroup
	for range 8 {
		ready.Add(1)
		go func() {
			runtime.LockOSThread()
			ready.Done()
			select {}
		}()
	}
	ready.Wait()
}

// measure prints whether durations are real.
func measure() {
	began, wall := time.Now(), time.Now().Round(0)
	time.Sleep(300 * time.Millisecond)
	elapsed, shown := time.Since(began), time.Now().Round(0).Sub(wall)
	near := func(d time.Duration) bool { return d >= 300*time.Millisecond && d < 5*time.Second }
	fmt.Println(near(elapsed), near(shown), shown == 0)
}

// flood asks often, from threads that all wait for answers, and prints whether no
// answer was before the start.
func flood(times int, start int64) {
	var all sync.WaitGroup
	bad := make(chan int64, 1)
	for range 8 {
		all.Add(1)
		go func() {
			defer all.Done()
			runtime.LockOSThread()
			for range times {
				if now := time.Now().Unix(); now < start || now > 2208988800+600 {
					select {
					case bad <- now:
					default:
					}
				}
			}
		}()
	}
	all.Wait()
	select {
	case now := <-bad:
		fmt.Println("bad", now)
	default:
		fmt.Println("good")
	}
}

// timespec is of the heap, so that its address stays.
type timespec struct{ seconds, nanos int }

func call(number, a, b, c, d uintptr) syscall.Errno {
	_, _, errno := syscall.Syscall6(number, a, b, c, d, 0, 0)
	return errno
}

// raw makes the calls themselves, with addresses that are and are not there.
func raw() {
	page, err := syscall.Mmap(-1, 0, 3*4096, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		panic(err)
	}
	if err := syscall.Mprotect(page[4096:2*4096], syscall.PROT_READ); err != nil {
		panic(err)
	}
	base := uintptr(unsafe.Pointer(&page[0]))
	call(syscall.SYS_MUNMAP, base+2*4096, 4096, 0, 0)
	const clockGettime, realtime = syscall.SYS_CLOCK_GETTIME, 0
	at := func(offset uintptr) syscall.Errno { return call(clockGettime, realtime, base+offset, 0, 0) }
	fmt.Println(at(0), at(4096-8), at(4096), at(2*4096), call(clockGettime, realtime, 0, 0, 0), call(clockGettime, 77, base, 0, 0))
	t := (*timespec)(unsafe.Pointer(base))
	fmt.Println(t.seconds, t.nanos)
	zone := (*[2]int32)(unsafe.Pointer(base + 64))
	*zone = [2]int32{7, 7}
	fmt.Println(call(syscall.SYS_GETTIMEOFDAY, base+16, base+64, 0, 0), (*timespec)(unsafe.Pointer(base+16)).seconds, *zone,
		call(syscall.SYS_GETTIMEOFDAY, 0, 0, 0, 0), call(syscall.SYS_GETTIMEOFDAY, 1, 0, 0, 0))
	for _, id := range []uintptr{0, 5, 8, 11, 1, 7} {
		if errno := call(clockGettime, id, base, 0, 0); errno != 0 && id != 8 {
			fmt.Println(id, errno)
		}
		fmt.Print(int64(t.seconds) == 2208988800, " ")
	}
	fmt.Println()
}

// until waits until moments of the clock that it sees, and prints whether that took as long as it should.
func until() {
	const waitBitset, realtime, private, anyBit = 9, 256, 128, 0xffffffff
	word := new(uint32)
	deadline := new(timespec)
	for _, d := range []time.Duration{300 * time.Millisecond, 0, -time.Hour} {
		for name, wait := range map[string]func() syscall.Errno{
			"futex": func() syscall.Errno {
				_, _, errno := syscall.Syscall6(syscall.SYS_FUTEX, uintptr(unsafe.Pointer(word)), waitBitset|realtime|private, 0, uintptr(unsafe.Pointer(deadline)), 0, anyBit)
				return errno
			},
			"sleep": func() syscall.Errno {
				return call(syscall.SYS_CLOCK_NANOSLEEP, 0, 1, uintptr(unsafe.Pointer(deadline)), 0)
			},
		} {
			began, want := time.Now(), time.Now().Add(d)
			*deadline = timespec{int(want.Unix()), want.Nanosecond()}
			kept := *deadline
			errno := wait()
			took := time.Since(began)
			if late := took - max(d, 0); late < -time.Millisecond || late > 2*time.Second || *deadline != kept || (errno != 0 && errno != syscall.ETIMEDOUT) {
				fmt.Println(name, d, "took", took, errno)
			}
		}
	}
	fmt.Println("waited")
}

// stats asks for the times of one file a thousand times from each of eight threads, and
// prints what they saw: one time, whoever asks.
func stats(name string) {
	var all sync.WaitGroup
	var seen sync.Map
	for range 8 {
		all.Go(func() {
			runtime.LockOSThread()
			for range 1000 {
				info, err := os.Stat(name)
				if err != nil {
					panic(err)
				}
				seen.Store(info.ModTime().Unix(), true)
			}
		})
	}
	all.Wait()
	seen.Range(func(at, _ any) bool { fmt.Println(at); return true })
}

// signalledStats asks while signals arrive, and prints the same, and whether any was seen.
func signalledStats(name string) {
	var got atomic.Int64
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGUSR1)
	go func() {
		for range signals {
			got.Add(1)
		}
	}()
	done := make(chan bool)
	go func() {
		for {
			select {
			case <-done:
				return
			default:
				_ = syscall.Kill(os.Getpid(), syscall.SIGUSR1)
			}
		}
	}()
	stats(name)
	close(done)
	fmt.Println(got.Load() > 0)
}

// rawStats makes the calls themselves on a file just made, with buffers that are, are not and
// are only partly there, and prints the results, and whether a byte changed but in them.
func rawStats(name string) {
	page, err := syscall.Mmap(-1, 0, 3*4096, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		panic(err)
	}
	base := uintptr(unsafe.Pointer(&page[0]))
	call(syscall.SYS_MUNMAP, base+2*4096, 4096, 0, 0)
	if err := syscall.Mprotect(page[4096:2*4096], syscall.PROT_READ); err != nil {
		panic(err)
	}
	path, err := syscall.BytePtrFromString(name)
	if err != nil {
		panic(err)
	}
	missing, _ := syscall.BytePtrFromString(name + "-missing")
	fd, err := syscall.Open(name, syscall.O_RDONLY, 0)
	if err != nil {
		panic(err)
	}
	size := unsafe.Sizeof(syscall.Stat_t{})
	at := func(offset uintptr) syscall.Errno { return call(syscall.SYS_FSTAT, uintptr(fd), base+offset, 0, 0) }
	fmt.Println(at(4096-size), at(4096-size+8), at(4096-80), at(4096), at(2*4096), call(syscall.SYS_FSTAT, uintptr(fd), 0, 0, 0), call(syscall.SYS_FSTAT, 12345, base, 0, 0))
	st := (*syscall.Stat_t)(unsafe.Pointer(base + 4096 - size))
	clear(page[:4096])
	fmt.Println(at(4096-size), st.Atim.Sec, st.Mtim.Sec, st.Ctim.Sec, st.Size)
	for i, b := range page[:4096-size] {
		if b != 0 {
			fmt.Println("byte", i, "changed")
		}
	}
	// A call that fails leaves what the buffer has, though it looks like times.
	mark := syscall.NsecToTimespec(time.Now().UnixNano())
	st.Mtim = mark
	fmt.Println(newfstatat(missing, base+4096-size), st.Mtim == mark, newfstatat(path, base+4096-size), st.Mtim.Sec)
}

func newfstatat(path *byte, at uintptr) syscall.Errno {
	number := map[string]uintptr{"amd64": 262, "arm64": 79}[runtime.GOARCH]
	working := -100 // AT_FDCWD
	_, _, errno := syscall.Syscall6(number, uintptr(working), uintptr(unsafe.Pointer(path)), at, 0, 0, 0)
	return errno
}
