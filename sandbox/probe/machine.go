package probe

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"gavel/sandbox"
	"gavel/sandbox/probe/world"
)

// greeting is what the machine's listeners answer.
const greeting = "gavel-probe\n"

// machine is what one Run puts on the machine for attempts to find: listeners,
// a process, and shared memory and queues.
type machine struct {
	world   world.World
	program string
	dir     string
	closers []func() error

	mu      sync.Mutex // guards sleeper
	sleeper *exec.Cmd
}

func prepare(p *Planted, program string) (_ *machine, err error) {
	m := &machine{program: program, dir: p.dir, world: world.World{SecretHash: hashOf(p.secret), Canaries: p.keys, SuitePID: os.Getpid()}}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("preparing the machine: %w", err), m.close())
		}
	}()
	var st unix.Stat_t
	if err := unix.Stat(p.dir, &st); err != nil {
		return nil, err
	}
	m.world.DiskMajor, m.world.DiskMinor = unix.Major(st.Dev), unix.Minor(st.Dev)
	if b, err := os.ReadFile("/etc/machine-id"); err == nil {
		m.world.MachineID = strings.TrimSpace(string(b))
	}
	if err := errors.Join(m.listen(), m.share()); err != nil {
		return nil, err
	}
	return m, m.rouse()
}

func (m *machine) close() error {
	var failures []error
	for _, c := range m.closers {
		failures = append(failures, c())
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.sleeper != nil {
		_ = m.sleeper.Process.Kill() // it may be dead
		_ = m.sleeper.Wait()         // it was killed
	}
	return errors.Join(failures...)
}

func (m *machine) listen() error {
	var id [6]byte
	if _, err := rand.Read(id[:]); err != nil {
		return err
	}
	m.world.Abstract = "gavel-probe-" + hex.EncodeToString(id[:])
	m.world.Socket = filepath.Join(m.dir, "socket-"+hex.EncodeToString(id[:]))
	tcp, err := m.greet("tcp4", "127.0.0.1:0")
	if err != nil {
		return err
	}
	m.world.TCP = tcp.(*net.TCPAddr).Port
	if tcp6, err := m.greet("tcp6", "[::1]:0"); err == nil { // not every machine has it
		m.world.TCP6 = tcp6.(*net.TCPAddr).Port
	}
	if _, err := m.greet("unix", "@"+m.world.Abstract); err != nil {
		return err
	}
	if _, err := m.greet("unix", m.world.Socket); err != nil {
		return err
	}
	if err := os.Chmod(m.world.Socket, 0o777); err != nil {
		return err
	}
	return m.greetDatagrams()
}

// greet answers every connection.
func (m *machine) greet(network, address string) (net.Addr, error) {
	l, err := net.Listen(network, address)
	if err != nil {
		return nil, err
	}
	m.closers = append(m.closers, l.Close)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil { // closed
				return
			}
			_, _ = c.Write([]byte(greeting)) // its client may be gone
			c.Close()
		}
	}()
	return l.Addr(), nil
}

func (m *machine) greetDatagrams() error {
	l, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		return err
	}
	m.closers = append(m.closers, l.Close)
	m.world.UDP = l.LocalAddr().(*net.UDPAddr).Port
	go func() {
		b := make([]byte, 64)
		for {
			_, from, err := l.ReadFrom(b)
			if err != nil { // closed
				return
			}
			_, _ = l.WriteTo([]byte(greeting), from) // its client may be gone
		}
	}()
	return nil
}

// share makes memory and queues that any process of the machine may open.
func (m *machine) share() error {
	var id [4]byte
	if _, err := rand.Read(id[:]); err != nil {
		return err
	}
	key := int(binary.NativeEndian.Uint32(id[:])>>2 | 1)
	m.world.SharedKey, m.world.QueueKey, m.world.Queue = key, key, fmt.Sprintf("gavel-probe-%d", key)
	memory, err := unix.SysvShmGet(key, 4096, unix.IPC_CREAT|unix.IPC_EXCL|0o666)
	if err != nil {
		return fmt.Errorf("sharing memory: %w", err)
	}
	m.closers = append(m.closers, func() error { _, err := unix.SysvShmCtl(memory, unix.IPC_RMID, nil); return err })
	queue, _, errno := unix.Syscall(unix.SYS_MSGGET, uintptr(key), unix.IPC_CREAT|unix.IPC_EXCL|0o666, 0)
	if errno != 0 {
		return fmt.Errorf("making a message queue: %w", errno)
	}
	m.closers = append(m.closers, func() error {
		if _, _, errno := unix.Syscall(unix.SYS_MSGCTL, queue, unix.IPC_RMID, 0); errno != 0 {
			return errno
		}
		return nil
	})
	name, err := unix.BytePtrFromString(m.world.Queue)
	if err != nil {
		return err
	}
	fd, _, errno := unix.Syscall6(unix.SYS_MQ_OPEN, uintptr(unsafe.Pointer(name)), unix.O_CREAT|unix.O_RDONLY|unix.O_CLOEXEC, 0o666, 0, 0, 0)
	if errno != 0 {
		return fmt.Errorf("making a POSIX message queue: %w", errno)
	}
	m.closers = append(m.closers, func() error {
		unix.Close(int(fd))
		if _, _, errno := unix.Syscall(unix.SYS_MQ_UNLINK, uintptr(unsafe.Pointer(name)), 0, 0); errno != 0 {
			return errno
		}
		return nil
	})
	return nil
}

// rouse starts the process to be found, unless it lives: in the worker's
// directory, and as the user that builds usually are, if it may.
func (m *machine) rouse() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.sleeper != nil {
		if m.awake() {
			return nil
		}
		_ = m.sleeper.Process.Kill() // dead or stopped
		_ = m.sleeper.Wait()         // it was killed
	}
	c := exec.Command(m.program, "-sleep", world.Sleeper)
	c.Dir = m.dir
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if os.Getuid() == 0 {
		c.SysProcAttr.Credential = &syscall.Credential{Uid: sandbox.UID, Gid: sandbox.UID}
	}
	if err := c.Start(); err != nil {
		return fmt.Errorf("starting a process to be found: %w", err)
	}
	m.sleeper, m.world.SleeperPID = c, c.Process.Pid
	return nil
}

// awake says whether the process to be found lives and sleeps as it should.
func (m *machine) awake() bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", m.sleeper.Process.Pid))
	_, state, _ := strings.Cut(string(b), ") ")
	return err == nil && state != "" && state[0] != 'Z' && state[0] != 'T' && state[0] != 't'
}
