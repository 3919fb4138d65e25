# SPDX-License-Identifier: BSD-2-Clause
"""Regular files, which are traced only if asked for: whose bytes did who read?"""
import os

import straces
from facts import register
from lib import check, check_equal, need, test

VARIANTS = {
    "file-producer-consumer": ["", "put=pwrite take=pread readers=3", "put=writev take=readv",
                               "put=pwritev2 take=preadv2 chunk=4096", "writer=gone readers=2",
                               "bytes=20000000 chunk=1000000", "bytes=1",
                               "put=uring take=uring readers=2"],
    "file-rename": ["", "how=renameat2 readers=3", "how=link times=10", "bytes=10"],
    "file-append-log": ["", "line=40 writers=5 lines=100", "line=5000", "order=free",
                        "order=free writers=8 lines=200", "writers=1"],
    "file-pieces": ["", "piece=4096", "piece=3000 overlap=500 pieces=50", "piece=100 chunk=77",
                    "piece=10000 overlap=9000", "writers=1"],
    "file-counter": ["", "how=truncate", "procs=20 rounds=20"],
    "file-copy": ["", "how=sendfile", "how=read", "bytes=10000000 chunk=1000000"],
    "file-recreated": ["", "how=truncate", "how=truncate times=20 bytes=10", "bytes=1"],
    "file-inotify": ["", "watch=directory", "read=asleep", "watch=directory read=asleep writers=5",
                     "writers=1 lines=100"],
    "file-lock": ["", "procs=20"],
}

register("file-", VARIANTS, ["-m", "file"])

# What strace says of the same run: calls and bytes by process, file and role.

CALLS = {"read": ["read"], "readv": ["read"], "pread64": ["read"], "preadv": ["read"],
         "write": ["write"], "writev": ["write"], "pwrite64": ["write"], "pwritev": ["write"],
         "copy_file_range": ["read", "write"], "sendfile": ["write", "read"]}


def calls_of_strace(path):
    lines, sums = list(straces.joined(path)), {}
    above = straces.leaders(lines)
    for pid, text in lines:
        found = straces.ENDED.match(text)
        if not found or found.group(1) not in CALLS or found.group(4):
            continue
        while pid in above:
            pid = above[pid]
        names = straces.DESCRIPTOR.findall(found.group(2))
        for role, name in zip(CALLS[found.group(1)], names):
            entry = sums.setdefault((pid, name.replace("(deleted)", ""), role), [0, 0])
            entry[0] += 1
            entry[1] += int(found.group(3))
    return sums


def calls_of_graph(graph):
    sums = {}
    for edge in graph.edges:
        if edge["ops"] and edge["role"] in ("read", "write"):
            key = (graph.procs[edge["process"]]["pid"],
                   graph.chans[edge["channel"]]["path"], edge["role"])
            entry = sums.setdefault(key, [0, 0])
            entry[0] += edge["ops"]
            entry[1] += edge["bytes"]
    return sums


def same_as_strace(context, script):
    log = context.path("strace.log")
    trace = ",".join(list(CALLS) + ["execve", "fork", "vfork", "clone", "clone3"])
    graph = context.trace(["strace", "-f", "-qq", "-yy", "-s", "0", "-o", log, "-e", "signal=none",
                           "-e", "trace=" + trace, "--", "/bin/sh", "-c",
                           "cd %s\n%s" % (context.dir, script)], options=["-m", "file"])
    ours, names = calls_of_graph(graph), {c["path"] for c in graph.chans.values()}
    theirs = {key: n for key, n in calls_of_strace(log).items() if key[1] in names}
    ours = {key: n for key, n in ours.items() if not key[1].endswith("strace.log")}
    theirs = {key: n for key, n in theirs.items() if not key[1].endswith("strace.log")}
    check(theirs, "strace saw no call on a file")
    for key in sorted(set(ours) | set(theirs)):
        check(ours.get(key) == theirs.get(key), "%s: strace has %s, ipctrace %s" % (
            key, theirs.get(key), ours.get(key)))
    return graph


def flow(graph, source, target, path, size=None):
    """The bytes of a file that one program has from another, all of them for sure."""
    flows = [f for f in graph.flows if graph.chans[f["channel"]]["path"].endswith(path)
             and graph.procs[f["from"]]["comm"] == source
             and graph.procs[f["to"]]["comm"] == target]
    check(flows, "no flow of %s from %s to %s" % (path, source, target))
    check(all(f["certainty"] == "exact" for f in flows), "the flow of %s is not exact" % path)
    if size is not None:
        check_equal(sum(f["bytes"] for f in flows), size, "bytes of %s" % path)


@test("programs that read what others wrote, and strace's account of them")
def programs(context):
    need("strace", "tar", "gzip")
    graph = same_as_strace(context, "seq 10000 > a; cp a b; cat a b > c; tar cf d.tar a b c; "
                           "gzip d.tar; zcat d.tar.gz | wc -c; tail -c 100 c; echo more >> a; wc a")
    flow(graph, "seq", "cp", "/a", 48894)
    flow(graph, "cat", "tar", "/c", 2 * 48894)
    flow(graph, "seq", "wc", "/a", 48894)
    flow(graph, "sh", "wc", "/a", 5)


@test("a compiler's object is read by the linker")
def compiler(context):
    need("gcc", "make", "strace")
    context.write("a.c", "int f(void); int main(void) { return f(); }\n")
    context.write("b.c", "int f(void) { return 0; }\n")
    context.write("Makefile", "prog: a.o b.o\n\tgcc -o $@ a.o b.o\n%.o: %.c\n\tgcc -c -o $@ $<\n")
    graph = same_as_strace(context, "make -s -j2")
    for name in ("/a.o", "/b.o"):
        flow(graph, "as", "ld", name)


@test("renamed into place by sed, read under the new name")
def renamed(context):
    graph = context.shell("cd %s; echo five > t; sed -i s/five/six/ t; cat t" % context.dir,
                          options=["-m", "file"])
    flow(graph, "sh", "sed", "/t", 5)
    flow(graph, "sed", "cat", "/t", 4)


@test("renamed or linked, and opened by nobody since: the name is the last one")
def renamed_after(context):
    os.mkdir(context.path("sub"))
    graph = context.shell("cd %s; for i in 1 2 3 4; do seq $i > t$i; cat t$i; done >out; "
                          "mv t1 sub/one; mv t2 two; ln two b; rm two; rm t4" % context.dir,
                          options=["-m", "file"])
    chans = {f["channel"] for f in graph.flows if graph.procs[f["from"]]["comm"] == "seq"}
    names = sorted(os.path.relpath(graph.chans[c]["path"], context.dir) for c in chans)
    # Of what is removed, the last name that it had.
    check_equal(names, ["b", "sub/one", "t3", "t4"], "names")


@test("a database that one process writes and another reads")
def database(context):
    need("sqlite3", "strace")
    graph = same_as_strace(context, "sqlite3 t.db 'create table t(a); insert into t values (1);'\n"
                           "sqlite3 t.db 'select * from t;'")
    flow(graph, "sqlite3", "sqlite3", "/t.db")


@test("what everybody only reads, and what is one's own, is left out")
def private(context):
    graph = context.shell("cd %s; cat /etc/passwd > /dev/null; cat /etc/passwd > /dev/null; "
                          "echo x > own" % context.dir, options=["-m", "file"])
    check_equal([c["path"] for c in graph.chans.values()], [], "files")
