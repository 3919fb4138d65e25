# SPDX-License-Identifier: BSD-2-Clause
"""What strace says about pipes: bytes per program and role, from a run of its own."""
import os
import re

from lib import Failure, check, read_text

CALLS = ("read", "readv", "write", "writev", "splice", "tee", "vmsplice", "sendfile")
LIFE = ("execve", "fork", "vfork", "clone", "clone3")

CALL = re.compile(r"^(\w+)\((.*)\)\s+= (-?\d+)")
UNFINISHED = re.compile(r"^(\w+)\((.*) <unfinished \.\.\.>$")
RESUMED = re.compile(r"^<\.\.\. (\w+) resumed>(.*)$")
PIPE = re.compile(r"\b\d+<pipe:\[(\d+)\]>")
PROGRAM = re.compile(r'^"((?:[^"\\]|\\.)*)"')


def joined(path):
    """(pid, line), calls that another process interrupted put together again."""
    begun = {}
    for line in read_text(path).splitlines():
        pid, _, rest = line.partition(" ")
        rest = rest.strip()
        half, resumed = UNFINISHED.match(rest), RESUMED.match(rest)
        if half:
            begun[pid] = "%s(%s" % half.groups()
        elif resumed:
            yield int(pid), begun.pop(pid, resumed.group(1) + "(") + resumed.group(2)
        else:
            yield int(pid), rest


def roles(call, arguments):
    """The roles in which the call acts on pipes, in the order of its arguments."""
    pipes = [bool(PIPE.match(a.strip())) for a in split_arguments(arguments)]
    where = {"read": [("read", 0)], "readv": [("read", 0)], "write": [("write", 0)],
             "writev": [("write", 0)], "splice": [("read", 0), ("write", 2)],
             "tee": [("write", 1)], "vmsplice": [("write", 0)],
             "sendfile": [("write", 0), ("read", 1)]}[call]
    return [role for role, index in where if index < len(pipes) and pipes[index]]


def split_arguments(text):
    """Up to the first strings and structures the arguments are plain, and that is enough."""
    return text.split(",")


class Strace:
    def __init__(self):
        self.names = {}  # pid -> comm
        self.sums = {}  # (pid, role) -> [calls, bytes]

    def line(self, pid, text):
        found = CALL.match(text)
        if not found:
            return
        call, arguments, result = found.group(1), found.group(2), int(found.group(3))
        if result < 0:
            return
        if call == "execve":
            program = PROGRAM.match(arguments)
            self.names[pid] = os.path.basename(program.group(1))[:15]
        elif call in LIFE:
            self.names.setdefault(result, self.names.get(pid, "?"))
        elif call in CALLS:
            for role in roles(call, arguments):
                entry = self.sums.setdefault((pid, role), [0, 0])
                entry[0] += 1
                entry[1] += result

    def table(self):
        """Sorted (comm, role, bytes), a row per process and role."""
        return sorted((self.names.get(pid, "?"), role, size)
                      for (pid, role), (_, size) in self.sums.items() if size)


def strace(context, argv):
    """Run argv under strace and add up."""
    log = context.path("strace%d.log" % len(context.children))
    child = context.run(["strace", "-f", "-yy", "-s", "0", "-o", log, "-e",
                         "trace=" + ",".join(CALLS + LIFE), "--"] + list(argv), seconds=60)
    check(os.path.exists(log), "strace wrote nothing: " + child.stderr)
    result = Strace()
    for pid, text in joined(log):
        result.line(pid, text)
    if not result.sums:
        raise Failure("strace saw no pipe; its log has %d bytes" % os.path.getsize(log))
    return result.table()


def traced(graph):
    """The same table from a graph."""
    rows = {}
    for edge in graph.edges:
        if edge["bytes"] and graph.chans[edge["channel"]]["mechanism"] == "pipe":
            key = (edge["process"], edge["role"])
            rows[key] = rows.get(key, 0) + edge["bytes"]
    return sorted((graph.procs[proc]["comm"], role, size) for (proc, role), size in rows.items())


def compare(context, argv, options=()):
    """Trace argv, then run it again under strace: the same bytes for the same programs."""
    graph = context.trace(argv, options=options)
    ours, theirs = traced(graph), strace(context, argv)
    missing = [row for row in theirs if row not in ours]
    extra = [row for row in ours if row not in theirs]
    check(ours == theirs, "strace alone has %s; ipctrace alone has %s" % (missing, extra))
    return graph
