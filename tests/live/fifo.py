# SPDX-License-Identifier: BSD-2-Clause
"""Named pipes: every workload against its facts, and what a name adds."""
import os
import stat

from facts import register, same_device
from lib import PYTHON, VM, Skip, check, check_equal, pick, role_sum, test

# Parameters of each factory; one that is not here runs with its defaults.
VARIANTS = {
    "fifo-unrelated": ["", "chunk=100 rchunk=7 bytes=3000", "bytes=0"],
    "fifo-both-ways": ["", "open=ends", "rounds=100 chunk=1"],
    "fifo-many-writers": ["", "writers=20 records=10 record=100"],
    "fifo-unused": ["", "open=ends", "procs=10"],
    "fifo-reopen": ["", "rounds=10 discard=0"],
    "fifo-two-same-name": ["", "bytes=1"],
    "fifo-nonblock": ["", "count=10"],
}

register("fifo-", VARIANTS)


def fifos(graph):
    return [c for c in graph.chans.values() if c["mechanism"] == "fifo"]


@test("a FIFO made again under the same name and inode is another one")
def made_again(t):
    rounds = pick(30, 10)
    graph = t.trace([PYTHON, "-c", """
import os
inodes = set()
for i in range(%d):
    os.mkfifo("again")
    fd = os.open("again", os.O_RDWR)
    inodes.add(os.fstat(fd).st_ino)
    os.write(fd, b"x" * (i + 1))
    os.read(fd, 100)
    os.close(fd)
    os.unlink("again")
print(len(inodes))
""" % rounds])
    found = fifos(graph)
    check_equal(len(found), rounds, "number of FIFOs (on %s inodes)" % graph.tracer.stdout.strip())
    check_equal(sorted(sum(e["bytes"] for e in graph.edges_of(role="write", chan=c))
                       for c in found), list(range(1, rounds + 1)), "bytes of each")
    check_equal({c["path"] for c in found}, {t.path("again")}, "paths")


@test("two FIFOs of the same inode number on two devices")
def two_devices(t):
    # A tmpfs each, in a mount namespace of their own: both give their first file the same number.
    script = t.write("two.py", """
import os
inodes = []
for i in (1, 2):
    os.mkfifo("m%d/q" % i)
    fd = os.open("m%d/q" % i, os.O_RDWR)
    inodes.append(os.fstat(fd).st_ino)
    os.write(fd, b"x" * i * 10)
    os.read(fd, i)
print(*inodes)
""")
    for name in ("m1", "m2"):
        os.mkdir(t.path(name))
    graph = t.trace(["unshare", "-m", "/bin/sh", "-c", (
        "mount -t tmpfs none m1 && mount -t tmpfs none m2 && exec %s %s" % (PYTHON, script))])
    first, second = graph.tracer.stdout.split()
    if first != second:
        raise Skip("tmpfs numbers its files otherwise here")
    found = fifos(graph)
    check_equal(len(found), 2, "number of FIFOs")
    check(found[0]["dev"] != found[1]["dev"], "both on device %s" % found[0]["dev"])
    check_equal(sorted(c["left_bytes"] for c in found), [9, 18], "bytes left")


@test("paths: links, spaces, directories that are mounts, a name that is gone")
def paths(t):
    os.mkdir(t.path("a dir"))
    fifo = t.path("a dir/q")
    os.mkfifo(fifo)
    os.symlink(fifo, t.path("link"))
    os.link(fifo, t.path("hard"))
    graph = t.trace([PYTHON, "-c", """
import os
for name in ("link", "hard", "a dir/q", "a dir/../link"):
    fd = os.open(name, os.O_RDWR)
    os.write(fd, b"x")
    os.read(fd, 1)
    os.close(fd)
fd = os.open("link", os.O_RDWR)
os.unlink("a dir/q")
os.unlink("hard")
os.write(fd, b"yy")
"""])
    found = fifos(graph)
    check_equal(len(found), 1, "number of FIFOs: %s" % [c["path"] for c in found])
    check_equal(found[0]["path"], fifo, "path, where the link leads")
    check_equal(role_sum(graph.edges, "write", "bytes"), 6, "bytes written")
    graph.balanced()


@test("identity is what stat() says: device and inode")
def identity(t):
    fifo = t.path("q")
    os.mkfifo(fifo)
    graph = t.shell("exec 3<>q; echo hello >&3; read x <&3")
    found = fifos(graph)
    check_equal(len(found), 1, "number of FIFOs")
    status = os.stat(fifo)
    check(stat.S_ISFIFO(status.st_mode), "not a FIFO")
    check_equal(found[0]["ino"], status.st_ino, "inode")
    check(same_device(found[0]["dev"], status.st_dev), "device is %s, stat says %d" % (
        found[0]["dev"], status.st_dev))


@test("opened and never used: a channel with holders and no call")
def never_used(t):
    graph = t.trace([PYTHON, "-c", """
import os
os.mkfifo("q")
r = os.open("q", os.O_RDONLY | os.O_NONBLOCK)
w = os.open("q", os.O_WRONLY)
"""])
    found = fifos(graph)
    check_equal([c["path"] for c in found], [t.path("q")], "FIFOs")
    check_equal(graph.used_edges(), [], "edges with calls")


@test("an open that fails (ENXIO): no call, no harm")
def failed_open(t):
    graph = t.trace([PYTHON, "-c", """
import os
os.mkfifo("q")
try:
    os.open("q", os.O_WRONLY | os.O_NONBLOCK)
except OSError as e:
    print(e.errno)
"""])
    check_equal(graph.tracer.stdout.strip(), "6", "errno")
    check_equal(graph.used_edges(), [], "edges with calls")


@test("a FIFO on overlayfs between processes that do not know each other")
def overlay(t):
    for name in ("low", "up", "work", "all"):
        os.mkdir(t.path(name))
    probe = t.run(["unshare", "-m", "mount", "-t", "overlay", "none", "-o",
                   "lowerdir=low,upperdir=up,workdir=work", "all"])
    if probe.status:
        raise Skip("overlayfs cannot be mounted here" + (" (VM)" if VM else ""))
    graph = t.trace(["unshare", "-m", "/bin/sh", "-c", (
        "mount -t overlay none -o lowerdir=low,upperdir=up,workdir=work all && cd all && "
        "mkfifo q && (seq 1 100 >q) & until [ -p all/q ]; do sleep 0.02; done; "
        "wc -c <all/q; wait")])
    check_equal(graph.tracer.stdout.strip(), "292", "output")
    graph.exact_flow(graph.one("seq"), graph.one("wc"), 292)
