/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What every workload needs and no tracer should see as a channel of its own: parameters,
 * processes, and handshakes on futexes in the shared arena (never on extra pipes).
 */
#ifndef WORKLOAD_UTIL_H
#define WORKLOAD_UTIL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define EXIT_USAGE 2
#define EXIT_SKIP 77 /* this kernel or machine cannot do it; the reason is on stderr */
#define MAX_PARAMS 16
#define MAX_VALUE 128

/* A parameter of a factory: a choice if it has choices, a number if it has a maximum, else text. */
struct param {
	const char *name;
	const char *value; /* the default */
	const char *choices; /* "a|b|c" */
	uint64_t min, max;
	const char *help;
};

struct factory {
	const char *name;
	const char *help; /* one line */
	struct param params[MAX_PARAMS];
	const char *selftest; /* small parameters; several runs separated by ';' */
	bool exec; /* its processes exec this program again: the arena must survive */
	void (*run)(void);
	void (*stage)(const char *arg); /* what such a re-executed process does */
};

/* The tables of all factories, one per file, each ended by a row without a name. */
extern const struct factory *const factory_tables[];
/* The one that runs. No pointer like this may be in the arena: an exec moves the program. */
extern const struct factory *factory;

/* Set values before run; both return NULL or what is wrong with the argument. */
const char *params_default(const struct factory *f);
const char *params_set(const struct factory *f, const char *key_value);
uint64_t arg_num(const char *name);
const char *arg_str(const char *name);
bool arg_is(const char *name, const char *value);

/* End the workload as failed (or skipped) from any of its processes; the first reason wins. */
void die(const char *fmt, ...) __attribute__((noreturn, format(printf, 1, 2)));
void skip(const char *fmt, ...) __attribute__((noreturn, format(printf, 1, 2)));
#define die_if(cond, ...)                 \
	do {                              \
		if (cond)                 \
			die(__VA_ARGS__); \
	} while (0)

/* Processes are known by their slot in the arena; the main process is slot 0. */
extern int self;
typedef void (*proc_fn)(void *arg);
int proc__slot(const char *name, int parent);
int proc__spawn(const char *name, proc_fn fn, void *arg);
int proc__spawnf(proc_fn fn, void *arg, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* Its parent has started a session of its own and is gone: nobody here is related to it. */
void proc__orphan(const char *name, proc_fn fn, void *arg);
void proc__enter(int slot);
void proc__enter_unlisted(const char *name); /* where only totals are facts */
void proc__exec_self(const char *arg) __attribute__((noreturn));
void proc__finish(void) __attribute__((noreturn));
void proc__wait(int slot);
void proc__expect_signal(int slot, int sig);
void procs__join(void);
void procs__kill(void);
pid_t proc__pid(int slot);

/*
 * Wait until the process sleeps in system call nr on fd, or until *done becomes non-zero.
 * Returns the monotonic time in ns at which it was seen asleep, 0 for done.
 */
uint64_t proc__await_sleep(int slot, long nr, int fd, const uint32_t *done);

/* Shared counters with futexes behind them; each only grows. */
#define NR_TURNS 16
uint32_t *turn__word(int which);
void turn__pass(int which);
void turn__await(int which, uint32_t value);
uint32_t turn__take(int which);

/* Until there is a line on standard input, or its end. */
void hold(void);

uint64_t now_ns(void);
void *xmalloc(size_t size);
void run_setup(unsigned int deadline);
void run_cleanup(void);
void memory_cleanup(void); /* System V segments that are left */

#endif
