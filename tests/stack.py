#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Does each tracing program stay within what Linux 6.1 allows: stack.py OBJECT...

All functions that call each other share 512 bytes of stack, each rounded up to 32, and there may be
8 of them. Newer kernels count some of that differently, so that a program that loads here may not
load there. Callbacks of bpf_loop() are calls, too.
"""
import re
import subprocess
import sys

STACK, FRAMES = 512, 8
OBJDUMP = "llvm-objdump"


class Objects:
    """Functions of an object: how much stack each uses and which others it calls."""

    def __init__(self, path):
        done = subprocess.run([OBJDUMP, "-dr", path], stdout=subprocess.PIPE, check=True)
        self.lines = done.stdout.decode().splitlines()
        self.at = {}  # (section, number of the instruction) -> name
        self.stack = {}
        self.calls = {}
        self.programs = []
        self.find_functions()
        self.read()

    def find_functions(self):
        section = None
        for line in self.lines:
            found = re.match(r"Disassembly of section (.*):", line)
            if found:
                section = found.group(1)
            found = re.match(r"([0-9a-f]+) <([^>]+)>:", line)
            if found and not found.group(2).startswith("LBB"):
                name = found.group(2)
                self.at[section, int(found.group(1), 16) // 8] = name
                self.stack[name], self.calls[name] = 0, set()
                if section != ".text":
                    self.programs.append(name)

    def read(self):
        section = name = target = None
        for line in self.lines:
            found = re.match(r"Disassembly of section (.*):", line)
            if found:
                section = found.group(1)
            found = re.match(r"([0-9a-f]+) <([^>]+)>:", line)
            if found and not found.group(2).startswith("LBB"):
                name = found.group(2)
                continue
            self.note_stack(name, line)
            target = self.note_call(section, name, line, target)

    def note_stack(self, name, line):
        for size in re.findall(r"\(r10 - (\d+)\)", line):
            self.stack[name] = max(self.stack[name], int(size))
        # The address of something on the stack: r2 = r10, r2 += -40
        found = re.search(r"r\d+ \+= -(\d+)$", line)
        if found and int(found.group(1)) <= STACK // 2:
            self.stack[name] = max(self.stack[name], int(found.group(1)))

    def note_call(self, section, name, line, target):
        """Returns where a relocation that may follow points into the section of functions."""
        found = re.match(r"\s*(\d+):\s+85 (\d)(\d) .*call (-?\w+)", line)
        if found:
            number, offset = int(found.group(1)), int(found.group(4), 0)
            offset -= 1 << 32 if offset >= 1 << 31 else 0
            local = self.at.get((section, number + 1 + offset))
            if "1" in found.group(2, 3) and offset != -1 and local:
                self.calls[name].add(local)
            return offset + 1
        found = re.search(r"r\d+ = (\w+) ll$", line)
        if found:
            return int(found.group(1), 0) // 8
        found = re.search(r"R_BPF_64_(?:32|64)\s+(\S+)", line)
        if found and target is not None:
            callee = found.group(1)
            if callee == ".text":
                callee = self.at.get((".text", target))
            if callee in self.stack:
                self.calls[name].add(callee)
            return None
        return target

    def deepest(self, name, measure):
        """The chain of calls from that function on that is worst."""
        below = [self.deepest(callee, measure) for callee in self.calls[name]]
        return [name] + max(below, key=measure, default=[])

    def size(self, chain):
        return sum(max(32, (self.stack[name] + 31) // 32 * 32) for name in chain)


def main():
    passed = failed = 0
    for path in sys.argv[1:]:
        functions = Objects(path)
        for name in functions.programs:
            deep = functions.deepest(name, len)
            big = functions.deepest(name, functions.size)
            wrong = None
            if functions.size(big) > STACK:
                wrong = "%d bytes of stack: %s" % (functions.size(big), " > ".join(
                    "%s(%d)" % (f, functions.stack[f]) for f in big))
            elif len(deep) > FRAMES:
                wrong = "%d frames: %s" % (len(deep), " > ".join(deep))
            passed, failed = passed + (not wrong), failed + bool(wrong)
            print("%sok stack: %s%s" % ("not " if wrong else "", name, ": " + wrong if wrong else ""))
    print("%d passed, %d failed, 0 skipped" % (passed, failed))
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
