# SPDX-License-Identifier: BSD-2-Clause
"""Pre-forked servers: every connection is joined to the worker that served it."""
import json

from lib import PYTHON, VM, Graph, check_equal, test

# Clients and workers say what they did, a line each: [pid, number of the connection, sent, received].
# How much goes either way is different for each connection.
SERVER = """
import json, os, socket, sys
family, workers, clients, each = sys.argv[1], *map(int, sys.argv[2:5])
if family == "unix":
    where = sys.argv[5]
    server = socket.socket(socket.AF_UNIX)
else:
    where = ("127.0.0.1", 0)
    server = socket.socket()
server.bind(where)
server.listen(512)
where = server.getsockname()
log = os.open(sys.argv[6], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
def say(*what):
    os.write(log, (json.dumps((os.getpid(),) + what) + "\\n").encode())
def receive(sock, size):
    got = b""
    while len(got) < size:
        part = sock.recv(min(65536, size - len(got)))
        if not part:
            break
        got += part
    return got
def work():
    while True:
        sock, _ = server.accept()
        number = int(receive(sock, 8))
        if number == 0:
            return
        got = 8 + len(receive(sock, number))
        reply = 20000 + 3 * number
        sock.sendall(b"r" * reply)
        sock.close()
        say("worker", number, reply, got)
def connect():
    sock = socket.socket(server.family)
    sock.connect(where)
    return sock
def use(client):
    for i in range(each):
        number = 1 + client * each + i
        sock = connect()
        sock.sendall(b"%08d" % number)
        sock.sendall(b"q" * number)
        sock.shutdown(socket.SHUT_WR)
        got = len(receive(sock, 1 << 30))
        sock.close()
        say("client", number, 8 + number, got)
def children(count, run):
    pids = []
    for i in range(count):
        pid = os.fork()
        if not pid:
            run(i)
            os._exit(0)
        pids.append(pid)
    return pids
def reap(pids):
    for pid in pids:
        assert os.waitpid(pid, 0)[1] == 0
pool = children(workers, lambda i: work())
for start in range(0, clients, 25):
    reap(children(min(25, clients - start), lambda i: use(start + i)))
for _ in pool:
    sock = connect()
    sock.sendall(b"%08d" % 0)
    sock.close()
reap(pool)
"""


def traced(t, command):
    """The graph of that command; in a VM, of the whole machine while it ran."""
    if not VM:
        return t.trace(command, seconds=300)
    out = t.path("all.json")
    tracer = t.tracer(["-o", out])
    t.ready(tracer)
    child = t.run(command, seconds=600)
    check_equal(child.status, 0, "exit status of the server: " + child.stderr[-300:])
    t.stop(tracer)
    graph = Graph.load(out)
    graph.check_sane(tracer.pid)
    return graph


def check_served(t, family, workers, clients, each):
    log = t.path("log")
    graph = traced(t, [PYTHON, t.write("server.py", SERVER), family, str(workers), str(clients),
                       str(each), t.path("socket"), log])
    served, asked = {}, {}
    with open(log) as lines:
        for line in lines:
            pid, who, number, sent, received = json.loads(line)
            (served if who == "worker" else asked)[number] = (pid, sent, received)
    check_equal(len(asked), clients * each, "connections")
    check_equal(sorted(served), sorted(asked), "connections served")
    ours = {pid for pid, _, _ in list(asked.values()) + list(served.values())}
    told = {}
    for flow in graph.flows:
        chan = graph.chans[flow["channel"]]
        source, target = (graph.procs[flow[k]]["pid"] for k in ("from", "to"))
        if chan["mechanism"] == family and source in ours and target in ours:
            check_equal(flow["certainty"], "exact", "certainty")
            told.setdefault(flow["channel"], set()).add((source, target, flow["bytes"]))
    wanted = sorted(
        sorted([(asked[n][0], served[n][0], served[n][2]), (served[n][0], asked[n][0], asked[n][2])])
        for n in asked)
    # The last ones tell the workers to stop.
    found = sorted(sorted(flows) for flows in told.values() if len(flows) == 2)
    check_equal(len(found), len(wanted), "connections with traffic both ways")
    for one, other in zip(found, wanted):
        check_equal(one, other, "who served whom")


@test("unix: 1,000 connections of 100 clients to 8 workers")
def over_unix(t):
    check_served(t, "unix", 8, 100, 10)


@test("TCP: 1,000 connections of 100 clients to 8 workers")
def over_tcp(t):
    check_served(t, "tcp", 8, 100, 10)
