# SPDX-License-Identifier: BSD-2-Clause
"""Real shells and programs: nobody wrote these to be traced."""
import os
import re
import signal

import straces
from lib import PYTHON, check, check_equal, errors, need, pick, role_sum, test

SHELLS = ("/bin/dash", "/bin/bash")


def pipes(graph):
    return [c for c in graph.chans.values() if c["mechanism"] == "pipe"]


def used_pipes(graph):
    used = {e["channel"] for e in graph.used_edges()}
    return [c for c in pipes(graph) if c["id"] in used]


@test("(echo a; sleep 0.1; echo bb) | cat | wc -c")
def echo_cat_wc(t):
    # The pause begins when cat waits for more, however late it came to that.
    graph = t.shell("""
(echo a
 until [ -s pid ] && read pid < pid && grep -qs ') S' /proc/$pid/stat &&
       grep -qs '^0 ' /proc/$pid/syscall; do :; done # read
 sleep 0.1; echo bb) | sh -c 'echo $$ > pid; exec cat' | wc -c""")
    check_equal(graph.tracer.stdout.strip(), "5", "output")
    cat, wc = graph.one("cat"), graph.one("wc")
    writers = [graph.procs[f["from"]] for f in graph.flows_between(target=cat)]
    check_equal([w["comm"] for w in writers], ["sh"], "writers to cat")
    graph.exact_flow(writers[0], cat, 5)
    graph.exact_flow(cat, wc, 5)
    check_equal(len(graph.flows), 2, "number of flows")
    check_equal(len(used_pipes(graph)), 2, "number of pipes")
    first = graph.edges_of(writers[0], "write")
    check_equal([(e["ops"], e["bytes"]) for e in first], [(2, 5)], "the subshell's writes")
    # cat reads "a", "bb" and the end of file, and slept through the pause.
    reads = graph.edges_of(cat, "read")[0]
    check_equal((reads["ops"], reads["bytes"]), (3, 5), "cat's reads")
    check(reads["blocked_ops"] >= 1 and reads["blocked_ns"] >= 100e6,
          "cat waited %d ns in %d reads for a pause of 0.1 s" % (
              reads["blocked_ns"], reads["blocked_ops"]))
    graph.balanced()


@test("a pipeline of 20 stages: every flow exact")
def twenty_stages(t):
    graph = t.shell("seq 1 1000 | " + "cat | " * 18 + "wc -c")
    check_equal(graph.tracer.stdout.strip(), "3893", "output")
    check_equal(len(graph.flows), 19, "number of flows")
    check_equal(len(used_pipes(graph)), 19, "number of pipes")
    # Follow the flows from one end to the other.
    at, stages = graph.one("seq"), 1
    while at["comm"] != "wc" and stages <= 20:
        flows = graph.flows_between(source=at)
        check_equal(len(flows), 1, "flows out of stage %d" % stages)
        target = graph.procs[flows[0]["to"]]
        graph.exact_flow(at, target, 3893)
        at, stages = target, stages + 1
    check_equal(stages, 20, "length of the chain")
    graph.balanced()


@test("ls -l | more")
def ls_more(t):
    for name in "abc":
        t.write(name, "x")
    graph = t.shell("cd %s && ls -l | more" % t.dir)
    check(graph.tracer.stdout.count("\n") >= 4, "output: %r" % graph.tracer.stdout)
    listing = graph.edges_of(graph.one("ls"), "write")[0]["bytes"]
    check(listing > 0, "ls wrote nothing")
    graph.exact_flow(graph.one("ls"), graph.one("more"), listing)
    graph.balanced()


@test("ps -ef | grep x | cut -b 1-9")
def ps_grep_cut(t):
    graph = t.shell("ps -ef | grep x | cut -b 1-9")
    put = graph.edges_of(graph.one("ps"), "write")[0]["bytes"]
    graph.exact_flow(graph.one("ps"), graph.one("grep"), put)
    found = graph.edges_of(graph.one("grep"), "write")[0]["bytes"]
    graph.exact_flow(graph.one("grep"), graph.one("cut"), found)
    check(0 < found < put, "grep passed on %d of %d bytes" % (found, put))
    graph.balanced()


def here_document(shell):
    def run(t):
        graph = t.shell("cat <<END\n%s\nEND\n" % ("x" * 99), shell=shell)
        check_equal(graph.tracer.stdout, "x" * 99 + "\n", "output")
        cat = graph.one("cat")
        check_equal(role_sum(graph.edges_of(cat), "read", "bytes"), 100, "bytes cat read")
        flows = graph.flows_between(target=cat)
        check_equal([f["bytes"] for f in flows], [100], "flows to cat")
        graph.balanced()
    return run


def command_substitution(shell):
    def run(t):
        graph = t.shell('x=$(printf %050d 7; exec echo); echo "${#x}"', shell=shell)
        check_equal(graph.tracer.stdout, "50\n", "output")
        readers = {e["process"] for e in graph.edges_of(role="read")}
        check_equal(len(readers), 1, "number of readers")
        root = graph.procs[readers.pop()]
        check_equal(root["comm"], os.path.basename(shell), "the reader")
        check_equal(sum(f["bytes"] for f in graph.flows_between(target=root)), 51,
                    "bytes substituted")
        graph.balanced()
    return run


for each in SHELLS:
    test("here-document in " + each)(here_document(each))
    test("command substitution in " + each)(command_substitution(each))


@test("process substitution: cat <(..) and tee >(..)")
def process_substitution(t):
    graph = t.shell("cat <(echo one; echo three) <(printf 12345) | tee >(wc -c >%s) | sed s/o/0/"
                    % t.path("count"), shell="/bin/bash")
    check_equal(graph.tracer.stdout, "0ne\nthree\n12345", "output")
    cat, tee = graph.one("cat"), graph.one("tee")
    check_equal(sorted(f["bytes"] for f in graph.flows_between(target=cat)), [5, 10],
                "flows into cat")
    graph.exact_flow(cat, tee, 15)
    graph.exact_flow(tee, graph.one("wc"), 15)
    graph.exact_flow(tee, graph.one("sed"), 15)
    graph.balanced()


@test("make -j3 with its jobserver")
def jobserver(t):
    need("make")
    t.write("Makefile", "all: $(addprefix t,1 2 3 4 5 6)\nt%:\n\t@echo $@ | cat >$@\n")
    graph = t.shell("make -s -j3 -C %s all" % t.dir)
    make = graph.one("make")
    check_equal(len(graph.by_comm("cat")), 6, "number of cats")
    for cat in graph.by_comm("cat"):
        flows = graph.flows_between(target=cat)
        check_equal([(f["bytes"], f["certainty"]) for f in flows], [(3, "exact")], "flow to cat")
    # Make 4.3 keeps its job tokens in a pipe; a newer one may use a FIFO.
    tokens = [c for c in used_pipes(graph) + [c for c in graph.chans.values()
                                              if c["mechanism"] == "fifo"]
              if graph.edges_of(make, "write", c)]
    check(tokens, "make put no token anywhere")
    graph.balanced()


@test("xargs -P: several writers on one pipe")
def xargs_parallel(t):
    graph = t.shell("seq 1 40 | xargs -P 4 -n 5 echo | sort -n | tail -n 1")
    sort = graph.one("sort")
    echoes = graph.by_comm("echo")
    check_equal(len(echoes), 8, "number of echoes")
    total = sum(len(str(n)) + 1 for n in range(1, 41))
    graph.exact_flow(graph.one("seq"), graph.one("xargs"), total)
    for echo in echoes:
        put = role_sum(graph.edges_of(echo), "write", "bytes")
        flows = graph.flows_between(echo, sort)
        got = sum(f["bytes"] for f in flows)
        maybe = sum(f.get("shared_bytes", 0) for f in flows)
        check(got <= put <= got + maybe, "echo wrote %d, its flow says %d and %d shared" % (
            put, got, maybe))
    check_equal(role_sum(graph.edges_of(sort), "read", "bytes"), total, "bytes sort read")
    graph.balanced()


@test("python: subprocess and os.pipe")
def python_pipes(t):
    script = t.write("parent.py", """
import os, subprocess
done = subprocess.run(["tr", "a-z", "A-Z"], input=b"hello" * 1000, stdout=subprocess.PIPE)
assert done.stdout == b"HELLO" * 1000
r, w = os.pipe()
pid = os.fork()
if not pid:
    os.close(r)
    os.write(w, b"x" * 4321)
    os._exit(0)
os.close(w)
got = b""
while True:
    part = os.read(r, 100000)
    if not part:
        break
    got += part
os.waitpid(pid, 0)
assert len(got) == 4321
""")
    graph = t.trace([PYTHON, script])
    tr = graph.one("tr")
    parents = {e["process"] for e in graph.edges_of(role="read") if e["process"] != tr["id"]}
    check_equal(len(parents), 1, "reading pythons")
    python = graph.procs[parents.pop()]
    graph.exact_flow(python, tr, 5000)
    graph.exact_flow(tr, python, 5000)
    child = [f for f in graph.flows_between(target=python) if f["from"] != tr["id"]]
    child = [f for f in child if f["bytes"]]
    check_equal([(f["bytes"], f["certainty"]) for f in child], [(4321, "exact")],
                "flow from the fork")
    graph.balanced()


@test("perl: open of a pipe both ways")
def perl_pipes(t):
    need("perl")
    graph = t.trace(["perl", "-e", 'open(W, "|wc -c >/dev/null"); print W "x" x 70000; close W;'
                     'open(R, "seq 1 100|"); while (<R>) { $n++ } close R; exit($n != 100)'])
    graph.exact_flow(graph.one("perl"), graph.one("wc"), 70000)
    graph.exact_flow(graph.one("seq"), graph.one("perl"), 292)
    graph.balanced()


@test("bash coproc: two pipes between two processes")
def coprocess(t):
    graph = t.shell('coproc tr a-z A-Z; echo hello >&"${COPROC[1]}"; exec {COPROC[1]}>&-; '
                    'read -r x <&"${COPROC[0]}"; echo "$x"', shell="/bin/bash")
    check_equal(graph.tracer.stdout, "HELLO\n", "output")
    tr = graph.one("tr")
    bash = graph.procs[graph.flows_between(target=tr)[0]["from"]]
    graph.exact_flow(bash, tr, 6)
    graph.exact_flow(tr, bash, 6)
    graph.balanced()


@test("a named pipe between two shells, both ends by path")
def named_pipe(t):
    fifo = t.path("queue")
    graph = t.shell("mkfifo {0}; (printf %0999d 1 >{0}) & wc -c <{0}; wait".format(fifo))
    check_equal(graph.tracer.stdout.strip(), "999", "output")
    fifos = [c for c in graph.chans.values() if c["mechanism"] == "fifo"]
    check_equal([c["path"] for c in fifos], [fifo], "FIFOs")
    writers = {e["process"] for e in graph.edges_of(role="write", chan=fifos[0])}
    check_equal(len(writers), 1, "number of writers")
    graph.exact_flow(graph.procs[writers.pop()], graph.one("wc"), 999, fifos[0])
    graph.balanced()


@test("yes | head: a writer that dies of SIGPIPE")
def broken_pipe(t):
    graph = t.shell("yes | head -n 1000 | tail -n 1")
    yes, head = graph.one("yes"), graph.one("head")
    # A write that had put a part of its bytes returns those, and only the signal tells.
    writes = graph.edges_of(yes, "write")[0]
    check(errors(writes) in ({}, {"EPIPE": 1}), "errors of yes: %s" % errors(writes))
    check_equal(yes["exit"]["signal"], signal.SIGPIPE, "what yes died of")
    graph.exact_flow(yes, head, role_sum(graph.edges_of(head), "read", "bytes"))
    graph.balanced()


# The same bytes for the same programs as strace, which stops them at every call.
STRACE = [
    ("a chain with tee", "/bin/sh", "seq 1 5000 | tee /dev/null | sort -rn | tr 1 2 | wc"),
    ("here-documents and substitutions", "/bin/dash",
     "cat <<E | wc -c; x=$(printf %0300d 1); echo $x | tr 0 1\nabc\nE"),
    ("process substitution", "/bin/bash", "paste <(seq 1 500) <(seq 501 1000) | cut -f 2 | wc"),
    ("builtins and exec", "/bin/sh", "(echo a; exec seq 1 90) | (read -r x; exec cat) | wc -l"),
    ("dd through splice-free copies", "/bin/sh",
     "dd if=/dev/zero bs=1000 count=99 2>/dev/null | dd bs=512 2>/dev/null | wc -c"),
]


def against_strace(shell, script):
    def run(t):
        need("strace")
        straces.compare(t, [shell, "-c", script])
    return run


for title, shell_path, text in STRACE:
    test("as strace sees it: " + title)(against_strace(shell_path, text))


@test("python's own splice is counted as strace counts it")
def python_splice(t):
    need("strace")
    script = t.write("splice.py", """
import os, subprocess
r, w = os.pipe()
seq = subprocess.Popen(["seq", "1", "%d"], stdout=w)
os.close(w)
r2, w2 = os.pipe()
wc = subprocess.Popen(["wc", "-c"], stdin=r2)
os.close(r2)
while os.splice(r, w2, 65536):
    pass
os.close(w2)
assert not seq.wait() and not wc.wait()
""" % pick(20000, 3000))
    graph = straces.compare(t, [PYTHON, script])
    wc, seq = graph.one("wc"), graph.one("seq")
    size = role_sum(graph.edges_of(wc), "read", "bytes")
    check(re.search(r"\b%d\b" % size, graph.tracer.stdout), "wc counted something else")
    python = graph.procs[graph.flows_between(target=wc)[0]["from"]]
    graph.exact_flow(seq, python, size)
    graph.exact_flow(python, wc, size)
