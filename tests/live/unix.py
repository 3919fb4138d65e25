# SPDX-License-Identifier: BSD-2-Clause
"""Unix sockets, and descriptors passed over them: every workload against its facts."""
import os
import re

import straces
from facts import register
from lib import (OUTSIDE, PYTHON, Graph, check, check_equal, need, read_text, test, wait_for)

TYPES = ("stream", "seqpacket", "dgram")
WAYS = [("write", "read"), ("writev", "readv"), ("send", "recv"), ("sendmsg", "recvmsg"),
        ("sendmmsg", "recvmmsg"), ("write", "peek")]

VARIANTS = {
    "unix-echo": ["", "type=seqpacket name=abstract", "name=autobind request=5 reply=100000",
                  "rounds=0"],
    "unix-prefork": ["", "name=abstract clients=10 workers=8 rounds=3"],
    "unix-fork": ["", "clients=2 connections=5 name=abstract"],
    "unix-early-close": ["", "bytes=0", "name=abstract"],
    "unix-activation": ["", "name=autobind"],
    "unix-epipe": ["", "unread=1", "type=seqpacket", "type=seqpacket count=10"],
    "unix-ways": ["put=%s take=%s type=%s" % (put, take, kind)
                  for kind in TYPES for put, take in WAYS] + [
                      "put=splice take=splice", "put=sendfile", "size=10000"],
    "unix-pair": ["type=" + kind for kind in TYPES],
    "unix-writers": ["type=" + kind for kind in TYPES] + ["writers=20 count=10"],
    "unix-nonblock": ["type=%s how=%s" % (kind, how) for kind in TYPES
                      for how in ("flag", "dontwait")],
    "unix-full": ["type=%s side=%s" % (kind, side) for kind in TYPES
                  for side in ("writer", "reader")],
    "unix-mailbox": ["how=" + how for how in ("connect", "write", "sendto", "sendmsg", "sendmmsg")]
                    + ["how=sendto name=abstract", "how=connect name=autobind senders=30 count=5"],
    "unix-shared-mailbox": ["", "how=sendto senders=5 workers=2", "how=sendmmsg name=abstract"],
    "unix-dgram-echo": ["", "name=abstract clients=10", "name=autobind"],
    "unix-fan-out": ["", "name=abstract receivers=10 count=3"],
    "unix-cut": ["", "room=1000 left=0", "room=0"],
    "unix-hasty": ["", "pairs=200"],
    "unix-credentials": ["type=%s explicit=%d" % (kind, explicit) for kind in TYPES
                         for explicit in (0, 1)] + ["put=sendmmsg"],
    "unix-many-many": ["type=" + kind for kind in TYPES] + [
        "writers=1", "readers=1 type=seqpacket", "turns=1", "piece=77",
        "type=seqpacket writers=8 readers=8 count=500", "type=dgram turns=1 writers=5"],
    "unix-daytime": ["", "type=seqpacket name=abstract clients=10"],
    "unix-rendezvous": ["type=" + kind for kind in TYPES],
    "unix-orphans": ["", "type=seqpacket name=abstract"],
}

FD_VARIANTS = {
    "fd-pass": ["", "type=seqpacket fds=1", "type=dgram fds=10", "fds=5 room=2", "fds=64 bytes=10"],
    "fd-kinds": ["type=%s calls=%s" % (kind, calls) for kind in TYPES
                 for calls in ("msg", "mmsg")] + ["what=pipe messages=100 fds=16", "fds=16"],
    "fd-many": ["", "same=1", "givers=20 count=10"],
    "fd-handover": ["", "connections=20 rounds=2 name=abstract"],
}

register("unix-", VARIANTS)
register("fd-", FD_VARIANTS)

# A client and a server from before, 5 bytes unread at the server and 3 at the client; when "go" is
# there, 100 and 50 more. KIND: the type of socket.
BEFORE = """
import os, socket, time
def wait(name):
    while not os.path.exists(name):
        time.sleep(0.01)
def take(sock, size):
    while size:
        size -= len(sock.recv(size))
KIND = socket.SOCK_%s
listener = socket.socket(socket.AF_UNIX, KIND)
listener.bind("./server")
listener.listen()
client = socket.socket(socket.AF_UNIX, KIND)
client.connect("./server")
server = listener.accept()[0]
client.send(b"early")
server.send(b"too")
inodes = [os.fstat(s.fileno()).st_ino for s in (client, server)]
pid = os.fork()
mine, other = (client, server) if pid else (server, client)
other.close()
if pid:
    with open("pids.new", "w") as f:
        f.write("%%d %%d %%d %%d" %% (os.getpid(), pid, *inodes))
    os.rename("pids.new", "pids")
wait("go")
mine.send(b"x" * (100 if pid else 50))
take(mine, 3 if pid else 5)
take(mine, 50 if pid else 100)
open("server-done" if not pid else "client-done", "w").close()
wait("end")
if pid:
    os.waitpid(pid, 0)
"""


def from_before(t, kind, both):
    """Trace the client, or both; returns the graph, the pids, and the inodes of the sockets."""
    need("ss")
    target = t.start([PYTHON, "-c", BEFORE % kind])
    wait_for(lambda: os.path.exists(t.path("pids")), "the target")
    client, server, mine, theirs = map(int, read_text(t.path("pids")).split())
    table = t.run(["ss", "-xpH"]).stdout
    for pid, one, other in ((client, mine, theirs), (server, theirs, mine)):
        check(re.search(r" %d .* %d .*pid=%d," % (one, other, pid), table),
              "ss does not show %d with its peer %d" % (one, other))
    out = t.path("x.json")
    tracer = t.tracer(["-o", out, "-p", str(client)] + (["-p", str(server)] if both else []))
    t.ready(tracer)
    t.write("go", "")
    for who in ("client", "server"):
        wait_for(lambda: os.path.exists(t.path(who + "-done")), "the %s to be done" % who)
    t.stop(tracer)
    t.write("end", "")
    target.wait(20)
    graph = Graph.load(out)
    graph.check_sane(tracer.pid)
    chan, = [c for c in graph.chans.values()
             if mine in [e["ino"] for e in c["ends"]] and graph.edges_of(chan=c)]
    check_equal(sorted(e["ino"] for e in chan["ends"]), sorted((mine, theirs)), "its ends, as ss says")
    check_equal((chan["path"], chan["preexisting"]), ("./server", True), "path, preexisting")
    return graph, chan, graph.pid(client), graph.pid(server)


def flows_on(graph, chan):
    return {(f["from"], f["to"]): (f["bytes"], f["certainty"]) for f in graph.flows
            if f["channel"] == chan["id"]}


@test("a connection from before, something unread at both ends")
def preexisting(t):
    graph, chan, client, server = from_before(t, "STREAM", True)
    check_equal((chan["found_bytes"], chan["left_bytes"]), (8, 0), "found_bytes, left_bytes")
    check_equal(flows_on(graph, chan), {
        (OUTSIDE, server["id"]): (5, "exact"), (OUTSIDE, client["id"]): (3, "exact"),
        (client["id"], server["id"]): (100, "exact"), (server["id"], client["id"]): (50, "exact"),
    }, "flows")


@test("a connection from before, of which one end is watched: the other's holder is named")
def preexisting_half(t):
    graph, chan, client, server = from_before(t, "SEQPACKET", False)
    check_equal((chan["unit"], server["watched"]), ("message", False), "unit; is the server watched")
    flows = flows_on(graph, chan)
    check_equal(flows.get((client["id"], server["id"])), (100, "inferred"), "flow to the server")
    got = sum(size for (_, to), (size, _) in flows.items() if to == client["id"])
    check_equal(got, 53, "bytes to the client")


# A mailbox that nobody reads: by address, until it is full; once with waiting, once without.
FULL = """
import os, socket, sys, time
box = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
box.bind("./box")
room = int(open("/proc/sys/net/unix/max_dgram_qlen").read()) + 1
out = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
pid = os.fork()
if not pid:
    for i in range(room + 1):
        out.sendto(b"hello", "./box")
    for i in range(3):
        try:
            out.sendto(b"lost", socket.MSG_DONTWAIT, "./box")
        except BlockingIOError:
            pass
    os._exit(0)
def asleep():
    nr = open("/proc/%d/syscall" % pid).read().split()[0]
    return nr == sys.argv[1] and ") S" in open("/proc/%d/stat" % pid).read()
while not asleep():
    time.sleep(0.001)
box.recv(100)
os.waitpid(pid, 0)
print(os.getpid(), pid, room)
"""


@test("a full mailbox, written to by address: who waits and who is refused")
def full_mailbox(t):
    sendto = {"x86_64": "44", "aarch64": "206"}[os.uname().machine]
    graph = t.trace([PYTHON, "-c", FULL, sendto])
    owner, sender, room = map(int, graph.tracer.stdout.split())
    chan, = [c for c in graph.chans.values() if c["path"] == "./box"]
    edge, = graph.edges_of(graph.pid(sender), "write")
    check_equal((edge["ops"], edge["bytes"], edge["errors"], edge["nonblocking_ops"],
                 edge["blocked_ops"]), (room + 1, 5 * (room + 1), {"EAGAIN": 3}, 3, 1), "the sender")
    check_equal((chan["capacity_messages"], chan["highwater_messages"], chan["unit"]),
                (room, room, "message"), "room, most messages, unit")
    check_equal(chan["left_bytes"], 5 * room, "left_bytes")
    graph.exact_flow(graph.pid(sender), graph.pid(owner), 5)


# A pipe, a file and a socket, by what Python's standard library passes descriptors with.
PASSING = """
import os, socket
from multiprocessing import Pipe, Process, reduction
def taker(conn):
    fds = [reduction.recv_handle(conn) for _ in range(3)]
    with socket.socket(fileno=os.dup(conn.fileno())) as sock:
        fds += socket.recv_fds(sock, 100, 5)[1]
    with conn.recv() as sock:
        sock.send(b"hi")
    for fd in fds:
        os.close(fd)
a, b = Pipe()
process = Process(target=taker, args=(b,))
process.start()
r, w = os.pipe()
with open("/etc/passwd") as f, open("/dev/null", "w") as null:
    for fd in (r, w, f.fileno()):
        reduction.send_handle(a, fd, process.pid)
    with socket.socket(fileno=os.dup(a.fileno())) as sock:
        socket.send_fds(sock, [b"x"], [r, w, null.fileno()])
    one, other = socket.socketpair()
    a.send(one)
    one.close()
    assert other.recv(10) == b"hi"
process.join()
"""

CONTROL = re.compile(r"^(sendmsg|recvmsg)\b.*SCM_RIGHTS, cmsg_data=\[(.*?)\]\}")
DESCRIPTOR = re.compile(r"\d+<((?:->|[^<>]|<[^<>]*>)*)>")


def passed_by_strace(path):
    """{(pid, role): {what: how often}}; sockets by their inodes, all else by name."""
    lines, found = list(straces.joined(path)), {}
    above = straces.leaders(lines)
    for pid, text in lines:
        match = CONTROL.match(text.replace("]>", ">").replace(":[", ":"))
        if not match:
            continue
        while pid in above:
            pid = above[pid]
        role = "pass-fd" if match.group(1) == "sendmsg" else "take-fd"
        what = found.setdefault((pid, role), {})
        for name in DESCRIPTOR.findall(match.group(2)):
            name = re.sub(r"<.*", "", re.sub(r"^UNIX\S*:(\d+)->.*", r"\1", name))
            what[name] = what.get(name, 0) + 1
    return found


@test("descriptors that Python's library passes, as strace sees them")
def passed_as_strace(t):
    need("strace")
    out = t.path("strace.out")
    graph = t.trace(["strace", "-f", "-yy", "-s", "64", "-e", "trace=sendmsg,recvmsg,clone,clone3",
                     "-o", out, PYTHON, "-c", PASSING], seconds=120)
    found = {}
    for edge in graph.edges:
        if edge["role"] not in ("pass-fd", "take-fd"):
            continue
        what = found.setdefault((graph.procs[edge["process"]]["pid"], edge["role"]), {})
        for one in edge["passed"]:
            name = str(one["ino"]) if one["kind"] == "unix" else re.sub(r"[][]", "", one["name"])
            what[name] = what.get(name, 0) + one["ops"]
    check_equal(found, passed_by_strace(out), "what was passed")
    check_equal(sum(f.get("fds", 0) for f in graph.flows), 7, "descriptors from one to the other")

NOT_COPIED = """
import ctypes, os, socket
libc = ctypes.CDLL(None)
box = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
box.bind("")
def sent_by_child(size):
    if not os.fork():
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
            s.sendto(b"x" * size, box.getsockname())
        os._exit(0)
    os.wait()
    return size
sizes = [sent_by_child(n) for n in (5, 7, 9, 11)]
bad = ctypes.c_void_p(8)
assert libc.recv(box.fileno(), bad, 100, 0) < 0
assert len(box.recv(100)) == sizes[1]
assert libc.recvfrom(box.fileno(), bad, 100, 0, None, None) < 0
assert len(box.recv(100)) == sizes[3]
"""


@test("a datagram that cannot be copied is lost, and the next one is another sender's")
def not_copied(t):
    graph = t.trace([PYTHON, "-c", NOT_COPIED], options=["-m", "unix"])
    sent = {e["process"]: e["bytes"] for e in graph.edges_of(role="write")}
    check_equal(sorted(sent.values()), [5, 7, 9, 11], "bytes of the senders")
    check_equal(sorted((sent[f["from"]], f["bytes"], f["certainty"]) for f in graph.flows),
                [(7, 7, "exact"), (11, 11, "exact")], "whose were received")
