# SPDX-License-Identifier: BSD-2-Clause
"""io_uring: its requests count as the calls do that they stand for."""
from facts import register

# Parameters of each factory; one that is not here runs with its defaults.
VARIANTS = {
    "uring-stream": [
        "", "mode=async", "mode=async depth=8", "mode=sqpoll", "mode=sqpoll depth=8",
        "mode=defer", "mode=defer depth=8 side=reader", "depth=32 chunk=100", "op=vec",
        "op=registered", "files=fixed", "files=fixed mode=sqpoll op=vec", "over=fifo",
        "over=fifo mode=async depth=4", "side=writer", "side=reader", "over=fifo bytes=0",
        "bytes=1M chunk=64K rchunk=64K"],
    "uring-cancel": ["", "count=100"],
    "uring-link": ["", "count=100"],
    "uring-nonblock": ["", "op=vec"],
    "uring-splice": ["", "files=fixed"],
    "uring-many-writers": ["", "mode=async", "mode=sqpoll", "writers=20 records=20"],
    "uring-inherited": ["", "rounds=10"],
}

register("uring-", VARIANTS)
