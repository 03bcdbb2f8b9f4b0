// SPDX-License-Identifier: GPL-2.0
/*
 * Kernel code that looks at a program's stack and code reads the files it has
 * mapped: BPF, to name the file of a return address, and uprobes, to save the
 * instruction they replace. Neither gets anything from a secret file.
 */
#define _GNU_SOURCE
#include "testing.h"

#ifdef __x86_64__

#include <elf.h>
#include <linux/perf_event.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <time.h>

#include "bpf.h"

#define UPROBE_TYPE	"/sys/bus/event_source/devices/uprobe/type"

/* How often a stack is read, and how many entries of it. */
#define ROUNDS	20
#define DEPTH	8

enum { SECRET = 1, PLAIN };

/* The first page of a program, as far as its build-id needs it. */
struct image {
	Elf64_Ehdr header;
	Elf64_Phdr segment;
	Elf64_Nhdr note;
	char name[4];
	unsigned char build_id[BPF_BUILD_ID_SIZE];
};

static void make_image(void *p, unsigned int seed)
{
	struct image image = {
		.header = {
			.e_ident = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3,
				     ELFCLASS64, ELFDATA2LSB, EV_CURRENT },
			.e_type = ET_DYN,
			.e_phoff = offsetof(struct image, segment),
			.e_phnum = 1,
		},
		.segment = {
			.p_type = PT_NOTE,
			.p_offset = offsetof(struct image, note),
			.p_filesz = sizeof(image) -
				    offsetof(struct image, note),
		},
		.note = {
			.n_namesz = sizeof(image.name),
			.n_descsz = sizeof(image.build_id),
			.n_type = NT_GNU_BUILD_ID,
		},
		.name = "GNU",
	};

	fill(image.build_id, sizeof(image.build_id), seed);
	memcpy(p, &image, sizeof(image));
}

static bool is_build_id(const unsigned char *build_id, unsigned int seed)
{
	return is_filled(build_id, BPF_BUILD_ID_SIZE, seed);
}

/*
 * BPF
 */

/* A stack as the kernel reports it. */
struct trace {
	struct bpf_stack_build_id entry[DEPTH];
};

static int create_map(int type, int key_size, int flags)
{
	union bpf_attr attr = {
		.map_type = type,
		.key_size = key_size,
		.value_size = sizeof(struct trace),
		.max_entries = 64,
		.map_flags = flags,
	};

	return bpf(BPF_MAP_CREATE, &attr);
}

/* bpf_get_stackid() puts the trace into a stack trace map. */
static int load_stackid(int type, int map)
{
	const struct bpf_insn insns[] = {
		MOVE_MAP(BPF_REG_2, map),
		UPPER_HALF(),
		MOVE_NUMBER(BPF_REG_3, BPF_F_USER_STACK | BPF_F_REUSE_STACKID),
		CALL(get_stackid),
		MOVE_NUMBER(BPF_REG_0, 0),
		EXIT(),
	};

	return load_program(type, insns, ARRAY_SIZE(insns));
}

#define ROOM	(-(int)sizeof(struct trace))
#define WORDS	(sizeof(struct trace) / 8)

/*
 * bpf_get_stack() puts it on the program's stack, from where it goes to a
 * queue.
 */
static int load_stack(int type, int map)
{
	const struct bpf_insn clear = {
		.code = BPF_ST | BPF_MEM | BPF_DW, .dst_reg = BPF_REG_10,
	};
	const struct bpf_insn insns[] = {
		MOVE(BPF_REG_2, BPF_REG_10),
		ADD_NUMBER(BPF_REG_2, ROOM),
		MOVE_NUMBER(BPF_REG_3, sizeof(struct trace)),
		MOVE_NUMBER(BPF_REG_4, BPF_F_USER_STACK | BPF_F_USER_BUILD_ID),
		CALL(get_stack),
		MOVE_MAP(BPF_REG_1, map),
		UPPER_HALF(),
		MOVE(BPF_REG_2, BPF_REG_10),
		ADD_NUMBER(BPF_REG_2, ROOM),
		MOVE_NUMBER(BPF_REG_3, BPF_EXIST),
		CALL(map_push_elem),
		MOVE_NUMBER(BPF_REG_0, 0),
		EXIT(),
	};
	struct bpf_insn all[WORDS + ARRAY_SIZE(insns)];
	size_t i;

	/*
	 * A raw tracepoint program may pass only initialized memory to the
	 * helper.
	 */
	for (i = 0; i < WORDS; i++) {
		all[i] = clear;
		all[i].off = ROOM + (int)i * 8;
	}
	memcpy(all + WORDS, insns, sizeof(insns));
	return load_program(type, all, ARRAY_SIZE(all));
}

/*
 * Events that make the kernel look at the stack. Each time the frame pointer is
 * that of a made-up stack.
 */

struct frame {
	const struct frame *next;
	unsigned long return_address;
};

static void system_call(const struct frame *frame, long nr, const void *arg)
{
	asm volatile("mov	%%rbp, %%r12\n\t"
		     "mov	%[frame], %%rbp\n\t"
		     "syscall\n\t"
		     "mov	%%r12, %%rbp"
		     : "+a" (nr)
		     : "D" (arg), "S" (0), [frame] "d" (frame)
		     : "rcx", "r11", "r12", "memory");
}

static void sleep_on(const struct frame *frame)
{
	const struct timespec moment = { .tv_nsec = 1000 };

	system_call(frame, SYS_nanosleep, &moment);
}

static void call_on(const struct frame *frame)
{
	system_call(frame, SYS_getppid, NULL);
}

static void fault_on(const struct frame *frame)
{
	char *fresh = map_plain(page_size);

	asm volatile("mov	%%rbp, %%r12\n\t"
		     "mov	%[frame], %%rbp\n\t"
		     "movb	$1, (%[fresh])\n\t"
		     "mov	%%r12, %%rbp"
		     : : [frame] "d" (frame), [fresh] "a" (fresh)
		     : "r12", "memory");
	munmap(fresh, page_size);
}

static void run_on(const struct frame *frame)
{
	long n = 1000000;

	asm volatile("mov	%%rbp, %%r12\n\t"
		     "mov	%[frame], %%rbp\n"
		     "1:	dec	%[n]\n\t"
		     "jnz	1b\n\t"
		     "mov	%%r12, %%rbp"
		     : [n] "+a" (n) : [frame] "d" (frame)
		     : "r12", "memory");
}

/* Mappings that a stack can lead to, and what is needed to find them again. */
FIXTURE(stack) {
	int map;
	int program;
	char *plain;
	unsigned long marker;		/* in no mapping */
	unsigned long secret[4];
	struct frame frame[DEPTH];
};

FIXTURE_VARIANT(stack) {
	bool stackid;
	int software_event;		/* -1: the raw tracepoint sys_enter */
	long period;
	void (*look)(const struct frame *frame);
};

#define TRACEPOINT -1

FIXTURE_VARIANT_ADD(stack, id_in_page_fault) {
	.stackid = true, .look = fault_on,
	.software_event = PERF_COUNT_SW_PAGE_FAULTS, .period = 1,
};

FIXTURE_VARIANT_ADD(stack, id_in_timer) {
	.stackid = true, .look = run_on,
	.software_event = PERF_COUNT_SW_CPU_CLOCK, .period = 100000,
};

FIXTURE_VARIANT_ADD(stack, id_in_context_switch) {
	.stackid = true, .look = sleep_on,
	.software_event = PERF_COUNT_SW_CONTEXT_SWITCHES, .period = 1,
};

FIXTURE_VARIANT_ADD(stack, id_in_system_call) {
	.stackid = true, .look = call_on,
	.software_event = TRACEPOINT,
};

FIXTURE_VARIANT_ADD(stack, in_page_fault) {
	.look = fault_on,
	.software_event = PERF_COUNT_SW_PAGE_FAULTS, .period = 1,
};

FIXTURE_VARIANT_ADD(stack, in_timer) {
	.look = run_on,
	.software_event = PERF_COUNT_SW_CPU_CLOCK, .period = 100000,
};

FIXTURE_VARIANT_ADD(stack, in_context_switch) {
	.look = sleep_on,
	.software_event = PERF_COUNT_SW_CONTEXT_SWITCHES, .period = 1,
};

FIXTURE_VARIANT_ADD(stack, in_system_call) {
	.look = call_on,
	.software_event = TRACEPOINT,
};

static int attach_event(int program, int software_event, long period)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_SOFTWARE,
		.size = sizeof(attr),
		.config = software_event,
		.sample_period = period,
	};
	int fd = syscall(SYS_perf_event_open, &attr, 0, -1, -1, 0);

	if (fd >= 0 && ioctl(fd, PERF_EVENT_IOC_SET_BPF, program)) {
		close(fd);
		return -1;
	}
	return fd;
}

/* Four ways for an address to lead to the first page of a secret file. */
static bool make_secrets(unsigned long *secret)
{
	int fd = secret_file(2 * page_size), other = secret_file(page_size);
	char *written, *second, *read;

	/*
	 * Three pages, so that the first one can be unmapped and leaves a gap.
	 */
	written = mmap(NULL, 3 * page_size, PROT_NONE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (written == MAP_FAILED ||
	    mmap(written + page_size, 2 * page_size, PROT_READ | PROT_WRITE,
		 MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED ||
	    munmap(written, page_size))
		return false;
	second = mmap(NULL, page_size, PROT_READ, MAP_SHARED, fd, page_size);
	read = map_shared(other, page_size);
	if (second == MAP_FAILED || read == MAP_FAILED)
		return false;

	make_image(written + page_size, SECRET);
	probe_read(read);
	secret[0] = (unsigned long)written + page_size + 16;
	secret[1] = (unsigned long)written + 16;
	secret[2] = (unsigned long)second + 16;
	secret[3] = (unsigned long)read + 16;
	return true;
}

static char *make_plain(void)
{
	char *p = map_shared(plain_file(page_size), page_size);

	if (p != MAP_FAILED)
		make_image(p, PLAIN);
	return p;
}

FIXTURE_SETUP(stack)
{
	int type = variant->software_event == TRACEPOINT ?
		   BPF_PROG_TYPE_RAW_TRACEPOINT : BPF_PROG_TYPE_PERF_EVENT;
	size_t i, n = 0;

	ASSERT_EQ(0, limit_locked(RLIM_INFINITY));
	self->plain = make_plain();
	ASSERT_NE(MAP_FAILED, (void *)self->plain);
	ASSERT_TRUE(make_secrets(self->secret));
	self->marker = 0x7ffffffff000 + getpid() % 4096;

	self->frame[n++].return_address = self->marker;
	self->frame[n++].return_address = (unsigned long)self->plain + 16;
	for (i = 0; i < ARRAY_SIZE(self->secret); i++)
		self->frame[n++].return_address = self->secret[i];
	for (i = 0; i + 1 < n; i++)
		self->frame[i].next = &self->frame[i + 1];

	if (variant->stackid)
		self->map = create_map(BPF_MAP_TYPE_STACK_TRACE, 4,
				       BPF_F_STACK_BUILD_ID);
	else
		self->map = create_map(BPF_MAP_TYPE_QUEUE, 0, 0);
	if (self->map < 0 && errno == ENOSYS)
		return;
	ASSERT_LE(0, self->map);
	self->program = variant->stackid ? load_stackid(type, self->map) :
					   load_stack(type, self->map);
	ASSERT_LE(0, self->program);
}

FIXTURE_TEARDOWN(stack)
{
	EXPECT_TRUE(is_build_id(((struct image *)(self->secret[0] - 16))
				->build_id, SECRET));
	close(self->program);
	close(self->map);
}

/* Take the next trace from the map; @next is 0 at the beginning. */
static bool next_trace(int map, bool stackid, int *next, struct trace *trace)
{
	union bpf_attr attr = {
		.map_fd = map,
		.key = stackid ? (uintptr_t)next : 0,
		.value = (uintptr_t)trace,
	};

	if (!stackid)
		return !bpf(BPF_MAP_LOOKUP_AND_DELETE_ELEM, &attr);
	for (; *next < 64; ++*next)
		if (!bpf(BPF_MAP_LOOKUP_ELEM, &attr)) {
			++*next;
			return true;
		}
	return false;
}

static bool is_address(const struct bpf_stack_build_id *entry,
		       unsigned long address)
{
	return entry->status == BPF_STACK_BUILD_ID_IP && entry->ip == address &&
	       is_zero(entry->build_id, sizeof(entry->build_id));
}

/* Trigger the program several times. */
static bool look_at_stack(const struct _test_data_stack *self,
			  const struct _fixture_variant_stack *variant)
{
	int event, round;

	if (variant->software_event == TRACEPOINT)
		event = attach_to_system_calls(self->program);
	else
		event = attach_event(self->program, variant->software_event,
				     variant->period);
	if (event < 0)
		return false;
	for (round = 0; round < ROUNDS; round++)
		variant->look(self->frame);
	close(event);
	return true;
}

/* True if the trace is one of ours. Counts those that name the control. */
static bool judge_trace(struct __test_metadata *_metadata,
			const struct _test_data_stack *self,
			const struct trace *trace, int *named)
{
	/* The first entry is where the program was. */
	const struct bpf_stack_build_id *entry = trace->entry + 1;
	int i;

	for (i = 0; i < DEPTH; i++)
		EXPECT_FALSE(is_build_id(trace->entry[i].build_id, SECRET));
	if (!is_address(entry++, self->marker))
		return false;
	*named += entry->status == BPF_STACK_BUILD_ID_VALID &&
		  is_build_id(entry->build_id, PLAIN);
	entry++;
	for (i = 0; i < (int)ARRAY_SIZE(self->secret); i++, entry++)
		EXPECT_TRUE(is_address(entry, self->secret[i])) {
			TH_LOG("address %d: status %d", i, entry->status);
		}
	return true;
}

/*
 * If the kernel cannot lock the mappings it names no file, so only some trace
 * has to name the control, but no trace may have anything of the secret.
 */
TEST_F(stack, names_no_secret_file)
{
	int tries, next, traces = 0, named = 0;
	struct trace trace;

	if (self->map < 0)
		SKIP(return, "kernel without BPF_SYSCALL");
	for (tries = 0; tries < 20 && !named; tries++) {
		ASSERT_TRUE(look_at_stack(self, variant));
		next = 0;
		while (next_trace(self->map, variant->stackid, &next, &trace))
			traces += judge_trace(_metadata, self, &trace, &named);
	}
	EXPECT_LT(0, traces);
	EXPECT_LT(0, named) {
		TH_LOG("ordinary memory was not named in %d traces", traces);
	}
}

/*
 * Uprobes
 */

/* A function that does nothing, in a file that is mapped and can be called. */
FIXTURE(uprobe) {
	char secret[32];
	char plain[32];
	void (*function)(void);
};

FIXTURE_SETUP(uprobe)
{
	static const char code[] = { 0x90, 0xc3 };	/* nop; ret */
	int fd = memfd_create("control", 0);
	int secret = secret_file(page_size);
	char *p = map_shared(secret, page_size);

	ASSERT_NE(MAP_FAILED, (void *)p);
	memcpy(p, code, sizeof(code));
	ASSERT_EQ(sizeof(code), write(fd, code, sizeof(code)));
	p = mmap(NULL, page_size, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0);
	ASSERT_NE(MAP_FAILED, (void *)p);
	self->function = (void (*)(void))p;
	sprintf(self->secret, "/proc/self/fd/%d", secret);
	sprintf(self->plain, "/proc/self/fd/%d", fd);
}

FIXTURE_TEARDOWN(uprobe)
{
}

static int uprobe_event(int type, const char *path)
{
	struct perf_event_attr attr = {
		.type = type,
		.size = sizeof(attr),
		.uprobe_path = (uintptr_t)path,
	};

	return syscall(SYS_perf_event_open, &attr, 0, -1, -1, 0);
}

TEST_F(uprobe, perf_sets_none)
{
	char type[16];
	long count;
	int fd;

	if (read_text(UPROBE_TYPE, type, sizeof(type)))
		SKIP(return, "kernel without UPROBE_EVENTS");
	EXPECT_EQ(-1, uprobe_event(atoi(type), self->secret));
	EXPECT_EQ(EIO, errno);

	fd = uprobe_event(atoi(type), self->plain);
	ASSERT_LE(0, fd);
	self->function();
	EXPECT_EQ(sizeof(count), read(fd, &count, sizeof(count)));
	EXPECT_EQ(1, count);
}

/* Create the event @name and enable it: 0, or an error number. */
static int enable_uprobe(const char *name, const char *path)
{
	char text[96];

	snprintf(text, sizeof(text), "p:secretmem/%s %s:0x0", name, path);
	if (write_text(TRACING "uprobe_events", text))
		return errno;
	snprintf(text, sizeof(text), TRACING "events/secretmem/%s/enable",
		 name);
	return write_text(text, "1") ? errno : 0;
}

static int remove_uprobe(const char *name)
{
	char text[96];

	snprintf(text, sizeof(text), TRACING "events/secretmem/%s/enable",
		 name);
	write_text(text, "0");
	snprintf(text, sizeof(text), "-:secretmem/%s", name);
	return write_text(TRACING "uprobe_events", text) ? errno : 0;
}

TEST_F(uprobe, tracing_sets_none)
{
	if (access(TRACING "uprobe_events", W_OK))
		SKIP(return, "kernel without UPROBE_EVENTS");
	EXPECT_EQ(EIO, enable_uprobe("secret", self->secret));
	EXPECT_EQ(0, enable_uprobe("plain", self->plain));
	self->function();
	EXPECT_EQ(0, remove_uprobe("secret"));
	EXPECT_EQ(0, remove_uprobe("plain"));
}

#else

TEST(address_names_no_secret_file)
{
	SKIP(return, "no such stack is made up here");
}

#endif

TEST_HARNESS_MAIN
