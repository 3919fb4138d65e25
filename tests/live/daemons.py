# SPDX-License-Identifier: BSD-2-Clause
"""Servers and runtimes from packages, every descriptor of theirs compared with strace."""
import glob
import os
import pwd
import re

import everyfd
from lib import PYTHON, Failure, Skip, check, check_equal, need, pick, read_text, test


def flows(graph, mechanism, source, target):
    """Bytes from processes of one name to those of another."""
    return sum(f["bytes"] for f in graph.flows
               if graph.chans[f["channel"]]["mechanism"] == mechanism
               and graph.name(f["from"]).startswith(source)
               and graph.name(f["to"]).startswith(target))


REDIS = r"""
redis-server --port $PORT --unixsocket $PWD/sock --save "" >log & r=$!
until redis-cli -p $PORT ping >/dev/null 2>&1; do sleep 0.1; done
redis-benchmark -p $PORT -n 300 -c 5 -q -t set,get >/dev/null
redis-benchmark -s sock -n 300 -c 5 -q -t set,get >/dev/null
redis-cli -s sock set a b; redis-cli -p $PORT bgsave
while test "$(redis-cli -p $PORT info persistence | grep -c bgsave_in_progress:1)" = 1; do :; done
redis-cli -p $PORT shutdown nosave; wait $r
"""

SOCAT = r"""
socat UDP-RECVFROM:$PORT,bind=127.0.0.1,fork SYSTEM:'tr a-z A-Z' & u=$!
socat UNIX-LISTEN:s,fork UDP:127.0.0.1:$PORT & b=$!
socat TCP-LISTEN:$PORT,reuseaddr,fork,bind=127.0.0.1 UNIX-CONNECT:s,retry=50,interval=0.1 & c=$!
socat PTY,link=tty,raw,echo=0 TCP:127.0.0.1:$PORT,retry=50,interval=0.1 & d=$!
until test -e tty && test -S s; do sleep 0.05; done
>out; (echo hello; until grep -q HELLO out; do sleep 0.1; done) |
timeout 20 socat - OPEN:tty,raw,echo=0 >out; cat out
kill $u $b $c $d; wait
"""

NODE = r"""
const cp = require('child_process'), cluster = require('cluster'), http = require('http');
if (cluster.isPrimary) {
  const cat = cp.spawn('cat');
  cat.stdin.end('x'.repeat(100000));
  cat.stdout.resume();
  let up = 0, left = 10;
  const done = () => --left || Object.values(cluster.workers).forEach(w => w.send('bye'));
  const ask = () => http.get({ port: process.env.PORT }, r => r.resume().on('end', done));
  cluster.fork(); cluster.fork();
  cluster.on('listening', () => { if (++up == 2) for (let i = 0; i < 10; i++) ask(); });
} else {
  http.createServer((q, r) => r.end('hi')).listen(process.env.PORT);
  process.on('message', () => process.exit(0));
}
"""

PYTHON_POOL = r"""
import multiprocessing, os
from multiprocessing import shared_memory
def square(x):
    return x * x
def poke(name):
    memory = shared_memory.SharedMemory(name=name)
    memory.buf[5000] = 7
    memory.close()
def say(queue, lock):
    with lock:
        queue.put(os.getpid())
def store(table, i):
    table[i] = i
def run(children):
    [c.start() for c in children]
    return children
if __name__ == "__main__":
    for how in ("fork", "spawn", "forkserver"):
        of = multiprocessing.get_context(how)
        with of.Pool(3) as pool:
            assert sum(pool.map(square, range(50))) == 40425
        memory = shared_memory.SharedMemory(create=True, size=16384)
        memory.buf[0] = 1
        [c.join() for c in run([of.Process(target=poke, args=(memory.name,))])]
        assert memory.buf[5000] == 7
        memory.close()
        memory.unlink()
        queue, lock = of.Queue(), of.Lock()
        children = run([of.Process(target=say, args=(queue, lock)) for _ in range(3)])
        assert {queue.get() for _ in children} == {c.pid for c in children}
        [c.join() for c in children]
        with of.Manager() as manager:
            table = manager.dict()
            [c.join() for c in run([of.Process(target=store, args=(table, i)) for i in range(3)])]
            assert len(table) == 3
"""


@test("redis: over TCP and a unix socket, and a child that saves")
def redis(t):
    need("strace", "redis-server", "redis-cli", "redis-benchmark")
    graph = everyfd.same(t, ["/bin/sh", "-c", "PORT=17379;" + REDIS], least=80)
    for mechanism in ("tcp", "unix"):
        # SET and GET, as redis-benchmark writes them: 45 and 36 bytes; 3 or so answer.
        sent = flows(graph, mechanism, "redis-benchmark", "redis-server")
        check(300 * (45 + 36) <= sent < 300 * (45 + 36) + 1000,
              "%d bytes of requests over %s" % (sent, mechanism))


@test("socat: a terminal, TCP, a unix socket and UDP in a row")
def socat(t):
    need("strace", "socat", "timeout")
    graph = everyfd.same(t, ["/bin/sh", "-c", "PORT=17380;" + SOCAT], least=15)
    check("HELLO" in graph.tracer.stdout, "the answer is %r" % graph.tracer.stdout)
    for mechanism in ("pty", "tcp", "unix", "udp"):
        check(flows(graph, mechanism, "socat", "socat") >= 6, "nothing went over " + mechanism)


@test("node: a child, and a cluster that hands connections to its workers")
def node(t):
    need("strace", "node")
    graph = everyfd.same(t, ["env", "PORT=17381", "node", t.write("a.js", NODE)], least=30)
    check_equal(sum(f["bytes"] for f in graph.flows_between(target=graph.one("cat"))), 100000,
                "bytes to cat")


@test("Python's multiprocessing: pool, queue, lock, shared memory and manager, started in 3 ways")
def pool(t):
    need("strace")
    graph = everyfd.same(t, [PYTHON, t.write("a.py", PYTHON_POOL)], least=150, seconds=120)
    shared = [c for c in graph.chans.values() if c["path"] and "/psm_" in c["path"]]
    check_equal(len(shared), 3, "pieces of shared memory")
    for chan in shared:
        pages = {f["pages"] for f in graph.flows if f["channel"] == chan["id"]}
        check_equal(pages, {1}, "pages that came back in " + chan["name"])
    graph.none_outside()


# PostgreSQL

POSTGRES = r"""
export PATH=$BIN:$PATH LC_ALL=C PGHOST=$PWD PGPORT=17382 PGUSER=postgres
initdb -D data -A trust -N >init.log 2>&1 || exit 3
postgres -D data -k "$PWD" -c listen_addresses=127.0.0.1 -c shared_buffers=16MB >log 2>&1 & p=$!
until pg_isready -q; do sleep 0.1; done
grep /dev/zero /proc/$p/maps >maps
psql -qAtc "create table t (a int); insert into t select generate_series(1, 10000)"
psql -h 127.0.0.1 -qAtc "select sum(a) from t" >sum
pgbench -h 127.0.0.1 -i -q -s 1 postgres >bench.log 2>&1
pgbench -h 127.0.0.1 -c 4 -j 2 -t 20 postgres >>bench.log 2>&1
psql -qAtc "listen x; notify x" >/dev/null
ps -o args= --ppid $p >titles
kill -INT $p; wait $p
"""

# What every server has, whatever it is asked for.
PARTS = ("postgres: checkpointer", "postgres: background writer", "postgres: walwriter")


def postgres_bin():
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin/initdb"))
    try:
        pwd.getpwnam("postgres")
    except KeyError:
        raise Skip("there is no user postgres")
    if not found:
        raise Skip("no PostgreSQL server is installed")
    return os.path.dirname(found[-1])


def check_memory(t, graph):
    """The server's main memory is one channel, as large as the kernel says, and all parts have it."""
    found = re.match(r"(\w+)-(\w+) \S+ \S+ \S+ (\d+)\s+/dev/zero", read_text(t.path("maps")))
    start, end, ino = found.group(1), found.group(2), int(found.group(3))
    chans = [c for c in graph.chans.values() if c["mechanism"] == "mmap" and c["ino"] == ino]
    check_equal(len(chans), 1, "channels of the server's memory")
    check_equal(chans[0]["capacity"], int(end, 16) - int(start, 16), "size of the server's memory")
    users = {graph.procs[e["process"]]["title"] or "" for e in graph.edges
             if e["channel"] == chans[0]["id"]}
    for part in PARTS:
        check(any(u.startswith(part) for u in users), "%s is not among those that have it: %s" % (
            part, sorted(users)))


@test("PostgreSQL: clients over unix and TCP, its processes, memory and signals in one picture")
def postgres(t):
    need("strace", "setpriv", "ps")
    where = postgres_bin()
    os.chmod(t.dir, 0o755)
    os.mkdir(t.path("pg"))
    os.chown(t.path("pg"), pwd.getpwnam("postgres").pw_uid, -1)
    command = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", "env",
               "BIN=" + where, "/bin/sh", "-c", "cd pg;" + POSTGRES]
    graph = everyfd.same(t, command, least=40, seconds=120, options=["-o", t.path("x.dot")])
    t.dir = os.path.join(t.dir, "pg")
    try:
        check_equal(read_text(t.path("sum")), "50005000\n", "sum")
        check_memory(t, graph)
        titles = {p["title"] for p in graph.procs.values() if p["title"]}
        for line in read_text(t.path("titles")).splitlines():
            if line.startswith("["):  # one that is ending has no title any more
                continue
            check(line.strip() in {s.strip() for s in titles},
                  "ps has %r, the graph only %s" % (line, sorted(titles)))
    finally:
        t.dir = os.path.dirname(t.dir)
    for mechanism, client in (("unix", "psql"), ("tcp", "pgbench")):
        check(flows(graph, mechanism, client, "postgres"), client + " said nothing")
        check(flows(graph, mechanism, "postgres", client), client + " heard nothing")
    dot = read_text(t.path("x.dot"))
    # One that hardly did anything may be among "other", if there is very much else.
    shown = [part for part in PARTS if 'label="%s[' % part in dot]
    check(len(shown) >= 2, "only %s of %s are in the picture" % (shown, PARTS))
    graph.none_outside()
