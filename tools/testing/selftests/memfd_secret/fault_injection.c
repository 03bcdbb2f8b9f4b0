// SPDX-License-Identifier: GPL-2.0
/*
 * Each allocation on the way to a secret page fails once: an error, no trace of
 * it, and the next attempt succeeds.
 */
#define _GNU_SOURCE
#include "testing.h"
#include "inject.h"

#include <linux/falloc.h>
#include <sys/stat.h>

/* Where no page table is yet; only a hint. */
#if __SIZEOF_LONG__ == 4
#define FAR_AWAY 0x40000000UL
#elif defined(__riscv)
#define FAR_AWAY 0x1000000000UL
#else
#define FAR_AWAY 0x100000000000UL
#endif
/* A page whose place in the page cache takes several levels of nodes. */
#define FAR_INSIDE ((off_t)0x12345678000)

static int fail_nth;

/* Lets the @n-th allocation from now on fail, 0 for none. */
static void set_fail_nth(int n)
{
	char text[16];

	if (pwrite(fail_nth, text, sprintf(text, "%d", n), 0) < 0)
		abort();
}

/* Has the allocation failed? */
static bool has_failed(void)
{
	char text[16] = "";

	if (pread(fail_nth, text, sizeof(text) - 1, 0) < 0)
		abort();
	return !atoi(text);
}

/* One attempt, and what the attempts need. */
struct attempt {
	int fd;
	char *mem;
	int zero;
	int err;
};

static void try_create(struct attempt *attempt)
{
	attempt->fd = memfd_secret(0);
	attempt->err = attempt->fd < 0 ? errno : 0;
}

static void try_resize(struct attempt *attempt)
{
	attempt->err = ftruncate(attempt->fd, FAR_INSIDE + page_size) ? errno :
									0;
}

static void try_map(struct attempt *attempt, int flags)
{
	attempt->mem = mmap((void *)FAR_AWAY, page_size, PROT_READ | PROT_WRITE,
			    MAP_SHARED | flags, attempt->fd, FAR_INSIDE);
	attempt->err = attempt->mem == MAP_FAILED ? errno : 0;
}

static void try_mmap(struct attempt *attempt)
{
	try_map(attempt, 0);
}

static void try_populate(struct attempt *attempt)
{
	try_map(attempt, MAP_POPULATE);
}

static void try_read_fault(struct attempt *attempt)
{
	attempt->err = kernel_touch(attempt->mem) ? 0 : errno;
}

static void try_write_fault(struct attempt *attempt)
{
	attempt->err = read(attempt->zero, attempt->mem, page_size) < 0 ?
			errno : 0;
}

/* What was allocated before the failure is gone then. */
static void try_fallocate(struct attempt *attempt)
{
	struct stat st;

	attempt->err = fallocate(attempt->fd, FALLOC_FL_KEEP_SIZE,
				 FAR_INSIDE - 3 * page_size, 4 * page_size) ?
			errno : 0;
	if (attempt->err && (fstat(attempt->fd, &st) || st.st_blocks))
		attempt->err = EIO;
}

static void try_mremap(struct attempt *attempt)
{
	char *p = mremap(attempt->mem, page_size, 3 * page_size,
			 MREMAP_MAYMOVE | MREMAP_FIXED, (void *)(FAR_AWAY / 2));

	attempt->err = p == MAP_FAILED ? errno : 0;
	if (attempt->err)
		return;
	munmap(p + page_size, 2 * page_size);
	attempt->mem = p;
}

static void try_cut(struct attempt *attempt)
{
	attempt->err = ftruncate(attempt->fd, FAR_INSIDE + 1) ? errno : 0;
}

static void try_punch(struct attempt *attempt)
{
	attempt->err = fallocate(attempt->fd, FALLOC_FL_KEEP_SIZE |
				 FALLOC_FL_PUNCH_HOLE, FAR_INSIDE - page_size,
				 page_size + page_size / 2) ? errno : 0;
}

FIXTURE(each_allocation) {
	struct attempt attempt;
};

FIXTURE_VARIANT(each_allocation) {
	void (*prepare[5])(struct attempt *attempt);	/* NULL ends it */
	void (*try)(struct attempt *attempt);
	int err;
	bool may_allocate_nothing;
};

FIXTURE_VARIANT_ADD(each_allocation, of_memfd_secret) {
	.try = try_create,
	.err = ENOMEM,
};

FIXTURE_VARIANT_ADD(each_allocation, of_ftruncate) {
	.prepare = { try_create },
	.try = try_resize,
	.err = ENOMEM,
	.may_allocate_nothing = true,
};

FIXTURE_VARIANT_ADD(each_allocation, of_mmap) {
	.prepare = { try_create, try_resize },
	.try = try_mmap,
	.err = ENOMEM,
};

FIXTURE_VARIANT_ADD(each_allocation, of_MAP_POPULATE) {
	.prepare = { try_create, try_resize },
	.try = try_populate,
	.err = ENOMEM,
};

FIXTURE_VARIANT_ADD(each_allocation, of_a_read_fault) {
	.prepare = { try_create, try_resize, try_mmap },
	.try = try_read_fault,
	.err = EFAULT,
};

FIXTURE_VARIANT_ADD(each_allocation, of_a_write_fault) {
	.prepare = { try_create, try_resize, try_mmap },
	.try = try_write_fault,
	.err = EFAULT,
};

FIXTURE_VARIANT_ADD(each_allocation, of_fallocate) {
	.prepare = { try_create, try_resize },
	.try = try_fallocate,
	.err = ENOMEM,
	/* Each of them is tried again in another way. */
	.may_allocate_nothing = true,
};

FIXTURE_VARIANT_ADD(each_allocation, of_mremap) {
	.prepare = { try_create, try_resize, try_mmap },
	.try = try_mremap,
	.err = ENOMEM,
};

FIXTURE_VARIANT_ADD(each_allocation, of_a_cut) {
	.prepare = { try_create, try_resize, try_mmap, try_write_fault },
	.try = try_cut,
	.err = ENOMEM,
	.may_allocate_nothing = true,
};

FIXTURE_VARIANT_ADD(each_allocation, of_a_hole) {
	.prepare = { try_create, try_resize, try_mmap, try_write_fault },
	.try = try_punch,
	.err = ENOMEM,
	.may_allocate_nothing = true,
};

FIXTURE_SETUP(each_allocation)
{
	self->attempt.zero = open("/dev/zero", O_RDONLY);
	fail_nth = open("/proc/thread-self/fail-nth", O_RDWR);
}

FIXTURE_TEARDOWN(each_allocation)
{
	inject_failures(0);
}

static void prepare(struct attempt *attempt,
		    void (* const *steps)(struct attempt *attempt))
{
	attempt->fd = -1;
	attempt->mem = MAP_FAILED;
	attempt->err = 0;
	while (*steps && !attempt->err)
		(*steps++)(attempt);
}

static void clean_up(struct attempt *attempt)
{
	if (attempt->mem != MAP_FAILED)
		munmap(attempt->mem, page_size);
	if (attempt->fd >= 0)
		close(attempt->fd);
}

/* Whatever failed before: the file is in order, or can be had now. */
static bool is_usable(struct attempt *attempt)
{
	if (attempt->fd < 0)
		try_create(attempt);
	try_resize(attempt);
	if (attempt->mem == MAP_FAILED)
		try_mmap(attempt);
	if (attempt->mem == MAP_FAILED || !is_zero(attempt->mem, page_size))
		return false;
	fill(attempt->mem, page_size, 1);
	return is_filled(attempt->mem, page_size, 1);
}

TEST_F(each_allocation, may_fail)
{
	struct attempt *attempt = &self->attempt;
	int n, failures = 0, unused_fd = dup(0);
	bool failed = true;

	close(unused_fd);
	if (!inject_failures(0))
		SKIP(return, "kernel without FAULT_INJECTION");
	for (n = 1; failed && n < 1000; n++) {
		prepare(attempt, variant->prepare);
		ASSERT_EQ(0, attempt->err);
		/* So that a fault needs more than a page that is there. */
		ASSERT_TRUE(give_spare_memory_back());
		set_fail_nth(n);
		variant->try(attempt);
		failed = has_failed();
		set_fail_nth(0);

		if (attempt->err) {
			EXPECT_TRUE(failed);
			EXPECT_EQ(variant->err, attempt->err);
			failures++;
		}
		EXPECT_TRUE(is_usable(attempt));
		clean_up(attempt);
	}
	EXPECT_FALSE(failed);
	EXPECT_TRUE(failures || variant->may_allocate_nothing);
	TH_LOG("%d allocations failed, %d attempts for that", n - 2, failures);
	/* No descriptor was lost. */
	EXPECT_EQ(unused_fd, dup(0));
}

/*
 * Reads, then writes all of @p through the kernel, again after each failure. Now and
 * then without pages that could be had without an allocation.
 */
static int touch_with_failures(char *p, size_t size)
{
	int zero = open("/dev/zero", O_RDONLY), failures = 0;
	size_t i;

	for (i = 0; i < size; i += page_size) {
		if (i % (512 * page_size) == 0)
			give_spare_memory_back();
		inject_here(true);
		while (i % (2 * page_size) && !kernel_touch(p + i))
			failures++;
		while (read(zero, p + i, page_size) < 0)
			failures++;
		inject_here(false);
	}
	close(zero);
	return failures;
}

TEST(faults_fail_again_and_again_and_succeed)
{
	const size_t size = 16 << 20;
	int failures;
	char *p;

	if (!inject_failures(50))
		SKIP(return, "kernel without FAULT_INJECTION");
	p = map_secret(size);
	ASSERT_NE(MAP_FAILED, (void *)p);
	failures = touch_with_failures(p, size);
	inject_failures(0);
	TH_LOG("%d faults failed", failures);
	EXPECT_LT(0, failures);
	EXPECT_TRUE(is_zero(p, size));
	fill(p, size, 1);
	EXPECT_TRUE(is_filled(p, size, 1));
}

TEST(fallocate_fails_again_and_again_and_succeeds)
{
	const size_t size = 4 << 20;
	int fd = secret_file(size), failures = 0;
	char path[64];
	struct stat st;
	char *p;

	p = map_shared(fd, size / 2);
	ASSERT_NE(MAP_FAILED, (void *)p);
	fill(p, page_size, 1);
	sprintf(path, "/proc/self/fdinfo/%d", fd);
	if (!inject_failures(0))
		SKIP(return, "kernel without FAULT_INJECTION");
	for (;;) {
		inject_failures(0);
		ASSERT_TRUE(give_spare_memory_back());
		inject_failures(90);
		inject_here(true);
		if (!fallocate(fd, 0, 0, size))
			break;
		inject_here(false);
		ASSERT_EQ(ENOMEM, errno);
		ASSERT_EQ(0, fstat(fd, &st));
		/* What was there is all there is, and what was charged. */
		ASSERT_EQ(page_size, st.st_blocks * 512);
		ASSERT_EQ((long)(size / 2 >> 10), read_field(path, "charged"));
		failures++;
		if (failures > 20)
			break;
	}
	inject_here(false);
	inject_failures(0);
	EXPECT_LT(0, failures);
	TH_LOG("it failed %d times", failures);
	EXPECT_EQ(0, fallocate(fd, 0, 0, size));
	EXPECT_EQ(size >> 10, read_field(path, "charged"));
	EXPECT_TRUE(is_filled(p, page_size, 1));
	EXPECT_TRUE(is_zero(p + page_size, size / 2 - page_size));
}

TEST(failed_faults_lose_no_memory)
{
	const long size = 16 << 20, rounds = 4;
	long before, lost;
	int i, failures = 0;
	char *p;

	if (!inject_failures(50))
		SKIP(return, "kernel without FAULT_INJECTION");
	before = read_field("/proc/meminfo", "MemFree");
	for (i = 0; i < rounds; i++) {
		p = map_secret(size);
		ASSERT_NE(MAP_FAILED, (void *)p);
		failures += touch_with_failures(p, size);
		munmap(p, size);
	}
	inject_failures(0);
	give_spare_memory_back();
	EXPECT_LT(rounds * size / page_size / 64, failures);
	/* One page for each failure would be more than all that is idle. */
	lost = before - read_field("/proc/meminfo", "MemFree");
	TH_LOG("%d faults failed, %ld kB less are free", failures, lost);
	EXPECT_GT(failures * (long)(page_size >> 10) / 4, lost);
}

TEST_HARNESS_MAIN
