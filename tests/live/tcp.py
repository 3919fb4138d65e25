# SPDX-License-Identifier: BSD-2-Clause
"""TCP connections: every workload against its facts, and many through one descriptor."""
import random
from collections import Counter

from facts import register
from lib import PYTHON, check, check_equal, pick, test

VARIANTS = {
    "tcp-echo": ["", "how=mmsg", "how=send family=v6", "how=msg family=mapped", "how=iov family=dual",
                 "reply=1000000 rounds=2"],
    "tcp-half-close": ["", "family=v6 reply=0", "bytes=0", "bytes=1M chunk=65536 rchunk=1000"],
    "tcp-reset": ["", "take=0 family=v6", "mode=linger"],
    "tcp-unused": ["", "family=v6"],
    "tcp-nonblock": ["", "how=dontwait chunk=100000"],
    "tcp-wait": ["", "chunk=1 calls=50"],
    "tcp-backlog": ["", "mode=wait clients=2", "family=v6 clients=20 bytes=1"],
    "tcp-workers": ["", "mode=reuseport clients=10", "mode=fork", "family=dual",
                    "clients=20 workers=8 conns=10"],
    "tcp-full": ["", "accept=late family=v6", "sndbuf=10000 rcvbuf=10000", "chunk=1M",
                 "chunk=100 sndbuf=100000 rcvbuf=5000 accept=late", "sndbuf=1 rcvbuf=1"],
    "tcp-fill": ["", "accept=late", "sndbuf=30000 rcvbuf=30000 family=v6", "chunk=3000"],
    "tcp-two-ns": ["", "bytes=2000"],
    "tcp-ways": ["", "put=sendfile", "put=splice family=v6", "put=zerocopy peeks=0"],
    "tcp-daytime": ["", "family=v6 clients=10"],
    "tcp-orphans": ["", "family=mapped"],
    "tcp-fastopen": ["", "family=v6 count=2"],
    "tcp-self": [""],
    "tcp-unaccepted": ["", "family=v6"],
    "tcp-urgent": ["", "inline=1"],
    "tcp-fan-out": ["", "servers=20"],
}

register("tcp-", VARIANTS)

# One connection after another, on one processor: the sockets' numbers count up by two, and of the
# clients' ports only the upper byte, as fast, so that both together must not be the same again.
ONE_AFTER_ANOTHER = """
import os, socket
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
server = socket.socket()
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
server.bind(("127.0.0.1", 0))
server.listen(1)
done = 0
if not os.fork():
    for i in range(100):
        with server.accept()[0] as conn:
            conn.sendall(conn.recv(100))
    os._exit(0)
for port in range(16384 + 99, 61000, 256):
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            client.bind(("127.0.0.1", port))
        except OSError:
            continue
        client.connect(server.getsockname())
        done += 1
        client.sendall(b"x" * done)
        client.recv(100)
    if done == 100:
        break
print(done)
os.wait()
"""


@test("connections one after another through the same descriptor")
def one_after_another(t):
    graph = t.trace([PYTHON, "-c", ONE_AFTER_ANOTHER])
    flows = {}
    for flow in graph.flows:
        if graph.chans[flow["channel"]]["mechanism"] == "tcp":
            check_equal(flow["certainty"], "exact", "certainty")
            flows.setdefault(flow["channel"], []).append(flow["bytes"])
    check_equal(sorted(flows.values()), [[n, n] for n in range(1, 101)], "bytes either way of each")


# Both ends are handed over, and one is handed back: who came again took no turns.
HANDED_OVER = """
import os, socket
s = socket.create_server(("127.0.0.1", 0))
def get(c, n):
    while n:
        n -= len(c.recv(n))
if not os.fork():
    c = socket.create_connection(s.getsockname())
    c.sendall(b"a" * 999)
    if not os.fork():
        c.sendall(b"b" * 30)
        get(c, 2)
        os._exit(0)
    os.wait()
    c.sendall(b"a")
    os._exit(0)
c, _ = s.accept()
if not os.fork():
    get(c, 1000)
    c.sendall(b"x")
    os._exit(0)
os.wait()
get(c, 29)
c.sendall(b"x")
get(c, 1)
os.wait()
"""


@test("a connection that both ends hand over: what only one can have sent is his")
def handed_over(t):
    graph = t.trace([PYTHON, t.write("a.py", HANDED_OVER)], ["-m", "tcp"])
    first = [e for e in graph.edges if e["bytes"] == 1000]
    check_equal(sorted(e["role"] for e in first), ["read", "write"], "edges of 1000 bytes")
    ends = {e["role"]: graph.procs[e["process"]] for e in first}
    said = [(f["bytes"], f["shared_bytes"]) for f in
            graph.flows_between(ends["write"], ends["read"])]
    check_equal(said, [(970, 30)], "bytes at least, and at most more")


# Who writes and who reads, in which order: P is the first process, any other letter a child of its own.
TURNS = """
import os, random, socket, sys
def by(who, work):
    if who == "P":
        work()
        return os.getpid()
    pid = os.fork()
    if not pid:
        work()
        os._exit(0)
    os.waitpid(pid, 0)
    return pid
def take(sock, size):
    assert len(sock.recv(size, socket.MSG_WAITALL)) == size
rng = random.Random(int(sys.argv[1]))
with socket.create_server(("127.0.0.1", 0)) as listener:
    for order in sys.argv[2:]:
        client = socket.create_connection(listener.getsockname())
        server = listener.accept()[0]
        put, taken = order.split("/")
        ends = ((client, put), (server, taken))
        sizes = [rng.sample(range(1, 300), len(put)), rng.sample(range(1, 300), len(taken))]
        sizes[0][-1] += sum(sizes[1]) # there is enough, and some of it is never read
        print(client.getsockname()[1])
        for who, size in zip(put, sizes[0]):
            print("w", by(who, lambda: client.sendall(b"x" * size)), size)
        for who, size in zip(taken, sizes[1]):
            print("r", by(who, lambda: take(server, size)), size)
        client.close()
        server.close()
"""


def told_turns(text):
    """By port, (writer, reader) -> bytes, from what the script says."""
    turns, flows = {}, {}
    for line in text.splitlines():
        words = line.split()
        if len(words) == 1:
            turn = turns[int(words[0])] = {"w": [], "r": []}
        else:
            turn[words[0]] += [int(words[1])] * int(words[2])
    for port, turn in turns.items():
        flows[port] = Counter(zip(turn["w"], turn["r"]))
    return flows


def check_turns(t, seed, orders, exact):
    graph = t.trace([PYTHON, "-c", TURNS, str(seed)] + orders, options=["-m", "tcp"])
    truth = told_turns(graph.tracer.stdout)
    for chan in graph.chans.values():
        wanted = truth.pop(int(chan["ends"][0]["address"].rpartition(":")[2]))
        found = [f for f in graph.flows if f["channel"] == chan["id"]]
        got = {(graph.procs[f["from"]]["pid"], graph.procs[f["to"]]["pid"]): f["bytes"]
               for f in found if f["bytes"]}
        if exact:
            check_equal(got, dict(wanted), "bytes from whom to whom")
            check_equal({f["certainty"] for f in found}, {"exact"}, "certainty")
        for pair, size in got.items():
            check(size <= wanted[pair], "%s: %d bytes, but it was %s" % (pair, size, wanted))
    check_equal(truth, {}, "connections that are not in the graph")


@test("a connection that several use one after the other")
def in_turn(t):
    orders = ["Pa/Pb", "ab/cd", "Pab/cPd", "aPb/Pcde", "abcP/dP", "PPaa/PPbb", "aP/aaaP"]
    check_turns(t, 1, orders, True)


@test("a connection that several use more than once: nothing wrong is called exact")
def in_turns(t):
    rng = random.Random(4)
    orders = ["PaP/Pb", "Pa/PbP", "PaPa/PbPb", "aPbP/Pab", "PaP/PbP"]
    orders += ["".join(rng.choices("PPa", k=6)) + "/" + "".join(rng.choices("PPa", k=6))
               for _ in range(pick(40, 8))]
    check_turns(t, 2, orders, False)
