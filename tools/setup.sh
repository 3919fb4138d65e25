#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Install what is needed to build and test, from Debian's packages. Quick when nothing is missing.
set -u
cd "$(dirname "$0")/.." || exit 1

need=(
	gcc make pkg-config libc6-dev              # build
	clang llvm bpftool libbpf-dev libelf-dev zlib1g-dev
	graphviz libgraphviz-dev fonts-dejavu-core # drawings
	libcmocka-dev clang-format jq python3      # tests
	procps util-linux bsdextrautils iproute2 libcap2-bin
	qemu-system-x86 qemu-system-common kmod cpio busybox-static xz-utils
)
want=(bpftrace linux-perf strace socat lsof) # what the benchmark and some tests compare with

say() {
	echo "setup: $*" >&2
}

# Of the packages named, those that are not installed.
missing() {
	dpkg-query -W -f '${Package} ${Status}\n' "$@" 2>/dev/null |
		awk -v all="$*" '/ install ok installed$/ { have[$1] }
			END { n = split(all, p, " "); for (i = 1; i <= n; i++) if (!(p[i] in have)) print p[i] }'
}

# Of the packages named, those that the package lists on this machine do not offer.
unknown() {
	apt-cache policy "$@" 2>/dev/null |
		awk -v all="$*" '/^[^ ].*:$/ { p = substr($1, 1, length($1) - 1) }
			/^  Candidate:/ && $2 != "(none)" { have[p] }
			END { n = split(all, p2, " "); for (i = 1; i <= n; i++) if (!(p2[i] in have)) print p2[i] }'
}

apt() {
	mkdir -p build
	DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 "$@" \
		>>build/setup.log 2>&1 </dev/null
}

apt_update() {
	[ "${updated:-}" ] && return
	updated=1
	say "refreshing the package lists"
	apt update || say "the package lists could not be refreshed (build/setup.log); using the old ones"
}

# install_all PACKAGE...: 0 if all of them are there now.
install_all() {
	local gone
	[ "$(unknown "$@")" ] && apt_update
	gone=$(unknown "$@")
	if [ "$gone" ]; then
		say "not to be had from this machine's package sources:" $gone
		set -- $(printf '%s\n' "$@" | grep -vxF "$gone")
	fi
	if [ $# -gt 0 ]; then
		say "installing" "$@"
		apt install --no-install-recommends "$@" ||
			{ apt_update && apt install --no-install-recommends "$@"; } ||
			{ say "could not be installed (build/setup.log says why):" $(missing "$@"); return 1; }
	fi
	[ -z "$gone" ]
}

lack=($(missing "${need[@]}"))
lack_want=($(missing "${want[@]}"))
[ ${#lack[@]} -eq 0 ] && [ ${#lack_want[@]} -eq 0 ] && exit 0

if ! command -v apt-get >/dev/null; then
	say "no apt-get here; install by other means what these Debian packages hold:" "${lack[@]}"
	exit 1
fi
if [ "$(id -u)" -ne 0 ]; then
	if [ ${#lack[@]} -eq 0 ]; then
		say "to compare with other tools, install as root:" "${lack_want[@]}"
		exit 0
	fi
	say "must be root to install:" "${lack[@]}"
	exit 1
fi
rm -f build/setup.log
status=0
if [ ${#lack[@]} -gt 0 ]; then
	install_all "${lack[@]}" || status=1
fi
if [ ${#lack_want[@]} -gt 0 ]; then
	install_all "${lack_want[@]}" || say "going on without them"
fi
exit $status
