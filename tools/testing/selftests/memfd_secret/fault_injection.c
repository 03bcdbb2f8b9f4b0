// SPDX-License-Identifier: GPL-2.0
/*
 * Each allocation on the way to a secret page fails once: the call returns an
 * error and leaves no trace, and the next attempt succeeds.
 */
#define _GNU_SOURCE
#include "testing.h"
#include "inject.h"

#include <linux/falloc.h>
#include <sys/stat.h>

/* An address without page tables yet; only a hint. */
#if __SIZEOF_LONG__ == 4
#define FAR_AWAY 0x40000000UL
#elif defined(__riscv)
#define FAR_AWAY 0x1000000000UL
#else
#define FAR_AWAY 0x100000000000UL
#endif
/* An offset that needs several levels of nodes in the page cache. */
#define FAR_INSIDE ((off_t)0x12345678000)

static int fail_nth;

/* Make the @n-th allocation from now on fail, 0 for none. */
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

/* The state of an attempt. */
struct attempt {
	int fd;
	char *mem;
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

/*
 * Let root's kernel write zeros to @p, without a try again if a fault fails: some
 * ways to copy and to clear go on byte by byte.
 */
static bool kernel_store_zero(char *p)
{
#ifdef SYS_getresuid32
	const long number = SYS_getresuid32;
#else
	const long number = SYS_getresuid;
#endif

	return !syscall(number, p, p, p) || errno != EFAULT;
}

static void try_read_fault(struct attempt *attempt)
{
	attempt->err = kernel_touch(attempt->mem) ? 0 : errno;
}

static void try_write_fault(struct attempt *attempt)
{
	attempt->err = kernel_store_zero(attempt->mem) ? 0 : errno;
}

/* Pages that were allocated before the failure are freed. */
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
	/* Each failed allocation is retried in another way. */
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

/* Whatever failed before: the file is intact, or can be made now. */
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
		/* So that a fault needs an allocation for its page. */
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
	/* No descriptor was leaked. */
	EXPECT_EQ(unused_fd, dup(0));
}

/*
 * Let the kernel read, then write to each page of @p, again after each failure.
 * Sometimes give back the pool's free pages first, so that a page must be
 * allocated.
 */
static int touch_with_failures(char *p, size_t size)
{
	int failures = 0;
	size_t i;

	for (i = 0; i < size; i += page_size) {
		if (i % (512 * page_size) == 0)
			give_spare_memory_back();
		inject_here(true);
		while (i % (2 * page_size) && !kernel_touch(p + i))
			failures++;
		while (!kernel_store_zero(p + i))
			failures++;
		inject_here(false);
	}
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

#define PREALLOCATED	(4 << 20)

/* A file with a single page, half of which is mapped. */
FIXTURE(preallocation) {
	bool there;		/* the kernel has fault injection */
	int fd;
	char *mem;
	unsigned int failures;
};

FIXTURE_SETUP(preallocation)
{
	self->there = inject_failures(0);
	self->fd = secret_file(PREALLOCATED);
	self->mem = map_shared(self->fd, PREALLOCATED / 2);
	ASSERT_NE(MAP_FAILED, (void *)self->mem);
	fill(self->mem, page_size, 1);
}

static long charged_kb(int fd)
{
	char path[64];

	sprintf(path, "/proc/self/fdinfo/%d", fd);
	return read_field(path, "charged");
}

FIXTURE_TEARDOWN(preallocation)
{
	inject_failures(0);
	if (self->there)
		EXPECT_LT(0, self->failures);
	EXPECT_EQ(0, fallocate(self->fd, 0, 0, PREALLOCATED));
	EXPECT_EQ(PREALLOCATED >> 10, charged_kb(self->fd));
	EXPECT_TRUE(is_filled(self->mem, page_size, 1));
	EXPECT_TRUE(is_zero(self->mem + page_size,
			    PREALLOCATED / 2 - page_size));
}

/*
 * Call fallocate() with the failures that were set up. Returns its error
 * number, or EIO if the call left pages or a charge behind.
 */
static int preallocate(int fd, unsigned int *failures)
{
	struct stat st;
	int err;

	inject_here(true);
	err = fallocate(fd, 0, 0, PREALLOCATED) ? errno : 0;
	inject_here(false);
	if (!err)
		return 0;
	++*failures;
	/*
	 * Only the page from before exists, and the charge is that of the
	 * mapping.
	 */
	if (fstat(fd, &st) || st.st_blocks * 512 != page_size ||
	    charged_kb(fd) != PREALLOCATED / 2 >> 10)
		err = EIO;
	return err;
}

TEST_F(preallocation, may_fail_again_and_again)
{
	int err;

	if (!self->there)
		SKIP(return, "kernel without FAULT_INJECTION");
	do {
		ASSERT_TRUE(give_spare_memory_back());
		ASSERT_TRUE(inject_failures(90));
		err = preallocate(self->fd, &self->failures);
		inject_failures(0);
	} while (err == ENOMEM && self->failures <= 20);
	EXPECT_TRUE(!err || err == ENOMEM);
	TH_LOG("it failed %u times", self->failures);
}

static long pages_taken(void)
{
	return read_field(POOL_EVENTS, "pages_taken");
}

/* The pool gets one block and some pages, but not a second block. */
TEST_F(preallocation, may_fail_when_memory_ends_half_way)
{
	const unsigned int block = (2 << 20) / page_size;
	unsigned int pages;
	char text[16];
	long before;

	if (!self->there)
		SKIP(return, "kernel without FAULT_INJECTION");
	for (pages = block + 1; pages < 2 * block; pages += block / 8) {
		ASSERT_TRUE(give_spare_memory_back());
		before = pages_taken();
		ASSERT_TRUE(inject_failures(100));
		ASSERT_TRUE(inject_set("failslab", "probability", "0"));
		sprintf(text, "%u", pages);
		ASSERT_TRUE(inject_set("fail_page_alloc", "space", text));
		EXPECT_EQ(ENOMEM, preallocate(self->fd, &self->failures));
		EXPECT_LE(before + block, pages_taken());
		inject_set("fail_page_alloc", "space", "0");
		inject_failures(0);
	}
}

/*
 * The page cache allocates a node for 64 pages, so these fail later and later.
 */
TEST_F(preallocation, may_fail_at_each_node_of_the_page_cache)
{
	unsigned int bytes = 0;
	char text[16];
	int err;

	if (!self->there)
		SKIP(return, "kernel without FAULT_INJECTION");
	do {
		ASSERT_TRUE(inject_failures(100));
		ASSERT_TRUE(inject_set("fail_page_alloc", "probability", "0"));
		sprintf(text, "%u", bytes);
		ASSERT_TRUE(inject_set("failslab", "space", text));
		err = preallocate(self->fd, &self->failures);
		inject_set("failslab", "space", "0");
		inject_failures(0);
		/* Less than the size of a node. */
		bytes += 256;
	} while (err == ENOMEM);
	EXPECT_EQ(0, err);
	EXPECT_LT(16, self->failures);
	TH_LOG("it failed with up to %u bytes", bytes);
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
	/* A leak of one page for each failure would be more than this. */
	lost = before - read_field("/proc/meminfo", "MemFree");
	TH_LOG("%d faults failed, %ld kB less are free", failures, lost);
	EXPECT_GT(failures * (long)(page_size >> 10) / 4, lost);
}

TEST_HARNESS_MAIN
