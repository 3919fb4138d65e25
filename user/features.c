/* SPDX-License-Identifier: BSD-2-Clause */
#include <bpf/bpf.h>
#include <errno.h>
#include <linux/capability.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "features.h"

#define BTF_PATH "/sys/kernel/btf/vmlinux"
#define LOCKDOWN_PATH "/sys/kernel/security/lockdown"

/* In the environment, for tests. */
static const char *path_of(const char *variable, const char *path)
{
	const char *other = getenv(variable);

	return other && *other ? other : path;
}

static bool read_line(const char *path, char *line, size_t size)
{
	FILE *f = fopen(path, "re");
	bool got = f && fgets(line, (int)size, f);

	if (f)
		fclose(f);
	if (got)
		line[strcspn(line, "\n")] = '\0';
	return got;
}

bool features__cap(int cap)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2] = { 0 };

	if (syscall(SYS_capget, &header, data))
		return false;
	return data[cap / 32].effective & (1U << (cap % 32));
}

/* CAP_SYS_ADMIN is the old name for all of this. */
static bool have_cap_or_admin(int cap)
{
	return features__cap(cap) || features__cap(CAP_SYS_ADMIN);
}

/* In a user namespace of its own a process has all capabilities, and none that count for BPF. */
static bool in_first_userns(void)
{
	unsigned long from, to, count;
	char line[128];

	return !read_line("/proc/self/uid_map", line, sizeof(line)) ||
	       sscanf(line, "%lu %lu %lu", &from, &to, &count) != 3 ||
	       (from == 0 && to == 0 && count >= UINT32_MAX);
}

/* "[none] integrity confidentiality": the brackets tell. "": the kernel does not say. */
void features__lockdown(char *mode, size_t size)
{
	char line[128], *start, *end;

	*mode = '\0';
	if (!read_line(path_of("IPCTRACE_LOCKDOWN", LOCKDOWN_PATH), line, sizeof(line)))
		return;
	start = strchr(line, '[');
	end = start ? strchr(start, ']') : NULL;
	if (end)
		snprintf(mode, size, "%.*s", (int)(end - start - 1), start + 1);
}

const char *features__btf(void)
{
	return path_of("IPCTRACE_BTF", BTF_PATH);
}

/* The smallest program that does what tracing cannot do without: read the kernel's memory. */
static int try_small_program(void)
{
	struct bpf_insn insns[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_X, .dst_reg = 1, .src_reg = 10 },
		{ .code = BPF_ALU64 | BPF_ADD | BPF_K, .dst_reg = 1, .imm = -8 },
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 2, .imm = 8 },
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 3, .imm = 0 },
		{ .code = BPF_JMP | BPF_CALL, .imm = BPF_FUNC_probe_read_kernel },
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0, .imm = 0 },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	int fd = bpf_prog_load(BPF_PROG_TYPE_RAW_TRACEPOINT, "ipctrace_try", "GPL", insns,
			       sizeof(insns) / sizeof(insns[0]), NULL);

	if (fd < 0)
		return fd;
	close(fd);
	return 0;
}

bool features__privileged(char *why, size_t size)
{
	bool bpf = have_cap_or_admin(CAP_BPF), perfmon = have_cap_or_admin(CAP_PERFMON);

	if (bpf && perfmon) {
		if (in_first_userns())
			return true;
		snprintf(why, size,
			 "cannot trace: root of a user namespace is not enough; run it "
			 "as root of the machine");
		return false;
	}
	if (geteuid())
		snprintf(why, size,
			 "cannot trace: must be root (or have CAP_BPF, CAP_PERFMON and "
			 "CAP_SYS_PTRACE)");
	else
		snprintf(why, size,
			 "cannot trace: this root lacks %s%s%s (a container? give it "
			 "CAP_BPF, CAP_PERFMON and CAP_SYS_PTRACE)",
			 bpf ? "" : "CAP_BPF", bpf || perfmon ? "" : " and ",
			 perfmon ? "" : "CAP_PERFMON");
	return false;
}

bool features__can_trace(char *why, size_t size)
{
	const char *btf = features__btf();
	char mode[32];
	int err;

	if (!features__privileged(why, size))
		return false;
	if (access(btf, R_OK)) {
		snprintf(why, size,
			 "cannot trace: no kernel types (%s): a kernel with "
			 "CONFIG_DEBUG_INFO_BTF is needed",
			 btf);
		return false;
	}
	features__lockdown(mode, sizeof(mode));
	if (!strcmp(mode, "confidentiality")) {
		snprintf(why, size,
			 "cannot trace: the kernel is locked down (confidentiality); boot "
			 "with lockdown=integrity or without");
		return false;
	}
	err = try_small_program();
	if (err) {
		snprintf(why, size,
			 "cannot trace: the kernel refuses BPF programs (%s); a container's "
			 "seccomp filter, a security module or lockdown?",
			 strerror(-err));
		return false;
	}
	return true;
}
