/* SPDX-License-Identifier: GPL-2.0 */
/*
 * BPF programs, written instruction by instruction, so that the tests need no
 * compiler and no library for them.
 */
#ifndef SELFTEST_BPF_H
#define SELFTEST_BPF_H

#include <linux/bpf.h>

#include "testing.h"

static inline int bpf(int cmd, union bpf_attr *attr)
{
	return syscall(__NR_bpf, cmd, attr, sizeof(*attr));
}

/*
 * Load a program. If the verifier rejects it, the reason goes to standard
 * error.
 */
static inline int load_program(int type, const struct bpf_insn *insns,
			       size_t nr)
{
	static char log[65536];
	union bpf_attr attr = {
		.prog_type = type,
		.insns = (uintptr_t)insns,
		.insn_cnt = nr,
		.license = (uintptr_t)"GPL",
	};
	int fd = bpf(BPF_PROG_LOAD, &attr);

	if (fd < 0) {
		/*
		 * Only now: if the log had no room, that would be an error as
		 * well.
		 */
		attr.log_buf = (uintptr_t)log;
		attr.log_size = sizeof(log);
		attr.log_level = 1;
		fd = bpf(BPF_PROG_LOAD, &attr);
		fprintf(stderr, "%s", log);
	}
	return fd;
}

/* Run @program at each system call, until the descriptor is closed. */
static inline int attach_to_system_calls(int program)
{
	union bpf_attr attr = {
		.raw_tracepoint = {
			.name = (uintptr_t)"sys_enter",
			.prog_fd = program,
		},
	};

	return bpf(BPF_RAW_TRACEPOINT_OPEN, &attr);
}

#define MOVE(dst, src) \
	{ .code = BPF_ALU64 | BPF_MOV | BPF_X, .dst_reg = dst, .src_reg = src }
#define MOVE_NUMBER(dst, number) \
	{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = dst, .imm = number }
#define ADD_NUMBER(dst, number) \
	{ .code = BPF_ALU64 | BPF_ADD | BPF_K, .dst_reg = dst, .imm = number }
#define MOVE_MAP(dst, map) \
	{ .code = BPF_LD | BPF_IMM | BPF_DW, .dst_reg = dst, \
	  .src_reg = BPF_PSEUDO_MAP_FD, .imm = map }
/* The address of the value in an array of one element. */
#define MOVE_VALUE(dst, map) \
	{ .code = BPF_LD | BPF_IMM | BPF_DW, .dst_reg = dst, \
	  .src_reg = BPF_PSEUDO_MAP_VALUE, .imm = map }
#define UPPER_HALF() \
	{ .code = 0 }
#define LOAD(dst, src, offset) \
	{ .code = BPF_LDX | BPF_MEM | BPF_DW, .dst_reg = dst, .src_reg = src, \
	  .off = offset }
#define STORE(dst, offset, src) \
	{ .code = BPF_STX | BPF_MEM | BPF_DW, .dst_reg = dst, .src_reg = src, \
	  .off = offset }
#define JUMP_UNLESS(dst, number, skipped) \
	{ .code = BPF_JMP | BPF_JNE | BPF_K, .dst_reg = dst, .imm = number, \
	  .off = skipped }
#define CALL(function) \
	{ .code = BPF_JMP | BPF_CALL, .imm = BPF_FUNC_##function }
#define EXIT() \
	{ .code = BPF_JMP | BPF_EXIT }

#endif /* SELFTEST_BPF_H */
