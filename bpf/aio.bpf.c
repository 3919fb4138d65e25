// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * io_submit(2): what comes of its requests is told to the process in memory of its own, and nobody
 * else. That there were some on channels is counted as lost.
 */
#include "call.bpf.h"

#define AIO_PREAD 0
#define AIO_PWRITE 1
#define AIO_PREADV 7
#define AIO_PWRITEV 8

/* How a struct iocb begins: all of it is too much for the stack of Linux 6.1. */
struct aio_head {
	__u64 aio_data;
	__u32 aio_key, aio_rw_flags;
	__u16 aio_lio_opcode, aio_reqprio;
	__u32 aio_fildes;
};

struct aio_walk {
	__u64 requests; /* array of pointers in user memory */
};

static long aio_step(__u32 i, struct aio_walk *w)
{
	struct task_state *ts = state_of(bpf_get_current_task_btf());
	__u64 at = 0, file;
	struct aio_head cb;
	__u32 op;

	if (!ts || bpf_probe_read_user(&at, sizeof(at), (void *)(w->requests + i * sizeof(at))) ||
	    bpf_probe_read_user(&cb, sizeof(cb), (void *)at))
		return 1;
	op = cb.aio_lio_opcode;
	if (op != AIO_PREAD && op != AIO_PREADV && op != AIO_PWRITE && op != AIO_PWRITEV)
		return 0;
	file = file_of(bpf_get_current_task_btf(), cb.aio_fildes);
	if (!file || !may_be_channel(file))
		return 0;
	if (act_on(&ts->acts[0], ts, file, cb.aio_fildes,
		   op == AIO_PREAD || op == AIO_PREADV ? ROLE_READ : ROLE_WRITE))
		lose(LOSS_AIO, 1);
	return 0;
}

#define AIO_MOST 65536

/* The first n of them were taken. */
int aio_submitted(__u64 requests, __s64 n)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct aio_walk w = { .requests = requests };

	if (n > 0 && n <= AIO_MOST && state_of(task) && !call_is_compat(task))
		bpf_loop(n, aio_step, &w, 0);
	crowd_forget(); /* what they have read */
	return 0;
}
