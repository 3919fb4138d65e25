# SPDX-License-Identifier: BSD-2-Clause
"""Shared memory of all kinds: who attached it, who touched which pages, and what flowed by them."""
import lib
from facts import register, trace_workload
from lib import PYTHON, Skip, check_equal, pick, read_text, test

MEMORY = ["-m", "shm,posixshm,memfd,mmap"]

VARIANTS = {
    "shm-producer-consumer": ["", "readers=3 write=0,1,5 read=0,1,2,5", "relation=orphan",
                              "write= read=0", "read="],
    "shm-both-ways": ["", "rounds=1", "rounds=100"],
    "shm-inherit": ["", "children=10 places=2"],
    "shm-attach-again": ["", "order=one-by-one", "times=40", "times=100 order=one-by-one"],
    "shm-removed": ["", "end=exit"],
    "shm-namespaces": ["", "namespaces=5"],
    "shm-readonly": [""],
    "posixshm-producer-consumer": ["", "readers=3 write=0,1,5 read=0,1,2,5", "relation=orphan",
                                   "write= read=0"],
    "posixshm-both-ways": ["", "rounds=100"],
    "posixshm-inherit": ["", "children=10 places=2"],
    "posixshm-map-again": ["", "order=one-by-one", "times=40"],
    "posixshm-seqlock": ["", "readers=5 updates=100"],
    "posixshm-calls": ["", "at=offset", "count=100 chunk=4096", "chunk=1"],
    "memfd-producer-consumer": ["", "readers=3 write=0,1,5 read=0,1,2,5", "relation=orphan"],
    "memfd-both-ways": ["", "rounds=100"],
    "memfd-inherit": ["", "children=10 places=2"],
    "memfd-map-again": ["", "order=one-by-one", "times=40"],
    "memfd-seqlock": ["", "readers=5 updates=100"],
    "memfd-huge": ["", "of=shm"],
    "posixshm-whole": ["", "by=locked", "by=mlock", "by=mlockall",
                       "by=mlockall-before", "by=madvise"],
    "memfd-advised": [],  # below
    "memfd-calls": ["", "at=offset", "count=100 chunk=4096", "chunk=1"],
    "mmap-producer-consumer": ["", "readers=3 write=0,1,5 read=0,1,2,5", "relation=orphan",
                               "write= read=0"],
    "mmap-both-ways": ["", "of=zero", "of=file", "rounds=100"],
    "mmap-inherit": ["", "of=zero", "of=file", "children=10 places=2"],
    "mmap-seqlock": ["", "of=zero", "of=file readers=5"],
    "mmap-changing": ["", "changes=same"],
    "mmap-threads": ["", "threads=16 times=%d" % pick(2000, 20)],
    "mmap-again": ["", "order=one-by-one", "times=40"],
}

for prefix in ("shm-", "posixshm-", "memfd-", "mmap-"):
    register(prefix, VARIANTS, MEMORY)

ADVICE = "/sys/kernel/mm/transparent_hugepage/shmem_enabled"


@test("memfd-advised")
def advised(t):
    """In a VM it is switched on, which on this machine is not for a test to do."""
    was = read_text(ADVICE).split("[")[1].split("]")[0]
    if was not in ("advise", "always"):
        if not lib.VM:
            raise Skip("%s is %s for all of this machine; VMs are asked instead" % (ADVICE, was))
        with open(ADVICE, "w") as f:
            f.write("advise")
    try:
        trace_workload(t, "memfd-advised", [], MEMORY)
    finally:
        if lib.VM:
            with open(ADVICE, "w") as f:
                f.write(was)


NAMED_LATER = """
import mmap, os
first, last = ("/dev/shm/ipctrace-%s-%d" % (when, os.getpid()) for when in ("first", "last"))
fd = os.open(first, os.O_RDWR | os.O_CREAT, 0o600)
os.ftruncate(fd, 4096)
memory = mmap.mmap(fd, 4096)
os.link(first, last)
os.unlink(first)
memory[0] = 1
if not os.fork():
    os._exit(memory[0])
os.wait()
os.unlink(last)
print(last)
"""


@test("memory that gets its name when it is mapped already, as sem_open() does it")
def named_later(t):
    graph = t.trace([PYTHON, "-c", NAMED_LATER])
    names = [c["path"] for c in graph.chans.values() if c["mechanism"] == "posixshm"]
    check_equal(names, [graph.tracer.stdout.strip()], "names of shared memory")
