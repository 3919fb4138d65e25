/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Queues of messages, System V's and POSIX's: the calls on them, counted as in ops.h, and factories
 * that are the same for both. A tag is what a receiver can choose by: the type, or the priority.
 */
#ifndef WORKLOAD_QUEUE_H
#define WORKLOAD_QUEUE_H

#include "ops.h"

struct queue {
	bool posix;
	int id; /* System V id, or POSIX descriptor */
	int chan;
	bool nonblock; /* O_NONBLOCK; System V has it per call */
};

/* A message as both know it: System V's type before the text. */
#define MAX_TEXT 8192
struct message {
	long tag;
	char text[MAX_TEXT];
};

/* flags: IPC_NOWAIT, also for POSIX queues that are O_NONBLOCK anyway. All preserve errno. */
int q_send(const struct queue *q, const struct message *m, size_t len, int flags);
/* select: System V's msgtyp; POSIX always takes the highest priority. m->tag is set. */
ssize_t q_receive(const struct queue *q, struct message *m, size_t len, long select, int flags);
/* Only POSIX; until: absolute, CLOCK_REALTIME, ns. */
int q_send_until(const struct queue *q, const struct message *m, size_t len, uint64_t until);
ssize_t q_receive_until(const struct queue *q, struct message *m, size_t len, uint64_t until);
/* Also only POSIX; ev NULL: no longer. */
struct sigevent;
int q_notify(const struct queue *q, const struct sigevent *ev);
/* The numbers of the system calls in which these sleep, for proc__await_sleep(). */
long q_send_nr(const struct queue *q);
long q_receive_nr(const struct queue *q);

/* A queue of our own. bound: msg_qbytes or mq_maxmsg, 0 for the default; size: mq_msgsize. */
void q_make(struct queue *q, bool posix, const char *name, uint64_t bound, uint64_t size,
	    int flags);
/* Private to who inherits its id: IPC_PRIVATE. */
void q_make_private(struct queue *q, const char *name);
/* Another one with the same key or name, where the old one is not seen any more. */
void q_make_again(struct queue *q, const char *name, const struct queue *old);
/* Find it again by its key or name; flags: O_RDONLY .. O_NONBLOCK. */
void q_open(struct queue *q, int chan, bool posix, int flags);
void q_close(struct queue *q);
/* IPC_RMID or mq_unlink. What lies in a System V queue is thrown away with it. */
void q_remove(const struct queue *q);
/* What lies in it when all is over stays unread. */
void q_mark_left(const struct queue *q);
/* Only where nobody else moves messages at this moment. Returns the bytes in it. */
uint64_t q_mark_fill(const struct queue *q);
uint64_t q_messages(const struct queue *q);

/* The factories that both have. */
void run_queue_stream(bool posix);
void run_queue_server(bool posix);
void run_queue_choose(bool posix);
void run_queue_many(bool posix);
void run_queue_full(bool posix);
void run_queue_nonblock(bool posix);
void run_queue_late(bool posix);

#endif
