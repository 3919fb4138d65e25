// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * All that traces, as one object. Not linked from several with `bpftool gen object`: the linker of
 * bpftool 7.1 (Debian 12) refuses a kfunc that more than one of them uses, and bpf_rdonly_cast() is
 * used on every hot path.
 */
#include "core.bpf.c"
#include "ledger.bpf.c"
#include "vma.bpf.c"
#include "mem.bpf.c"
#include "stored.bpf.c"
#include "rw.bpf.c"
#include "exit.bpf.c"
#include "queue.bpf.c"
#include "tcp.bpf.c"
#include "udp.bpf.c"
#include "scope.bpf.c"
#include "crowd.bpf.c"
#include "dgram.bpf.c"
#include "unix.bpf.c"
#include "passed.bpf.c"
#include "uring.bpf.c"
#include "aio.bpf.c"
#include "wait.bpf.c"
#include "signal.bpf.c"
#include "vm.bpf.c"
