#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Run the live tests: run.py [--list] [--kernel] [--only PATTERN]...

They trace what they start and nothing else; run as root. PATTERN is a shell pattern or a part of
"file: name". In the environment: IPCTRACE and IPCTRACE_WORKLOAD (the programs), IPCTRACE_SLOW
(how much slower this machine is), IPCTRACE_VM=1 (a machine of our own: whole-machine tests run,
sizes are smaller), IPCTRACE_KEEP=1 (leave the files).
"""
import argparse
import fnmatch
import glob
import importlib
import os
import signal
import sys
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
sys.dont_write_bytecode = True
sys.path.insert(0, HERE)

import lib  # noqa: E402


def load():
    """Tests of every file here, as ("file: name", function)."""
    found = []
    for path in sorted(glob.glob(os.path.join(HERE, "*.py"))):
        module = os.path.basename(path)[:-3]
        if module in ("lib", "facts", "queues", "straces", "everyfd", "run"):
            continue
        del lib.TESTS[:]
        importlib.import_module(module)
        found += [("%s: %s" % (module, name), function) for name, function in lib.TESTS]
    return found


# What another kernel may do differently, beside the workloads. Under emulation each trace takes long
# to load, and what concerns only the command line or the outputs is the same everywhere.
OF_KERNEL = (
    "engine: short-lived", "engine: 2 million 1-byte writes and reads, smallest ring",
    "engine: Ctrl-C leaves", "engine: kill -9", "engine: the whole machine", "engine: threads",
    "scope: -p twice", "scope: --comm", "scope: --cgroup", "shells: (echo", "shells: a pipeline",
    "servers:", "hosts:", "stress: writers and readers at random, a call", "stress: tables full",
    "stress: what lay", "stress: in a pid namespace: a command", "vm: a debugger", "vm: pids mean",
    "others: ss: peers", "others: lsof", "others: ipcs", "others: fio", "packages:",
    "crowd: crowds of each kind", "crowd: UDP: each sender",
)


def wanted(name, patterns):
    return not patterns or any(fnmatch.fnmatch(name, p) or p in name for p in patterns)


def of_kernel(name, function):
    if name.startswith("only:"):
        return False  # what the collector asks for, of whatever kernel
    return hasattr(function, "select") or any(p in name for p in OF_KERNEL)


def one_line(text):
    return " ".join(str(text).split())[:600]


def run_one(number, name, function):
    """Run one test, print its line, return ok, not or skip."""
    context = lib.Context()
    started = time.monotonic()
    try:
        function(context)
        verdict, line = "ok", "ok %d - %s" % (number, name)
    except lib.Skip as reason:
        verdict, line = "skip", "skip %d - %s # %s" % (number, name, one_line(reason))
    except lib.Failure as why:
        verdict, line = "not", "not ok %d - %s: %s" % (number, name, one_line(why))
    except Exception as error:  # a test that breaks on a broken graph has found a failure
        if os.environ.get("IPCTRACE_KEEP"):
            traceback.print_exc()
        where = traceback.extract_tb(error.__traceback__)[-1]
        verdict, line = "not", "not ok %d - %s: %s: %s (%s:%d)" % (
            number, name, type(error).__name__, one_line(error),
            os.path.basename(where.filename), where.lineno)
    finally:
        context.close()
    if os.environ.get("IPCTRACE_TIMES"):
        line += "  [%.2f s]" % (time.monotonic() - started)
    print(line, flush=True)
    return verdict


def default_signals():
    """A shell has its jobs in the background ignore some, and so would all that is started here."""
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGTSTP,
                   signal.SIGTTIN, signal.SIGTTOU, signal.SIGCHLD):
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)


def main():
    default_signals()
    parser = argparse.ArgumentParser(description="Live tests of ipctrace; see the head of run.py.")
    parser.add_argument("--only", action="append", default=[], metavar="PATTERN")
    parser.add_argument("--list", action="store_true", help="names only")
    parser.add_argument("--kernel", action="store_true", help="what depends on the kernel")
    options = parser.parse_args()
    tests = [t for t in load() if wanted(t[0], options.only)
             and (not options.kernel or of_kernel(*t))]
    if options.list:
        for name, _ in tests:
            print(name)
        return 0
    if os.geteuid() != 0:
        print("run.py: live tests trace the kernel and must be run as root", file=sys.stderr)
        return 1
    if not tests:
        print("run.py: no test matches " + " ".join(options.only), file=sys.stderr)
        return 1
    for _, function in tests:
        if hasattr(function, "select"):  # one of several that share a trace
            function.select()
    verdicts = [run_one(i, *t) for i, t in enumerate(tests, 1)]
    print("%d passed, %d failed, %d skipped" % tuple(
        verdicts.count(v) for v in ("ok", "not", "skip")))
    return 1 if "not" in verdicts else 0


if __name__ == "__main__":
    sys.exit(main())
