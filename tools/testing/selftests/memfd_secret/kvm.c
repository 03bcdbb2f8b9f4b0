// SPDX-License-Identifier: GPL-2.0
/*
 * A virtual machine gets no secret page into its memory: if its guest touches
 * one, KVM_RUN fails with EFAULT at once. Ordinary memory next to it is the
 * control.
 */
#define _GNU_SOURCE
#include "testing.h"

#ifdef __x86_64__

#include <linux/kvm.h>
#include <sys/ioctl.h>

/* The guest's addresses of its code and of the memory in question. */
#define CODE_AT		0x1000
#define SECRET_AT	0x8000
#define PLAIN_AT	0x9000
#define ROM		0x2000	/* added to these: the same in read-only slots */

#define OPERAND_SIZE	0x66	/* prefix: 32 bits */
#define LOAD_EAX	0xa1	/* from the address that follows */
#define STORE_EAX	0xa3
#define SET_EAX		0xb8
#define OUT_EAX		0xe7	/* to the port that follows */
#define PORT		0x10

#define FLAGS_ALWAYS	0x002
#define FLAGS_IF	0x200

#define EAX_BEFORE	0x5a5a5a5a
#define EAX_IN_MEMORY	0x12345678

/*
 * After this many seconds a KVM_RUN that has not ended is interrupted: EINTR.
 */
#define PATIENCE	5

enum { SECRET = 1, PLAIN };

/* At the start of each memory, so that it can be executed as well as read. */
static const unsigned char memory_code[] = {
	OPERAND_SIZE, SET_EAX, 0x78, 0x56, 0x34, 0x12,
	OPERAND_SIZE, OUT_EAX, PORT,
};

static __u32 first_word(const char *p)
{
	__u32 word;

	memcpy(&word, p, sizeof(word));
	return word;
}

static void fill_memory(char *p, unsigned int seed)
{
	fill(p, page_size, seed);
	memcpy(p, memory_code, sizeof(memory_code));
}

/* Map a page again after it is filled, so that it is in no page table yet. */
static char *map_filled(int fd, unsigned int seed, bool touched, int prot)
{
	char *p = map_shared(fd, page_size);

	if (p == MAP_FAILED)
		return p;
	fill_memory(p, seed);
	munmap(p, page_size);
	p = mmap(NULL, page_size, prot, MAP_SHARED, fd, 0);
	close(fd);
	if (touched)
		probe_read(p);
	return p;
}

/*
 * A machine with one processor, which starts in real mode. If its interrupt
 * controller is in the kernel and interrupts are on, KVM fetches a missing page
 * in the background, and the guest waits for it.
 */
FIXTURE(guest) {
	char *secret;
	char *plain;
	char *code;
	int kvm;
	int vm;
	int cpu;
	struct kvm_run *run;
};

FIXTURE_VARIANT(guest) {
	bool controller;
	bool interrupts;
	bool touched;		/* by the host */
	bool read_only;		/* the host's mapping */
};

FIXTURE_VARIANT_ADD(guest, no_controller) { .touched = true };
FIXTURE_VARIANT_ADD(guest, no_controller_untouched) { };
FIXTURE_VARIANT_ADD(guest, interrupts_off) {
	.controller = true, .touched = true,
};

FIXTURE_VARIANT_ADD(guest, interrupts_on) {
	.controller = true, .interrupts = true, .touched = true,
};

FIXTURE_VARIANT_ADD(guest, interrupts_on_untouched) {
	.controller = true, .interrupts = true,
};

FIXTURE_VARIANT_ADD(guest, interrupts_on_read_only) {
	.controller = true, .interrupts = true, .touched = true,
	.read_only = true,
};

static int set_slot(int vm, __u64 address, __u32 flags, const char *memory)
{
	struct kvm_userspace_memory_region region = {
		.slot = address / 0x1000,
		.flags = flags,
		.guest_phys_addr = address,
		.memory_size = page_size,
		.userspace_addr = (uintptr_t)memory,
	};

	return ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region);
}

FIXTURE_SETUP(guest)
{
	const int prot = PROT_READ | (variant->read_only ? 0 : PROT_WRITE);

	self->secret = map_filled(secret_file(page_size), SECRET,
				  variant->touched, prot);
	self->plain = map_filled(plain_file(page_size), PLAIN,
				 variant->touched, prot);
	self->code = map_plain(page_size);
	ASSERT_NE(MAP_FAILED, (void *)self->secret);
	ASSERT_NE(MAP_FAILED, (void *)self->plain);
	ASSERT_NE(MAP_FAILED, (void *)self->code);

	self->kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (self->kvm < 0)
		return;
	self->vm = ioctl(self->kvm, KVM_CREATE_VM, 0);
	ASSERT_LE(0, self->vm);
	if (variant->controller)
		ASSERT_EQ(0, ioctl(self->vm, KVM_CREATE_IRQCHIP, 0));
	self->cpu = ioctl(self->vm, KVM_CREATE_VCPU, 0);
	ASSERT_LE(0, self->cpu);
	self->run = map_shared(self->cpu, ioctl(self->kvm,
						KVM_GET_VCPU_MMAP_SIZE, 0));
	ASSERT_NE(MAP_FAILED, (void *)self->run);

	ASSERT_EQ(0, set_slot(self->vm, CODE_AT, 0, self->code));
	ASSERT_EQ(0, set_slot(self->vm, SECRET_AT, 0, self->secret));
	ASSERT_EQ(0, set_slot(self->vm, PLAIN_AT, 0, self->plain));
	ASSERT_EQ(0, set_slot(self->vm, SECRET_AT + ROM, KVM_MEM_READONLY,
			      self->secret));
	ASSERT_EQ(0, set_slot(self->vm, PLAIN_AT + ROM, KVM_MEM_READONLY,
			      self->plain));
}

FIXTURE_TEARDOWN(guest)
{
	char expected[page_size];

	fill_memory(expected, SECRET);
	EXPECT_EQ(0, memcmp(expected, self->secret, page_size));
}

static int set_registers(int cpu, __u64 start, bool interrupts)
{
	struct kvm_regs regs = {
		.rip = start,
		.rax = EAX_BEFORE,
		.rflags = FLAGS_ALWAYS | (interrupts ? FLAGS_IF : 0),
	};
	struct kvm_sregs sregs;

	if (ioctl(cpu, KVM_GET_SREGS, &sregs))
		return -1;
	sregs.cs.base = 0;
	sregs.cs.selector = 0;
	if (ioctl(cpu, KVM_SET_SREGS, &sregs))
		return -1;
	return ioctl(cpu, KVM_SET_REGS, &regs);
}

static __u32 guest_eax(int cpu)
{
	struct kvm_regs regs = { };

	ioctl(cpu, KVM_GET_REGS, &regs);
	return regs.rax;
}

static void interrupt(int sig)
{
}

/*
 * 0 if the guest reached its OUT, -1 and errno if KVM_RUN failed, otherwise 1.
 */
static int run_from(const FIXTURE_DATA(guest) * guest, __u64 start,
		    bool interrupts)
{
	/* Without SA_RESTART. */
	const struct sigaction action = { .sa_handler = interrupt };
	int ret;

	if (set_registers(guest->cpu, start, interrupts))
		return 1;
	sigaction(SIGALRM, &action, NULL);
	alarm(PATIENCE);
	ret = ioctl(guest->cpu, KVM_RUN, 0);
	alarm(0);
	if (ret)
		return ret;
	return guest->run->exit_reason != KVM_EXIT_IO ||
		guest->run->io.port != PORT;
}

/* Let the guest make one access. */
static int run_access(const FIXTURE_DATA(guest) * guest, unsigned char opcode,
		      unsigned int address, bool interrupts)
{
	const unsigned char code[] = {
		OPERAND_SIZE, opcode, address & 0xff, address >> 8,
		OPERAND_SIZE, OUT_EAX, PORT,
	};

	memcpy(guest->code, code, sizeof(code));
	return run_from(guest, CODE_AT, interrupts);
}

static void read_both(struct __test_metadata *_metadata,
		      const FIXTURE_DATA(guest) * self, unsigned int slot,
		      bool interrupts)
{
	EXPECT_EQ(-1, run_access(self, LOAD_EAX, SECRET_AT + slot, interrupts));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(EAX_BEFORE, guest_eax(self->cpu));

	EXPECT_EQ(0, run_access(self, LOAD_EAX, PLAIN_AT + slot, interrupts));
	EXPECT_EQ(first_word(self->plain), guest_eax(self->cpu));
}

TEST_F(guest, reads_no_secret)
{
	if (self->kvm < 0)
		SKIP(return, "kernel without KVM");
	read_both(_metadata, self, 0, variant->interrupts);
}

TEST_F(guest, reads_no_secret_from_a_read_only_slot)
{
	if (self->kvm < 0)
		SKIP(return, "kernel without KVM");
	read_both(_metadata, self, ROM, variant->interrupts);
}

TEST_F(guest, changes_no_secret)
{
	if (self->kvm < 0)
		SKIP(return, "kernel without KVM");
	EXPECT_EQ(-1, run_access(self, STORE_EAX, SECRET_AT,
				 variant->interrupts));
	EXPECT_EQ(EFAULT, errno);

	EXPECT_EQ(variant->read_only ? -1 : 0,
		  run_access(self, STORE_EAX, PLAIN_AT, variant->interrupts));
	if (!variant->read_only)
		EXPECT_EQ(EAX_BEFORE, first_word(self->plain));
}

TEST_F(guest, runs_no_secret)
{
	if (self->kvm < 0)
		SKIP(return, "kernel without KVM");
	EXPECT_EQ(-1, run_from(self, SECRET_AT, variant->interrupts));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(EAX_BEFORE, guest_eax(self->cpu));

	EXPECT_EQ(0, run_from(self, PLAIN_AT, variant->interrupts));
	EXPECT_EQ(EAX_IN_MEMORY, guest_eax(self->cpu));
}

/* The guest has the page in its page tables when the host replaces it. */
TEST_F(guest, loses_what_becomes_secret)
{
	const int prot = PROT_READ | PROT_WRITE;
	int fd = secret_file(page_size);

	if (self->kvm < 0)
		SKIP(return, "kernel without KVM");
	EXPECT_EQ(0, run_access(self, LOAD_EAX, PLAIN_AT, variant->interrupts));
	EXPECT_EQ(first_word(self->plain), guest_eax(self->cpu));

	ASSERT_EQ(self->plain, mmap(self->plain, page_size, prot,
				    MAP_SHARED | MAP_FIXED, fd, 0));
	fill_memory(self->plain, SECRET);
	EXPECT_EQ(-1, run_access(self, LOAD_EAX, PLAIN_AT,
				 variant->interrupts));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(EAX_BEFORE, guest_eax(self->cpu));

	ASSERT_EQ(self->plain, mmap(self->plain, page_size, prot,
				    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
				    0));
	fill_memory(self->plain, PLAIN);
	EXPECT_EQ(0, run_access(self, LOAD_EAX, PLAIN_AT, variant->interrupts));
	EXPECT_EQ(first_word(self->plain), guest_eax(self->cpu));
}

#else

TEST(guest_reads_no_secret)
{
	SKIP(return, "kernel without KVM");
}

#endif

TEST_HARNESS_MAIN
