#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# run.sh [--update] [NAME...]: recordings in, text out. NAME.recs is the text of a recording (see
# mkrec.c); NAME.json, .dot, .txt, .dump and, if there is anything to say, .err are what must come
# out of it. A line `# options: ...` in NAME.recs goes to ipctrace graph and report.
# --update writes what came out as what must.

cd "$(dirname "$0")" || exit 2
golden=$PWD
build=${BUILD:-$golden/../../build}
ipctrace=${IPCTRACE:-$(realpath -m "$build/ipctrace")}
mkrec=${MKREC:-$(realpath -m "$build/tests/golden/mkrec")}
update=
[ "$1" = --update ] && update=1 && shift

tmp=$(mktemp -d) || exit 2
trap 'rm -rf "$tmp"' EXIT
cd "$tmp" || exit 2
export LC_ALL=C TZ=UTC NO_COLOR=1 COLUMNS=100
passed=0 failed=0 skipped=0

ok() {
	passed=$((passed + 1))
	echo "ok $1"
}

not_ok() {
	failed=$((failed + 1))
	echo "not ok $1"
}

# Everything that one recording says; the exit statuses are part of it.
make_outputs() {
	local name=$1 options
	options=$(sed -n 's/^# options: //p' "$golden/$name.recs")

	"$mkrec" "$golden/$name.recs" "$name.ipct" || return 1
	# shellcheck disable=SC2086 # options are words
	"$ipctrace" graph $options "$name.ipct" -o "$name.json" -o "$name.dot" 2>"$name.err"
	echo "graph: exit status $?" >>"$name.err"
	# shellcheck disable=SC2086
	"$ipctrace" report $options "$name.ipct" >"$name.txt" 2>>"$name.err"
	echo "report: exit status $?" >>"$name.err"
	"$ipctrace" dump "$name.ipct" >"$name.dump" 2>>"$name.err"
	echo "dump: exit status $?" >>"$name.err"
	[ "$(grep -cv 'exit status 0$' "$name.err")" -gt 0 ] || rm "$name.err"
	return 0
}

# mkrec undoes dump.
check_inverse() {
	local name=$1

	[ ! -s "$name.err" ] || return 0
	"$mkrec" "$name.dump" again.ipct && cmp "$name.ipct" again.ipct
}

# The same recording gives the same bytes.
check_again() {
	local name=$1 options
	options=$(sed -n 's/^# options: //p' "$golden/$name.recs")

	[ -f "$name.json" ] || return 0
	# shellcheck disable=SC2086
	"$ipctrace" graph $options "$name.ipct" -o again.json -o again.dot 2>/dev/null
	cmp "$name.json" again.json && cmp "$name.dot" again.dot
}

check_one() {
	local name=$1 ext status=0

	for ext in json dot txt dump err; do
		if [ -n "$update" ]; then
			rm -f "$golden/$name.$ext"
			[ -f "$name.$ext" ] && cp "$name.$ext" "$golden/$name.$ext"
		elif [ -f "$name.$ext" ] || [ -f "$golden/$name.$ext" ]; then
			diff -uN "$golden/$name.$ext" "$name.$ext" || status=1
		fi
	done
	check_inverse "$name" || status=1
	check_again "$name" || status=1
	if [ -f "$name.json" ] && ! python3 -m json.tool "$name.json" >/dev/null; then
		status=1
	fi
	return $status
}

if [ ! -x "$ipctrace" ] || [ ! -x "$mkrec" ]; then
	echo "not ok build: $ipctrace and $mkrec are needed"
	echo "0 passed, 1 failed, 0 skipped"
	exit 1
fi
if [ $# -eq 0 ]; then
	for f in "$golden"/*.recs; do
		set -- "$@" "$(basename "$f" .recs)"
	done
fi
for name; do
	if make_outputs "$name" && check_one "$name"; then
		ok "$name"
	else
		not_ok "$name"
	fi
done
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed -eq 0 ]
