# SPDX-License-Identifier: BSD-2-Clause
"""Futexes that processes share, and what the C library builds on them, against the facts."""
from facts import register

ONLY = ["-m", "futex"]  # the memory that they are in is a channel, too
MEMORY = ["memory=" + kind for kind in ("anon", "zero", "file", "posixshm", "memfd", "shm")]

# Parameters of each factory; one that is not here runs with its defaults.
VARIANTS = {
    "futex-pingpong": MEMORY + ["offset=1023 rounds=200"],
    "futex-elsewhere": MEMORY,
    "futex-wake": ["", "by=all procs=20"],
    "futex-bitset": ["", "procs=30 memory=file"],
    "futex-requeue": ["", "op=plain memory=memfd"],
    "futex-mutex": ["", "procs=10 rounds=1000"],
    "futex-ring": ["", "slots=1 memory=shm", "rounds=20000"],
    "futex-wake2": ["", "memory=memfd rounds=200"],
    "futex-waitv": ["", "words=1", "words=128 rounds=50", "memory=shm words=2"],
    "futex-requeue2": ["", "procs=20 memory=file"],
    "futex-sem": ["", "kind=unnamed", "kind=unnamed memory=file"],
    "futex-pmutex": ["", "kind=robust", "kind=pi"],
    "futex-pbarrier": ["", "procs=10"],
    "futex-prwlock": ["", "waits=writer"],
}

register("futex-", VARIANTS, ONLY)
