package cpus

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestBindingIsWhatIsAllowed(t *testing.T) {
	runtime.LockOSThread() // and never given back: it stays bound
	all, err := Allowed()
	if err != nil || len(all) != runtime.NumCPU() {
		t.Fatalf("%v %v; the runtime counts %d", all, err, runtime.NumCPU())
	}
	last := all[len(all)-1:]
	if err := Bind(last); err != nil {
		t.Fatal(err)
	}
	if got, err := Allowed(); err != nil || !slices.Equal(got, last) {
		t.Errorf("bound to %v, allowed %v (%v)", last, got, err)
	}
	for _, wrong := range [][]int{{-1}, {maxCPUs}, nil} {
		if err := Bind(wrong); !errors.Is(err, unix.EINVAL) {
			t.Errorf("binding to %v: %v", wrong, err)
		}
	}
}

func TestCPUsAreTakenInTurn(t *testing.T) {
	s := &Spread{allowed: []int{1, 3, 4, 7, 9}}
	for _, want := range [][]int{{1, 3}, {4, 7}, {1, 9}, {1, 3, 4, 7, 9}, {3}} {
		if got, err := s.Take(len(want)); err != nil {
			t.Error(err)
		} else if len(want) < s.Count() && !slices.Equal(got, want) || len(got) != len(want) {
			t.Errorf("took %v, want %v", got, want)
		}
	}
	if _, err := s.Take(6); !errors.Is(err, ErrTooFew) || !strings.Contains(err.Error(), "6 are asked for and 5 may be used") {
		t.Errorf("error %v", err)
	}
	if s, err := NewSpread(); err != nil || s.Count() == 0 {
		t.Errorf("%+v %v", s, err)
	}
}

const machineX86 = `processor	: 0
vendor_id	: GenuineIntel
model name	: A CPU
microcode	: 0x1
cpu MHz		: 2345.678
physical id	: 1
siblings	: 64
core id		: 17
cpu cores	: 32
apicid		: 34
initial apicid	: 34
flags		: fpu vme
bugs		: meltdown
bogomips	: 4600.12
power management:

processor	: 1
model name	: Another CPU

`

const machineARM = `processor	: 0
BogoMIPS	: 243.75
Features	: fp asimd
CPU implementer	: 0x41
CPU part	: 0xd0c

processor	: 1
CPU part	: 0xd0d
`

func TestFilesShowTheCount(t *testing.T) {
	umask := unix.Umask(0o077)
	defer unix.Umask(umask)
	for name, c := range map[string]struct {
		n       int
		machine string
		want    map[string]string
	}{
		"two of x86": {2, machineX86, map[string]string{
			"proc/cpuinfo": `processor	: 0
vendor_id	: GenuineIntel
model name	: A CPU
cpu MHz		: 1000.000
physical id	: 0
siblings	: 2
core id		: 0
cpu cores	: 2
apicid		: 0
initial apicid	: 0
flags		: fpu vme
bogomips	: 2000.00
power management:

processor	: 1
vendor_id	: GenuineIntel
model name	: A CPU
cpu MHz		: 1000.000
physical id	: 0
siblings	: 2
core id		: 1
cpu cores	: 2
apicid		: 1
initial apicid	: 1
flags		: fpu vme
bogomips	: 2000.00
power management:

`,
			"proc/stat": "cpu  0 0 0 0 0 0 0 0 0 0\ncpu0 0 0 0 0 0 0 0 0 0 0\ncpu1 0 0 0 0 0 0 0 0 0 0\n" +
				"intr 0\nctxt 0\nbtime 946684800\nprocesses 0\nprocs_running 1\nprocs_blocked 0\nsoftirq 0 0 0 0 0 0 0 0 0 0 0\n",
			"sys/devices/system/cpu/online": "0-1\n", "sys/devices/system/cpu/possible": "0-1\n", "sys/devices/system/cpu/present": "0-1\n",
			"sys/devices/system/cpu/offline": "\n", "sys/devices/system/cpu/kernel_max": "1\n",
		}},
		"one of arm64": {1, machineARM, map[string]string{
			"proc/cpuinfo": "processor\t: 0\nBogoMIPS\t: 2000.00\nFeatures\t: fp asimd\nCPU implementer\t: 0x41\nCPU part\t: 0xd0c\n\n",
			"proc/stat": "cpu  0 0 0 0 0 0 0 0 0 0\ncpu0 0 0 0 0 0 0 0 0 0 0\n" +
				"intr 0\nctxt 0\nbtime 946684800\nprocesses 0\nprocs_running 1\nprocs_blocked 0\nsoftirq 0 0 0 0 0 0 0 0 0 0 0\n",
			"sys/devices/system/cpu/online": "0\n", "sys/devices/system/cpu/possible": "0\n", "sys/devices/system/cpu/present": "0\n",
			"sys/devices/system/cpu/offline": "\n", "sys/devices/system/cpu/kernel_max": "0\n",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "cpus")
			if err := writeFiles(dir, c.n, c.machine); err != nil {
				t.Fatal(err)
			}
			got := make(map[string]string)
			directories := 0
			err := filepath.WalkDir(dir, func(p string, e os.DirEntry, err error) error {
				if err != nil {
					return err
				}
				info, err := e.Info()
				if err != nil {
					return err
				}
				if e.IsDir() {
					if info.Mode().Perm() != 0o755 {
						t.Errorf("%s has mode %v", p, info.Mode())
					}
					if strings.HasPrefix(e.Name(), "cpu") && filepath.Base(filepath.Dir(p)) == "cpu" {
						directories++
					}
					return nil
				}
				if info.Mode().Perm() != 0o444 {
					t.Errorf("%s has mode %v", p, info.Mode())
				}
				b, err := os.ReadFile(p)
				rel, _ := filepath.Rel(dir, p)
				got[rel] = string(b)
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			if !maps.Equal(got, c.want) {
				t.Errorf("got %q\nwant %q", got, c.want)
			}
			if directories != c.n {
				t.Errorf("%d directories of CPUs, want %d", directories, c.n)
			}
		})
	}
}

// What this machine's own file says must come out in the form that programs read.
func TestTheMachinesOwnFileIsUnderstood(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cpus")
	if err := WriteFiles(dir, 3, -1); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(dir, InfoFile))
	if err != nil || strings.Count("\n"+string(b), "\nprocessor\t: ") != 3 {
		t.Errorf("%v\n%s", err, b)
	}
	if s := string(b); !strings.Contains(s, "\nflags") && !strings.Contains(s, "\nFeatures") {
		t.Errorf("no features:\n%s", s)
	}
}
