# SPDX-License-Identifier: BSD-2-Clause
# The overhead benchmark; included by the Makefile.

TESTS_ALSO += $(B)/bench

BENCH_OBJ := $(patsubst %.c,$(B)/%.o,$(filter-out %.bpf.c,$(wildcard tools/bench/*.c)))

$(B)/tools/bench/empty.bpf.o: tools/bench/empty.bpf.c $(B)/vmlinux.h $(B)/flags
	$(call say,BPF,$@)
	@mkdir -p $(@D)
	$(Q)$(CLANG) $(BPF_CFLAGS) -MMD -MP -MT $@ -MF $(@:.o=.d) -c $< -o $@

$(B)/bench.skel.h: $(B)/tools/bench/empty.bpf.o
	$(call say,SKEL,$@)
	$(Q)$(BPFTOOL) gen skeleton $< name bench_bpf >$@

$(B)/tools/bench/probes.o: $(B)/bench.skel.h

$(B)/bench: $(BENCH_OBJ)
	$(call say,LINK,$@)
	$(Q)$(CC) $(CFLAGS) $(EXTRA_CFLAGS) $(LDFLAGS) -o $@ $^ -lbpf -lelf -lz -lm
