# SPDX-License-Identifier: BSD-2-Clause
#
# make help     what there is to make
# make V=1      show the commands
# make CC=clang works as well as gcc
# make VMLINUX=FILE   types from that BTF, vmlinux or ready vmlinux.h, not from the running kernel

SHELL := /bin/bash
MAKEFLAGS += --no-builtin-rules
.DELETE_ON_ERROR:
.SECONDARY:
.DEFAULT_GOAL := all

ifeq ($(origin CC),default)
CC := gcc
endif
CLANG ?= clang
BPFTOOL ?= $(shell PATH=$$PATH:/usr/sbin:/sbin command -v bpftool || echo bpftool)
PKG_CONFIG ?= pkg-config
CLANG_FORMAT ?= clang-format
VMLINUX ?= /sys/kernel/btf/vmlinux
PREFIX ?= /usr/local
JOBS ?= $(shell nproc)

B := build
ARCH := $(patsubst aarch64,arm64,$(patsubst x86_64,x86,$(shell uname -m)))
VERSION := 0.1

Q := $(if $(V),,@)
# Into place in one step: a program may be running, or another make reading.
placed = && mv -f $@.$$$$ $@ || { rm -f $@.$$$$; exit 1; }
say = $(if $(V),,@printf '  %-8s %s\n' '$(1)' '$(2)')

WARN := -Wall -Wextra -Wtype-limits -Werror
CFLAGS ?= -O2 -g
ALL_CFLAGS = $(CFLAGS) -std=gnu11 $(WARN) -D_GNU_SOURCE -DIPCTRACE_VERSION='"$(VERSION)"' -I. -I$(B) \
	$(GV_CFLAGS) $(EXTRA_CFLAGS)
BPF_CFLAGS := -target bpf -mcpu=v3 -O2 -g -D__TARGET_ARCH_$(ARCH) -Wall -Wextra \
	-Wno-unused-parameter -Werror -I$(B) -idirafter /usr/include/$(shell uname -m)-linux-gnu

# Asked for only when something is compiled, so that `make setup` runs where there is no pkg-config.
GV_CFLAGS = $(eval GV_CFLAGS := $$(shell $(PKG_CONFIG) --cflags libcgraph libgvc))$(GV_CFLAGS)
GV_LIBS = $(eval GV_LIBS := $$(shell $(PKG_CONFIG) --libs libcgraph libgvc))$(GV_LIBS)
LIBS = -lbpf -lelf -lz $(GV_LIBS)

# --- the kernel side ---

# One object and skeleton each: what a kernel refuses of the others never stops the tracing. The rest
# of bpf/*.bpf.c is included by ipctrace.bpf.c, which says why.
SKELS := ipctrace snapshot features
SKEL := $(SKELS:%=$(B)/%.skel.h)

# Those that trace once more for kernels without casts: see bpf/compat.bpf.h.
OLD_SKEL := $(B)/ipctrace_old.skel.h $(B)/snapshot_old.skel.h

# --- user space ---

USER_OBJ := $(patsubst %.c,$(B)/%.o,$(wildcard user/*.c))
LIB_OBJ := $(filter-out $(B)/user/main.o,$(USER_OBJ))
WORK_OBJ := $(patsubst %.c,$(B)/%.o,$(wildcard workloads/*.c))
UNIT := $(patsubst %.c,$(B)/%,$(wildcard tests/unit/test_*.c))
UNIT_HELP := $(patsubst %.c,$(B)/%.o,$(filter-out tests/unit/test_%,$(wildcard tests/unit/*.c)))
TEST_TOOLS := $(patsubst %.c,$(B)/%,$(wildcard tests/golden/*.c tests/live/*.c))

all: $(if $(wildcard user/main.c),$(B)/ipctrace) $(if $(WORK_OBJ),$(B)/workload) ## build/ipctrace, build/workload

tests: all $(UNIT) $(TEST_TOOLS) $(TESTS_ALSO) ## build everything that the tests and the benchmark run

# Rebuild when the compiler or its options change; the file changes only if they do.
FLAGS := $(CC) $(CFLAGS) $(EXTRA_CFLAGS) $(LDFLAGS) $(CLANG) $(VMLINUX)
$(B)/flags: FORCE
	@mkdir -p $(B)
	@echo '$(FLAGS)' | cmp -s - $@ || echo '$(FLAGS)' >$@

# /sys has no useful times, and with CO-RE another kernel's types do as well.
$(B)/vmlinux.h: $(filter-out /sys/%,$(wildcard $(VMLINUX))) $(B)/flags
	$(call say,BTF,$@)
	@test -r '$(VMLINUX)' || { echo "make: no kernel types: '$(VMLINUX)' is not there;" \
		"give VMLINUX=FILE (BTF, vmlinux or vmlinux.h)" >&2; exit 1; }
	$(Q)case '$(VMLINUX)' in \
	*.h) cat '$(VMLINUX)' ;; \
	*) $(BPFTOOL) btf dump file '$(VMLINUX)' format c ;; \
	esac >$@.$$$$ $(placed)

$(B)/bpf/%.o: bpf/%.bpf.c $(B)/vmlinux.h $(B)/flags
	$(call say,BPF,$@)
	@mkdir -p $(@D)
	$(Q)$(CLANG) $(BPF_CFLAGS) -DCASTS=1 -MMD -MP -MT $@ -MF $(@:.o=.d) -c $< -o $@.$$$$ $(placed)

$(B)/bpf/%_old.o: bpf/%.bpf.c $(B)/vmlinux.h $(B)/flags
	$(call say,BPF,$@)
	@mkdir -p $(@D)
	$(Q)$(CLANG) $(BPF_CFLAGS) -DCASTS=0 -MMD -MP -MT $@ -MF $(@:.o=.d) -c $< -o $@.$$$$ $(placed)

$(SKEL) $(OLD_SKEL): $(B)/%.skel.h: $(B)/bpf/%.o
	$(call say,SKEL,$@)
	$(Q)$(BPFTOOL) gen object $(B)/$*.$$$$.o $< && \
	$(BPFTOOL) gen skeleton $(B)/$*.$$$$.o name $*_bpf >$@.$$$$ && rm $(B)/$*.$$$$.o $(placed)

$(B)/%.o: %.c $(B)/flags | $(SKEL) $(OLD_SKEL)
	$(call say,CC,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) -MMD -MP -MT $@ -MF $(@:.o=.d) -c $< -o $@.$$$$ $(placed)

# An archive: a unit test links what it uses, and no more.
$(B)/libipctrace.a: $(LIB_OBJ)
	$(call say,AR,$@)
	$(Q)$(AR) rcs $@.$$$$ $(LIB_OBJ) $(placed)

$(B)/ipctrace: $(B)/user/main.o $(B)/libipctrace.a
	$(call say,LINK,$@)
	$(Q)$(CC) $(CFLAGS) $(EXTRA_CFLAGS) $(LDFLAGS) -o $@.$$$$ $^ $(LIBS) $(placed)

$(B)/workload: $(WORK_OBJ)
	$(call say,LINK,$@)
	$(Q)$(CC) $(CFLAGS) $(EXTRA_CFLAGS) $(LDFLAGS) -pthread -o $@.$$$$ $^ $(placed)

$(UNIT): %: %.o $(UNIT_HELP) $(B)/libipctrace.a
	$(call say,LINK,$@)
	$(Q)$(CC) $(CFLAGS) $(EXTRA_CFLAGS) $(LDFLAGS) -pthread -o $@.$$$$ $^ $(LIBS) -lcmocka $(placed)

$(TEST_TOOLS): %: %.o $(B)/libipctrace.a
	$(call say,LINK,$@)
	$(Q)$(CC) $(CFLAGS) $(EXTRA_CFLAGS) $(LDFLAGS) -pthread -o $@.$$$$ $^ $(LIBS) $(placed)

# The benchmark's programs; adds to TESTS_ALSO what `make tests` shall build of them, and gives bench.
-include tools/bench/bench.mk

# --- set-up, demo, tests: these also run on a machine that has only make and bash ---

setup: ## install what is needed to build and test, from Debian's packages
	@tools/setup.sh

# Built in a make of its own, after set-up.
demo: setup ## set-up, build, trace a pipeline: demo.dot, demo.svg and the summary
	@$(MAKE) -s -j$(JOBS) all
	$(B)/ipctrace -m pipe -o - -o demo.dot -o demo.svg -- $(B)/workload --facts $(B)/demo.facts pipe-chain
	@echo 'The graph is in demo.svg, and in demo.dot for Graphviz.'

test: setup ## set-up, build and every test there is, in VMs too
	@$(MAKE) -s -j$(JOBS) tests
	@tests/run

check-unit: tests ## unit tests (no root)
	@tests/run unit

check-golden: tests ## recordings in, text out (no root)
	@tests/run golden

check-live: tests ## trace workloads on this machine (root)
	@tests/run workload live

check-vm: tests ## the VM harness, and the live tests on Debian's 6.1 and 6.12 kernels (root)
	@tests/run harness vm

C_FILES = $(shell find bpf user workloads tests tools -name '*.[ch]' | sort)

check-format: ## does clang-format agree with the C code?
	@tests/run format

format: ## let clang-format rewrite the C code
	$(Q)$(CLANG_FORMAT) -i $(C_FILES)

bench: tests ## what tracing costs, beside an empty probe, bpftrace, perf trace and strace (root)
	@tools/bench/run

install: all ## to DESTDIR and PREFIX (/usr/local)
	install -Dm755 $(B)/ipctrace $(DESTDIR)$(PREFIX)/bin/ipctrace
	install -Dm644 tools/ipctrace.8 $(DESTDIR)$(PREFIX)/share/man/man8/ipctrace.8
	install -Dm644 tools/ipctrace.bash-completion \
		$(DESTDIR)$(PREFIX)/share/bash-completion/completions/ipctrace

clean: ## remove what was built, but not the VMs' kernels in build/vm
	rm -rf demo.dot demo.svg
	@test ! -d $(B) || find $(B) -mindepth 1 -maxdepth 1 ! -name vm -exec rm -rf {} +

distclean: clean ## remove build/vm too
	rm -rf $(B)

help: ## this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-13s %s\n", $$1, $$2 }' Makefile

FORCE:
.PHONY: FORCE all tests setup demo test check-unit check-golden check-live check-vm check-format \
	format bench install clean distclean help

-include $(shell find $(B) -path $(B)/vm -prune -o -name '*.d' -type f -print 2>/dev/null)
