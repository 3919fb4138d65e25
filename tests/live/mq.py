# SPDX-License-Identifier: BSD-2-Clause
"""POSIX message queues: every workload against its facts."""
from facts import register, trace_workload
from lib import PYTHON, check, check_equal, pick, test
from queues import CALLS

VARIANTS = {
    "mq-parent-child": ["", "direction=up tags=5", "size=0 messages=10", "size=8192 messages=50",
                        "tags=3 size=1"],
    "mq-server": ["", "clients=1", "clients=7 requests=20"],
    "mq-choose": ["", "tags=1 readers=3", "writers=1 readers=3 messages=10 tags=5"],
    "mq-many-many": ["", "readers=1", "writers=1 readers=5", "tags=4",
                     "writers=8 readers=6 messages=100"],
    "mq-full": ["", "side=receiver", "bound=1 messages=5"],
    "mq-nonblock": ["", "bound=1", "size=0"],
    "mq-late": ["", "left=3", "left=10"],
    "mq-size": ["", "size=1"],
    "mq-timed": ["", "ms=0"],
    "mq-notify": ["", "how=none"],
    "mq-unlink": [""],
    "mq-open": [""],
    "mq-namespaces": [""],
}

register("mq-", VARIANTS)


def script(text):
    return [PYTHON, "-c", CALLS + text]


@test("many senders and receivers at once: soon each message is followed")
def crowd(t):
    graph = trace_workload(t, "mq-many-many", [
        "writers=3", "readers=3", "tags=3", "messages=%d" % pick(15000, 4000)], ("-m", "mq"))
    known, moved = sum(f["bytes"] for f in graph.flows), graph.totals("mq")["read_bytes"]
    check(known > moved / 4, "only %d of %d bytes are known" % (known, moved))


@test("receivers that do not ask for the priority")
def no_priority(t):
    graph = t.trace(script("""
q = mq_open("/ipctrace-test-%d" % os.getpid())
def put(priority, size):
    must(mq_send(q, size, priority))
def take(size):
    return mq_receive(q) == size
child(put, 1, 100)
child(put, 7, 1000)
child(put, 3, 10)
child(put, 7, 2000)
for size in (1000, 2000, 10, 100):
    child(take, size)
libc.mq_unlink(b"/ipctrace-test-%d" % os.getpid())
"""))
    procs = [graph.pid(int(pid)) for pid in graph.tracer.stdout.split()]
    for sender, receiver, size in ((1, 4, 1000), (3, 5, 2000), (2, 6, 10), (0, 7, 100)):
        graph.exact_flow(procs[sender], procs[receiver], size)
    graph.none_outside()


@test("reading the descriptor of a queue receives no message")
def no_receipt(t):
    graph = t.trace(script("""
name = "/ipctrace-test-%d" % os.getpid()
q = mq_open(name)
must(mq_send(q, 123))
assert os.pread(q, 100, 0).startswith(b"QSIZE:123 ")
assert os.read(q, 100).startswith(b"QSIZE:123 ")
assert mq_receive(q) == 123
libc.mq_unlink(name.encode())
"""), options=("-m", "mq"))
    edge, = graph.edges_of(role="read")
    check_equal([edge["ops"], edge["bytes"]], [1, 123], "received")


@test("the limit, and the most that lay in it")
def limits(t):
    graph = t.trace(script("""
name = "/ipctrace-test-%d" % os.getpid()
class Attr(ctypes.Structure):
    _fields_ = [("flags", ctypes.c_long), ("maxmsg", ctypes.c_long), ("msgsize", ctypes.c_long),
                ("rest", ctypes.c_long * 5)]
q = must(call("mq_open", name.encode(), os.O_RDWR | os.O_CREAT, 0o600,
              ctypes.byref(Attr(0, 4, 500))))
for size in (500, 0, 7):
    must(mq_send(q, size))
for size in (500, 0, 7):
    assert mq_receive(q) == size
libc.mq_unlink(name.encode())
"""))
    chan, = [c for c in graph.chans.values() if c["mechanism"] == "mq"]
    check_equal([chan[k] for k in ("capacity", "capacity_messages", "highwater",
                                   "highwater_messages")], [2000, 4, 507, 3], "limits")
