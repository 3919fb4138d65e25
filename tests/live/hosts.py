# SPDX-License-Identifier: BSD-2-Clause
"""TCP between network namespaces over veth, with another host, and from before the trace."""
import os
import subprocess

from lib import OUTSIDE, Graph, PYTHON, Skip, check, check_equal, read_text, test, wait_for

SERVER = """
import socket
s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(("0.0.0.0", 7300))
s.listen()
print("ready", flush=True)
c, _ = s.accept()
n = 0
while n < 1000:
    n += len(c.recv(1000))
c.sendall(b"y" * 500)
c.close()
"""
CLIENT = """
import socket
s = socket.create_connection(("10.77.0.2", 7300))
s.sendall(b"x" * 1000)
while s.recv(4096):
    pass
"""


class Namespaces:
    """Two network namespaces with a cable between them."""

    def __enter__(self):
        self.names = ["ipctrace%d%s" % (os.getpid(), x) for x in "ab"]
        a, b = self.names
        try:
            for name in self.names:
                ip("netns", "add", name)
            ip("link", "add", "v0", "netns", a, "type", "veth", "peer", "name", "v1", "netns", b)
            for name, device, address in ((a, "v0", "10.77.0.1/24"), (b, "v1", "10.77.0.2/24")):
                ip("-n", name, "addr", "add", address, "dev", device)
                ip("-n", name, "link", "set", device, "up")
        except subprocess.CalledProcessError as error:
            self.__exit__()
            raise Skip("no pair of network namespaces: %s" % error.stderr.decode().strip())
        return self

    def __exit__(self, *_):
        for name in self.names:
            subprocess.run(["ip", "netns", "del", name], stderr=subprocess.DEVNULL, check=False)

    def inside(self, which, code):
        return ["ip", "netns", "exec", self.names[which], PYTHON, "-c", code]


def ip(*args):
    subprocess.run(("ip",) + args, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=True)


def the_connection(graph):
    chans = [c for c in graph.chans.values() if c["mechanism"] == "tcp"]
    check_equal(len(chans), 1, "number of connections")
    check_equal(chans[0]["ends"][1]["address"], "10.77.0.2:7300", "address of the server's end")
    return chans[0]


@test("a connection over veth: both ends are of one channel")
def veth(t):
    with Namespaces() as spaces:
        script = t.write("both.sh", "%s & %s; wait\n" % (
            quoted(spaces.inside(1, SERVER)), until_there(spaces.inside(0, CLIENT))))
        graph = t.trace(["sh", script], ["-m", "tcp"])
    chan = the_connection(graph)
    spaces = {e["netns"] for e in chan["ends"]}
    check(len(spaces) == 2 and None not in spaces, "namespaces of the ends: %s" % spaces)
    sizes = sorted((f["bytes"], f["certainty"]) for f in graph.flows)
    check_equal(sizes, [(500, "exact"), (1000, "exact")], "flows")
    graph.none_outside()


@test("the other end is on another host: a node of its own")
def other_host(t):
    with Namespaces() as spaces:
        server = t.start(spaces.inside(1, SERVER))
        graph = t.trace(["sh", t.write("client.sh", until_there(spaces.inside(0, CLIENT)))],
                        ["-m", "tcp"])
        server.wait(20)
    the_connection(graph)
    host = [p for p in graph.procs.values() if p["comm"] == "10.77.0.2:7300"]
    check_equal(len(host), 1, "nodes of the other host")
    sent = {(f["from"] == host[0]["id"], f["bytes"]) for f in graph.flows}
    check_equal(sent, {(True, 500), (False, 1000)}, "flows")


MEMBER = """
import socket
g = "239.7.7.7"
me = socket.inet_aton("10.77.0.2")
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("", 7301))
s.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(g) + me)
s.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, me)
s.sendto(b"y" * 5, (g, 7301))
print(len(s.recv(100)), flush=True)
for i in range(3):
    s.recv(100)
"""
FROM_AFAR = """
import socket, sys
sys.stdin.readline()
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("10.77.0.1"))
for i in range(3):
    s.sendto(b"x" * 12, ("239.7.7.7", 7301))
"""


@test("what a member of a group got from another host, and from itself")
def group_on_cable(t):
    with Namespaces() as spaces:
        script = t.write("both.sh", "mkfifo f; %s <f & %s >f; wait\n" % (
            quoted(spaces.inside(0, FROM_AFAR)), quoted(spaces.inside(1, MEMBER))))
        graph = t.trace(["sh", script], ["-m", "multicast"])
    chans = {f["channel"] for f in graph.flows}
    check_equal(len(chans), 1, "groups that somebody heard")
    said = sorted((f["from"] == OUTSIDE, f["bytes"], f["shared_bytes"], f["certainty"])
                  for f in graph.flows)
    check_equal(said, [(False, 0, 5, "shared"), (True, 0, 41, "shared")], "flows")


def quoted(argv):
    return " ".join("'%s'" % word.replace("'", "'\\''") for word in argv)


def until_there(argv):
    """A shell's loop: who listens is there at some time."""
    return "n=0; until %s 2>/dev/null; do n=$((n + 1)); [ $n -lt 200 ] || exit 1; done" % quoted(argv)


# A connection and a mailbox are there before the trace; then both are used.
OLD = """
import os, socket, time
def wait(name):
    while not os.path.exists(name):
        time.sleep(0.01)
s = socket.create_server(("127.0.0.1", 0))
box = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
box.bind(("127.0.0.1", 0))
pid = os.fork()
if not pid:
    c = socket.create_connection(s.getsockname())
    d = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    wait("go")
    c.sendall(b"x" * 100)
    d.sendto(b"y" * 10, box.getsockname())
    wait("end")
    os._exit(0)
c, _ = s.accept()
with open("pids.new", "w") as f:
    f.write("%d %d" % (os.getpid(), pid))
os.rename("pids.new", "pids")
wait("go")
n = 0
while n < 100:
    n += len(c.recv(100))
box.recv(100)
open("done", "w").close()
wait("end")
os.waitpid(pid, 0)
"""


@test("-p: a connection and a mailbox from before the trace")
def from_before(t):
    target = t.start([PYTHON, t.write("target.py", OLD)])
    wait_for(lambda: os.path.exists(t.path("pids")), "the target")
    parent, child = map(int, read_text(t.path("pids")).split())
    out = t.path("x.json")
    tracer = t.tracer(["-o", out, "-m", "tcp,udp", "-p", str(parent), "-p", str(child)])
    t.ready(tracer)
    t.write("go", "")
    wait_for(lambda: os.path.exists(t.path("done")), "the target to be done")
    t.stop(tracer)
    t.write("end", "")
    target.wait(20)
    graph = Graph.load(out)
    graph.check_sane(tracer.pid)
    for mechanism, size in (("tcp", 100), ("udp", 10)):
        chans = [c for c in graph.chans.values() if c["mechanism"] == mechanism]
        check_equal([c["preexisting"] for c in chans], [True], "preexisting " + mechanism)
        graph.exact_flow(graph.pid(child), graph.pid(parent), size, chans[0])
