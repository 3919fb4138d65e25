# SPDX-License-Identifier: BSD-2-Clause
"""What one process does to another: workloads against their facts, and debuggers."""
import json
import os
import re

import lib
from facts import register, trace_workload
from lib import PYTHON, Graph, check, check_equal, errors, need, read_text, test, wait_for

register("vm-", {
    "vm-copy": ["", "how=write", "how=both pieces=7", "how=both peers=5 count=50 size=1",
                "how=both by=mem", "by=mem peers=4", "by=seek how=both", "rel=parent peers=3",
                "rel=parent by=mem how=both", "rel=child how=both", "size=5M count=2 how=both"],
    "vm-mesh": ["", "procs=10"],
    "vm-getfd": ["", "takers=5", "count=0 bytes=0", "count=100"],
    "vm-ptrace": ["", "what=all", "by=attach rounds=5 what=all", "thread=1 rounds=2",
                  "rel=siblings what=all", "rel=siblings thread=1 by=attach count=1000"],
    "vm-traceme": ["", "what=all", "tracees=10 stops=1"],
    "vm-fault": ["", "owners=5", "by=zero", "by=protect", "by=protect owners=2", "pages=500"],
    "vm-errors": ["", "how=write", "why=esrch", "why=esrch how=write", "why=eperm",
                  "why=eperm how=write", "why=partial"],
})

# Reads 100 bytes five times and writes 10 once, by process_vm_readv() and by /proc/PID/mem.
DEBUGGER = """
import ctypes, os, sys
class IOVec(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("len", ctypes.c_size_t)]
libc = ctypes.CDLL(None, use_errno=True)
pid, at = int(sys.argv[1]), int(sys.argv[2], 16)
buf = ctypes.create_string_buffer(100)
mine, theirs = IOVec(ctypes.addressof(buf), 100), IOVec(at, 100)
for _ in range(3):
    assert libc.process_vm_readv(pid, ctypes.byref(mine), 1, ctypes.byref(theirs), 1, 0) == 100
mem = os.open("/proc/%d/mem" % pid, os.O_RDWR)
assert len(os.pread(mem, 100, at)) == 100
assert len(os.pread(mem, 100, at)) == 100
assert os.pwrite(mem, b"x" * 10, at) == 10
"""


def low_in_stack(pid):
    """An address there that can be read and written, and where nothing is in use any more."""
    with open("/proc/%d/maps" % pid) as maps:
        line = next(line for line in maps if line.rstrip().endswith("[stack]"))
    return line.split("-")[0]


def check_debugged(graph, debugger, target):
    check_equal(debugger["comm"], os.path.basename(PYTHON)[:15], "comm of the debugger")
    chan = next(c for c in graph.chans.values() if c["mechanism"] == "vm")
    check_equal(chan["name"], "process %d" % target["pid"], "name of the channel")
    for edge in graph.edges_of(chan=chan):
        mine = edge["process"] == debugger["id"]
        check_equal(edge["end"], 0 if mine else 1, "end of %s" % edge["process"])
        reads = (edge["role"] == "read") == mine
        check_equal((edge["ops"], edge["bytes"]), (5, 500) if reads else (1, 10),
                    "calls and bytes of %s %s" % (graph.name(edge["process"]), edge["role"]))
    graph.exact_flow(target, debugger, 500)
    graph.exact_flow(debugger, target, 10)


def start_sleeper(t):
    sleeper = t.start(["sleep", "1000"])
    wait_for(lambda: read_text("/proc/%d/comm" % sleeper.pid) == "sleep\n", "the target")
    return sleeper


@test("a debugger that is not watched, of a process that is")
def debugger_outside(t):
    sleeper, out = start_sleeper(t), t.path("graph.json")
    tracer = t.tracer(["-o", out, "-m", "vm", "-p", str(sleeper.pid)])
    t.ready(tracer)
    debugger = t.run([PYTHON, "-c", DEBUGGER, str(sleeper.pid), low_in_stack(sleeper.pid)])
    check_equal(debugger.status, 0, "status of the debugger: " + lib.last_line(debugger.stderr))
    t.stop(tracer)
    graph = Graph.load(out)
    graph.check_sane(tracer.pid)
    found = graph.pid(debugger.pid)
    check_equal(found["watched"], False, "the debugger is watched")
    check_debugged(graph, found, graph.pid(sleeper.pid))


@test("what a debugger that is not watched fails to read")
def fails_outside(t):
    sleeper, out = start_sleeper(t), t.path("graph.json")
    tracer = t.tracer(["-o", out, "-m", "vm", "-p", str(sleeper.pid)])
    t.ready(tracer)
    debugger = t.run([PYTHON, "-c", """
import ctypes, errno, sys
libc = ctypes.CDLL(None, use_errno=True)
class iovec(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("len", ctypes.c_size_t)]
here, nowhere = iovec(ctypes.addressof(ctypes.create_string_buffer(8)), 8), iovec(8, 8)
for i in range(3):
    n = libc.process_vm_readv(int(sys.argv[1]), ctypes.byref(here), 1, ctypes.byref(nowhere), 1, 0)
    assert n == -1 and ctypes.get_errno() == errno.EFAULT
""", str(sleeper.pid)])
    check_equal(debugger.status, 0, "status of the debugger: " + lib.last_line(debugger.stderr))
    t.stop(tracer)
    graph = Graph.load(out)
    graph.check_sane(tracer.pid)
    edge, = graph.edges_of(proc=graph.pid(debugger.pid))
    check_equal((edge["ops"], errors(edge)), (0, {"EFAULT": 3}), "calls that failed")


@test("a debugger that is watched, of a process that is not")
def target_outside(t):
    sleeper = start_sleeper(t)
    graph = t.trace([PYTHON, "-c", DEBUGGER, str(sleeper.pid), low_in_stack(sleeper.pid)],
                    options=["-m", "vm"])
    target = graph.pid(sleeper.pid)
    check_equal((target["comm"], target["watched"]), ("sleep", False), "the target")
    debugger = next(p for p in graph.procs.values() if p["watched"])
    check_debugged(graph, debugger, target)


IN_NAMESPACE = """
sleep 1000 &
while [ "$(cat /proc/$!/comm)" != sleep ]; do :; done
at=$(sed -n 's/-.*\\[stack\\]$//p' /proc/$!/maps)
%s -c "$1" $! "$at"
kill $!
"""


@test("pids mean what they do in the pid namespace of the debugger")
def in_namespace(t):
    need("unshare")
    graph = t.trace(["unshare", "-pfm", "--mount-proc", "/bin/sh", "-c", IN_NAMESPACE % PYTHON,
                     "sh", DEBUGGER], options=["-m", "vm"])
    check_debugged(graph, graph.one(os.path.basename(PYTHON)[:15]), graph.one("sleep"))


@test("--ops: a record of each call, with what it moved")
def records(t):
    sleeper, out = start_sleeper(t), t.path("events.jsonl")
    t.trace([PYTHON, "-c", DEBUGGER, str(sleeper.pid), low_in_stack(sleeper.pid)],
            options=["-m", "vm", "--ops", "-o", out])
    events = [json.loads(line) for line in read_text(out).splitlines()]
    found = [(e["role"], e["result"]) for e in events if e.get("type") == "operation"]
    check_equal(found, [("read", 100)] * 5 + [("write", 10)], "operations")


@test("page faults in a memfd, which another process lets go on")
def faults_in_memfd(t):
    # The memory is a channel of its own, and not the matter.
    trace_workload(t, "vm-fault", ["by=continue", "owners=2"], ["-m", "vm"])


KILLED_BEFORE = """
import ctypes, os, signal
ptrace = ctypes.CDLL(None).ptrace
PTRACE_TRACEME, PTRACE_SYSCALL = 0, 24
r, w = os.pipe()
os.set_blocking(w, False)
pid = os.fork()
if not pid:
    ptrace(PTRACE_TRACEME, 0, 0, 0)
    os.kill(os.getpid(), signal.SIGSTOP)
    os.write(w, b"first")
    os.write(w, b"last")
os.waitpid(pid, 0)
for stop in ("before the first", "after the first", "before the last"):
    ptrace(PTRACE_SYSCALL, pid, 0, 0)
    os.waitpid(pid, 0)
os.kill(pid, signal.SIGKILL)
os.waitpid(pid, 0)
os.close(w)
assert os.read(r, 100) == b"first"
"""


@test("a process that is killed at its debugger's stop before a call has not made it")
def killed_before(t):
    graph = t.trace([PYTHON, "-c", KILLED_BEFORE], options=["-m", "pipe"])
    edge, = graph.edges_of(role="write")
    check_equal((edge["ops"], edge["bytes"], edge["nonblocking_ops"], errors(edge)), (1, 5, 1, {}),
                "writes, their bytes, non-blocking ones and errors")


CALL = re.compile(r"^(ptrace|process_vm_readv)\((.*?)\)\s+= (-?\d+|0x[0-9a-f]+)")
SIZES = {"PTRACE_GETSIGINFO": 128, "PTRACE_GETEVENTMSG": 8}
READS = ("PTRACE_GET_SYSCALL_INFO", "PTRACE_GETSIGINFO", "PTRACE_GETEVENTMSG")


def told_by_strace(path):
    """By pid and role, calls and bytes; and how many calls failed."""
    sums, failed = {}, 0
    for line in read_text(path).splitlines():
        found = CALL.match(line)
        if not found:
            continue
        args, ret = found.group(2).split(", "), int(found.group(3), 0)
        request, pid = (args[0], int(args[1])) if found.group(1) == "ptrace" else (
            "read", int(args[0]))
        if ret < 0:
            failed += 1
            continue
        size = ret if request == "read" else SIZES.get(request, 0)
        if request == "PTRACE_GET_SYSCALL_INFO":
            size = min(ret, int(args[2]))
        reads = request == "read" or request in READS
        one = sums.setdefault((pid, "read" if reads else "write"), [0, 0])
        one[0] += 1
        one[1] += size
    return sums, failed


@test("strace, as another strace sees it")
def strace_of_strace(t):
    need("strace")
    log = t.path("outer.log")
    graph = t.trace(["strace", "-e", "trace=ptrace,process_vm_readv", "-o", log,
                     "strace", "-o", "/dev/null", "ls", "/"],
                    options=["-m", "vm"])
    sums, failed = told_by_strace(log)
    check(any(size for _, size in sums.values()), "strace says that nothing was read: %s" % sums)
    traced = graph.one("ls")
    inner = graph.procs[traced["parent"]]
    found = {edge["role"]: [edge["ops"], edge["bytes"]] for edge in graph.edges_of(inner)
             if edge["end"] == 0
             and graph.chans[edge["channel"]]["name"] == "process %d" % traced["pid"]}
    check_equal(found, {role: sums[traced["pid"], role] for role in ("read", "write")},
                "calls and bytes")
    check_equal(sum(sum(errors(e).values()) for e in graph.edges_of(inner)), failed, "failed calls")
