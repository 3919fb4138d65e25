# SPDX-License-Identifier: BSD-2-Clause
"""Each mechanism by itself: what `-m` leaves out must change nothing of what it leaves in."""
from facts import register

# Of the others, as they are by default.
VARIANTS = {"signal-kill": ["take=handler", "take=wait", "take=fd"]}

for prefix, mechanisms in (
        ("pipe-", "pipe"), ("fifo-", "fifo"), ("unix-", "unix"), ("tcp-", "tcp"),
        ("udp-", "udp,multicast"), ("msg-", "msg"), ("mq-", "mq"), ("sem-", "sem"),
        ("futex-", "futex"), ("file-", "file"), ("lock-", "file"), ("shm-", "shm"),
        ("posixshm-", "posixshm"), ("memfd-", "memfd"), ("mmap-", "mmap"), ("signal-", "signal,pipe"),
        ("eventfd-", "eventfd"), ("pty-", "pty"), ("netlink-", "netlink"), ("vsock-", "vsock"),
        ("vm-", "vm,pipe")):
    register(prefix, VARIANTS, ["-m", mechanisms])
