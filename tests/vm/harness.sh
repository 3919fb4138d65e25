#!/bin/sh
# The VM runner's own tests: every way to end has its exit status, and nothing is left behind.
# usage: tests/vm/harness.sh [--kernel 6.1|6.12]...     (both unless told)
#
# Two VMs run at once, which is also how the tree's other tests use the runner.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
run=$here/../../tools/vm/run
number=0 passed=0 failed=0 skipped=0

report()
{
	number=$((number + 1))
	case $1 in
	ok) passed=$((passed + 1)); echo "ok $number - $2" ;;
	skip) skipped=$((skipped + 1)); echo "ok $number - ${2%% #*} # SKIP ${2##*# }" ;;
	*) failed=$((failed + 1)); echo "not ok $number - $2" ;;
	esac
}

# report_if NAME COMMAND...
report_if()
{
	name=$1
	shift
	if "$@"; then
		report ok "$name"
	else
		report "not ok" "$name"
	fi
}

# start CASE [OPTION...] -- COMMAND...: in the background; its pid is in $started.
start()
{
	dir=$work/$1
	shift
	mkdir -p "$dir/results"
	"$run" --kernel "$kernel" --deadline 120 "$@" >"$dir/out" 2>"$dir/err" &
	started=$!
}

# finish CASE PID
finish()
{
	status=0
	wait "$2" || status=$?
	echo "$status" >"$work/$1/status"
}

# expect CASE STATUS PATTERN NAME: the status, and that standard error has one line with PATTERN
# (or none at all where PATTERN is empty).
expect()
{
	got=$(cat "$work/$1/status")
	lines=$(wc -l <"$work/$1/err")
	if [ "$got" != "$2" ]; then
		report "not ok" "$4 (status $got, not $2)"
	elif [ -z "$3" ] && [ "$lines" != 0 ]; then
		report "not ok" "$4 (talk on standard error)"
	elif [ -n "$3" ] && ! { [ "$lines" = 1 ] && grep -q "$3" "$work/$1/err"; }; then
		report "not ok" "$4 (standard error lacks '$3')"
	else
		report ok "$4"
		return
	fi
	sed 's/^/# /' "$work/$1/err"
}

# Each case is a function that starts its VM; `pair` runs two of them side by side.
case_inside() { start inside --results "$work/inside/results" -- tests/vm/inside.sh; }
case_seven() { start seven -- sh -c 'echo one; echo two >/dev/stderr; exit 7'; }
case_signal() { start signal -- sh -c 'kill -SEGV $$'; }
# The output goes through the guest's first process, which must have had its turn.
panic='echo before; until [ -s /run/ipctrace-vm/share/output ]; do :; done
echo c >/proc/sysrq-trigger'
case_panic() { start panic -- sh -c "$panic"; }
case_hang() { start hang --deadline 20 -- sleep 1000; }
case_off() { start off -- sh -c 'echo o >/proc/sysrq-trigger; sleep 100'; }
case_silent() { start silent -- mkdir /run/ipctrace-vm/share/status; }
case_forged() { start forged -- sh -c 'echo "ipctrace-vm x status 0" >/dev/ttyS0; exit 9'; }
case_splat() { start splat -- sh -c 'echo "BUG: provoked" >/dev/kmsg'; }
case_taint() { start taint -- sh -c 'echo 512 >/proc/sys/kernel/tainted; exit 3'; }
case_missing() { start missing --module vsock -- /no/such/command; }
case_stop() { start stop -- sh -c 'echo running; sleep 1000'; }

pair()
{
	"case_$1"
	first=$started
	"case_$2"
	finish "$2" "$started"
	finish "$1" "$first"
}

# Ends a runner with SIGTERM while its command runs.
stop_midway()
{
	case_stop
	tries=0
	until grep -q running "$work/stop/out" || [ $tries = 600 ]; do
		sleep 0.1
		tries=$((tries + 1))
	done
	kill -TERM "$started"
	finish stop "$started"
}

report_inside()
{
	grep -E '^(ok|not ok|skip) ' "$work/inside/out" >"$work/inside/reports" || true
	while read -r word rest; do
		[ "$word" != not ] || { word="not ok" rest=${rest#ok }; }
		report "$word" "the guest $rest"
	done <"$work/inside/reports"
	report_if "output survives a reopened /dev/stderr" grep -qx "the last word" "$work/inside/out"
	report_if "results come back" [ -e "$work/inside/results/probe" ]
	report_if "the kernel's log comes back" \
		grep -q "Linux version $kernel" "$work/inside/results/vm-dmesg.log"
	report_if "the host's root is as before" [ ! -e "$here/.vm-harness-probe" ]
}

# Every process of a runner has the name of its temporary folder in its arguments or environment.
no_process_left()
{
	for process in /proc/[0-9]*; do
		[ "${process#/proc/}" != $$ ] || continue
		if tr '\0' '\n' <"$process/cmdline" 2>/dev/null | grep -q "$TMPDIR/ipctrace-vm"; then
			echo "# left: ${process#/proc/}"
			return 1
		fi
	done
}

no_mount_left()
{
	! grep -q "$work" /proc/self/mountinfo
}

test_kernel()
{
	report_if "$kernel: the cache fills" "$run" --kernel "$kernel" --fetch
	pair inside seven
	pair signal panic
	pair off silent
	pair splat taint
	pair missing forged
	case_hang
	hang=$started
	stop_midway
	finish hang "$hang"
	report_inside
	expect inside 0 "" "$kernel: a command that succeeds"
	expect seven 7 "" "$kernel: exit 7 is 7"
	report_if "$kernel: both outputs, in order" [ "$(tr '\n' ' ' <"$work/seven/out")" = "one two " ]
	expect signal 139 "" "$kernel: killed by SIGSEGV is 139"
	expect missing 127 "" "$kernel: no such command is 127"
	expect panic 120 "panic .*sysrq triggered crash" "$kernel: a panic"
	report_if "$kernel: the output before the panic" grep -qx before "$work/panic/out"
	expect hang 121 "deadline .*did not end within 20 s" "$kernel: a hang"
	expect off 122 "no verdict .*file says None" "$kernel: a guest that powers off"
	expect silent 122 "no verdict .*writing .*status: Is a directory" "$kernel: a status that cannot be written"
	expect forged 9 "" "$kernel: a forged serial line"
	expect splat 123 "kernel splat .*BUG: provoked" "$kernel: a splat in the log"
	expect taint 123 "kernel splat .*taint flags: warning .*was 3" "$kernel: a tainted kernel"
	expect stop 143 "" "$kernel: SIGTERM ends the runner"
}

# Without the network and without lists there is no package: a status and a line, at once.
test_no_package()
{
	mkdir -p "$work/nopackage"
	printf 'Dir::Etc::sourcelist "/dev/null";\nDir::Etc::sourceparts "/dev/null";\n%s\n' \
		"Dir::State \"$work/nopackage\"; Dir::Cache \"$work/nopackage\";" >"$work/apt.conf"
	status=0
	APT_CONFIG=$work/apt.conf IPCTRACE_VM_CACHE=$work/nopackage/cache \
		"$run" --kernel 6.1 -- true 2>"$work/nopackage/err" || status=$?
	echo "$status" >"$work/nopackage/status"
	expect nopackage 124 "linux-image-cloud-amd64.* is not to be had" "no package to be had"
}

test_usage()
{
	status=0
	"$run" --no-such-option -- true 2>"$work/usage" || status=$?
	report_if "wrong usage is 125" [ "$status" = 125 ]
}

# The verdicts that no guest can be talked into.
test_verdicts()
{
	"$here/verdict_test.py" >"$work/verdicts" || true
	while read -r word rest; do
		[ "$word" != not ] || { word="not ok" rest=${rest#ok }; }
		report "$word" "verdict: $rest"
	done <"$work/verdicts"
	report_if "verdicts were all tried" grep -q "^ok the last" "$work/verdicts"
}

test_nothing_left()
{
	report_if "no process is left" no_process_left
	report_if "no mount is left" no_mount_left
	report_if "no temporary file is left" [ -z "$(ls "$TMPDIR")" ]
}

kernels=
while [ $# -gt 0 ]; do
	case $1 in
	--kernel) kernels="$kernels ${2:?}"; shift 2 ;;
	*) echo "usage: $0 [--kernel 6.1|6.12]..." >&2; exit 2 ;;
	esac
done

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
mkdir "$work/tmp"
export TMPDIR="$work/tmp"

for kernel in ${kernels:-6.1 6.12}; do
	test_kernel
done
test_no_package
test_verdicts
test_usage
test_nothing_left
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed = 0 ]
