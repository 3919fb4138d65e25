# SPDX-License-Identifier: BSD-2-Clause
"""Programs that hold still for a moment, in which ss, lsof, ipcs and /proc are asked what is there."""
import json
import os
import pwd
import re
import shutil
import signal

from daemons import postgres_bin
from lib import Failure, Graph, check, check_equal, need, read_text, test, wait_for

USERS = re.compile(r'\("(?:[^"]*)",pid=(\d+),fd=\d+\)')
# Sockets that are asked over a connection which stays, until the test says that it has seen enough.
HELD = """
ask() { { printf "$1"; until test -e go; do sleep 0.1; done; } | socat - "$2" >"$3" & }
answered() { for f; do until test -s $f; do sleep 0.1; done; done; }
still() { >ready; until test -e go; do sleep 0.1; done; }
"""


def held_still(t, argv, look, options=(), seconds=60, lossless=True):
    """Trace argv; look() while it stands still, between the files `ready` and `go`. The graph."""
    out = t.path("graph.json")
    tracer = t.tracer(["-o", out] + list(options), argv)

    def is_ready():
        if not tracer.running():
            raise Failure("it has ended already: %s %s" % (tracer.stderr[-300:],
                                                           tracer.stdout[-300:]))
        return os.path.exists(t.path("ready"))
    wait_for(is_ready, "the programs to stand still", seconds)
    seen = look()
    t.write("go", "")
    tracer.wait(seconds)
    check_equal(tracer.status, 0, "exit status, with %s" % tracer.stderr[-300:])
    graph = Graph.load(out)
    graph.check_sane(tracer.pid, lossless)
    return graph, seen


def pids_of(graph):
    return {p["pid"] for p in graph.procs.values()}


def pids_at(graph, chan, end=None):
    return {graph.procs[e["process"]]["pid"] for e in graph.edges
            if e["channel"] == chan["id"] and end in (None, e["end"])}


def by_ends(graph, mechanism):
    """{inode of an end: (channel, number of the end)} of connections."""
    return {end["ino"]: (chan, i) for chan in graph.chans.values()
            if chan["mechanism"] == mechanism for i, end in enumerate(chan["ends"]) if end["ino"]}


# ss

def ss(t, *options):
    """(inode or None, fields of the line, pids of who has it) of each socket."""
    child = t.run(["ss", "-nHpO"] + list(options))
    check_equal(child.status, 0, "status of ss")
    for line in child.stdout.splitlines():
        yield line, {int(pid) for pid in USERS.findall(line)}


def unix_of_ss(t):
    """{inode: (inode of its peer, pids)} of connected unix sockets."""
    found = {}
    for line, pids in ss(t, "-x"):
        fields = line.split()
        if int(fields[7]):
            found[int(fields[5])] = (int(fields[7]), pids)
    return found


def tcp_of_ss(t):
    """{inode: (bytes sent, bytes received and read, pids)} of TCP connections."""
    found = {}
    for line, pids in ss(t, "-tei"):
        ino = re.search(r" ino:(\d+) ", line)
        if ino and line.startswith("ESTAB"):
            sent, got = (re.search(r" bytes_%s:(\d+)" % what, line)
                         for what in ("sent", "received"))
            again = re.search(r" bytes_retrans:(\d+)", line)
            found[int(ino.group(1))] = (
                int(sent.group(1) if sent else 0) - int(again.group(1) if again else 0),
                int(got.group(1) if got else 0) - int(line.split()[1]), pids)
    return found


def check_users(graph, what, chan, end, pids):
    """Who has the socket now has it in the graph, and nobody else has used it."""
    users = {graph.procs[e["process"]]["pid"] for e in graph.used_edges()
             if e["channel"] == chan["id"] and e["end"] == end}
    check(users <= pids, "%s: used by %s, ss says that %s have it" % (what, users, pids))


def check_unix(graph, seen, least):
    """Peers as ss pairs them."""
    ends, paired = by_ends(graph, "unix"), set()
    for ino, (peer, pids) in seen.items():
        if ino not in ends:
            continue  # nobody has used it
        chan, end = ends[ino]
        what = "socket %d of %s" % (ino, chan["name"])
        check_equal(chan["ends"][1 - end]["ino"], peer, "peer of " + what)
        check_users(graph, what, chan, end, pids)
        paired.add(chan["id"])
    check(len(paired) >= least, "only %d unix connections are in both, want %d" % (
        len(paired), least))


def check_tcp(graph, seen, least):
    """Bytes as the kernel counts them for each socket."""
    ends, paired = by_ends(graph, "tcp"), set()
    for ino, (sent, received, pids) in seen.items():
        if not pids & pids_of(graph):
            continue
        check(ino in ends or not sent + received, "tcp:[%d] is not in the graph" % ino)
        if ino not in ends:
            continue
        chan, end = ends[ino]
        what = "socket %d of %s" % (ino, chan["name"])
        for role, size in (("write", sent), ("read", received)):
            check_equal(sum(e["bytes"] for e in graph.edges if e["channel"] == chan["id"]
                            and e["end"] == end and e["role"] == role), size,
                        "%s: bytes of %s" % (what, role))
        check_users(graph, what, chan, end, pids)
        paired.add(chan["id"])
    check(len(paired) >= least, "only %d TCP connections are in both, want %d" % (
        len(paired), least))


def asked_ss(t):
    return unix_of_ss(t), tcp_of_ss(t)


# Each is asked if it is installed; a socat always is.
SERVERS = HELD + """
socat TCP-LISTEN:17390,bind=127.0.0.1,reuseaddr,fork EXEC:cat & s=$!
socat UNIX-LISTEN:echo,fork EXEC:cat & s="$s $!"
until test -S echo; do sleep 0.1; done
ask 'hello\\n' TCP:127.0.0.1:17390,retry=50,interval=0.1 a1
ask 'hello\\n' UNIX-CONNECT:echo a2
get='GET / HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n'
if command -v nginx >where; then
echo "daemon off; worker_processes 2; pid pid; error_log err; events { }
http { access_log off; client_body_temp_path t1; proxy_temp_path t2; fastcgi_temp_path t3;
uwsgi_temp_path t4; scgi_temp_path t5; server { listen unix:web; listen 127.0.0.1:17391;
location / { return 200 hello; } } }" >conf
nginx -p "$PWD/" -c conf 2>/dev/null & s="$s $!"
until test -S web; do sleep 0.1; done
ask "$get" TCP:127.0.0.1:17391,retry=50,interval=0.1 b1
ask "$get" UNIX-CONNECT:web b2
ask "$get" UNIX-CONNECT:web b3
answered b1 b2 b3
fi
if command -v redis-server >where; then
redis-server --port 17392 --unixsocket $PWD/redis --save "" >log & s="$s $!"
until test -S redis; do sleep 0.1; done
ask 'SET a 1\\r\\nGET a\\r\\n' TCP:127.0.0.1:17392,retry=50,interval=0.1 c1
ask 'PING\\r\\n' UNIX-CONNECT:redis c2
answered c1 c2
fi
answered a1 a2
still
kill $s; wait
"""


@test("ss: peers and bytes of servers, such as nginx and redis, and of clients over unix and TCP")
def servers(t):
    need("ss", "socat")
    others = [bool(shutil.which(name)) for name in ("nginx", "redis-server")]
    graph, (unix, tcp) = held_still(t, ["/bin/sh", "-c", SERVERS], lambda: asked_ss(t))
    check_unix(graph, unix, 1 + 2 * others[0] + others[1])
    check_tcp(graph, tcp, 1 + sum(others))


BUS = HELD + """
dbus-daemon --session --nofork --address=unix:path=$PWD/bus 2>err & d=$!
until test -S bus; do sleep 0.1; done
export DBUS_SESSION_BUS_ADDRESS=unix:path=$PWD/bus
dbus-monitor >seen & m=$!
dbus-monitor --profile >profile & p=$!
answered seen profile
dbus-send --print-reply --dest=org.freedesktop.DBus / org.freedesktop.DBus.ListNames >names
until grep -q ListNames profile && grep -q ListNames seen; do sleep 0.1; done
still
kill $d $m $p; wait
"""


@test("ss: peers of a desktop bus and its clients")
def bus(t):
    need("ss", "dbus-daemon", "dbus-monitor", "dbus-send")
    graph, (unix, _) = held_still(t, ["/bin/sh", "-c", BUS], lambda: asked_ss(t))
    check_unix(graph, unix, 2)


# /proc/PID/maps

MAPPED = re.compile(r"\w+-\w+ ...s \w+ \w+:\w+ (\d+)\s*(.*)")


def shared_maps(pid):
    """{inode: its name} of what it maps shared."""
    found = {}
    try:
        lines = read_text("/proc/%d/maps" % pid).splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return found
    for line in lines:
        one = MAPPED.match(line)
        if one and not one.group(2).startswith(("[", "anon_inode", "/usr/")):
            found[int(one.group(1))] = one.group(2)
    return found


def maps_below(pid):
    """The same of all that have come from that process and live, by pid."""
    found, waiting = {}, [pid]
    while waiting:
        pid = waiting.pop()
        try:
            for task in os.listdir("/proc/%d/task" % pid):
                below = read_text("/proc/%d/task/%s/children" % (pid, task)).split()
                found.update((int(child), shared_maps(int(child))) for child in below)
                waiting += map(int, below)
        except (FileNotFoundError, ProcessLookupError):
            pass
    return found


def has_from(graph, chan, pid):
    """Who told the graph that the process has it: itself, or one that it was forked by, or None."""
    have, proc = pids_at(graph, chan), graph.pid(pid)
    while proc and proc["pid"] not in have:
        proc = graph.procs.get(proc["parent"])
    return proc


def check_maps(graph, seen, least):
    """Who has what mapped shared has it in the graph, or has inherited it and not touched it."""
    chans = {c["ino"]: c for c in graph.chans.values() if c["unit"] == "page"}
    found = 0
    for pid, maps in seen.items():
        for ino, name in maps.items():
            check(ino in chans, "%s of process %d is not in the graph" % (name, pid))
            check(has_from(graph, chans[ino], pid), "%s: process %d has it" % (name, pid))
            found += 1
    check(found >= least, "only %d mappings are shared, want %d" % (found, least))


SOUND = HELD + """
export HOME=$PWD XDG_RUNTIME_DIR=$PWD PULSE_RUNTIME_PATH=$PWD PULSE_SERVER=unix:$PWD/pa
pulseaudio -n --daemonize=no --use-pid-file=no --exit-idle-time=-1 -L module-null-sink \\
-L "module-native-protocol-unix socket=$PWD/pa" 2>err & s=$!
until test -S pa; do sleep 0.1; done
pacat --latency-msec=20 </dev/zero & s="$s $!"
pacat -r --latency-msec=20 >recorded & s="$s $!"
answered recorded
still
kill $s; wait
"""


@test("/proc/PID/maps and ss: a sound server, which passes memory to its clients")
def sound(t):
    need("ss", "pulseaudio", "pacat")
    graph, ((unix, _), maps) = held_still(t, ["/bin/sh", "-c", SOUND], lambda: (
        asked_ss(t), maps_below(t.children[0].pid)))
    check_unix(graph, unix, 2)
    check_maps(graph, maps, 8)
    graph.none_outside()


# ipcs

def sysv(kind):
    """Rows of /proc/sysvipc, which is what ipcs shows, by id."""
    lines = [line.split() for line in read_text("/proc/sysvipc/" + kind).splitlines()]
    rows = [dict(zip(lines[0], map(int, line[:2] + [0] + line[3:]))) for line in lines[1:]]
    return {row[kind + "id" if kind != "msg" else "msqid"]: row for row in rows}


def chan_of_id(graph, mechanism, ident):
    found = [c for c in graph.chans.values()
             if c["mechanism"] == mechanism and c["ino"] == ident]
    check_equal(len(found), 1, "channels of %s %d" % (mechanism, ident))
    return found[0]


def check_key(chan, row):
    check_equal((chan["key"] or 0) & 0xffffffff, row["key"] & 0xffffffff,
                "key of " + chan["name"])


def check_segments(graph, rows, maps):
    """Size, key, who made it, and how many have it."""
    for row in rows:
        chan = chan_of_id(graph, "shm", row["shmid"])
        check_key(chan, row)
        check_equal(chan["capacity"], row["size"], "size of " + chan["name"])
        have = [pid for pid, of in maps.items() if row["shmid"] in of]
        check_equal(len(have), row["nattch"], "processes that have %s in their maps" % chan["name"])
        check(row["cpid"] in pids_at(graph, chan), "%s: made by %d" % (chan["name"], row["cpid"]))


POSTGRES = HELD + r"""
export PATH=$BIN:$PATH LC_ALL=C PGHOST=$PWD PGPORT=17393 PGUSER=postgres
initdb -D data -A trust -N >init.log 2>&1 || exit 3
postgres -D data -k "$PWD" -c listen_addresses=127.0.0.1 -c shared_buffers=16MB >log 2>&1 & p=$!
until pg_isready -q; do sleep 0.1; done
pgbench -i -q -s 1 postgres >bench.log 2>&1
mkfifo i1 i2
psql -qAt <i1 >a1 & c=$!
psql -h 127.0.0.1 -qAt <i2 >a2 & c="$c $!"
exec 8>i1 9>i2
for i in 8 9; do echo 'select count(*) from pgbench_accounts;' >&$i; done
answered a1 a2
still
kill -KILL $c # they would say goodbye
backends="select count(*) from pg_stat_activity where backend_type = 'client backend'"
until test "$(psql -qAtc "$backends")" = 1; do sleep 0.1; done
kill -INT $p; wait
"""


@test("ss, ipcs and /proc/PID/maps: PostgreSQL, its clients and its memory")
def postgres(t):
    need("ss", "setpriv", "pgbench")
    where = postgres_bin()
    os.chown(t.dir, pwd.getpwnam("postgres").pw_uid, -1)
    command = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", "env",
               "BIN=" + where, "/bin/sh", "-c", POSTGRES]
    graph, ((unix, tcp), memory, maps) = held_still(
        t, command, lambda: (asked_ss(t), sysv("shm"), maps_below(t.children[0].pid)), seconds=120)
    check_unix(graph, unix, 1)
    check_tcp(graph, tcp, 1)
    check_maps(graph, maps, 10)
    ours = [row for row in memory.values() if row["cpid"] in pids_of(graph)]
    check_equal(len(ours), 1, "segments of PostgreSQL's")
    check_segments(graph, ours, maps)


# Messages of several types, some of which stay; semaphores; memory that one writes and another reads.
PERL = r"""
my ($make, $remove) = (01600, 0);
my $q = msgget(4711, $make) // die; my $p = msgget(0, $make) // die;
my $s = semget(4711, 3, $make) // die; my $m = shmget(4711, 8192, $make) // die;
sub child { my $pid = fork; return $pid if $pid; $_[0]->(); exit 0 }
sub done { waitpid(child(@_), 0); die if $? }
sub put { msgsnd($_[0], pack("l! a*", $_[1], "x" x $_[2]), 0) or die }
sub take { my $b; defined msgrcv($_[0], $b, 100, $_[1], 0) or die }
sub change { semop($s, pack("s3", @_, 0)) or die }
done(sub { put($q, $_, 10 * $_) for 1 .. 5; change(0, 3) });
done(sub { take($q, $_) for 4, 2, 5; change(0, -2); change(2, 1) });
done(sub { shmwrite($m, "hello", 0, 5) or die; put($p, 7, 2) });
done(sub { my $b; shmread($m, $b, 0, 5) or die; open(F, ">", "ready"); close F;
	select(undef, undef, undef, 0.1) until -e "go" });
msgctl($_, $remove, 0) for $q, $p; semctl($s, 0, $remove, 0); shmctl($m, $remove, 0);
"""


def check_queue(graph, row):
    """What lies there, and who sent and took last."""
    chan = chan_of_id(graph, "msg", row["msqid"])
    check_key(chan, row)
    ops = {}
    for role, last in (("write", "lspid"), ("read", "lrpid")):
        edges = sorted(graph.edges_of(role=role, chan=chan), key=lambda e: e["last_ns"])
        pid = graph.procs[edges[-1]["process"]]["pid"] if edges else 0
        check_equal(row[last], pid, "%s of %s" % (last, chan["name"]))
        ops[role] = sum(e["ops"] for e in edges)
    check_equal(row["qnum"], ops["write"] - ops["read"], "messages in " + chan["name"])
    graph.check_balance(chan)
    check_equal(chan["left_bytes"], row["cbytes"], "bytes in " + chan["name"])


@test("ipcs: message queues, semaphores and shared memory of a Perl program")
def perl(t):
    need("perl")
    graph, tables = held_still(t, ["perl", "-w", t.write("a.pl", PERL)], lambda: {
        kind: list(sysv(kind).values()) for kind in ("msg", "sem", "shm")})
    queues = [row for row in tables["msg"] if row["lspid"] in pids_of(graph)]
    check_equal(sorted(row["qnum"] for row in queues), [1, 2], "messages in the queues")
    for row in queues:
        check_queue(graph, row)
    for kind in ("sem", "shm"):
        row, = [row for row in tables[kind] if row["key"] == 4711]
        chan = chan_of_id(graph, kind, row[kind + "id"])
        check_key(chan, row)
        if kind == "shm":
            check_equal(chan["capacity"], row["size"], "size of " + chan["name"])


# lsof

# A pipeline that stays, a coprocess, a chain of socats through a terminal and TCP, and a server.
HOLDERS = HELD + r"""
coproc CO { while read -r x; do echo "$x"; done; }
mkfifo in; cat <in | sed -u s/a/b/ | tee out >out2 & exec 8>in
(exec 7<>in; exec sleep 1000) & c=$! # has much that it does not use
socat TCP-LISTEN:17394,reuseaddr,bind=127.0.0.1 EXEC:'sed -u s/x/y/' & a=$!
socat PTY,link=tty,raw,echo=0 TCP:127.0.0.1:17394,retry=50,interval=0.1 & b=$!
until test -e tty; do sleep 0.1; done; exec 9<>tty
# All have begun as what they are when something has come through, once.
lines() { until test "$(wc -l <out)" = $1; do sleep 0.1; done; }
echo aha >&8; lines 1; echo xx >&9; read -r y <&9
until test "$(cat /proc/$c/comm)" = sleep; do sleep 0.1; done
kill -STOP $$
echo aha >&8; lines 2; echo hi >&"${CO[1]}"; read -r y <&"${CO[0]}"
echo xx >&9; read -r y <&9
kill -STOP $$
kill $a $b $c
"""


PTY = re.compile(r"(/dev/ptmx ->)?/dev/pts/(\d+)")
KINDS = {"FIFO": "pipe", "unix": "socket", "IPv4": "socket", "CHR": "pty"}


def lsof_key(entry):
    """As what the file of that entry is known here and in the graph, or None."""
    kind = KINDS.get(entry.get("t"))
    if kind == "pty":
        found = PTY.match(entry["n"])
        return found and (kind, int(found.group(2)), 0 if found.group(1) else 1)
    return kind and (kind, int(entry["d" if entry["t"] == "IPv4" else "i"]))


def lsof(t, pids):
    """{file: {(pid, access)}}, and {inode: that of the peer}, of pipes, sockets and terminals."""
    child = t.run(["lsof", "-nPE", "-F", "pfatdin", "-p", ",".join(map(str, pids))])
    have, peers, pid, entry = {}, {}, None, {}
    for line in child.stdout.splitlines() + ["f"]:
        if line[0] in "pf":
            key = lsof_key(entry)
            if key:
                ways = "rw" if (key[0], entry["a"]) == ("pipe", "u") else entry["a"]
                have.setdefault(key, set()).update((pid, way) for way in ways)
                peer = re.search(r"->INO=(\d+)", entry["n"])
                peers.update({key[1]: int(peer.group(1))} if peer else {})
            entry = {}
        entry[line[0]] = line[1:]
        pid = int(line[1:]) if line[0] == "p" else pid
    return have, peers


def holders(graph, chan):
    """{file: {(pid, access)}} of a channel, as lsof would say it; of sockets and terminals "u"."""
    found = {}
    for edge in graph.edges:
        if edge["channel"] != chan["id"] or edge["role"] not in ("read", "write"):
            continue
        end, access = chan["ends"] and chan["ends"][edge["end"]]["ino"], "u"
        key = ("socket", end)
        if chan["mechanism"] in ("pipe", "fifo"):
            key, access = ("pipe", chan["ino"]), edge["role"][0]
        elif chan["mechanism"] == "pty":
            key = ("pty", chan["ino"], edge["end"])
        found.setdefault(key, set()).add((graph.procs[edge["process"]]["pid"], access))
    return found


def is_held_by_files(chan):
    return chan["mechanism"] in ("pipe", "fifo", "pty") or (
        chan["mechanism"] in ("unix", "tcp") and chan["ends"])


@test("lsof -E: who holds pipes, sockets and a terminal from before the trace")
def lsof_holders(t):
    need("lsof", "socat", "bash", "sed")
    out, script = t.path("graph.json"), t.start(["bash", "-c", HOLDERS])

    def stands():
        return "\nState:\tT" in read_text("/proc/%d/status" % script.pid)
    wait_for(stands, "the programs to stand still")
    pids = [script.pid] + list(maps_below(script.pid))
    have, peers = lsof(t, pids)
    tracer = t.tracer(["-o", out] + ["--pid=%d" % pid for pid in pids])
    t.ready(tracer)
    script.signal(signal.SIGCONT)
    wait_for(lambda: not stands() or os.path.exists(t.path("done")), "the programs to go on")
    wait_for(stands, "the programs to have used all")
    t.stop(tracer)
    script.signal(signal.SIGCONT)
    script.wait()
    graph, seen = Graph.load(out), set()
    graph.check_sane(tracer.pid)
    for chan in graph.chans.values():
        if not chan["preexisting"] or not is_held_by_files(chan):
            continue
        for key, ours in holders(graph, chan).items():
            check_equal(sorted(ours), sorted(have.get(key, ())), "holders of %s %s" % (
                chan["name"], key))
            seen.add(chan["mechanism"])
        if chan["mechanism"] == "unix":
            ends = [end["ino"] for end in chan["ends"]]
            check_equal([peers.get(ino) for ino in ends], ends[::-1], "peers of " + chan["name"])
    check_equal(sorted(seen), ["fifo", "pipe", "pty", "tcp", "unix"], "mechanisms compared")


# fio

FIO = ("fio", "--output-format=json", "--output=fio.json", "--ioengine=io_uring", "--filename=f",
       "--bs=4k", "--size=512k", "--iodepth=8", "--name=writer", "--rw=write", "--name=reader",
       "--rw=read", "--stonewall")


@test("fio: what one of its processes writes and another reads through io_uring, by its own figures")
def fio(t):
    need("fio")
    graph = t.trace(FIO, options=["-m", "file"])
    jobs = {job["jobname"]: job for job in json.loads(read_text(t.path("fio.json")))["jobs"]}
    wrote, read = jobs["writer"]["write"], jobs["reader"]["read"]
    check_equal((wrote["io_bytes"], read["io_bytes"]), (524288, 524288), "bytes that fio tells of")
    chan, = [c for c in graph.chans.values() if c["path"] == t.path("f")]
    for role, job in (("write", wrote), ("read", read)):
        edges = graph.edges_of(role=role, chan=chan)
        check_equal([(e["ops"], e["bytes"]) for e in edges], [(job["total_ios"], job["io_bytes"])],
                    role + "s")
    flow, = graph.flows
    graph.exact_flow(graph.procs[flow["from"]], graph.procs[flow["to"]], 524288, chan)
    check(flow["from"] != flow["to"], "a flow from a process to itself")
