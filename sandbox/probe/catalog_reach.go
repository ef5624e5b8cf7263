package probe

import "golang.org/x/sys/unix"

// deviceProbes reach for hardware and for the kernel's own devices.
var deviceProbes = list{
	{Name: "mknod-disk", Tries: "makes a node of the disk under the worker"},
	{Name: "mknod-mem", Tries: "makes a node of /dev/mem"},
	{Name: "mknod-kmsg", Tries: "makes a node of /dev/kmsg"},
	{Name: "mknod-loop-control", Tries: "makes a node of /dev/loop-control"},
	{Name: "mknod-fuse", Tries: "makes a node of /dev/fuse"},
	{Name: "mknod-tun", Tries: "makes a node of /dev/net/tun"},
	{Name: "mknod-tty", Tries: "makes a node of /dev/tty1"},
	{Name: "open-mem", Tries: "opens /dev/mem", needs: path("/dev/mem")},
	{Name: "open-port", Tries: "opens /dev/port", needs: path("/dev/port")},
	{Name: "open-kmsg", Tries: "opens /dev/kmsg", needs: path("/dev/kmsg")},
	{Name: "open-disk", Tries: "opens any block device"},
	{Name: "open-loop-control", Tries: "opens /dev/loop-control", needs: path("/dev/loop-control")},
	{Name: "open-loop", Tries: "opens /dev/loop0", needs: path("/dev/loop0")},
	{Name: "open-fuse", Tries: "opens /dev/fuse", needs: path("/dev/fuse")},
	{Name: "open-tun", Tries: "opens /dev/net/tun", needs: path("/dev/net/tun")},
	{Name: "open-kvm", Tries: "opens /dev/kvm", needs: path("/dev/kvm")},
	{Name: "open-vsock", Tries: "opens /dev/vsock", needs: path("/dev/vsock")},
	{Name: "open-userfaultfd", Tries: "opens /dev/userfaultfd", needs: path("/dev/userfaultfd")},
	{Name: "open-console", Tries: "opens /dev/console", needs: path("/dev/console")},
	{Name: "open-vcs", Tries: "opens the screen of a console", needs: path("/dev/vcs1")},
	{Name: "open-btrfs-control", Tries: "opens /dev/btrfs-control", needs: path("/dev/btrfs-control")},
	{Name: "open-mapper-control", Tries: "opens /dev/mapper/control", needs: path("/dev/mapper/control")},
	{Name: "open-latency", Tries: "opens /dev/cpu_dma_latency, which binds all CPUs", needs: path("/dev/cpu_dma_latency")},
	{Name: "unexpected-devices", Tries: "looks for any device that is no source or sink of bytes and no terminal of its own"},
}

// processProbes reach for other processes: those of the machine, of which one
// sleeps to be found, and PID 1 of the sandbox.
var processProbes = list{
	{Name: "see-processes", Tries: "looks for a process of the machine in /proc"},
	{Name: "signal-process", Tries: "ends a process of the machine by its number"},
	{Name: "signal-group", Tries: "ends a process group of the machine"},
	{Name: "signal-all", Tries: "ends every process that it may signal", Shows: "a process of the machine is gone"},
	{Name: "signal-queue", Tries: "ends a process of the machine with rt_sigqueueinfo"},
	{Name: "pidfd-signal", Tries: "ends a process of the machine by a pidfd"},
	{Name: "kill-pid1", Tries: "sends every signal to PID 1", Shows: "the run ends in an error, as if the sandbox were broken", breaks: true, hard: true},
	{Name: "stop-pid1", Tries: "stops PID 1", Shows: "PID 1 is stopped, or the run ends in an error", breaks: true},
	{Name: "ptrace-pid1", Tries: "traces PID 1"},
	{Name: "ptrace-process", Tries: "traces a process of the machine"},
	{Name: "read-pid1-memory", Tries: "reads the memory of PID 1"},
	{Name: "write-pid1-memory", Tries: "writes to the memory of PID 1"},
	{Name: "pidfd-getfd-pid1", Tries: "takes a descriptor from PID 1"},
	{Name: "pidfd-process", Tries: "opens a pidfd of a process of the machine"},
	{Name: "process-memory", Tries: "opens the memory of a process of the machine"},
	{Name: "prlimit-process", Tries: "reads the limits of a process of the machine"},
	{Name: "renice-process", Tries: "changes the priority of a process of the machine"},
	{Name: "affinity-process", Tries: "binds a process of the machine to a CPU"},
	{Name: "kcmp-pid1", Tries: "compares its descriptors with those of PID 1", needs: known(unix.SYS_KCMP)},
	{Name: "move-pages-pid1", Tries: "asks where the pages of PID 1 lie", needs: known(unix.SYS_MOVE_PAGES)},
	{Name: "shared-memory", Tries: "finds the machine's System V shared memory"},
	{Name: "message-queue", Tries: "finds the machine's System V message queue"},
	{Name: "posix-queue", Tries: "opens the machine's POSIX message queue"},
}

// networkProbes reach for what listens on the machine and lies beyond it.
var networkProbes = list{
	{Name: "tcp-loopback", Tries: "connects to a listener on the machine's 127.0.0.1"},
	{Name: "tcp6-loopback", Tries: "connects to a listener on the machine's ::1", needs: family(unix.AF_INET6, unix.SOCK_STREAM, 0)},
	{Name: "udp-loopback", Tries: "asks a UDP listener on the machine's 127.0.0.1"},
	{Name: "abstract-socket", Tries: "connects to an abstract Unix socket of the machine"},
	{Name: "path-socket", Tries: "connects to a Unix socket in the worker's directory"},
	{Name: "path-socket-by-pid1", Tries: "connects to it below /proc/1/root"},
	{Name: "engine-socket", Tries: "connects to the sockets of container engines, D-Bus and systemd"},
	{Name: "metadata-route", Tries: "looks for a route to a cloud's metadata, 169.254.169.254", Shows: "there is a route"},
	{Name: "internet-route", Tries: "looks for a route to the Internet", Shows: "there is a route"},
	{Name: "ipv6-route", Tries: "looks for a route to the Internet by IPv6", Shows: "there is a route"},
	{Name: "name-server", Tries: "looks for a route to a name server", Shows: "there is a route"},
	{Name: "raw-socket", Tries: "makes a raw socket"},
	{Name: "raw-socket-ipv6", Tries: "makes a raw IPv6 socket", needs: family(unix.AF_INET6, unix.SOCK_STREAM, 0)},
	{Name: "packet-socket", Tries: "makes a packet socket", needs: family(unix.AF_PACKET, unix.SOCK_RAW, 0)},
	{Name: "vsock", Tries: "makes a socket to the hypervisor, which no namespace confines", needs: family(unix.AF_VSOCK, unix.SOCK_STREAM, 0)},
	{Name: "alg-socket", Tries: "makes a socket to the kernel's cryptography", needs: family(unix.AF_ALG, unix.SOCK_SEQPACKET, 0)},
	{Name: "xdp-socket", Tries: "makes an XDP socket", needs: family(unix.AF_XDP, unix.SOCK_RAW, 0)},
	{Name: "key-socket", Tries: "makes an IPsec key socket", needs: family(unix.AF_KEY, unix.SOCK_RAW, 2)},
	{Name: "rare-sockets", Tries: "makes sockets of 16 rare families", needs: rareFamily},
	{Name: "netlink-audit", Tries: "asks the audit system", needs: family(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_AUDIT), Shows: "the kernel answers without an error"},
	{Name: "netlink-link", Tries: "changes the loopback interface to what it is", Shows: "the kernel answers without an error"},
	{Name: "interfaces", Tries: "looks for an interface that is up and not lo", Shows: "there is one"},
	{Name: "machine-connections", Tries: "looks for the machine's listener in /proc/net/tcp", Shows: "it is listed"},
	{Name: "machine-sockets", Tries: "looks for the machine's socket in /proc/net/unix", Shows: "it is listed"},
	{Name: "forge-credentials", Tries: "sends a message as PID 1 of root", Shows: "it is sent"},
	{Name: "low-port", Tries: "binds a port below 1024", Shows: "it is bound"},
}

// rareFamily finds any of the families that rare-sockets tries.
func rareFamily() string {
	for _, f := range []int{unix.AF_TIPC, unix.AF_RDS, unix.AF_CAN, unix.AF_BLUETOOTH, unix.AF_SMC, unix.AF_NFC, unix.AF_X25, unix.AF_AX25, unix.AF_QIPCRTR,
		unix.AF_KCM, unix.AF_PPPOX, unix.AF_LLC, unix.AF_RXRPC, unix.AF_PHONET, unix.AF_APPLETALK, unix.AF_MCTP} {
		for _, kind := range []int{unix.SOCK_STREAM, unix.SOCK_DGRAM, unix.SOCK_RAW, unix.SOCK_SEQPACKET} {
			if family(f, kind, 0)() == "" {
				return ""
			}
		}
	}
	return "this kernel has none of the families"
}

// fileProbes look for the secret that lies in the worker's directories,
// environment and descriptors.
var fileProbes = list{
	{Name: "key-of-worker", Tries: "reads a key in the worker's directory"},
	{Name: "key-in-root", Tries: "reads a key in /root"},
	{Name: "key-in-etc", Tries: "reads a key in /etc"},
	{Name: "key-in-varlib", Tries: "reads a key in /var/lib"},
	{Name: "key-by-roots", Tries: "reads a key below every /proc/PID/root"},
	{Name: "key-by-directories", Tries: "reads a key in every process's working directory"},
	{Name: "key-by-descriptors", Tries: "reads a key through every process's descriptors"},
	{Name: "key-by-input-link", Tries: "reads a key through a symlink in the inputs"},
	{Name: "key-by-hard-link", Tries: "links a key into its directory", Shows: "the link is made"},
	{Name: "key-by-rename", Tries: "moves a key and back", Shows: "it is moved"},
	{Name: "key-status", Tries: "asks for the status of a key", Shows: "it is told"},
	{Name: "worker-directories", Tries: "lists the directories with keys", Shows: "a key is listed"},
	{Name: "own-environment", Tries: "looks for the worker's variable in its environment", Shows: "it is there"},
	{Name: "inherited-descriptors", Tries: "looks for descriptors of the worker that it inherited", Shows: "there is one besides 0, 1 and 2"},
	{Name: "standard-descriptors", Tries: "looks at what 0, 1 and 2 are", Shows: "one is a file, directory, terminal or socket of the worker"},
	{Name: "open-by-handle", Tries: "opens its directory by handle, which needs no name", Shows: "the call is allowed", needs: known(unix.SYS_NAME_TO_HANDLE_AT)},
	{Name: "open-root-by-handle", Tries: "guesses the handle of a disk's root", Shows: "the guess is opened, or was allowed", needs: known(unix.SYS_OPEN_BY_HANDLE_AT)},
	{Name: "machine-id", Tries: "reads the machine's id", Shows: "it is the machine's", needs: path("/etc/machine-id")},
	{Name: "shadow", Tries: "reads /etc/shadow", Shows: "it gives a byte"},
}
