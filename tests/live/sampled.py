# SPDX-License-Identifier: BSD-2-Clause
"""--shm-sample: shared memory that is touched again and again, when nothing faults any more."""
import ctypes
import os

from facts import trace_workload
from lib import (IPCTRACE, PYTHON, Graph, check, check_equal, last_line, pick, read_text, test,
                 wait_for)

MS = pick(1500, 6000)
INTERVAL = pick("0.05", "0.2")


def soft_dirty():
    """Whether the kernel knows which pages were written: this one's own, that were just now."""
    page = ctypes.create_string_buffer(8192)
    page.raw = b"x" * 8192
    with open("/proc/self/pagemap", "rb") as f:
        f.seek((ctypes.addressof(page) + 4095) // 4096 * 8)
        return int.from_bytes(f.read(8), "little") >> 55 & 1


def sampled(graph, comm, role):
    """(pages, samples), added up."""
    edges = [e for e in graph.edges if e["process"] == graph.one(comm)["id"] and e["role"] == role]
    return sum(e["sampled_pages"] for e in edges), sum(e["samples"] for e in edges)


def busy(name, mechanism, params=()):
    """The writer's pages, and the reader's, in each sample; of who does nothing, none."""
    @test("" + " ".join([name] + list(params)))
    def again(t):
        graph = trace_workload(t, name, ["ms=%d" % MS] + list(params),
                               ["-m", mechanism, "--shm-sample", INTERVAL])
        compare(graph)
        check_equal(graph.data["ipctrace"]["filters"]["shm-sample"], [INTERVAL], "the filter")
    return again


def compare(graph):
    # Where the kernel does not know who wrote, a mapping that can be written says only "touched".
    writing = "write" if soft_dirty() else "attach"
    of_writer, of_reader = sampled(graph, "writer", writing), sampled(graph, "reader", "read")
    for comm, wanted in (("writer", writing), ("reader", "read"), ("idle", None)):
        for role in ("write", "read", "attach"):
            if role != wanted:
                check_equal(sampled(graph, comm, role), (0, 0), "%s, %s" % (comm, role))
    check(of_writer[1] >= 3, "the writer was found in %d samples" % of_writer[1])
    check(of_reader[1] >= 3, "the reader was found in %d samples" % of_reader[1])
    # Two pages and one; but where a sample fell into the beginning or the end.
    check(2 * of_writer[1] - 2 <= of_writer[0] <= 2 * of_writer[1],
          "the writer's pages and samples are %d, %d" % of_writer)
    check_equal(of_reader[0], of_reader[1], "the reader's pages")
    longest = graph.data["ipctrace"]["duration_ns"] / 1e9 / float(INTERVAL) + 2
    check(max(of_writer[1], of_reader[1]) <= longest, "more samples than there were")


busy("posixshm-busy", "posixshm")
busy("shm-busy", "shm")
busy("memfd-busy", "memfd")
busy("mmap-busy", "mmap", ["of=file"])


@test("a recording says the same, and the summary says what it means")
def recorded(t):
    graph = trace_workload(t, "posixshm-busy", ["ms=%d" % MS],
                           ["-m", "posixshm", "--shm-sample", INTERVAL, "-o", t.path("x.ipct"),
                            "-o", t.path("x.txt")])
    replay = t.run([IPCTRACE, "graph", t.path("x.ipct"), "-o", t.path("again.json")])
    check_equal(replay.status, 0, last_line(replay.stderr))
    check_equal(Graph.load(t.path("again.json")).edges, graph.edges, "edges of the recording")
    text = read_text(t.path("x.txt"))
    check("TOUCHED AGAIN BY" in text and "looked at every %s s" % INTERVAL in text, text)
    check("only mechanism=posixshm\n" in text, "what leaves nothing out is no filter: " + text)
    pages, samples = sampled(graph, "reader", "read")
    check("%d  %7d" % (pages, samples) in text, "%d pages in %d samples: %s" % (
        pages, samples, text))


@test("an interval that is none, and no memory to be sampled")
def refused(t):
    for options in (["--shm-sample", "0"], ["--shm-sample", "soon"], ["--shm-sample", "-1"],
                    ["--shm-sample", "1", "-m", "pipe"], ["--shm-sample", "nan"]):
        child = t.tracer(options, ["/bin/true"])
        child.wait(20)
        check_equal(child.status, 2, "exit status of %s" % options)
        check_equal(len(child.stderr.splitlines()), 1, "lines on stderr: " + child.stderr)


@test("memory of before the trace, of a process that is watched and of one that is not")
def before(t):
    """Nothing of who is not watched is looked at, or cleared."""
    script = ("import mmap, os, sys, time\n"
              "m = mmap.mmap(os.open(sys.argv[1], os.O_RDWR), 1 << 20)\n"
              "m[0] = 1\n"
              "open(sys.argv[1] + '.' + sys.argv[2], 'w').close()\n"
              "while True: m[int(sys.argv[3])] = 2\n")
    path = "/dev/shm/live-%d" % os.getpid()
    try:
        before_of(t, path, script)
    finally:
        for name in (path, path + ".watched", path + ".other"):
            if os.path.exists(name):
                os.unlink(name)


def before_of(t, path, script):
    with open(path, "wb") as f:
        f.truncate(1 << 20)
    child = [t.start([PYTHON, "-c", script, path, name, at])
             for name, at in (("watched", "8192"), ("other", "524288"))]
    wait_for(lambda: all(os.path.exists(path + "." + n) for n in ("watched", "other")), "both")
    out = t.path("x.json")
    tracer = t.tracer(["-o", out, "-m", "posixshm", "--shm-sample", INTERVAL, "-p",
                       str(child[0].pid), "-d", pick("1", "5")])
    tracer.wait(60)
    check_equal(tracer.status, 0, last_line(tracer.stderr))
    graph = Graph.load(out)
    graph.check_sane(tracer.pid)
    found = {}
    for edge in graph.edges:
        pid = graph.procs[edge["process"]]["pid"]
        pages, samples = found.get(pid, (0, 0))
        found[pid] = (pages + edge["sampled_pages"], samples + edge["samples"])
    check(found[child[0].pid][1] >= 2, "found in %d samples" % found[child[0].pid][1])
    check_equal(found[child[0].pid][0], found[child[0].pid][1], "one page in each sample")
    check_equal(found.get(child[1].pid, (0, 0)), (0, 0), "who is not watched")
    chan = [c for c in graph.chans.values() if c["path"] == path]
    check_equal([c["unseen_pages"] for c in chan], [["before"]], "pages that are not seen")
    # The marks of the other are as they were: all pages that it has touched are still "Referenced".
    check_equal(referenced(read_text("/proc/%d/smaps" % child[1].pid), path), 8,
                "KiB that the other has touched and are still marked")


def referenced(smaps, path):
    """KiB of the mapping."""
    lines = smaps.splitlines()
    at = next(i for i, line in enumerate(lines) if line.endswith(path))
    return next(int(line.split()[1]) for line in lines[at:] if line.startswith("Referenced:"))


@test("neighbours that the kernel maps with a page that is read are not touched")
def neighbours(t):
    """All of the file is there; page 64 is read for the first time between two looks."""
    script = ("import mmap, os, sys, time\n"
              "m = mmap.mmap(os.open(sys.argv[1], os.O_RDONLY), 1 << 20, prot=mmap.PROT_READ)\n"
              "def on(until):\n"
              "    while time.monotonic() < until: m[0]\n"
              "now, half = time.monotonic(), float(sys.argv[2])\n"
              "on(now + half); m[64 * 4096]; on(now + 2 * half)\n")
    path = "/dev/shm/live-%d-n" % os.getpid()
    with open(path, "wb") as f:
        f.write(b"x" * (1 << 20))
    try:
        graph = t.trace([PYTHON, "-c", script, path, str(MS / 2000)],
                        ["-m", "posixshm", "--shm-sample", INTERVAL])
    finally:
        os.unlink(path)
    chan = next(c for c in graph.chans.values() if c["path"] == path)
    edges = [e for e in graph.edges if e["channel"] == chan["id"]]
    check_equal(sum(e["pages"] for e in edges), 2, "pages touched first")
    pages, samples = (sum(e[key] for e in edges) for key in ("sampled_pages", "samples"))
    check(samples >= 3, "%d samples" % samples)
    check_equal(pages, samples, "one page in each sample")


@test("a large mapping is looked at to its end")
def large(t):
    """More than one iterator's buffer holds; its first page, one in the middle and its last."""
    script = ("import mmap, sys, time\n"
              "size = 300 << 20\n"
              "m = mmap.mmap(-1, size)\n"
              "until = time.monotonic() + float(sys.argv[1])\n"
              "while time.monotonic() < until:\n"
              "    m[0] = m[size // 2] = m[size - 1] = 1\n")
    graph = t.trace([PYTHON, "-c", script, str(MS / 1000)],
                    ["-m", "mmap", "--shm-sample", INTERVAL])
    edges = [e for e in graph.edges if e["sampled_pages"]]
    pages, samples = (sum(e[key] for e in edges) for key in ("sampled_pages", "samples"))
    check(samples >= 3, "%d samples" % samples)
    check(3 * samples - 2 <= pages <= 3 * samples, "%d pages in %d samples" % (pages, samples))
