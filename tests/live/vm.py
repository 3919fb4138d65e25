# SPDX-License-Identifier: BSD-2-Clause
"""What one process does to another: every workload against its facts."""
from facts import register

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
