# SPDX-License-Identifier: BSD-2-Clause
"""The command line: what passes through, what is refused, what is written."""
import json
import os
import re
import signal
import subprocess
import xml.etree.ElementTree

from lib import (IPCTRACE, PYTHON, Failure, Graph, Skip, check, check_equal, last_line, need,
                 read_text, role_sum, test, wait_for)

FORMATS = ("json", "jsonl", "dot", "gv", "svg", "png", "pdf", "ipct")


# What passes through

@test("exit status of the command")
def exit_status(t):
    for status in (0, 1, 7, 255):
        t.shell("exit %d" % status, status=status)


@test("death of the command by a signal, as strace's")
def death_by_signal(t):
    for number in (signal.SIGTERM, signal.SIGSEGV):
        child = t.tracer(["-o", t.path("x.json")], ["/bin/sh", "-c", "kill -%d $$" % number])
        child.wait(20)
        check(child.status in (-number, 128 + number), "status is %s after signal %d" % (
            child.status, number))
        Graph.load(t.path("x.json")).check_sane(child.pid)


@test("stdin, stdout and stderr of the command")
def standard_streams(t):
    source = t.write("in", "line\n" * 1000)
    with open(source, "rb") as f:
        graph = t.trace(["/bin/sh", "-c", "cat; echo oops >&2"], stdin=f)
    check_equal(graph.tracer.stdout, "line\n" * 1000, "stdout")
    check("oops\n" in graph.tracer.stderr, "stderr: %r" % graph.tracer.stderr)


@test("arguments, environment, working directory and descriptors of the command")
def surroundings(t):
    env = dict(os.environ, LIVE="it's me")
    child = t.tracer(["-o", "x.json"], [
        "/bin/sh", "-c", 'echo "$LIVE|$1|$2|$#"; pwd; ls /proc/self/fd | tr "\\n" " "; '
        'grep -E "Sig(Ign|Blk)" /proc/self/status', "sh", "a b", "-o"], env=env)
    child.wait(20)
    check_equal(child.status, 0, "exit status: " + child.stderr)
    plain = t.start(["/bin/sh", "-c", 'ls /proc/self/fd | tr "\\n" " "; '
                     'grep -E "Sig(Ign|Blk)" /proc/self/status'], env=env)
    plain.wait(20)
    check_equal(child.stdout, "it's me|a b|-o|2\n" + os.path.realpath(t.dir) + "\n" + plain.stdout,
                "output")
    Graph.load(t.path("x.json"))


@test("SIGTERM to the tracer reaches the command; outputs are written")
def term_passes(t):
    script = "trap 'echo got it; exit 3' TERM; echo x | cat >/dev/null; echo >up; " \
        "until [ -e never ]; do sleep 0.05; done"
    out = t.path("x.json")
    tracer = t.tracer(["-o", out], ["/bin/sh", "-c", script])
    wait_for(lambda: os.path.exists(t.path("up")), "the command")
    tracer.signal(signal.SIGTERM)
    tracer.wait(20)
    wait_for(lambda: tracer.stdout == "got it\n", "the command's trap")
    graph = Graph.load(out)
    graph.check_sane(tracer.pid)
    check_equal(role_sum(graph.edges, "read", "bytes"), 2, "bytes read")


@test("Ctrl-C goes to both; outputs are written")
def interrupt_both(t):
    out = t.path("x.json")
    tracer = t.tracer(["-o", out], ["/bin/sh", "-c", (
        "echo x | cat >/dev/null; echo >up; exec sleep 1000")])
    wait_for(lambda: os.path.exists(t.path("up")), "the command")
    wait_for(lambda: "sleep" in subprocess.run(
        ["ps", "-o", "comm=", "-s", str(tracer.pid)], stdout=subprocess.PIPE,
        check=False).stdout.decode(), "sleep")
    os.killpg(tracer.pid, signal.SIGINT)  # the session that the tracer leads
    tracer.wait(20)
    check(tracer.status in (-signal.SIGINT, 128 + signal.SIGINT), "status %s" % tracer.status)
    graph = Graph.load(out)
    graph.check_sane(tracer.pid)
    check_equal(role_sum(graph.edges, "read", "bytes"), 2, "bytes read")


@test("descendants that outlive the command are traced to their end, as strace -f does")
def left_behind(t):
    graph = t.shell("(sleep 0.2; seq 1 100 | wc -c >count) & exit 5", status=5)
    graph.exact_flow(graph.one("seq"), graph.one("wc"), 292)
    check_equal(read_text(t.path("count")).strip(), "292", "count")


@test("a daemon left by the command: one signal to the tracer ends the trace, not the daemon")
def daemon(t):
    out = t.path("x.json")
    tracer = t.tracer(["-o", out], ["/bin/sh", "-c", (
        "seq 1 100 | wc -c; sleep 1000 & echo $! >pid; exit 6")])
    pid = int(wait_for(lambda: os.path.exists(t.path("pid")) and read_text(t.path("pid")).strip(),
                       "the command"))
    wait_for(lambda: not children(tracer.pid), "the command's end")
    tracer.signal(signal.SIGTERM)
    tracer.wait(20)
    check_equal(tracer.status, 6, "exit status")
    check(os.path.exists("/proc/%d" % pid), "the daemon is gone")
    graph = Graph.load(out)
    graph.check_sane(tracer.pid)
    graph.exact_flow(graph.one("seq"), graph.one("wc"), 292)


def children(pid):
    """What is below a process and not yet waited for."""
    with open("/proc/%d/task/%d/children" % (pid, pid)) as f:
        return f.read().split()


# What is refused

def refused(t, argv, status, *words):
    child = t.run([IPCTRACE] + argv, seconds=20)
    lines = child.stderr.splitlines()
    what = " ".join(argv)
    check_equal(child.status, status, "exit status of %s (%s)" % (what, last_line(child.stderr)))
    check_equal(len(lines), 1, "lines on stderr of %s: %s" % (what, lines))
    check(lines[0].startswith("ipctrace: "), "%s: %r" % (what, lines[0]))
    for word in words:
        check(word in lines[0], "%s: %r does not say %r" % (what, lines[0], word))
    check_equal(child.stdout, "", "stdout of " + what)


def gone_pid():
    child = subprocess.Popen(["true"])
    child.wait()
    return str(child.pid)


@test("refused: what is wrong on the command line, in one line")
def bad_usage(t):
    refused(t, ["--nonsense", "--", "true"], 2, "--nonsense", "help")
    refused(t, ["-m", "telepathy", "--", "true"], 2, "telepathy", "pipe")
    refused(t, ["-m", "", "--", "true"], 2)
    refused(t, ["-o", "x.doc", "--", "true"], 2, "x.doc", "json")
    refused(t, ["-o", "noextension", "--", "true"], 2, "noextension", "json")
    refused(t, ["-p", "abc"], 2, "abc")
    refused(t, ["-p", "-1"], 2, "-1")
    refused(t, ["-p", gone_pid()], 2, "process")
    refused(t, ["-d", "soon", "--", "true"], 2, "soon")
    refused(t, ["--ring-size", "5000", "--", "true"], 2, "5000")
    refused(t, ["--cgroup", "/no/such/group"], 2, "/no/such/group")
    refused(t, ["-o"], 2, "-o")
    refused(t, ["--"], 2, "command")
    refused(t, ["frobnicate"], 2, "frobnicate")


@test("refused: outputs that cannot be written, before anything runs")
def unwritable(t):
    marker = t.path("ran")
    for spec in (t.path("no/such/dir.json"), "/proc/x.json", t.dir + "/sub.json"):
        if spec.endswith("sub.json"):
            os.mkdir(spec)
        refused(t, ["-o", spec, "--", "touch", marker], 1, spec)
        check(not os.path.exists(marker), "the command ran all the same")


@test("a command that does not exist (127) or is not executable (126)")
def bad_command(t):
    plain = t.write("plain", "no program")
    refused(t, ["--", "no-such-command-at-all"], 127, "no-such-command-at-all")
    refused(t, ["--", "/no/such/file"], 127, "/no/such/file")
    refused(t, ["--", plain], 126, plain)
    refused(t, ["--", t.dir], 126, t.dir)


@test("not root: one line, status 3")
def not_root(t):
    need("setpriv")
    os.chmod(t.dir, 0o755)
    child = t.run(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", IPCTRACE, "--",
                   "true"])
    if child.status == 127 and "setpriv" in child.stderr:
        raise Skip("nobody may not run %s" % IPCTRACE)
    check_equal(child.status, 3, "exit status: " + child.stderr)
    check_equal(len(child.stderr.splitlines()), 1, "lines on stderr: %r" % child.stderr)


@test("output disk full: one line, status 1, the other outputs are whole")
def disk_full(t):
    os.mkdir(t.path("small"))
    script = ('mount -t tmpfs -o size=64k none small && dd if=/dev/zero of=small/fill bs=1k '
              'count=60 2>/dev/null && "$@"; status=$?; ls small >small.list; exit $status')
    child = t.run(["unshare", "-m", "/bin/sh", "-c", script, "sh", IPCTRACE,
                   "-o", "small/a.json", "-o", "whole.json", "--", "/bin/sh", "-c",
                   "seq 1 100 | " + "cat | " * 30 + "wc -c"])
    check_equal(child.status, 1, "exit status: " + child.stderr)
    lines = [line for line in child.stderr.splitlines() if line.startswith("ipctrace: ")]
    check_equal(len([line for line in lines if "a.json" in line and "space" in line]), 1,
                "lines that tell of it: %s" % lines)
    graph = Graph.load(t.path("whole.json"))
    graph.check_sane()
    graph.drop_signals()
    check_equal(len(graph.flows), 31, "flows in the other output")
    check_equal(read_text(t.path("small.list")).split(), ["fill"], "what is left on the full disk")


@test("/dev/full as output")
def dev_full(t):
    child = t.run([IPCTRACE, "-o", "json:/dev/full", "-o", t.path("whole.json"), "--", "/bin/sh",
                   "-c", "echo x | cat"])
    check_equal((child.status, child.stdout), (1, "x\n"), "status and output")
    check_equal(len([x for x in child.stderr.splitlines() if "/dev/full" in x]), 1,
                "lines that tell of it: %r" % child.stderr)
    Graph.load(t.path("whole.json")).check_sane()


# What is written

def all_formats(t, command, **kwargs):
    options = []
    for name in FORMATS:
        options += ["-o", t.path("out." + name)]
    graph = t.trace(command, options=options, **kwargs)
    return graph, {name: t.path("out." + name) for name in FORMATS}


def check_dot(path):
    need("dot")
    done = subprocess.run(["dot", "-Tcanon", path], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    check(done.returncode == 0 and not done.stderr, "dot says of %s: %s" % (
        os.path.basename(path), done.stderr.decode("utf-8", "replace")))


def check_svg(path):
    try:
        root = xml.etree.ElementTree.parse(path).getroot()
    except xml.etree.ElementTree.ParseError as e:
        raise Failure("the SVG is not well-formed: %s" % e)
    for element in root.iter():
        name = element.tag.rsplit("}", 1)[-1].lower()
        check(name not in ("script", "foreignobject", "iframe"), "<%s> in the SVG" % name)
        for key, value in element.attrib.items():
            check(not key.lower().startswith("on"), "attribute %s in the SVG" % key)
            check("javascript:" not in value.lower(), "javascript: in the SVG")


def check_no_controls(path):
    """Printable text in UTF-8, tabs and newlines: nothing that a terminal would act on."""
    with open(path, "rb") as f:
        try:
            text = f.read().decode("utf-8")
        except UnicodeDecodeError as e:
            raise Failure("%s is not UTF-8: %s" % (os.path.basename(path), e))
    bad = [c for c in text if (ord(c) < 32 and c not in "\n\t") or 127 <= ord(c) < 160]
    check(not bad, "%s holds control characters %r" % (os.path.basename(path), sorted(set(bad))))


def check_formats(files):
    for name in ("json", "jsonl", "dot", "gv", "svg"):
        check_no_controls(files[name])
    with open(files["jsonl"], encoding="utf-8") as f:
        for line in f:
            json.loads(line)
    check_dot(files["dot"])
    check_dot(files["gv"])
    check_svg(files["svg"])
    for name, magic in (("png", b"\x89PNG\r\n\x1a\n"), ("pdf", b"%PDF-")):
        with open(files[name], "rb") as f:
            check_equal(f.read(len(magic)), magic, "head of the " + name)


@test("every format at once")
def every_format(t):
    graph, files = all_formats(t, ["/bin/sh", "-c", "seq 1 100 | cat | wc -c"])
    check_formats(files)
    other = Graph.load(files["json"])
    other.drop_signals()
    check_equal(other.flows, graph.flows, "the flows of both JSON files")
    dot = read_text(files["dot"])
    for word in ("seq", "cat", "wc", "pipe"):
        check(word in dot, "no %s in the DOT" % word)


HOSTILE = b'"];<script>\n\x1b[31m\xff\xfe<!--&\\'


@test("processes and files with hostile names break no output")
def hostile_names(t):
    name = t.dir.encode() + b"/" + HOSTILE.replace(b"/", b"")
    with open("/bin/dash", "rb") as source, open(name, "wb") as copy:
        copy.write(source.read())
    os.chmod(name, 0o755)
    script = t.write("hostile.py", b"""
import ctypes, os
name = %r
ctypes.CDLL(None).prctl(15, HOSTILE, 0, 0, 0)
os.mkfifo(name + b".fifo")
fd = os.open(name + b".fifo", os.O_RDWR)
os.write(fd, b"abc")
os.read(fd, 3)
r, w = os.pipe()
os.write(w, b"x" * 7)
if not os.fork():
    os.dup2(r, 0)
    os.execv(name, [HOSTILE, b"-c", b"read x; read y; exit 0 #" + HOSTILE])
os.close(w)
os.wait()
""".replace(b"%r", repr(name).encode()).replace(b"HOSTILE", repr(HOSTILE).encode()))
    graph, files = all_formats(t, [PYTHON, script])
    check_formats(files)
    check_equal(sum(f["bytes"] for f in graph.flows), 10, "bytes of all flows")
    comms = {p["comm"] for p in graph.procs.values()}
    check(any(c.startswith('"];<script>\n\x1b[3') for c in comms),
          "JSON has the name escaped, not changed: %r" % comms)
    check(any("<script>" in (c["path"] or "") for c in graph.chans.values()), "the FIFO's path")
    for command in ("report", "dump"):
        child = t.run([IPCTRACE, command, files["ipct"]])
        check_equal(child.status, 0, "status of %s: %s" % (command, child.stderr))
        check_no_controls(child.out_path)
    os.unlink(name + b".fifo")
    text = t.tracer(["-o", "-"], [PYTHON, script])
    text.wait(20)
    check_no_controls(text.out_path)
    check_no_controls(text.err_path)


def graph_again(t, recording, name):
    child = t.run([IPCTRACE, "graph", "-o", t.path(name), recording])
    check_equal(child.status, 0, "status of graph: " + child.stderr)
    with open(t.path(name), "rb") as f:
        return f.read()


@test("the same recording gives the same bytes, and those of the live run")
def deterministic(t):
    script = "(seq 1 50; seq 51 99) | tee >(wc >/dev/null) | cat | sort -R | wc"
    _, files = all_formats(t, ["/bin/bash", "-c", script])
    for name in ("json", "dot", "svg"):
        first = graph_again(t, files["ipct"], "a." + name)
        second = graph_again(t, files["ipct"], "b." + name)
        check(first == second, "two runs over one recording differ in " + name)
        with open(files[name], "rb") as f:
            check(f.read() == first, "the live %s differs from the recording's" % name)


@test("a recording needs no root to be read")
def recording_as_nobody(t):
    need("setpriv")
    t.trace(["/bin/sh", "-c", "seq 1 100 | wc -c"], options=["-o", t.path("x.ipct")])
    os.chmod(t.dir, 0o755)
    os.chmod(t.path("x.ipct"), 0o644)
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    child = t.run(nobody + [IPCTRACE, "report", t.path("x.ipct")])
    if child.status == 127 and "setpriv" in child.stderr:
        raise Skip("nobody may not run %s" % IPCTRACE)
    check_equal(child.status, 0, "exit status: " + child.stderr)
    check("seq" in child.stdout and "292" in child.stdout, "report: %r" % child.stdout)


@test("the summary on the terminal: who, to whom, how much; no colours in a file")
def summary(t):
    child = t.tracer(["-o", "-"], ["/bin/sh", "-c", "seq 1 1000 | wc -c >/dev/null"])
    child.wait(20)
    check_equal(child.status, 0, "exit status: " + child.stderr)
    check(re.search(r"^seq.* wc.* pipe .* 3,893 B ", child.stdout, re.MULTILINE),
          "no line from seq to wc: %r" % child.stdout)
    check_no_controls(child.out_path)


POPULATED = """
import mmap, os
for i in range(8):
    fd = os.memfd_create("m%d" % i)
    os.truncate(fd, 4096)
    mmap.mmap(fd, 4096, flags=mmap.MAP_SHARED | mmap.MAP_POPULATE)
"""


@test("the summary in few words: what of memory is not seen, locks, what is said to the kernel")
def few_words(t):
    need("ip", "flock")
    out = t.path("x.txt")
    t.trace([PYTHON, "-c", POPULATED], options=["-o", out])
    told = [line for line in read_text(out).splitlines() if line.startswith("Pages at least")]
    check_equal(told, ["Pages at least, of %s and 3 more: mapped whole before it was touched" %
                       ", ".join("memfd:m%d" % i for i in range(5))], "pages")
    check("times mapped: 1, no touch seen" in read_text(out), "m0: " + read_text(out))
    t.shell("for i in 1 2 3; do flock x true; done", options=["-m", "file", "-o", out])
    check("calls to lock: 3, nobody waited" in read_text(out), "x: " + read_text(out))
    graph = t.trace(["ip", "link"], options=["-m", "netlink", "-o", out])
    sums = graph.totals()
    check("{write_bytes:,} B written, {read_bytes:,} B read: who was at the other end is not known"
          .format(**sums) in read_text(out), "%s: %s" % (sums, read_text(out)))


@test("meta data: command, host, kernel, filters")
def meta(t):
    graph = t.trace(["/bin/sh", "-c", "exit 0"], options=["-m", "pipe"])
    head = graph.data["ipctrace"]
    check_equal(head["command"], ["/bin/sh", "-c", "exit 0"], "command")
    check_equal(head["kernel"].split()[0].split("-")[0], os.uname().release.split("-")[0], "kernel")
    check_equal(head["host"], os.uname().nodename, "host")
    check("pipe" in json.dumps(head["filters"]), "filters: %s" % head["filters"])
    check(head["duration_ns"] > 0, "duration")


@test("--strict: status 4 when something was lost, else the command's")
def strict(t):
    script = "import os\nr, w = os.pipe()\n" \
        "for i in range(100000):\n os.write(w, b'x')\n os.read(r, 1)\n"
    child = t.tracer(["--strict", "-o", t.path("a.json")], [PYTHON, "-c", script])
    child.wait(60)
    check_equal(child.status, 0, "exit status without a loss: " + child.stderr)
    # The tracer stands still while the ring fills up.
    child = t.tracer(["--strict", "--ops", "--ring-size", "4096", "-o", t.path("b.json")],
                     [PYTHON, "-c", "import os, signal, time\nos.kill(os.getppid(), "
                      "signal.SIGSTOP)\n" + script + "os.kill(os.getppid(), signal.SIGCONT)\n"])
    child.wait(60)
    graph = Graph.load(t.path("b.json"))
    graph.check_sane(child.pid, lossless=False)
    check(graph.lost["by_cause"]["ring_operation"] > 0, "nothing lost: %s" % graph.lost)
    check_equal(child.status, 4, "exit status with a loss")
    check_equal(role_sum(graph.edges, "write", "ops"), 100000, "writes counted all the same")


@test("help and version")
def usage(t):
    for option in ("--help", "-h"):
        child = t.run([IPCTRACE, option])
        check_equal(child.status, 0, "exit status")
        check("-o" in child.stdout and "graph" in child.stdout, "help: %r" % child.stdout)
    child = t.run([IPCTRACE, "--version"])
    check_equal((child.status, bool(re.search(r"\d", child.stdout))), (0, True), "version")
