// Command program is what the tests of package clock run under a clock: it does what its
// first argument names and prints what it sees.
package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"
)

func main() {
	switch os.Args[1] {
	case "now":
		fmt.Println(time.Now().Unix())
	case "measure":
		measure()
	case "flood":
		flood()
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

// flood asks often, from threads that all wait for answers, and prints whether each was of this clock.
func flood() {
	var all sync.WaitGroup
	bad := make(chan int64, 1)
	for range 8 {
		all.Add(1)
		go func() {
			defer all.Done()
			runtime.LockOSThread()
			for range 500 {
				if now := time.Now().Unix(); now < 2208988800 || now > 2208988800+600 {
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
