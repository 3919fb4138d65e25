# SPDX-License-Identifier: BSD-2-Clause
"""System V semaphores: every workload against its facts."""
from facts import register

# Parameters of each factory; one that is not here runs with its defaults.
VARIANTS = {
    "sem-pingpong": ["", "rounds=200 key=key"],
    "sem-release": ["by=up", "by=ups", "by=setval", "by=setall procs=30", "by=zero"],
    "sem-undo": ["", "end=kill"],
    "sem-many-ops": ["", "ops=1", "ops=250 rounds=3"],
    "sem-bounded-buffer": ["", "producers=1 consumers=1 slots=1", "producers=4 consumers=7"],
    "sem-philosophers": ["", "philosophers=2 rounds=200"],
}

register("sem-", VARIANTS)
