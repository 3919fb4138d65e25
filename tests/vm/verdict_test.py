#!/usr/bin/env python3
"""The verdict of the VM runner on made-up remains of a run: "ok NAME" or "not ok NAME" a line."""

import os
import sys
import tempfile
import types

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../tools/vm"))

import vmguest  # noqa: E402

NONCE = "0123abcd"
SERIAL = "ipctrace-vm 0123abcd status %d\r\n"
WARNING = "<4>[   12.345678] WARNING: CPU: 0 PID: 7 at kernel/x.c:1 f+0x1/0x2\n"
DEADLOCK = "[   12.345678][  T7] WARNING: possible circular locking dependency detected\n"
STALL = "[   99.000001] rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:\n"
HARMLESS = "[    0.100000] Spectre V2 : WARNING: Unprivileged eBPF is enabled\n" \
    "[    0.200000] x86/fpu: INFO: nothing\n"

# Name, expected code, and what was left: status file, console, QEMU's exit, dmesg, taint, and
# whether virtiofsd had failed.
OK0, OK7 = vmguest.debug_exit(0x40), vmguest.debug_exit(0x47)
CASES = [
    ("all agree on 0", 0, f"{NONCE} 0\n", SERIAL % 0, OK0, HARMLESS, "0\n", 0),
    ("all agree on 7", 7, f"{NONCE} 7\n", SERIAL % 7, OK7, "", "0\n", 0),
    ("a status above 127", 255, f"{NONCE} 255\n", SERIAL % 255, vmguest.debug_exit(0x7f), "", "", 0),
    ("the file disagrees", 122, f"{NONCE} 1\n", SERIAL % 0, OK0, "", "0\n", 0),
    ("the serial line disagrees", 122, f"{NONCE} 0\n", SERIAL % 1, OK0, "", "0\n", 0),
    ("the debug exit disagrees", 122, f"{NONCE} 0\n", SERIAL % 0, OK7, "", "0\n", 0),
    ("no file", 122, None, SERIAL % 0, OK0, "", "0\n", 0),
    ("no serial line", 122, f"{NONCE} 0\n", "", OK0, "", "0\n", 0),
    ("another run's file", 122, "ffff 0\n", SERIAL % 0, OK0, "", "0\n", 0),
    ("half a file", 122, f"{NONCE} 0", SERIAL % 0, OK0, "", "0\n", 0),
    ("a forged serial line", 122, f"{NONCE} 0\n", "ipctrace-vm x status 0\n", OK0, "", "", 0),
    ("QEMU's exit 0", 122, f"{NONCE} 0\n", SERIAL % 0, 0, "", "0\n", 0),
    ("nothing at all", 122, None, "", 0, "", "", 0),
    ("a panic", 120, f"{NONCE} 0\n", "[ 1.0] Kernel panic - not syncing: x\n", 0, "", "", 0),
    ("a panic at the deadline", 120, None, "[ 1.0] Kernel panic - not syncing: x\n", None, "",
     "", 0),
    ("the deadline", 121, None, STALL, None, "", "", 0),
    ("a warning", 123, f"{NONCE} 0\n", SERIAL % 0, OK0, WARNING, "0\n", 0),
    ("a deadlock", 123, f"{NONCE} 0\n", SERIAL % 0, OK0, DEADLOCK, "0\n", 0),
    ("a stall only on the console", 123, f"{NONCE} 0\n", STALL + SERIAL % 0, OK0, "", "0\n", 0),
    ("a taint", 123, f"{NONCE} 0\n", SERIAL % 0, OK0, "", "512\n", 0),
    ("a taint that is no splat", 0, f"{NONCE} 0\n", SERIAL % 0, OK0, "", "8192\n", 0),
    ("a failed set-up", 124, None, "ipctrace-vm - setup-failed: mounting x: y\n", 3, "", "", 0),
    ("a failed report", 122, None, f"ipctrace-vm {NONCE} report-failed: x: y\n", 3, "", "", 0),
    ("QEMU refuses", 124, None, "", 1, "", "", 0),
    ("QEMU is killed", 124, None, "", -9, "", "", 0),
    ("virtiofsd dies", 124, None, "", None, "", "", -11),
    ("the last", 0, f"{NONCE} 0\n", SERIAL % 0, OK0, "", "0\n", 0),
]


def write(guest, name, content):
    if content is not None:
        with open(guest.path(name), "w", encoding="utf-8", newline="") as file:
            file.write(content)


def verdict(status, console, qemu_exit, dmesg, taint, daemon_status):
    with tempfile.TemporaryDirectory() as folder:
        guest = vmguest.Guest(types.SimpleNamespace(deadline=1))
        guest.nonce, guest.dir = NONCE, folder
        daemon = types.SimpleNamespace(poll=lambda: daemon_status or None)
        guest.daemons = [daemon, daemon]
        os.mkdir(guest.path("share"))
        write(guest, "share/status", status)
        write(guest, "share/dmesg", dmesg)
        write(guest, "share/tainted", taint)
        write(guest, "console", console)
        return guest.verdict(qemu_exit)


def main():
    failed = 0
    for name, expected, *remains in CASES:
        code, line = verdict(*remains)
        good = code == expected and bool(line) == (120 <= code <= 124)
        failed += not good
        print(f"ok {name}" if good else f"not ok {name} ({code}, {line})")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
