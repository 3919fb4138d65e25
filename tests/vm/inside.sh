#!/bin/sh
# What a command finds in the VM, one "ok NAME" or "not ok NAME" a line: run by harness.sh.
set -u
tree=$(dirname "$0")

check()
{
	name=$1
	shift
	if "$@" >/dev/null 2>&1; then
		echo "ok $name"
	else
		echo "not ok $name"
	fi
}

refuses()
{
	! "$@"
}

is_mounted()
{
	grep -q " $1 $2 " /proc/mounts
}

release_is_of()
{
	case $(uname -r) in
	"$1".*-cloud-amd64) ;;
	*) return 1 ;;
	esac
}

# Not even with the read-only flag of the guest's own mount lifted.
root_stays_closed()
{
	mount -o remount,rw / || true
	probe=$tree/.vm-harness-probe
	refuses touch "$probe" && refuses touch /etc/.vm-harness-probe && [ ! -e "$probe" ]
}

pins_a_map()
{
	bpftool map create /sys/fs/bpf/probe type hash key 4 value 8 entries 16 name probe &&
		bpftool map dump pinned /sys/fs/bpf/probe && rm /sys/fs/bpf/probe
}

loads_tracing_programs()
{
	features=$(bpftool feature probe kernel)
	for type in raw_tracepoint tracing kprobe lsm; do
		case $features in
		*"eBPF program_type $type is available"*) ;;
		*) return 1 ;;
		esac
	done
}

check "runs as root" [ "$(id -u)" = 0 ]
check "runs the kernel asked for" release_is_of "$IPCTRACE_VM"
check "starts in the source tree" [ -x tools/vm/run ]
check "sees its host name" [ "$(cat /proc/sys/kernel/hostname)" = ipctrace-vm ]
for row in "/proc proc" "/sys sysfs" "/sys/fs/bpf bpf" "/sys/fs/cgroup cgroup2" \
	"/sys/kernel/tracing tracefs" "/dev devtmpfs" "/dev/pts devpts" "/dev/shm tmpfs" \
	"/dev/mqueue mqueue" "/tmp tmpfs" "/run tmpfs"; do
	check "has ${row% *} as ${row#* }" is_mounted "${row% *}" "${row#* }"
done
for dir in /tmp /run /var/tmp /dev/shm "$HOME" "$IPCTRACE_RESULTS"; do
	check "can write to $dir" touch "$dir/probe"
done
check "cannot write to the host's root" root_stays_closed
check "has the loopback up" grep -q . /sys/class/net/lo/address
check "reaches itself over the loopback" python3 -c '
import socket
server = socket.create_server(("127.0.0.1", 0))
socket.create_connection(server.getsockname())'
check "has no limit on locked memory" grep -q "^Max locked memory *unlimited *unlimited" /proc/self/limits
check "has the kernel's BTF" [ -s /sys/kernel/btf/vmlinux ]
check "lists BPF programs" bpftool prog
check "pins a BPF map" pins_a_map
check "loads tracing programs of all kinds" loads_tracing_programs
if command -v depmod >/dev/null; then
	check "loads modules by name" modprobe vsock
else
	echo "skip loads modules by name # no kmod"
fi
# A shell opens /dev/stderr anew, and that must not cut off what was written before.
echo "the last word" >/dev/stderr
