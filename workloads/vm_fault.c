/* SPDX-License-Identifier: BSD-2-Clause */
/* Page faults of one process that another one handles (userfaultfd). */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "factory.h"
#include "vms.h"

#define PAGE 4096UL
#define MANY 16 /* messages that one read asks for */

struct faults {
	int fd, chan;
	char *at;
};

static size_t length(void)
{
	return arg_num("pages") * PAGE;
}

/* ---- who handles them ---- */

static char content(uint64_t page)
{
	return arg_is("by", "zero") ? 0 : (char)(page + 1);
}

static int answer(const struct faults *f, uint64_t at, char *page)
{
	struct uffdio_copy copy = { .dst = at, .src = (unsigned long)page, .len = PAGE };
	struct uffdio_zeropage zero = { .range = { at, PAGE } };
	struct uffdio_writeprotect wp = { .range = { at, PAGE } };
	struct uffdio_continue same = { .range = { at, PAGE } };

	if (arg_is("by", "continue"))
		return ioctl(f->fd, UFFDIO_CONTINUE, &same);
	if (arg_is("by", "zero"))
		return ioctl(f->fd, UFFDIO_ZEROPAGE, &zero);
	if (arg_is("by", "protect"))
		return ioctl(f->fd, UFFDIO_WRITEPROTECT, &wp);
	memset(page, content((at - (unsigned long)f->at) / PAGE), PAGE);
	return ioctl(f->fd, UFFDIO_COPY, &copy);
}

/* One message is there at a time: each fault waits until it is answered. */
static void handle_one(const struct faults *f, char *page)
{
	struct uffd_msg msgs[MANY];
	ssize_t n = read(f->fd, msgs, sizeof(msgs));
	int ret;

	vm__count(f->chan, ROLE_READ, n, errno, n);
	die_if(n != sizeof(*msgs), "read: %zd, %s", n, strerror(errno));
	ret = answer(f, msgs->arg.pagefault.address & ~(PAGE - 1), page);
	vm__count(f->chan, ROLE_WRITE, ret, errno, arg_is("by", "copy") ? PAGE : 0);
	die_if(ret, "answer: %s", strerror(errno));
}

/* Nothing is there any more to be read, nor to be answered. */
static void too_late(const struct faults *f, char *page)
{
	struct uffd_msg msg;
	ssize_t n;
	int ret;

	die_if(fcntl(f->fd, F_SETFL, O_NONBLOCK), "fcntl: %s", strerror(errno));
	n = read(f->fd, &msg, sizeof(msg));
	vm__count(f->chan, ROLE_READ, n, errno, 0);
	die_if(n >= 0, "one fault too many");
	if (arg_is("by", "protect"))
		return;
	ret = answer(f, (unsigned long)f->at, page);
	vm__count(f->chan, ROLE_WRITE, ret, errno, 0);
	die_if(!ret, "answered twice");
}

static void handler(void *arg)
{
	const struct faults *f = arg;
	char *page = aligned_alloc(PAGE, PAGE);

	die_if(!page, "out of memory");
	for (uint64_t i = 0; i < arg_num("pages"); i++)
		handle_one(f, page);
	turn__await(self, 1);
	too_late(f, page);
	free(page);
}

/* ---- whose faults they are ---- */

static bool registers(const struct faults *f)
{
	struct uffdio_register reg = { .range = { (unsigned long)f->at, length() },
				       .mode = UFFDIO_REGISTER_MODE_MISSING };
	struct uffdio_api api = { .api = UFFD_API };

	if (arg_is("by", "protect")) {
		reg.mode = UFFDIO_REGISTER_MODE_WP;
		api.features = UFFD_FEATURE_PAGEFAULT_FLAG_WP;
	} else if (arg_is("by", "continue")) {
		reg.mode = UFFDIO_REGISTER_MODE_MINOR;
		api.features = UFFD_FEATURE_MINOR_SHMEM;
	}
	return !ioctl(f->fd, UFFDIO_API, &api) && !ioctl(f->fd, UFFDIO_REGISTER, &reg);
}

/* What it does to itself is its own business. */
static void protect_all(const struct faults *f)
{
	struct uffdio_writeprotect wp = { .range = { (unsigned long)f->at, length() },
					  .mode = UFFDIO_WRITEPROTECT_MODE_WP };

	memset(f->at, 1, length());
	die_if(ioctl(f->fd, UFFDIO_WRITEPROTECT, &wp), "write-protect: %s", strerror(errno));
}

/* All is there already, but not where it is touched. */
static char *filled_memory(void)
{
	int fd = memfd_create("filled", MFD_CLOEXEC);
	char *page = xmalloc(PAGE), *at;

	die_if(fd < 0, "memfd_create: %s", strerror(errno));
	for (uint64_t i = 0; i < arg_num("pages"); i++) {
		memset(page, content(i), PAGE);
		die_if(write(fd, page, PAGE) != PAGE, "write: %s", strerror(errno));
	}
	at = mmap(NULL, length(), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	die_if(at == MAP_FAILED, "mmap: %s", strerror(errno));
	free(page);
	close(fd);
	return at;
}

static void touch_all(const struct faults *f)
{
	for (uint64_t i = 0; i < arg_num("pages"); i++) {
		char *at = f->at + i * PAGE;

		if (arg_is("by", "protect"))
			*at = 2;
		else
			die_if(*at != content(i), "page %zu has %d", (size_t)i, *at);
	}
}

static void owner(void *arg)
{
	struct faults f = { .chan = vm__chan(self) };
	int slot;

	(void)arg;
	f.at = arg_is("by", "continue") ? filled_memory() : vm__memory(length());
	f.fd = syscall(SYS_userfaultfd, O_CLOEXEC);
	if (f.fd < 0)
		skip("userfaultfd: %s", strerror(errno));
	if (!registers(&f))
		skip("userfaultfd cannot do that here: %s", strerror(errno));
	if (arg_is("by", "protect"))
		protect_all(&f);
	slot = proc__spawnf(handler, &f, "for-%s", arena->procs[self].name);
	touch_all(&f);
	turn__pass(slot);
	proc__wait(slot);
}

static void run_fault(void)
{
	for (int i = 0; i < (int)arg_num("owners"); i++)
		proc__spawnf(owner, NULL, "owner%d", i);
	procs__join();
	vm__finish();
}

const struct factory vm_fault_factories[] = {
	{
		.name = "vm-fault",
		.help = "page faults of a process that another one handles (userfaultfd)",
		.params = {
			COMMON_PARAMS,
			NUM_PARAM("pages", "10", 1, 10000, "that are touched, one after the other"),
			NUM_PARAM("owners", "1", 1, 7, "processes that do so, each with one that handles"),
			{ "by", "copy", "copy|zero|protect|continue", 0, 0,
			  "what the answer is; continue: in a memfd, which is not in the facts" },
		},
		.selftest = "by=zero;by=protect;by=continue;owners=3",
		.run = run_fault,
	},
	{ .name = NULL }
};
