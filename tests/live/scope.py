# SPDX-License-Identifier: BSD-2-Clause
"""What is watched: a command's tree, pids, names, a cgroup; and what was there before."""
import contextlib
import os
import shutil

from lib import (OUTSIDE, PYTHON, Graph, Skip, check, check_equal, now_ns, pick, read_text,
                 role_sum, test, wait_for)

# A parent and a child with a pipe from before, 7 bytes in it; 100 more when "go" is there.
TARGET = """
import os, time
def wait(name):
    while not os.path.exists(name):
        time.sleep(0.01)
r, w = os.pipe()
os.write(w, b"early..")
pid = os.fork()
if not pid:
    os.close(w)
    wait("go")
    got = 0
    while got < 107:
        got += len(os.read(r, 10))
    open("child-done", "w").close()
    wait("end")
    os._exit(0)
os.close(r)
with open("pids.new", "w") as f:
    f.write("%d %d" % (os.getpid(), pid))
os.rename("pids.new", "pids")
wait("go")
for _ in range(10):
    os.write(w, b"x" * 10)
wait("child-done")
wait("end")
os.waitpid(pid, 0)
"""


def start_target(t, code=TARGET):
    target = t.start([PYTHON, t.write("target.py", code)])
    wait_for(lambda: os.path.exists(t.path("pids")), "the target")
    parent, child = map(int, read_text(t.path("pids")).split())
    check_equal(parent, target.pid, "pid of the target")
    return target, parent, child


def finish(t, tracer, target, out):
    t.write("go", "")
    wait_for(lambda: os.path.exists(t.path("child-done")), "the target to be done")
    t.stop(tracer)
    t.write("end", "")
    target.wait(20)
    graph = Graph.load(out)
    graph.check_sane(tracer.pid)
    return graph


# A child from before, which holds a pipe, ends during the trace.
LEFT_BEHIND = """
import os, time
def wait(name):
    while not os.path.exists(name):
        time.sleep(0.01)
r, w = os.pipe()
pid = os.fork()
if not pid:
    wait("go")
    os._exit(0)
with open("pids.new", "w") as f:
    f.write("%d %d" % (os.getpid(), pid))
os.rename("pids.new", "pids")
wait("go")
os.write(w, b"x")
os.read(r, 1)
os.waitpid(pid, 0)
open("child-done", "w").close()
wait("end")
"""


@test("-p: a child from before that is not watched is one process, and its end no news")
def left_behind(t):
    target, parent, child = start_target(t, LEFT_BEHIND)
    tracer = t.tracer(["-o", t.path("x.json"), "-o", t.path("x.txt"), "-p", str(parent)])
    t.ready(tracer)
    graph = finish(t, tracer, target, t.path("x.json"))
    stranger = graph.pid(child)
    check_equal((stranger["watched"], stranger["parent"]), (False, graph.pid(parent)["id"]),
                "of the child: watched, parent")
    ends = {(graph.chans[e["channel"]]["mechanism"], e["role"])
            for e in graph.edges if e["process"] == stranger["id"]}
    check_equal(ends, {("pipe", "read"), ("pipe", "write"), ("signal", "send-signal")},
                "ends of the child")
    check("SIGCHLD to" not in read_text(t.path("x.txt")), "that the child ended is told")


@test("-p twice: a pipe from before, with bytes in it")
def both_pids(t):
    target, parent, child = start_target(t)
    out = t.path("x.json")
    tracer = t.tracer(["-o", out, "-p", str(parent), "-p", str(child)])
    t.ready(tracer)
    graph = finish(t, tracer, target, out)
    writer, reader = graph.pid(parent), graph.pid(child)
    check_equal(len(graph.used_edges()), 2, "number of edges")
    edges = graph.edges_of(writer, "write") + graph.edges_of(reader, "read")
    check_equal([(e["ops"], e["bytes"]) for e in edges], [(10, 100), (edges[1]["ops"], 107)],
                "edges")
    chan = graph.chans[edges[0]["channel"]]
    check_equal(chan["preexisting"], True, "preexisting")
    check_equal((chan["found_bytes"], chan["left_bytes"]), (7, 0), "bytes found and left")
    graph.check_balance(chan)
    # Seven bytes are nobody's that was seen; the other hundred are the writer's.
    known = graph.flows_between(writer, reader)
    check_equal(sum(f["bytes"] for f in known), 100, "bytes from the writer")
    check_equal(sum(f["bytes"] + f["shared_bytes"] for f in graph.flows_between(target=reader)),
                107, "bytes to the reader")


@test("-p of the writer: the reader is known as a holder")
def writer_only(t):
    target, parent, child = start_target(t)
    out = t.path("x.json")
    tracer = t.tracer(["-o", out, "-p", str(parent)])
    t.ready(tracer)
    graph = finish(t, tracer, target, out)
    writes = graph.edges_of(role="write")
    check_equal([(e["ops"], e["bytes"]) for e in writes], [(10, 100)], "writes")
    check_equal(graph.edges_of(role="read"), [], "reads of a process that is not watched")
    reader = graph.pid(child)
    check_equal(reader["watched"], False, "the reader is watched")
    held = [e for e in graph.edges if e["process"] == reader["id"]]
    check_equal([(e["role"], e["holder"]) for e in held], [("read", True)], "what it holds")


@test("-p of the reader: bytes from outside")
def reader_only(t):
    target, parent, child = start_target(t)
    out = t.path("x.json")
    tracer = t.tracer(["-o", out, "-p", str(child)])
    t.ready(tracer)
    graph = finish(t, tracer, target, out)
    reads = graph.edges_of(graph.pid(child), "read")
    check_equal([e["bytes"] for e in reads], [107], "bytes read")
    check_equal(graph.edges_of(role="write"), [], "writes of a process that is not watched")
    check_equal(sum(f["bytes"] + f["shared_bytes"] for f in graph.flows), 107, "bytes of all flows")
    named = [f for f in graph.flows if f["from"] != OUTSIDE]
    check(all(graph.procs[f["from"]]["pid"] == parent and f["certainty"] != "exact" for f in named),
          "an exact flow from one who was not watched: %s" % named)


# As PostgreSQL does: the kernel shows what is there now, as the arguments.
TITLED = """
import os, signal
start, end = map(int, open("/proc/self/stat").read().split(") ")[1].split()[45:47])
mem = os.open("/proc/self/mem", os.O_WRONLY)
os.pwrite(mem, b"what it is for".ljust(end - start, b"\\0"), start)
signal.pause()
"""


@test("-p of one that has written a title over its arguments")
def titled(t):
    target = t.start([PYTHON, "-c", TITLED])
    title = "what it is for" + "\0" * 4
    wait_for(lambda: read_text("/proc/%d/cmdline" % target.pid).startswith(title), "the title")
    out = t.path("x.json")
    tracer = t.tracer(["-o", out, "-p", str(target.pid)])
    t.ready(tracer)
    t.stop(tracer)
    found = Graph.load(out).pid(target.pid)
    check_equal((found["title"], found["cmdline"]), ("what it is for", []), "title and arguments")


@test("-p follows the children that come later")
def later_children(t):
    target = t.start(["/bin/dash", "-c",
                      "until [ -e go ]; do sleep 0.02; done; seq 1 1000 | cat | wc -c >count; "
                      "echo x >done; until [ -e end ]; do sleep 0.02; done"])
    out = t.path("x.json")
    tracer = t.tracer(["-o", out, "-p", str(target.pid)])
    t.ready(tracer)
    t.write("go", "")
    wait_for(lambda: os.path.exists(t.path("done")), "the pipeline")
    t.stop(tracer)
    t.write("end", "")
    graph = Graph.load(out)
    graph.check_sane(tracer.pid)
    graph.exact_flow(graph.one("seq"), graph.one("cat"), 3893)
    graph.exact_flow(graph.one("cat"), graph.one("wc"), 3893)




def named_shell(t, name):
    shutil.copy("/bin/dash", t.path(name))
    return t.path(name)


@test("--comm GLOB: by name, started before or after")
def by_comm(t):
    tag = "ipcl%x" % (now_ns() // 1000 & 0xffff)
    script = t.write("named.sh", "until [ -e go ]; do sleep 0.02; done\n"
                     "(echo a; echo bb) | { read x; read y; }\n"
                     "echo >done.$1\nuntil [ -e end ]; do sleep 0.02; done\n")
    mine, other = named_shell(t, tag + "-a"), named_shell(t, "no" + tag)
    early = t.start([mine, script, "1"])
    wrong = t.start([other, script, "2"])
    wait_for(lambda: read_text("/proc/%d/comm" % early.pid).startswith(tag), "the exec")
    out = t.path("x.json")
    tracer = t.tracer(["-o", out, "-m", "pipe", "--comm", tag + "-*"])
    t.ready(tracer)
    late = t.start([mine, script, "3"])
    t.write("go", "")
    wait_for(lambda: all(os.path.exists(t.path("done.%d" % i)) for i in (1, 2, 3)), "the shells")
    t.stop(tracer)
    t.write("end", "")
    graph = Graph.load(out)
    graph.check_sane(tracer.pid)
    users = {e["process"] for e in graph.used_edges()}
    check_equal({graph.procs[p]["comm"] for p in users}, {tag + "-a"}, "names with edges")
    check_equal(len(users), 4, "number of processes with edges")
    check_equal(sorted(f["bytes"] for f in graph.flows), [5, 5], "flows")
    pids = {p["pid"] for p in graph.procs.values()}
    check(early.pid in pids and late.pid in pids, "one of the shells is not in the graph")
    check(wrong.pid not in pids, "a shell of another name is in the graph")


def cgroup2_mount():
    with open("/proc/mounts") as f:
        for line in f:
            fields = line.split()
            if fields[2] == "cgroup2":
                return fields[1]
    raise Skip("no cgroup2 is mounted")


@contextlib.contextmanager
def made_cgroup(t):
    """A cgroup; whatever the test has started is ended first when it goes."""
    group = os.path.join(cgroup2_mount(), "ipctrace-live-%d" % os.getpid())
    try:
        os.mkdir(group)
    except OSError as e:
        raise Skip("no cgroup can be made: %s" % e.strerror)
    try:
        yield group
    finally:
        for child in t.children:
            child.kill()
        wait_for(lambda: not read_text(os.path.join(group, "cgroup.procs")), "the cgroup to empty")
        os.rmdir(group)


@test("--cgroup PATH: who is in it, and who comes into it")
def by_cgroup(t):
    with made_cgroup(t) as group:
        trace_cgroup(t, group)


def trace_cgroup(t, group):
    script = ("until [ -e go ]; do sleep 0.02; done; seq 1 1000 | wc -c >/dev/null; echo >done.$1; "
              "until [ -e end ]; do sleep 0.02; done")
    inside, outside = (t.start(["/bin/dash", "-c", script, "sh", n]) for n in "12")
    with open(os.path.join(group, "cgroup.procs"), "w") as f:
        f.write(str(inside.pid))
    out = t.path("x.json")
    tracer = t.tracer(["-o", out, "-m", "pipe", "--cgroup", group])
    t.ready(tracer)
    t.write("go", "")
    wait_for(lambda: all(os.path.exists(t.path("done.%s" % i)) for i in "12"), "the shells")
    t.stop(tracer)
    t.write("end", "")
    inside.wait(20)
    outside.wait(20)
    graph = Graph.load(out)
    graph.check_sane(tracer.pid)
    graph.exact_flow(graph.one("seq"), graph.one("wc"), 3893)
    check_equal(len(graph.flows), 1, "number of flows")


@test("--cgroup PATH: what is forked as the trace begins is seen once")
def forked_meanwhile(t):
    with made_cgroup(t) as group:
        for _ in range(3):
            child = t.start(["/bin/dash", "-c", "until [ -e end ]; do (:); done"])
            with open(os.path.join(group, "cgroup.procs"), "w") as f:
                f.write(str(child.pid))
        for i in range(pick(8, 2)):
            out = t.path("%d.json" % i)
            tracer = t.tracer(["-o", out, "-m", "pipe", "--cgroup", group, "-d", "0.05"])
            tracer.wait(20)
            check_equal(tracer.status, 0, "exit status: " + tracer.stderr)
            Graph.load(out).check_sane(tracer.pid)
        t.write("end", "")


@test("-m fifo: pipes are not watched")
def one_mechanism(t):
    script = ("mkfifo {0}; (echo abc >{0}) & cat <{0} | wc -c; wait").format(t.path("f"))
    graph = t.shell(script, options=["-m", "fifo"])
    check_equal({c["mechanism"] for c in graph.chans.values()}, {"fifo"}, "mechanisms")
    check_equal(role_sum(graph.edges, "read", "bytes"), 4, "bytes read")
    both = t.shell(script.replace(t.path("f"), t.path("g")), options=["-m", "fifo,pipe"])
    check_equal({c["mechanism"] for c in both.chans.values()}, {"fifo", "pipe"}, "mechanisms")


@test("the command's stdin was a pipe before the trace")
def stdin_pipe(t):
    read_end, write_end = os.pipe()
    os.write(write_end, b"hello")
    os.close(write_end)
    out = t.path("x.json")
    tracer = t.tracer(["-o", out], ["cat"], stdin=read_end)
    os.close(read_end)
    tracer.wait(20)
    check_equal((tracer.status, tracer.stdout), (0, "hello"), "status and output")
    graph = Graph.load(out)
    graph.check_sane(tracer.pid)
    edges = graph.edges_of(graph.one("cat"), "read")
    check_equal([(e["ops"], e["bytes"]) for e in edges], [(2, 5)], "reads")
    chan = graph.chans[edges[0]["channel"]]
    check_equal((chan["preexisting"], chan["found_bytes"]), (True, 5), "the pipe")
