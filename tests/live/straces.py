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


# The same run: strace inside, ipctrace around it. Every call by process, channel and role.

DESCRIPTOR = re.compile(r"\b\d+<((?:[^<>]|->)*)>")
ENDED = re.compile(r"^(\w+)\((.*)\)\s+= (-?\d+|\?)(?:<[^>]*>)?(?: (E\w+))?")


def ends(call, arguments):
    """(role, file) for each descriptor that the call reads or writes."""
    files = DESCRIPTOR.findall(arguments)
    wanted = {"read": ["read"], "readv": ["read"], "splice": ["read", "write"],
              "sendfile": ["write", "read"], "tee": [None, "write"]}.get(call, ["write"])
    return [(role, name) for role, name in zip(wanted, files) if role]


def leaders(lines):
    """Threads, by the process they belong to."""
    above = {}
    for pid, text in lines:
        found = ENDED.match(text)
        if found and found.group(1) in LIFE and "CLONE_THREAD" in found.group(2):
            above[int(found.group(3))] = pid
    return above


def calls_of_log(path, names):
    """(pid, channel, role) -> [calls, bytes, errors], for the channels named."""
    lines, sums = list(joined(path)), {}
    above = leaders(lines)
    for pid, text in lines:
        found = ENDED.match(text)
        if not found or found.group(1) not in CALLS:
            continue
        call, arguments, result, error = found.groups()
        while pid in above:
            pid = above[pid]
        for role, name in ends(call, arguments):
            if name not in names or (result == "?" and not error):
                continue
            entry = sums.setdefault((pid, name, role), [0, 0, {}])
            if error:
                entry[2][error] = entry[2].get(error, 0) + 1
            else:
                entry[0] += 1
                entry[1] += int(result)
    return sums


def calls_of_graph(graph):
    sums = {}
    for edge in graph.used_edges():
        chan = graph.chans[edge["channel"]]
        key = (graph.procs[edge["process"]]["pid"], chan["path"] or chan["name"], edge["role"])
        entry = sums.setdefault(key, [0, 0, {}])
        entry[0] += edge["ops"]
        entry[1] += edge["bytes"]
        for name, count in (edge.get("errors") or {}).items():
            entry[2][name] = entry[2].get(name, 0) + count
    return sums


def same_run(context, argv, options=(), **kwargs):
    """Trace strace tracing argv: both must have seen the same calls."""
    log = context.path("same%d.log" % len(context.children))
    graph = context.trace(["strace", "-f", "-qq", "-yy", "-s", "0", "-o", log, "-e", "signal=none",
                           "-e", "trace=" + ",".join(CALLS + LIFE), "--"] + list(argv),
                          options=["-m", "pipe,fifo"] + list(options), **kwargs)
    names = {c["path"] or c["name"] for c in graph.chans.values()}
    names |= set(re.findall(r"<(pipe:\[\d+\])>", read_text(log)))
    ours, theirs = calls_of_graph(graph), calls_of_log(log, names)
    check(theirs, "strace saw no call on a pipe or FIFO")
    for key in sorted(set(ours) | set(theirs)):
        check(ours.get(key) == theirs.get(key), "%s: strace has %s, ipctrace %s" % (
            key, theirs.get(key), ours.get(key)))
    graph.none_outside()
    return graph
