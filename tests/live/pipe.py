# SPDX-License-Identifier: BSD-2-Clause
"""Anonymous pipes: every workload against its facts, and who wrote what to whom."""
from facts import register, trace_workload
from lib import PYTHON, check, check_equal, pick, role_sum, test

# Parameters of each factory; one that is not here runs with its defaults.
VARIANTS = {
    "pipe-parent-child": ["", "direction=up rchunk=7 bytes=5000", "bytes=0", "bytes=1 chunk=1",
                          "chunk=65537 bytes=500000", "chunk=100 rchunk=65536 bytes=30000"],
    "pipe-siblings": ["", "chunk=999 bytes=100000", "rchunk=65536"],
    "pipe-chain": ["", "n=2 bytes=1000", "n=20 bytes=20000", "n=4 exec=1 chunk=1000 bytes=64K"],
    "pipe-two-way": ["", "rounds=10 request=1 reply=4096"],
    "pipe-nonblock": ["", "how=fcntl chunk=1000 rchunk=999", "how=nowait", "chunk=100000"],
    "pipe-full": ["", "side=reader calls=10 chunk=100", "chunk=100000 calls=3",
                  "chunk=1000 calls=80"],
    "pipe-epipe": ["", "mode=die", "count=20 chunk=4096"],
    "pipe-zero": ["", "count=0", "count=10"],
    "pipe-dup": ["", "rounds=3 chunk=1"],
    "pipe-orphan": ["", "mode=parent-first"],
    "pipe-self": ["", "rounds=100 chunk=10"],
    "pipe-resize": ["", "size=4096", "size=100000"],
    "pipe-vfork-exec": ["", "how=vfork", "how=sh"],
    "pipe-many-writers": ["", "writers=20 records=10 record=100", "writers=1"],
    "pipe-many-readers": ["", "readers=20 record=16", "readers=2 record=64 records=500"],
    "pipe-many-many": ["", "writers=2 readers=2", "writers=5 readers=4 step=100 rounds=5",
                       "order=free records=50", "order=free writers=8 readers=5 record=100"],
    "pipe-threads": ["", "writers=10 readers=1", "writers=1 readers=10 records=50"],
    "pipe-ops": ["", "count=100 size=4096"],
    "pipe-churn": ["", "n=20 jobs=1 count=10 size=100"],
    "pipe-splice": ["", "put=sendfile move=tee", "put=vmsplice take=vmsplice move=copy",
                    "put=writev take=readv chunk=1000", "put=pwritev2 take=preadv2 move=tee",
                    "put=write move=splice take=splice", "put=write take=read chunk=7 bytes=5000"],
    "pipe-splice-nonblock": ["", "how=open count=20"],
}


register("pipe-", VARIANTS)

# A pipe, and children that take their turn on it: each has ended before the next one starts.
TURNS = """
import os, sys
r, w = os.pipe()
def turn(call, *args):
    pid = os.fork()
    if not pid:
        os._exit(0 if call(*args) else 1)
    print(pid, flush=True)
    assert os.waitpid(pid, 0)[1] == 0
def put(size):
    return os.write(w, b"x" * size) == size
def take(size):
    return len(os.read(r, size)) == size
def times(n, call, size):
    return all(call(size) for _ in range(n))
for word in sys.argv[1:]:
    size, _, n = word[1:].partition("*")
    turn(times, int(n or 1), put if word[0] == "+" else take, int(size))
"""


def turns(t, *words):
    """Run the turns; returns the graph and the processes in order."""
    graph = t.trace([PYTHON, "-c", TURNS] + list(words))
    procs = [graph.pid(int(line)) for line in graph.tracer.stdout.split()]
    check_equal(len(procs), len(words), "number of children")
    return graph, procs


@test("10 B and 20 B by two writers, each read by another reader")
def two_by_two(t):
    graph, (a, b, r1, r2) = turns(t, "+10", "+20", "-10", "-20")
    graph.exact_flow(a, r1, 10)
    graph.exact_flow(b, r2, 20)
    check_equal(sum(f["bytes"] for f in graph.flows), 30, "bytes of all flows")
    graph.balanced()


@test("10 B and 20 B by two writers, read across their border")
def across_the_border(t):
    graph, (a, b, r1, r2) = turns(t, "+10", "+20", "-15", "-15")
    graph.exact_flow(a, r1, 10)
    graph.exact_flow(b, r1, 5)
    graph.exact_flow(b, r2, 15)
    graph.exact_flow(a, r2, 0)
    graph.balanced()


@test("a second writer long after the first has been read")
def late_writer(t):
    graph, (a, r1, b, r2, c, r3) = turns(t, "+100", "-60", "+7", "-40", "+9", "-16")
    graph.exact_flow(a, r1, 60)
    graph.exact_flow(a, r2, 40)
    graph.exact_flow(b, r3, 7)
    graph.exact_flow(c, r3, 9)
    check_equal(sum(f["bytes"] for f in graph.flows), 116, "bytes of all flows")
    graph.balanced()


@test("one writer and one reader for long, so that the ledger rests, then others")
def long_alone(t):
    graph, (a, r1, b, c, r2, r3) = turns(t, "+3*1000", "-3*990", "+7", "+10", "-37", "-10")
    graph.exact_flow(a, r1, 2970)
    graph.exact_flow(a, r2, 30)
    graph.exact_flow(b, r2, 7)
    graph.exact_flow(c, r3, 10)
    check_equal(sum(f["bytes"] for f in graph.flows), 3017, "bytes of all flows")
    graph.balanced()


@test("one writer, many readers: plain flows")
def many_readers(t):
    graph, procs = turns(t, "+30", *["-%d" % n for n in (1, 2, 3, 4, 5, 15)])
    for reader, size in zip(procs[1:], (1, 2, 3, 4, 5, 15)):
        graph.exact_flow(procs[0], reader, size)
    graph.balanced()


@test("more writers than a ledger has entries: exact or shared, never wrong")
def ledger_overflow(t):
    count = pick(600, 300)
    graph = t.trace([PYTHON, "-c", """
import os
r, w = os.pipe()
for i in range(%d):
    pid = os.fork()
    if not pid:
        os.write(w, b"x" * (i %% 5 + 1))
        os._exit(0)
    os.waitpid(pid, 0)
size = 0
os.close(w)
while True:
    got = os.read(r, 65536)
    if not got:
        break
    size += len(got)
print(os.getpid(), size)
""" % count], lossless=False)
    pid, size = map(int, graph.tracer.stdout.split())
    reader = graph.pid(pid)
    flows = graph.flows_between(target=reader)
    sure = sum(f["bytes"] for f in flows)
    check(sure <= size, "%d bytes told of %d" % (sure, size))
    for edge in graph.edges_of(role="write"):
        writer = graph.procs[edge["process"]]
        mine = graph.flows_between(writer, reader)
        got = sum(f["bytes"] for f in mine)
        check(got <= edge["bytes"] <= got + sum(f["shared_bytes"] for f in mine),
              "%d bytes of %s, told as %d" % (edge["bytes"], writer["id"], got))
    check_equal(role_sum(graph.edges, "read", "bytes"), size, "bytes read")
    graph.balanced()


@test("ends of a pipe in one process: a flow to itself")
def to_itself(t):
    graph = t.trace([PYTHON, "-c", "import os; r, w = os.pipe(); os.write(w, b'abc'); "
                     "print(os.getpid()); os.read(r, 2)"])
    me = graph.pid(int(graph.tracer.stdout))
    graph.exact_flow(me, me, 2)
    graph.balanced()
    check_equal([c["left_bytes"] for c in graph.chans.values()], [1], "bytes left")


@test("parent, child and siblings: how the ends are related")
def relations(t):
    down = trace_workload(t, "pipe-parent-child", ["bytes=10"])
    check_equal([c["relation"] for c in down.chans.values()], ["parent-child"], "relation")
    across = trace_workload(t, "pipe-siblings", ["bytes=10"])
    check_equal([c["relation"] for c in across.chans.values()], ["siblings"], "relation")
    for chan in down.chans.values():
        check_equal((chan["medium"], chan["unit"], chan["buffering"]),
                    ("memory", "byte stream", "bounded"), "what kind of channel")

# While a thread reads, another one closes the descriptor; its number is then another pipe's. The
# reader must not sleep on anything else in between, and so nobody may hold Python's lock.
CLOSED_WHILE_READING = """
import os, threading, time
a, b = os.pipe(), os.pipe()
number = a[0]
def reader():
    os.read(number, 100)
    os.dup2(b[0], number)
    os.write(b[1], b"hello")
    os.read(number, 100)
def call_of(task):
    with open("/proc/%d/task/%d/syscall" % (main, task)) as f:
        return f.read().split()[0]
main = os.getpid()
thread = threading.Thread(target=reader)
thread.start()
child = os.fork()
if not child:
    while call_of(main) != "61": # wait4
        time.sleep(0.001)
    os.write(a[1], b"abc")
    try:
        while call_of(thread.native_id):
            time.sleep(0.001)
    except OSError:
        os._exit(0)
while call_of(thread.native_id) != "0": # read
    time.sleep(0.001)
os.close(number)
os.waitpid(child, 0)
thread.join()
"""


@test("a descriptor that is closed while a thread reads from it, and then another pipe's")
def closed_while_reading(t):
    graph = t.trace([PYTHON, "-c", CLOSED_WHILE_READING], options=["-m", "pipe"])
    graph.balanced()
    check_equal(sorted(f["bytes"] for f in graph.flows if f["certainty"] == "exact"), [3, 5],
                "bytes through each pipe")
