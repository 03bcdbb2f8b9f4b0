// SPDX-License-Identifier: GPL-2.0
/*
 * The properties of a mapping of a secret file, and what calls on address
 * ranges do with it.
 */
#define _GNU_SOURCE
#include "testing.h"

#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/personality.h>
#include <sys/resource.h>

#define PAGES 8

/* A file of PAGES pages, mapped. */
FIXTURE(mapping) {
	int fd;
	size_t size;
	char *mem;
};

FIXTURE_SETUP(mapping)
{
	self->size = PAGES * page_size;
	self->fd = secret_file(self->size);
	ASSERT_LE(0, self->fd);
	self->mem = map_shared(self->fd, self->size);
	ASSERT_NE(MAP_FAILED, (void *)self->mem);
}

FIXTURE_TEARDOWN(mapping)
{
	close(self->fd);
}

/* Different contents in each page. */
static void fill_apart(char *p, int first, int n)
{
	int i;

	for (i = 0; i < n; i++)
		fill(p + i * page_size, page_size, first + i);
}

static bool pages_are_filled(const char *p, int first, int n)
{
	int i;

	for (i = 0; i < n; i++)
		if (!is_filled(p + i * page_size, page_size, first + i))
			return false;
	return true;
}

TEST_F(mapping, private_is_refused)
{
	EXPECT_EQ(MAP_FAILED, mmap(NULL, page_size, PROT_READ, MAP_PRIVATE,
				   self->fd, 0));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(MAP_FAILED, mmap(NULL, page_size, PROT_READ | PROT_WRITE,
				   MAP_PRIVATE, self->fd, 0));
	EXPECT_EQ(EINVAL, errno);
}

TEST_F(mapping, executable_is_refused_at_mmap)
{
	EXPECT_EQ(MAP_FAILED, mmap(NULL, page_size, PROT_READ | PROT_EXEC,
				   MAP_SHARED, self->fd, 0));
	EXPECT_EQ(EPERM, errno);
}

TEST_F(mapping, executable_is_refused_at_mprotect)
{
	EXPECT_EQ(-1, mprotect(self->mem, page_size, PROT_READ | PROT_EXEC));
	EXPECT_EQ(EACCES, errno);
	EXPECT_EQ(0, probe_write(self->mem, 1));
}

TEST_F(mapping, readable_never_implies_executable)
{
	char *p;

	ASSERT_NE(-1, personality(READ_IMPLIES_EXEC));
	p = map_plain(page_size);
	ASSERT_NE(MAP_FAILED, (void *)p);
	EXPECT_TRUE(vma_has_flag(p, "ex"));

	p = map_shared(self->fd, page_size);
	ASSERT_NE(MAP_FAILED, (void *)p);
	EXPECT_FALSE(vma_has_flag(p, "ex"));
	mprotect(p, page_size, PROT_READ);
	EXPECT_FALSE(vma_has_flag(p, "ex"));
}

TEST_F(mapping, fixed_mapping_goes_into_the_middle)
{
	char *middle = self->mem + 3 * page_size;

	fill_apart(self->mem, 0, PAGES);
	EXPECT_EQ(middle, mmap(middle, page_size, PROT_READ | PROT_WRITE,
			       MAP_SHARED | MAP_FIXED, self->fd, 0));
	EXPECT_TRUE(pages_are_filled(self->mem, 0, 3));
	EXPECT_TRUE(is_filled(middle, page_size, 0));
	EXPECT_TRUE(pages_are_filled(middle + page_size, 4, PAGES - 4));

	EXPECT_EQ(middle, mmap(middle, page_size, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
	EXPECT_TRUE(is_zero(middle, page_size));
	EXPECT_TRUE(is_filled(self->mem, page_size, 0));
}

TEST_F(mapping, part_can_be_unmapped)
{
	char *middle = self->mem + 2 * page_size;

	fill_apart(self->mem, 0, PAGES);
	EXPECT_EQ(0, munmap(middle, 2 * page_size));
	EXPECT_EQ(SIGSEGV, probe_read(middle));
	EXPECT_EQ(SIGSEGV, probe_read(middle + 2 * page_size - 1));
	EXPECT_TRUE(pages_are_filled(self->mem, 0, 2));
	EXPECT_TRUE(pages_are_filled(middle + 2 * page_size, 4, PAGES - 4));
	EXPECT_EQ((PAGES - 2) * page_size >> 10, locked_kb());
}

TEST_F(mapping, protection_can_be_changed)
{
	fill(self->mem, page_size, 1);
	EXPECT_EQ(0, mprotect(self->mem, page_size, PROT_READ));
	EXPECT_EQ(0, probe_read(self->mem));
	EXPECT_EQ(SIGSEGV, probe_write(self->mem, 0));
	EXPECT_EQ(0, mprotect(self->mem, page_size, PROT_NONE));
	EXPECT_EQ(SIGSEGV, probe_read(self->mem));
	EXPECT_EQ(0, probe_write(self->mem + page_size, 0));
	EXPECT_EQ(0, mprotect(self->mem, page_size, PROT_READ | PROT_WRITE));
	EXPECT_TRUE(is_filled(self->mem, page_size, 1));
	EXPECT_EQ(0, probe_write(self->mem, 0));
	EXPECT_EQ(self->size >> 10, locked_kb());
}

TEST_F(mapping, read_only_mapping_sees_the_contents)
{
	char *p = mmap(NULL, self->size, PROT_READ, MAP_SHARED, self->fd, 0);

	ASSERT_NE(MAP_FAILED, (void *)p);
	EXPECT_TRUE(is_zero(p, page_size));
	fill_apart(self->mem, 0, PAGES);
	EXPECT_TRUE(pages_are_filled(p, 0, PAGES));
	EXPECT_EQ(SIGSEGV, probe_write(p, 1));
}

TEST_F(mapping, can_move)
{
	char *p = self->mem;
	char *to = mmap(NULL, self->size, PROT_NONE,
			MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	fill_apart(p, 0, PAGES);
	ASSERT_NE(MAP_FAILED, (void *)to);
	EXPECT_EQ(to, mremap(p, self->size, self->size,
			     MREMAP_MAYMOVE | MREMAP_FIXED, to));
	EXPECT_TRUE(pages_are_filled(to, 0, PAGES));
	EXPECT_EQ(SIGSEGV, probe_read(p));
	EXPECT_EQ(self->size >> 10, locked_kb());
}

TEST_F(mapping, can_grow_and_shrink)
{
	char *p = mmap(NULL, page_size, PROT_READ | PROT_WRITE, MAP_SHARED,
		       self->fd, 2 * page_size);

	ASSERT_NE(MAP_FAILED, (void *)p);
	fill_apart(self->mem, 0, PAGES);
	p = mremap(p, page_size, PAGES * page_size, MREMAP_MAYMOVE);
	ASSERT_NE(MAP_FAILED, (void *)p);
	EXPECT_TRUE(pages_are_filled(p, 2, PAGES - 2));
	EXPECT_EQ(SIGBUS, probe_read(p + (PAGES - 2) * page_size));
	EXPECT_EQ(2 * self->size >> 10, locked_kb());

	EXPECT_EQ(p, mremap(p, PAGES * page_size, page_size, 0));
	EXPECT_TRUE(pages_are_filled(p, 2, 1));
	EXPECT_EQ((PAGES + 1) * page_size >> 10, locked_kb());
}

TEST_F(mapping, all_mappings_show_the_same_bytes)
{
	char *p[PAGES];
	int i;

	for (i = 0; i < PAGES; i++) {
		p[i] = mmap(NULL, self->size - i * page_size,
			    PROT_READ | PROT_WRITE, MAP_SHARED, self->fd,
			    i * page_size);
		ASSERT_NE(MAP_FAILED, (void *)p[i]);
		fill(p[i], page_size, i);
	}
	for (i = 0; i < PAGES; i++)
		EXPECT_TRUE(pages_are_filled(p[i], i, PAGES - i));
	EXPECT_TRUE(pages_are_filled(self->mem, 0, PAGES));
}

TEST_F(mapping, counts_as_locked)
{
	EXPECT_EQ(self->size >> 10, locked_kb());
	EXPECT_TRUE(vma_has_flag(self->mem, "lo"));
	EXPECT_EQ(0, munmap(self->mem, self->size));
	EXPECT_EQ(0, locked_kb());
}

TEST_F(mapping, stays_locked)
{
	EXPECT_EQ(0, munlock(self->mem, self->size));
	EXPECT_TRUE(vma_has_flag(self->mem, "lo"));
	EXPECT_EQ(0, munlock(self->mem + page_size, page_size));
	EXPECT_TRUE(vma_has_flag(self->mem + page_size, "lo"));
	EXPECT_EQ(0, munlockall());
	EXPECT_TRUE(vma_has_flag(self->mem, "lo"));
	EXPECT_EQ(self->size >> 10, locked_kb());
}

TEST_F(mapping, can_not_be_locked_again)
{
	EXPECT_EQ(-1, mlock(self->mem, self->size));
	EXPECT_EQ(ENOMEM, errno);
	EXPECT_EQ(-1, mlock2(self->mem, self->size, MLOCK_ONFAULT));
	EXPECT_EQ(ENOMEM, errno);
	EXPECT_EQ(self->size >> 10, locked_kb());
	EXPECT_TRUE(vma_has_flag(self->mem, "lo"));
}

/* Does the second half, mapped after the first, become one area with it? */
static bool second_half_joins(char *mem, size_t size, int fd)
{
	size_t half = size / 2;

	return mmap(mem + half, half, PROT_READ | PROT_WRITE,
		    MAP_SHARED | MAP_FIXED, fd, half) == mem + half &&
	       areas(mem, size) == 1;
}

TEST_F(mapping, mlock_of_a_part_changes_nothing)
{
	size_t half = self->size / 2;

	ASSERT_EQ(0, munmap(self->mem + half, half));
	EXPECT_EQ(-1, mlock(self->mem + page_size, page_size));
	EXPECT_EQ(ENOMEM, errno);
	EXPECT_EQ(-1, mlock2(self->mem + page_size, page_size, MLOCK_ONFAULT));
	EXPECT_EQ(ENOMEM, errno);
	EXPECT_EQ(1, areas(self->mem, half));
	EXPECT_EQ(0, resident_pages(self->mem, half));
	EXPECT_EQ(half >> 10, locked_kb());
	/* Only areas with the same flags are merged. */
	EXPECT_TRUE(second_half_joins(self->mem, self->size, self->fd));
	EXPECT_EQ(self->size >> 10, locked_kb());
}

TEST_F(mapping, munlock_of_a_part_changes_nothing)
{
	size_t half = self->size / 2;

	/* Let both halves be filled on fault. */
	ASSERT_EQ(0, munmap(self->mem, self->size));
	ASSERT_EQ(0, mlockall(MCL_FUTURE | MCL_ONFAULT));
	ASSERT_EQ(self->mem, mmap(self->mem, half, PROT_READ | PROT_WRITE,
				  MAP_SHARED | MAP_FIXED, self->fd, 0));
	EXPECT_EQ(0, munlock(self->mem + page_size, page_size));
	EXPECT_EQ(1, areas(self->mem, half));
	EXPECT_TRUE(second_half_joins(self->mem, self->size, self->fd));
	EXPECT_EQ(0, resident_pages(self->mem, self->size));
	EXPECT_TRUE(vma_has_flag(self->mem, "lo"));
}

/* Ordinary memory, secret memory and ordinary memory, without a gap. */
FIXTURE(neighbours) {
	size_t size;
	size_t all;
	char *before;
	char *mem;
	char *behind;
};

FIXTURE_SETUP(neighbours)
{
	int fd;

	self->size = PAGES * page_size;
	self->all = 3 * self->size;
	self->before = map_plain(self->all);
	ASSERT_NE(MAP_FAILED, (void *)self->before);
	self->mem = self->before + self->size;
	self->behind = self->mem + self->size;
	fd = secret_file(self->size);
	ASSERT_EQ(self->mem, mmap(self->mem, self->size, PROT_READ | PROT_WRITE,
				  MAP_SHARED | MAP_FIXED, fd, 0));
	close(fd);
}

FIXTURE_TEARDOWN(neighbours)
{
	EXPECT_TRUE(vma_has_flag(self->mem, "lo"));
	EXPECT_EQ(1, areas(self->mem, self->size));
}

TEST_F(neighbours, are_locked_though_mlock_fails)
{
	EXPECT_EQ(-1, mlock(self->before, self->all));
	EXPECT_EQ(ENOMEM, errno);
	EXPECT_TRUE(vma_has_flag(self->before, "lo"));
	EXPECT_TRUE(vma_has_flag(self->behind, "lo"));
	EXPECT_EQ(self->all >> 10, locked_kb());
	EXPECT_EQ(PAGES, resident_pages(self->before, self->size));
	EXPECT_EQ(0, resident_pages(self->mem, self->size));
	EXPECT_EQ(PAGES, resident_pages(self->behind, self->size));

	EXPECT_EQ(0, munlock(self->before, self->all));
	EXPECT_FALSE(vma_has_flag(self->before, "lo"));
	EXPECT_FALSE(vma_has_flag(self->behind, "lo"));
	EXPECT_EQ(self->size >> 10, locked_kb());
}

TEST_F(neighbours, are_locked_on_fault_though_mlock2_fails)
{
	EXPECT_EQ(-1, mlock2(self->before, self->all, MLOCK_ONFAULT));
	EXPECT_EQ(ENOMEM, errno);
	EXPECT_TRUE(vma_has_flag(self->before, "lo"));
	EXPECT_TRUE(vma_has_flag(self->behind, "lo"));
	EXPECT_EQ(self->all >> 10, locked_kb());
	EXPECT_EQ(0, resident_pages(self->before, self->all));
}

TEST_F(neighbours, half_of_each_can_be_locked)
{
	EXPECT_EQ(-1, mlock(self->mem + self->size / 2, self->size));
	EXPECT_EQ(ENOMEM, errno);
	EXPECT_TRUE(vma_has_flag(self->behind, "lo"));
	EXPECT_FALSE(vma_has_flag(self->behind + self->size / 2, "lo"));
	EXPECT_EQ(3 * self->size / 2 >> 10, locked_kb());
	EXPECT_EQ(PAGES / 2, resident_pages(self->before, self->all));
}

TEST_F(neighbours, are_locked_and_unlocked_by_mlockall)
{
	EXPECT_EQ(0, mlockall(MCL_CURRENT | MCL_ONFAULT));
	EXPECT_TRUE(vma_has_flag(self->before, "lo"));
	EXPECT_TRUE(vma_has_flag(self->behind, "lo"));
	EXPECT_EQ(0, munlockall());
	EXPECT_FALSE(vma_has_flag(self->before, "lo"));
	EXPECT_FALSE(vma_has_flag(self->behind, "lo"));
	EXPECT_EQ(self->size >> 10, locked_kb());
}

/* A child's copy is not locked, and mlock() does not lock it. */
TEST_F(neighbours, of_a_child_are_locked_alone)
{
	pid_t pid = fork();

	if (!pid) {
		if (locked_kb() != 0)
			_exit(1);
		if (mlock(self->before, self->all) != -1 || errno != ENOMEM)
			_exit(2);
		if (locked_kb() != 2 * self->size >> 10 ||
		    vma_has_flag(self->mem, "lo"))
			_exit(3);
		if (munlock(self->before, self->all) || locked_kb() != 0)
			_exit(4);
		_exit(0);
	}
	EXPECT_EQ(0, wait_status(pid));
	EXPECT_EQ(self->size >> 10, locked_kb());
}

TEST_F(mapping, does_not_hinder_mlockall)
{
	fill(self->mem, page_size, 1);
	EXPECT_EQ(0, mlockall(MCL_CURRENT));
	EXPECT_EQ(0, munlockall());
	EXPECT_EQ(0, mlockall(MCL_CURRENT | MCL_ONFAULT));
	EXPECT_EQ(0, munlockall());
	EXPECT_EQ(self->size >> 10, locked_kb());
	EXPECT_TRUE(is_filled(self->mem, page_size, 1));
}

TEST_F(mapping, is_filled_by_mlockall_but_not_on_fault)
{
	EXPECT_EQ(0, mlockall(MCL_CURRENT | MCL_ONFAULT));
	EXPECT_EQ(0, resident_pages(self->mem, self->size));
	EXPECT_EQ(0, mlockall(MCL_CURRENT));
	EXPECT_EQ(PAGES, resident_pages(self->mem, self->size));
}

TEST_F(mapping, is_not_dumped)
{
	EXPECT_TRUE(vma_has_flag(self->mem, "dd"));
}

TEST_F(mapping, mincore_tells_the_truth)
{
	EXPECT_EQ(0, resident_pages(self->mem, self->size));
	EXPECT_EQ(0, probe_read(self->mem + page_size));
	EXPECT_EQ(0, probe_write(self->mem + 3 * page_size, 1));
	EXPECT_EQ(0, resident_pages(self->mem, page_size));
	EXPECT_EQ(1, resident_pages(self->mem + page_size, page_size));
	EXPECT_EQ(1, resident_pages(self->mem + 3 * page_size, page_size));
	EXPECT_EQ(2, resident_pages(self->mem, self->size));
}

static long minor_faults(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return usage.ru_minflt;
}

/* Is all of it resident, zero and mapped, so that reading does not fault? */
static bool is_populated(char *p, size_t size)
{
	long faults;
	size_t i;

	if (resident_pages(p, size) != size / page_size)
		return false;
	/*
	 * A child takes other faults as well, for its code and stack: take them
	 * now.
	 */
	faults = minor_faults();
	probe_read(&faults);
	faults = minor_faults();
	for (i = 0; i < size; i += page_size)
		probe_read(p + i);
	return minor_faults() - faults < (long)(size / page_size / 2) &&
		is_zero(p, size);
}

TEST_F(mapping, MAP_POPULATE_fills_it)
{
	char *p;

	EXPECT_FALSE(is_populated(self->mem, self->size));
	self->fd = secret_file(self->size);
	p = mmap(NULL, self->size, PROT_READ | PROT_WRITE,
		 MAP_SHARED | MAP_POPULATE, self->fd, 0);
	ASSERT_NE(MAP_FAILED, (void *)p);
	EXPECT_TRUE(is_populated(p, self->size));
}

TEST_F(mapping, MAP_POPULATE_fills_a_read_only_one)
{
	char *p = mmap(NULL, self->size, PROT_READ, MAP_SHARED | MAP_POPULATE,
		       self->fd, 0);

	ASSERT_NE(MAP_FAILED, (void *)p);
	EXPECT_TRUE(is_populated(p, self->size));
}

TEST_F(mapping, MAP_POPULATE_stops_at_the_end_of_the_file)
{
	char *p = mmap(NULL, 2 * self->size, PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_POPULATE, self->fd, 0);

	ASSERT_NE(MAP_FAILED, (void *)p);
	EXPECT_EQ(PAGES, resident_pages(p, 2 * self->size));
	EXPECT_EQ(SIGBUS, probe_read(p + self->size));
}

TEST_F(mapping, MCL_FUTURE_fills_it)
{
	char *p;

	ASSERT_EQ(0, mlockall(MCL_FUTURE));
	p = map_shared(self->fd, self->size);
	ASSERT_NE(MAP_FAILED, (void *)p);
	EXPECT_TRUE(is_populated(p, self->size));
}

TEST_F(mapping, advice_loses_nothing)
{
	/* MADV_NORMAL to DONTNEED, FREE, MERGEABLE to DODUMP, COLD, PAGEOUT */
	static const int advices[] = {
		0, 1, 2, 3, 4, 8, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19,
		20, 21,
	};
	size_t i;

	fill_apart(self->mem, 0, PAGES - 1);
	EXPECT_EQ(0, probe_read(self->mem + self->size - page_size));
	for (i = 0; i < ARRAY_SIZE(advices); i++) {
		madvise(self->mem, self->size, advices[i]);
		ASSERT_TRUE(pages_are_filled(self->mem, 0, PAGES - 1));
		ASSERT_TRUE(is_zero(self->mem + self->size - page_size,
				    page_size));
	}
	EXPECT_TRUE(vma_has_flag(self->mem, "lo"));
}

TEST_F(mapping, MADV_DODUMP_keeps_it_locked)
{
	madvise(self->mem, self->size, MADV_DODUMP);
	EXPECT_TRUE(vma_has_flag(self->mem, "lo"));
	EXPECT_EQ(self->size >> 10, locked_kb());
}

TEST_F(mapping, userfaultfd_refuses_it)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = {
		.range = { .start = (unsigned long)self->mem,
			   .len = self->size },
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC);

	if (fd < 0)
		SKIP(return, "kernel without USERFAULTFD");
	ASSERT_EQ(0, ioctl(fd, UFFDIO_API, &api));
	EXPECT_EQ(-1, ioctl(fd, UFFDIO_REGISTER, &reg));
	EXPECT_EQ(EINVAL, errno);
	reg.range.start = (unsigned long)map_plain(self->size);
	EXPECT_EQ(0, ioctl(fd, UFFDIO_REGISTER, &reg));
}

TEST_F(mapping, remap_file_pages_shows_the_right_page)
{
	fill_apart(self->mem, 0, PAGES);
	if (remap_file_pages(self->mem, page_size, 0, 5, 0))
		return;
	EXPECT_TRUE(is_filled(self->mem, page_size, 5));
	EXPECT_TRUE(pages_are_filled(self->mem + page_size, 1, PAGES - 1));
	EXPECT_TRUE(vma_has_flag(self->mem, "lo"));
}

TEST_F(mapping, child_can_not_harm_the_parent)
{
	pid_t pid;

	fill_apart(self->mem, 0, PAGES);
	pid = fork();
	if (!pid) {
		munlockall();
		munlock(self->mem, self->size);
		madvise(self->mem, self->size, MADV_DONTNEED);
		madvise(self->mem, self->size, MADV_PAGEOUT);
		if (!pages_are_filled(self->mem, 0, PAGES))
			_exit(1);
		mprotect(self->mem, self->size, PROT_READ);
		munmap(self->mem, self->size);
		close(self->fd);
		_exit(0);
	}
	EXPECT_EQ(0, wait_status(pid));
	EXPECT_EQ(self->size >> 10, locked_kb());
	EXPECT_TRUE(vma_has_flag(self->mem, "lo"));
	EXPECT_TRUE(pages_are_filled(self->mem, 0, PAGES));
	EXPECT_EQ(0, probe_write(self->mem, 1));
}

TEST_F(mapping, child_reads_what_the_parent_writes)
{
	int to[2], from[2];
	char c = 0;
	pid_t pid;

	ASSERT_EQ(0, pipe(to));
	ASSERT_EQ(0, pipe(from));
	pid = fork();
	if (!pid) {
		if (read(to[0], &c, 1) != 1 ||
		    !pages_are_filled(self->mem, 0, PAGES))
			_exit(1);
		fill(self->mem, page_size, 7);
		_exit(0);
	}
	fill_apart(self->mem, 0, PAGES);
	EXPECT_EQ(1, write(to[1], &c, 1));
	EXPECT_EQ(0, wait_status(pid));
	EXPECT_TRUE(is_filled(self->mem, page_size, 7));
}

TEST_HARNESS_MAIN
