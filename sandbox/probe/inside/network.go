package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"gavel/sandbox/probe/world"
)

// answerPatience bounds waiting for the suite's listeners, which answer at once.
const answerPatience = 500 * time.Millisecond

var networkAttempts = table{
	"tcp-loopback": func(w *world.World) verdict { return dial(w, "tcp4", fmt.Sprintf("127.0.0.1:%d", w.TCP)) },
	"tcp6-loopback": func(w *world.World) verdict {
		return dial(w, "tcp6", fmt.Sprintf("[::1]:%d", w.TCP6))
	},
	"udp-loopback":    func(w *world.World) verdict { return dial(w, "udp4", fmt.Sprintf("127.0.0.1:%d", w.UDP)) },
	"abstract-socket": func(w *world.World) verdict { return dial(w, "unix", "@"+w.Abstract) },
	"path-socket":     func(w *world.World) verdict { return dial(w, "unix", w.Socket) },
	"path-socket-by-pid1": func(w *world.World) verdict {
		return dial(w, "unix", "/proc/1/root"+w.Socket)
	},
	"engine-socket": func(*world.World) verdict {
		var last error
		for _, prefix := range []string{"", "/proc/1/root"} {
			for _, p := range []string{"/run/docker.sock", "/var/run/docker.sock", "/run/containerd/containerd.sock", "/run/podman/podman.sock", "/run/dbus/system_bus_socket", "/run/systemd/private"} {
				c, err := net.DialTimeout("unix", prefix+p, answerPatience)
				if err == nil {
					c.Close()
					return succeeded("connected to %s%s", prefix, p)
				}
				last = err
			}
		}
		return denied("%v", last)
	},
	"metadata-route": func(*world.World) verdict { return route("169.254.169.254:80") },
	"internet-route": func(*world.World) verdict { return route("192.0.2.1:53") },
	"ipv6-route":     func(*world.World) verdict { return route("[2001:db8::1]:53") },
	"name-server": func(*world.World) verdict {
		b, err := os.ReadFile("/etc/resolv.conf")
		if err != nil {
			return denied("%v", err)
		}
		for line := range strings.Lines(string(b)) {
			if f := strings.Fields(line); len(f) > 1 && f[0] == "nameserver" {
				if v := route(net.JoinHostPort(f[1], "53")); v.code == world.Succeeded {
					return v
				}
			}
		}
		return denied("no name server has a route")
	},
	"raw-socket":      socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP),
	"raw-socket-ipv6": socket(unix.AF_INET6, unix.SOCK_RAW, unix.IPPROTO_ICMPV6),
	"packet-socket":   socket(unix.AF_PACKET, unix.SOCK_RAW, 0x0300),
	"vsock":           socket(unix.AF_VSOCK, unix.SOCK_STREAM, 0),
	"alg-socket":      socket(unix.AF_ALG, unix.SOCK_SEQPACKET, 0),
	"xdp-socket":      socket(unix.AF_XDP, unix.SOCK_RAW, 0),
	"key-socket":      socket(unix.AF_KEY, unix.SOCK_RAW, 2),
	"rare-sockets": func(w *world.World) verdict {
		families := map[string]int{"TIPC": unix.AF_TIPC, "RDS": unix.AF_RDS, "CAN": unix.AF_CAN, "Bluetooth": unix.AF_BLUETOOTH, "SMC": unix.AF_SMC,
			"NFC": unix.AF_NFC, "X25": unix.AF_X25, "AX25": unix.AF_AX25, "QIPCRTR": unix.AF_QIPCRTR, "KCM": unix.AF_KCM, "PPPoX": unix.AF_PPPOX, "LLC": unix.AF_LLC,
			"RxRPC": unix.AF_RXRPC, "phonet": unix.AF_PHONET, "AppleTalk": unix.AF_APPLETALK, "MCTP": unix.AF_MCTP}
		for name, family := range families {
			for _, kind := range []int{unix.SOCK_STREAM, unix.SOCK_DGRAM, unix.SOCK_RAW, unix.SOCK_SEQPACKET} {
				if fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC, 0); err == nil {
					unix.Close(fd)
					return succeeded("made a socket of family %s", name)
				}
			}
		}
		return denied("none of %d families", len(families))
	},
	"netlink-audit": func(*world.World) verdict {
		fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_AUDIT)
		if err != nil {
			return denied("%v", err)
		}
		const get = 1000 // AUDIT_GET
		return netlinkAsk(fd, get, unix.NLM_F_REQUEST|unix.NLM_F_ACK, nil)
	},
	"netlink-link": func(*world.World) verdict {
		fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
		if err != nil {
			return denied("%v", err)
		}
		// Sets the loopback interface, by number, to what it is.
		body := make([]byte, unix.SizeofIfInfomsg)
		body[4] = 1
		return netlinkAsk(fd, unix.RTM_NEWLINK, unix.NLM_F_REQUEST|unix.NLM_F_ACK, body)
	},
	"interfaces": func(*world.World) verdict {
		all, err := net.Interfaces()
		if err != nil {
			return denied("%v", err)
		}
		for _, i := range all {
			if i.Flags&net.FlagLoopback == 0 && i.Flags&net.FlagUp != 0 {
				return succeeded("there is an interface %s", i.Name)
			}
		}
		return denied("only lo is up among %d interfaces", len(all))
	},
	"machine-connections": func(w *world.World) verdict {
		for _, file := range []string{"/proc/net/tcp", "/proc/1/net/tcp"} {
			if b, err := os.ReadFile(file); err == nil && strings.Contains(string(b), fmt.Sprintf(":%04X ", w.TCP)) {
				return succeeded("%s lists the machine's listener", file)
			}
		}
		return denied("the machine's listener is not listed")
	},
	"machine-sockets": func(w *world.World) verdict {
		for _, file := range []string{"/proc/net/unix", "/proc/1/net/unix"} {
			if b, err := os.ReadFile(file); err == nil && strings.Contains(string(b), w.Abstract) {
				return succeeded("%s lists the machine's socket", file)
			}
		}
		return denied("the machine's socket is not listed")
	},
	"forge-credentials": func(*world.World) verdict {
		fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM, 0)
		if err != nil {
			return denied("%v", err)
		}
		rights := unix.UnixCredentials(&unix.Ucred{Pid: 1, Uid: 0, Gid: 0})
		return call("sending as PID 1 of root", unix.Sendmsg(fds[0], []byte("x"), rights, nil, 0))
	},
	"low-port": func(*world.World) verdict {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return denied("%v", err)
		}
		// Where ports of one's own network are free to all, this is no privilege.
		b, err := os.ReadFile("/proc/sys/net/ipv4/ip_unprivileged_port_start")
		if err == nil && strings.TrimSpace(string(b)) == "0" {
			return denied("the network is its own, and its ports are free to all")
		}
		return call("binding port 7", unix.Bind(fd, &unix.SockaddrInet4{Port: 7, Addr: [4]byte{127, 0, 0, 1}}))
	},
}

// dial succeeds when one of the suite's listeners answers with its greeting.
func dial(_ *world.World, network, address string) verdict {
	c, err := net.DialTimeout(network, address, answerPatience)
	if err != nil {
		return denied("%v", err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(answerPatience)) // a connection that is open takes one
	if network == "udp4" {                            // a stream's listener speaks first
		if _, err := c.Write([]byte("hello\n")); err != nil {
			return denied("%v", err)
		}
	}
	b := make([]byte, len(greeting))
	if _, err := io.ReadFull(c, b); err != nil || string(b) != greeting {
		return denied("no answer: %q, %v", b, err)
	}
	return succeeded("%s answers", address)
}

// greeting is what the suite's listeners answer.
const greeting = "gavel-probe\n"

// route succeeds when the kernel knows a way to an address; nothing is sent.
func route(address string) verdict {
	c, err := net.DialTimeout("udp", address, answerPatience)
	if err != nil {
		return denied("%v", err)
	}
	defer c.Close()
	return succeeded("%s has a route from %s", address, c.LocalAddr())
}

func socket(family, kind, protocol int) attempt {
	return func(*world.World) verdict {
		fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC, protocol)
		if err == nil {
			unix.Close(fd)
		}
		return call("making the socket", err)
	}
}

// netlinkAsk sends one message and judges the acknowledgement.
func netlinkAsk(fd int, kind, flags uint16, body []byte) verdict {
	defer unix.Close(fd)
	m := make([]byte, unix.SizeofNlMsghdr+len(body))
	h := (*unix.NlMsghdr)(asPointer(&m[0]))
	h.Len, h.Type, h.Flags, h.Seq = uint32(len(m)), kind, flags, 1
	copy(m[unix.SizeofNlMsghdr:], body)
	if err := unix.Sendto(fd, m, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return denied("sending: %v", err)
	}
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 1}); err != nil {
		return denied("%v", err)
	}
	answer := make([]byte, 4096)
	n, _, err := unix.Recvfrom(fd, answer, 0)
	if err != nil || n < unix.SizeofNlMsghdr+4 {
		return denied("no answer: %v", err)
	}
	if (*unix.NlMsghdr)(asPointer(&answer[0])).Type == unix.NLMSG_ERROR {
		if code := *(*int32)(asPointer(&answer[unix.SizeofNlMsghdr])); code != 0 {
			return denied("%v", unix.Errno(-code))
		}
	}
	return succeeded("the kernel takes the message")
}
