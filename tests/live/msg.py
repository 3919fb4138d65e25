# SPDX-License-Identifier: BSD-2-Clause
"""System V message queues: every workload against its facts."""
import errno

import lib
from facts import register, trace_workload
from lib import PYTHON, check, check_equal, need, pick, role_sum, test, wait_for
from queues import CALLS, calls

VARIANTS = {
    "msg-parent-child": ["", "direction=up tags=5", "size=0 messages=10", "size=8192 messages=50",
                         "tags=3 size=1"],
    "msg-server": ["", "clients=1", "clients=7 requests=20"],
    "msg-choose": ["", "how=type", "how=lowest tags=5", "how=except readers=3",
                   "writers=1 readers=4", "writers=5 readers=5 messages=4 tags=8 how=type"],
    "msg-many-many": ["", "readers=1", "writers=1 readers=5", "tags=4",
                      "writers=8 readers=6 messages=100"],
    "msg-full": ["", "side=receiver", "size=1000 messages=5"],
    "msg-nonblock": ["", "bound=1000 size=1000", "size=0 bound=20"],
    "msg-late": ["", "left=3", "left=10"],
    "msg-truncate": ["", "room=100", "room=0"],
    "msg-copy": ["", "messages=1"],
    "msg-rmid": ["", "side=sender", "waiters=1"],
    "msg-namespaces": [""],
}

register("msg-", VARIANTS)


def script(text):
    return [PYTHON, "-c", CALLS + text]


def queues_of(graph):
    return [c for c in graph.chans.values() if c["mechanism"] == "msg"]


def children_of(graph):
    return [graph.pid(int(pid)) for pid in graph.tracer.stdout.split()]


@test("how long messages lay in the queue")
def time_in_queue(t):
    graph = t.trace(script("""
q = make()
must(send(q, 10))
start = time.monotonic()
while time.monotonic() < start + 0.05:
    pass
must(send(q, 20))
must(receive(q))
must(receive(q))
remove(q)
"""))
    chan, = queues_of(graph)
    check(50e6 <= chan["max_queued_ns"] < graph.data["ipctrace"]["duration_ns"],
          "max_queued_ns is %d" % chan["max_queued_ns"])
    check(chan["max_queued_ns"] <= chan["queued_ns"] < 2 * chan["max_queued_ns"],
          "queued_ns is %d" % chan["queued_ns"])
    check_equal([chan["highwater"], chan["highwater_messages"]], [30, 2], "most in it")


@test("many senders and receivers at once: soon each message is followed")
def crowd(t):
    graph = trace_workload(t, "msg-many-many", [
        "writers=3", "readers=3", "size=64", "messages=%d" % pick(15000, 4000)], ("-m", "msg"))
    known, moved = sum(f["bytes"] for f in graph.flows), graph.totals("msg")["read_bytes"]
    check(known > moved / 4, "only %d of %d bytes are known" % (known, moved))


@test("several threads of a process send and receive")
def threads(t):
    graph = t.trace(script("""
import threading
q = make()
def both():
    for i in range(100):
        must(send(q, 10, 1 + i % 2))
        must(receive(q))
all = [threading.Thread(target=both) for i in range(4)]
for one in all: one.start()
for one in all: one.join()
remove(q)
"""), options=("-m", "msg"))
    proc, = graph.procs.values()
    graph.exact_flow(proc, proc, 4000)
    edge, = graph.edges_of(role="read")
    check_equal(edge["types"], {"1": 200, "2": 200}, "types")


@test("calls on a queue that was removed are errors of that queue")
def removed(t):
    graph = t.trace(script("""
q = make()
must(send(q, 10))
remove(q)
assert send(q, 10) == receive(q) == -errno.EINVAL
assert send(0x7ffffff0, 10) == -errno.EINVAL  # there never was such a queue
"""))
    chan, = queues_of(graph)
    check_equal(chan["left_bytes"], 10, "bytes left")
    check_equal([(e["role"], e["ops"], e["errors"]) for e in graph.edges_of(chan=chan)],
                [("write", 1, {"EINVAL": 1}), ("read", 0, {"EINVAL": 1})], "edges")


@test("who sends is not watched: found bytes, and then messages from outside")
def strangers(t):
    mine = calls()
    q = mine["make"]()
    try:
        for size in (10, 20, 30):
            mine["must"](mine["send"](q, size))
        out = t.path("graph.json")
        tracer = t.tracer(["-o", out, "-m", "msg"], script("""
for size in (10, 20, 30, 40, 50):
    assert receive(%d) == size
""" % q))
        sent = 0
        wait_for(lambda: mine["receive"](q, 2, mine["IPC_NOWAIT"]) == -errno.ENOMSG and
                 not messages_in(q), "the first messages to be taken")
        for size in (40, 50):
            sent += not mine["send"](q, size)
        tracer.wait(60)
        check_equal((tracer.status, sent), (0, 2), "exit status, messages sent")
        graph = lib.Graph.load(out)
        graph.check_sane(tracer.pid)
        chan, = queues_of(graph)
        check(chan["preexisting"], "it is not said to have been there before")
        check_equal(sum(f["bytes"] + f["shared_bytes"] for f in graph.flows), 150, "bytes")
        check_equal({f["from"] for f in graph.flows}, {lib.OUTSIDE}, "senders")
    finally:
        mine["remove"](q)


def messages_in(q):
    for line in lib.read_text("/proc/sysvipc/msg").splitlines()[1:]:
        if int(line.split()[1]) == q:
            return int(line.split()[4])
    raise lib.Failure("the queue is not in /proc/sysvipc/msg")


@test("a queue that nobody holds is not forgotten when rows run short")
def sweeps(t):
    graph = t.trace(script("""
q = make()
pipes = []
def put():
    must(send(q, 100, 3))
def take():
    assert receive(q) == 100
child(put)
start = time.monotonic()
while time.monotonic() < start + 1.5:
    pipes.append(os.pipe())
    os.write(pipes[-1][1], b"x")
    if len(pipes) > 200:
        for end in pipes.pop(0):
            os.close(end)
child(take)
remove(q)
"""), options=("--max-edges", "1024", "-m", "pipe,msg"), lossless=False)
    check_equal(len(queues_of(graph)), 1, "number of queues")
    sender, receiver = children_of(graph)
    graph.exact_flow(sender, receiver, 100)


@test("fakeroot: each program asks the daemon by one queue and is answered by another")
def fakeroot(t):
    need("fakeroot-sysv")
    graph = t.trace(["fakeroot-sysv", "/bin/sh", "-c",
                     "touch a; chown 5:7 a; stat -c %u:%g a; chmod 4755 a; stat -c %a a"],
                    options=("-m", "msg"))
    check_equal(graph.tracer.stdout.split(), ["5:7", "4755"], "output")
    daemon, = [p for p in graph.by_comm("faked-sysv") if graph.edges_of(p, "read")]
    asked, answered = sorted(queues_of(graph), key=lambda c: c["key"])
    check_equal(answered["key"], asked["key"] + 1, "keys")
    for comm, count in (("chown", 1), ("stat", 2), ("chmod", 1)):
        procs = graph.by_comm(comm)
        check_equal(len(procs), count, "number of " + comm)
        for proc in procs:
            size = role_sum(graph.edges_of(proc, "write", asked), "write", "bytes")
            check(size > 0, comm + " asked nothing")
            graph.exact_flow(proc, daemon, size, asked)
            size = role_sum(graph.edges_of(proc, "read", answered), "read", "bytes")
            check(size > 0, comm + " was told nothing")
            graph.exact_flow(daemon, proc, size, answered)
    graph.balanced()

# Each leaves a message behind, which nobody can receive any more.
OWN_NAMESPACE = """
import ctypes, struct, sys
libc = ctypes.CDLL(None)
size = int(sys.argv[1])
queue, sems = libc.msgget(0, 0o1600), libc.semget(0, 1, 0o1600)
message = ctypes.create_string_buffer(struct.pack("l", 1) + bytes(size))
for _ in range(2):
    assert not libc.msgsnd(queue, message, size, 0)
assert libc.msgrcv(queue, message, size, 0, 0) == size
for _ in range(size):
    assert not libc.semop(sems, struct.pack("Hhh", 0, 1, 0), 1)
"""


@test("queues and semaphores of ipc namespaces one after another, which have the same numbers")
def namespaces_again(t):
    need("unshare")
    path = t.write("own.py", OWN_NAMESPACE)
    graph = t.shell("for i in 1 10 100; do unshare -i %s %s $i; done" % (PYTHON, path),
                    options=["-m", "msg,sem"])
    check_equal(sorted(e["bytes"] for e in graph.edges_of(role="write")), [2, 20, 200],
                "bytes into each queue")
    check_equal(sorted(e["ops"] for e in graph.edges_of(role="wake")), [1, 10, 100],
                "calls on each set")
    check_equal(len(graph.chans), 6, "number of channels")
    check_equal(sorted((f["from"] == f["to"], f["bytes"]) for f in graph.flows),
                [(True, 1), (True, 10), (True, 100)], "who received whose")
