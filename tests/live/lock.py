# SPDX-License-Identifier: BSD-2-Clause
"""Locks on files, which are traced only if asked for: every workload against its facts."""
from facts import register

# Parameters of each factory; one that is not here runs with its defaults.
VARIANTS = {
    "lock-wait": ["kind=%s end=%s" % (kind, end) for kind in ("flock", "fcntl", "ofd")
                  for end in ("unlock", "close", "exit", "kill")] + ["procs=10 waits=shared"],
    "lock-try": ["kind=flock", "kind=fcntl", "kind=ofd procs=5"],
}

register("lock-", VARIANTS, ["-m", "file"])
