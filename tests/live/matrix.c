// SPDX-License-Identifier: BSD-2-Clause
/*
 * Who really wrote what a reader got: random writers and readers on one pipe or FIFO after another,
 * each byte tagged with its writer. Prints a line of JSON for each channel.
 *
 *     matrix SEED ROUNDS free|strict|hold [FILE]
 *
 * strict: one call at a time. hold: one round, strict; halfway it creates FILE.ready and waits for
 * FILE.go; bytes from before have tag 0.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define SLOTS 16
#define CHUNK 65536

/* Shared by all processes of a round. */
struct board {
	uint64_t got[SLOTS + 1][SLOTS]; /* [tag][reader] */
	pid_t pid[2][SLOTS]; /* writers, readers */
	uint32_t turn[2][SLOTS]; /* futex: 1 do a call, 2 end, 0 done */
	uint32_t gate; /* all start at once */
	uint32_t early;
};

enum { WRITER, READER };

static struct board *board;
static uint64_t seed;
static bool strict, hold;
static char fifo[64];

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static uint32_t rnd(uint32_t below)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (seed >> 16) % below;
}

static void futex(uint32_t *word, int op, uint32_t value)
{
	syscall(__NR_futex, word, op, value, NULL, NULL, 0);
}

static uint32_t await_not(uint32_t *word, uint32_t value)
{
	uint32_t now;

	while ((now = __atomic_load_n(word, __ATOMIC_ACQUIRE)) == value)
		futex(word, FUTEX_WAIT, value);
	return now;
}

static void set(uint32_t *word, uint32_t value)
{
	__atomic_store_n(word, value, __ATOMIC_RELEASE);
	futex(word, FUTEX_WAKE, INT32_MAX);
}

/* --- one call --- */

struct worker {
	int fd, slot;
	int own[2]; /* a pipe of its own, for splice and tee */
	int file; /* full of its tag */
	uint8_t *page;
	uint32_t most, kinds;
};

static size_t size_of(const struct worker *w)
{
	switch (rnd(4)) {
	case 0:
		return 1 + rnd(16);
	case 1:
		return w->most; /* equal sizes hide what is mixed up */
	default:
		return 1 + rnd(w->most);
	}
}

static ssize_t put(struct worker *w)
{
	size_t n = size_of(w);
	struct iovec v[2] = { { w->page, n / 2 }, { w->page, n - n / 2 } };
	loff_t off = rnd(CHUNK);
	int nb = strict ? SPLICE_F_NONBLOCK : 0;

	switch (rnd(w->kinds)) {
	case 1:
		return writev(w->fd, v, 2);
	case 2:
		v[0].iov_base = w->page + rnd(4096);
		v[0].iov_len = n;
		return vmsplice(w->fd, v, 1, nb);
	case 3:
		return sendfile(w->fd, w->file, &off, n);
	case 4:
		if (n > 4096)
			n = 4096;
		if (write(w->own[1], w->page, n) != (ssize_t)n)
			die("own pipe");
		n = splice(w->own[0], NULL, w->fd, NULL, n, nb);
		while (read(w->own[0], w->page + CHUNK, CHUNK) > 0)
			;
		return n;
	default:
		return write(w->fd, w->page, n);
	}
}

static void tell(struct worker *w, const uint8_t *at, ssize_t n)
{
	for (ssize_t i = 0; i < n; i++)
		board->got[at[i]][w->slot]++;
}

static ssize_t take(struct worker *w)
{
	size_t n = rnd(3) ? size_of(w) : CHUNK;
	struct iovec v[2] = { { w->page, n / 2 }, { w->page + n / 2, n - n / 2 } };
	int nb = strict ? SPLICE_F_NONBLOCK : 0;
	ssize_t got = 0, all;

	switch (rnd(w->kinds)) {
	case 1:
		got = readv(w->fd, v, 2);
		break;
	case 2:
		tee(w->fd, w->own[1], n, SPLICE_F_NONBLOCK);
		while (read(w->own[0], w->page, CHUNK) > 0)
			;
		return 1;
	case 3:
		all = splice(w->fd, NULL, w->own[1], NULL, n, nb);
		for (ssize_t left = all; left > 0; left -= got) {
			got = read(w->own[0], w->page, CHUNK);
			if (got <= 0)
				die("own pipe");
			tell(w, w->page, got);
		}
		return all;
	default:
		got = read(w->fd, w->page, n);
	}
	tell(w, w->page, got);
	return got;
}

/* --- a process --- */

static void pause_sometimes(void)
{
	uint32_t what = rnd(16);

	if (what == 0)
		usleep(rnd(300));
	else if (what == 1)
		sched_yield();
	else if (what == 2)
		for (volatile uint32_t i = rnd(20000); i; i--)
			;
}

static void obey(struct worker *w, int role, uint32_t *turn)
{
	bool changed = !hold;

	while (await_not(turn, 0) == 1) {
		/* Never written again: what was lent to the pipe would change there. */
		if (!board->early && !changed)
			w->page += 2 * CHUNK;
		changed |= !board->early;
		if (role == WRITER)
			put(w);
		else
			take(w);
		set(turn, 0);
	}
}

/* Never smaller: the most that was ever in it shall fit. */
static void grow(int fd)
{
	int size = fcntl(fd, F_GETPIPE_SZ);

	if (size < 1 << 19)
		fcntl(fd, F_SETPIPE_SZ, 2 * size);
}

static void run_free(struct worker *w, int role)
{
	uint32_t calls = 1 + rnd(40);
	ssize_t n;

	await_not(&board->gate, 0);
	/* The reader with number 0 stays to the end. */
	for (uint32_t i = 0; i < calls || (role == READER && !w->slot); i++) {
		pause_sometimes();
		if (!rnd(64))
			grow(w->fd);
		n = role == WRITER ? put(w) : take(w);
		if (role == READER ? !n : n < 0 && errno == EPIPE)
			break;
	}
}

static void __attribute__((noreturn)) work(int fd, int role, int slot, uint64_t salt)
{
	struct worker w = { .fd = fd, .slot = slot };

	seed ^= (salt + 1) * 0x9e3779b97f4a7c15ULL;
	rnd(2);
	signal(SIGPIPE, SIG_IGN);
	w.kinds = rnd(2) ? 1 : 5;
	w.most = (uint32_t[]){ 1, 100, 4096, 20000 }[rnd(4)];
	w.page = mmap(NULL, 4 * CHUNK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	memset(w.page, hold ? 0 : slot + 1, 2 * CHUNK);
	memset(w.page + 2 * CHUNK, slot + 1, 2 * CHUNK);
	if (w.kinds > 1) {
		w.file = memfd_create("tag", 0);
		for (int i = 0; i < 2; i++)
			if (write(w.file, w.page, CHUNK) != CHUNK)
				die("memfd");
		if (pipe2(w.own, O_NONBLOCK))
			die("pipe");
		fcntl(w.own[0], F_SETPIPE_SZ, 1 << 20);
	}
	if (strict) {
		if (w.kinds > 1)
			w.kinds = role == WRITER ? 3 : 4; /* the file keeps its tag */
		obey(&w, role, &board->turn[role][slot]);
	} else {
		run_free(&w, role);
	}
	_exit(0);
}

/* --- a round --- */

static void begin(int ends[2])
{
	if (rnd(2) && !hold) {
		unlink(fifo);
		if (mkfifo(fifo, 0600))
			die("mkfifo");
		ends[0] = open(fifo, O_RDONLY | O_NONBLOCK);
		ends[1] = open(fifo, O_WRONLY | O_NONBLOCK);
	} else if (pipe2(ends, O_NONBLOCK)) {
		die("pipe");
	}
	if (ends[0] < 0 || ends[1] < 0)
		die("fifo");
	if (strict)
		return;
	/* Whether a call may sleep belongs to the open file, which all of one side share. */
	if (rnd(4))
		fcntl(ends[0], F_SETFL, 0);
	if (rnd(4))
		fcntl(ends[1], F_SETFL, 0);
}

static pid_t start(int ends[2], int role, int slot, uint64_t salt)
{
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid < 0)
		die("fork");
	if (!pid) {
		close(ends[role == WRITER ? 0 : 1]);
		work(ends[role == WRITER ? 1 : 0], role, slot, salt);
	}
	board->pid[role][slot] = pid;
	return pid;
}

static void one_turn(int role, int slot)
{
	set(&board->turn[role][slot], 1);
	await_not(&board->turn[role][slot], 1);
}

static void play(int nr[2], const char *file)
{
	uint32_t calls = 10 + rnd(200);
	char name[256];

	board->early = hold;
	for (uint32_t i = 0; i < calls; i++) {
		int role = rnd(2);

		if (hold && i == calls / 2) {
			snprintf(name, sizeof(name), "%s.ready", file);
			memset(board->got, 0, sizeof(board->got));
			close(open(name, O_CREAT | O_WRONLY, 0600));
			snprintf(name, sizeof(name), "%s.go", file);
			while (access(name, F_OK))
				usleep(1000);
			board->early = 0;
		}
		one_turn(role, rnd(nr[role]));
	}
	for (int role = 0; role < 2; role++)
		for (int i = 0; i < nr[role]; i++)
			set(&board->turn[role][i], 2);
}

static void say(ino_t ino, const int nr[2])
{
	const char *comma = "";

	printf("{\"ino\": %lu, \"writers\": [", (unsigned long)ino);
	for (int i = 0; i < nr[WRITER]; i++)
		printf("%s%d", i ? ", " : "", board->pid[WRITER][i]);
	printf("], \"flows\": [");
	for (int w = 0; w <= nr[WRITER]; w++)
		for (int r = 0; r < nr[READER]; r++)
			if (board->got[w][r]) {
				printf("%s[%d, %d, %lu]", comma, w ? board->pid[WRITER][w - 1] : 0,
				       board->pid[READER][r], (unsigned long)board->got[w][r]);
				comma = ", ";
			}
	printf("]}\n");
}

static void one_round(uint64_t salt, const char *file)
{
	int ends[2], nr[2] = { 1 + rnd(rnd(3) ? 4 : SLOTS), 1 + rnd(4) }, later[2] = { 0, 0 };
	struct stat st;

	memset(board, 0, sizeof(*board));
	begin(ends);
	fstat(ends[0], &st);
	if (!strict)
		for (int role = 0; role < 2; role++)
			later[role] = rnd(nr[role]);
	for (int role = 0; role < 2; role++)
		for (int i = 0; i < nr[role] - later[role]; i++)
			start(ends, role, i, salt * 64 + role * 32 + i);
	set(&board->gate, 1);
	if (strict)
		play(nr, file);
	/* Processes come while others are already gone. */
	for (int role = 0; role < 2; role++)
		for (int i = nr[role] - later[role]; i < nr[role]; i++) {
			pause_sometimes();
			start(ends, role, i, salt * 64 + role * 32 + i);
		}
	close(ends[0]);
	close(ends[1]);
	while (wait(NULL) > 0)
		;
	say(st.st_ino, nr);
}

int main(int argc, char **argv)
{
	int rounds;

	if (argc < 4)
		return 2;
	seed = strtoull(argv[1], NULL, 0) * 0x9e3779b97f4a7c15ULL + 88172645463325252ULL;
	for (int i = 0; i < 10; i++)
		rnd(2);
	rounds = atoi(argv[2]);
	hold = !strcmp(argv[3], "hold");
	strict = hold || !strcmp(argv[3], "strict");
	snprintf(fifo, sizeof(fifo), "/tmp/matrix.%d", getpid());
	board = mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		     0);
	if (board == MAP_FAILED)
		die("mmap");
	for (int i = 0; i < rounds; i++)
		one_round(i, argc > 4 ? argv[4] : NULL);
	unlink(fifo);
	return 0;
}
