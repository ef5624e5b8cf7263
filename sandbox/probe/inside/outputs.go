package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"gavel/sandbox/probe/world"
)

// outputAttempts leave something nasty where the declared output "out" is to lie.
// Each is made if it can be; what the collector makes of it is the suite's to see.
var outputAttempts = table{
	"output-absolute-link": output(func(w *world.World) error { return os.Symlink(w.Canaries["worker"], "out") }),
	"output-climbing-link": output(func(w *world.World) error {
		return os.Symlink(strings.Repeat("../", 40)+strings.TrimPrefix(w.Canaries["worker"], "/"), "out")
	}),
	"output-link-in-directory": output(func(w *world.World) error {
		return inOut(func() error { return os.Symlink(w.Canaries["worker"], "out/link") })
	}),
	"output-behind-link": output(func(w *world.World) error {
		return os.Symlink(directoryOf(w), "dir") // declared is dir/worker.key
	}),
	"output-link-chain": output(func(w *world.World) error {
		return inOut(func() error {
			if err := os.MkdirAll("out/a/b", 0o755); err != nil {
				return err
			}
			if err := os.Symlink("../..", "out/a/b/up"); err != nil {
				return err
			}
			return os.Symlink("a/b/up/../../../../../../../../../.."+w.Canaries["worker"], "out/link")
		})
	}),
	"output-proc-link":   output(func(*world.World) error { return os.Symlink("/proc/self/environ", "out") }),
	"output-hard-link":   output(func(*world.World) error { return os.Link("input/file", "out") }),
	"output-etc-link":    output(func(*world.World) error { return os.Link("/etc/passwd", "out") }),
	"output-key-link":    output(func(w *world.World) error { return os.Link(w.Canaries["worker"], "out") }),
	"output-fifo":        output(func(*world.World) error { return unix.Mkfifo("out", 0o666) }),
	"output-fifo-inside": output(func(*world.World) error { return inOut(func() error { return unix.Mkfifo("out/fifo", 0o666) }) }),
	"output-device":      output(func(*world.World) error { return unix.Mknod("out", unix.S_IFCHR|0o666, int(unix.Mkdev(1, 5))) }),
	"output-whiteout":    output(func(*world.World) error { return unix.Mknod("out", unix.S_IFCHR|0o666, 0) }),
	"output-socket": output(func(*world.World) error {
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: "out"})
		if err == nil {
			l.SetUnlinkOnClose(false)
			err = l.Close()
		}
		return err
	}),
	"output-setuid": output(func(*world.World) error {
		if err := copyProgram("out"); err != nil {
			return err
		}
		return unix.Chmod("out", 0o6755)
	}),
	"output-swap": output(func(*world.World) error {
		// An orphan that goes on changing the output from file to link and back.
		c := exec.Command("/proc/self/exe", "-swap", os.Args[2])
		if err := os.WriteFile("out", []byte("file"), 0o644); err != nil {
			return err
		}
		return c.Start()
	}),
	"output-sparse": output(func(*world.World) error {
		f, err := os.Create("out")
		if err != nil {
			return err
		}
		return f.Truncate(1 << 40)
	}),
	"output-sparse-many": output(func(w *world.World) error {
		return inOut(func() error {
			for i := range 64 {
				f, err := os.Create(fmt.Sprintf("out/%d", i))
				if err != nil {
					return err
				}
				if err := f.Truncate(w.Disk / 2); err != nil {
					return err
				}
				f.Close()
			}
			return nil
		})
	}),
	"output-deep": output(func(*world.World) error {
		for range 10_000 {
			if err := os.Mkdir("out", 0o755); err != nil {
				return err
			}
			if err := os.Chdir("out"); err != nil {
				return err
			}
		}
		return os.WriteFile("bottom", nil, 0o644)
	}),
	"output-million": output(func(*world.World) error {
		return inOut(func() error {
			if err := os.WriteFile("out/first", nil, 0o644); err != nil {
				return err
			}
			// Links cost less than files and count as much.
			for i := range 1_050_000 {
				if i%1000 == 0 {
					if err := os.Mkdir(fmt.Sprintf("out/%d", i/1000), 0o755); err != nil {
						return err
					}
				}
				if err := os.Link("out/first", fmt.Sprintf("out/%d/%d", i/1000, i)); err != nil {
					return err
				}
			}
			return nil
		})
	}),
	"output-unreadable": output(func(*world.World) error {
		return inOut(func() error {
			if err := os.WriteFile("out/file", []byte("x"), 0o000); err != nil {
				return err
			}
			if err := os.Mkdir("out/dir", 0o755); err != nil {
				return err
			}
			if err := os.WriteFile("out/dir/file", []byte("x"), 0o000); err != nil {
				return err
			}
			return os.Chmod("out/dir", 0)
		})
	}),
	"output-names": output(func(*world.World) error {
		return inOut(func() error {
			for _, name := range []string{"new\nline", "\xff\xfe", "\x1b[31mred", strings.Repeat("n", 255), "-rf", " ", "\\", "..."} {
				if err := os.WriteFile("out/"+name, []byte("x"), 0o644); err != nil {
					return err
				}
			}
			return nil
		})
	}),
	"output-long-path": output(func(*world.World) error {
		name := strings.Repeat("d", 250)
		for range 40 {
			dir := "out"
			if err := os.Mkdir(dir, 0o755); err != nil {
				dir = name
				if err := os.Mkdir(dir, 0o755); err != nil {
					return err
				}
			}
			if err := os.Chdir(dir); err != nil {
				return err
			}
		}
		return os.WriteFile("bottom", nil, 0o644)
	}),
	"output-work-root-gone": output(func(*world.World) error {
		here, err := os.Getwd()
		if err != nil {
			return err
		}
		if err := os.RemoveAll(here); err != nil { // all in it, at least
			return nil
		}
		return nil
	}),
	"output-parent-link": output(func(w *world.World) error {
		// The declared output's directory becomes a link after it was made.
		if err := os.MkdirAll("dir", 0o755); err != nil {
			return err
		}
		if err := os.WriteFile("dir/"+world.Key, []byte("x"), 0o644); err != nil {
			return err
		}
		if err := os.Rename("dir", "moved"); err != nil {
			return err
		}
		return os.Symlink(directoryOf(w), "dir")
	}),
	"output-opaque": output(func(*world.World) error {
		// What an overlay reads as "merge with another place".
		return inOut(func() error {
			if err := unix.Setxattr("out", "user.overlay.redirect", []byte("/input"), 0); err != nil {
				return err
			}
			return unix.Setxattr("out", "user.overlay.opaque", []byte("y"), 0)
		})
	}),
}

// output makes something and says only whether it could.
func output(make func(w *world.World) error) attempt {
	return func(w *world.World) verdict {
		if err := make(w); err != nil {
			return denied("making it: %v", err)
		}
		return denied("made")
	}
}

func inOut(fill func() error) error {
	if err := os.Mkdir("out", 0o755); err != nil {
		return err
	}
	return fill()
}

func directoryOf(w *world.World) string {
	return strings.TrimSuffix(w.Canaries["worker"], "/"+world.Key)
}

// swap changes "out" from a file to a link and back for as long as it lives, at
// most two seconds.
func swap() {
	w, err := readWorld()
	if err != nil {
		os.Exit(2)
	}
	for end := time.Now().Add(2 * time.Second); time.Now().Before(end); {
		_ = os.Symlink(w.Canaries["worker"], "link") // each step may lose to what it disturbs
		_ = os.Rename("link", "out")
		_ = os.WriteFile("file", []byte("file"), 0o644)
		_ = os.Rename("file", "out")
	}
}
