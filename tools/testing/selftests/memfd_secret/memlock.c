// SPDX-License-Identifier: GPL-2.0
/*
 * Secret mappings are locked memory, limited by RLIMIT_MEMLOCK.
 */
#define _GNU_SOURCE
#include "testing.h"

#define PAGES 16

/* A process that may lock PAGES pages, and a larger file. */
FIXTURE(limit) {
	int fd;
	size_t size;
};

FIXTURE_SETUP(limit)
{
	self->size = PAGES * page_size;
	ASSERT_EQ(0, limit_locked(self->size));
	ASSERT_EQ(0, drop_capability(CAP_IPC_LOCK));
	self->fd = secret_file(4 * self->size);
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(limit)
{
	close(self->fd);
}

TEST_F(limit, can_be_reached)
{
	char *p = map_shared(self->fd, self->size);

	ASSERT_NE(MAP_FAILED, (void *)p);
	fill(p, self->size, 1);
	EXPECT_TRUE(is_filled(p, self->size, 1));
}

TEST_F(limit, can_not_be_passed_by_one_mapping)
{
	EXPECT_EQ(MAP_FAILED, map_shared(self->fd, self->size + page_size));
	EXPECT_EQ(EAGAIN, errno);
	EXPECT_EQ(0, locked_kb());
}

TEST_F(limit, can_not_be_passed_by_the_sum_of_mappings)
{
	int i;

	for (i = 0; i < PAGES; i++)
		ASSERT_NE(MAP_FAILED, map_shared(self->fd, page_size));
	EXPECT_EQ(MAP_FAILED, map_shared(self->fd, page_size));
	EXPECT_EQ(EAGAIN, errno);
	EXPECT_EQ(MAP_FAILED, map_shared(secret_file(page_size), page_size));
	EXPECT_EQ(EAGAIN, errno);
}

TEST_F(limit, is_one_with_that_of_mlock)
{
	char *plain = map_plain(self->size);

	ASSERT_EQ(0, mlock(plain, self->size));
	EXPECT_EQ(MAP_FAILED, map_shared(self->fd, page_size));
	EXPECT_EQ(EAGAIN, errno);
	ASSERT_EQ(0, munlock(plain, page_size));
	EXPECT_NE(MAP_FAILED, map_shared(self->fd, page_size));
	EXPECT_EQ(-1, mlock(plain, page_size));
	EXPECT_EQ(ENOMEM, errno);
}

TEST_F(limit, has_room_again_after_munmap)
{
	char *p = map_shared(self->fd, self->size);
	int i;

	for (i = 0; i < 3; i++) {
		ASSERT_NE(MAP_FAILED, (void *)p);
		EXPECT_EQ(MAP_FAILED, map_shared(self->fd, page_size));
		ASSERT_EQ(0, munmap(p + page_size, self->size - page_size));
		EXPECT_EQ(MAP_FAILED, map_shared(self->fd, self->size));
		ASSERT_EQ(0, munmap(p, page_size));
		p = map_shared(self->fd, self->size);
	}
	EXPECT_NE(MAP_FAILED, (void *)p);
}

TEST_F(limit, has_no_room_after_munlock)
{
	char *p = map_shared(self->fd, self->size);

	ASSERT_NE(MAP_FAILED, (void *)p);
	munlock(p, self->size);
	munlockall();
	EXPECT_EQ(self->size >> 10, locked_kb());
	EXPECT_EQ(MAP_FAILED, map_shared(self->fd, page_size));
	EXPECT_EQ(EAGAIN, errno);
}

/* Secret memory directly followed by @plain bytes of ordinary memory. */
static char *map_half_secret(int fd, size_t size, size_t plain)
{
	char *p = map_plain(size + plain);

	if (p == MAP_FAILED)
		return p;
	return mmap(p, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
		    fd, 0);
}

TEST_F(limit, counts_secret_memory_once_when_mlock_meets_it)
{
	size_t half = self->size / 2;
	char *p = map_half_secret(self->fd, half, half);

	ASSERT_NE(MAP_FAILED, (void *)p);
	EXPECT_EQ(-1, mlock(p, 2 * half));
	EXPECT_EQ(ENOMEM, errno);
	EXPECT_EQ(self->size >> 10, locked_kb());
	EXPECT_TRUE(vma_has_flag(p + half, "lo"));
}

TEST_F(limit, lets_mlock_change_nothing_beyond_it)
{
	size_t half = self->size / 2;
	char *p = map_half_secret(self->fd, half, half + page_size);

	ASSERT_NE(MAP_FAILED, (void *)p);
	EXPECT_EQ(-1, mlock(p, 2 * half + page_size));
	EXPECT_EQ(ENOMEM, errno);
	EXPECT_EQ(half >> 10, locked_kb());
	EXPECT_FALSE(vma_has_flag(p + half, "lo"));
}

TEST_F(limit, has_room_for_a_mapping_over_another)
{
	char *p = map_shared(self->fd, self->size);

	ASSERT_NE(MAP_FAILED, (void *)p);
	EXPECT_EQ(p, mmap(p, self->size, PROT_READ, MAP_SHARED | MAP_FIXED,
			  self->fd, 0));
	EXPECT_EQ(self->size >> 10, locked_kb());
}

TEST_F(limit, holds_for_mremap)
{
	char *p = map_shared(self->fd, self->size - page_size);

	ASSERT_NE(MAP_FAILED, (void *)p);
	EXPECT_EQ(MAP_FAILED, mremap(p, self->size - page_size,
				     self->size + page_size, MREMAP_MAYMOVE));
	EXPECT_EQ(EAGAIN, errno);
	EXPECT_EQ(0, probe_write(p, 1));
	p = mremap(p, self->size - page_size, self->size, MREMAP_MAYMOVE);
	ASSERT_NE(MAP_FAILED, (void *)p);
	EXPECT_EQ(0, probe_write(p + self->size - 1, 1));
	EXPECT_EQ(self->size >> 10, locked_kb());
}

TEST_F(limit, does_not_matter_to_a_fault)
{
	char *p = map_shared(self->fd, self->size);

	ASSERT_NE(MAP_FAILED, (void *)p);
	ASSERT_EQ(0, limit_locked(0));
	fill(p, self->size, 1);
	EXPECT_TRUE(is_filled(p, self->size, 1));
	EXPECT_EQ(MAP_FAILED, map_shared(self->fd, page_size));
	EXPECT_EQ(EAGAIN, errno);
}

TEST_F(limit, of_nothing_still_allows_files)
{
	ASSERT_EQ(0, limit_locked(0));
	EXPECT_LE(0, secret_file(page_size));
}

TEST(CAP_IPC_LOCK_is_exempt)
{
	int fd = secret_file(4 * page_size);

	ASSERT_EQ(0, limit_locked(page_size));
	EXPECT_NE(MAP_FAILED, map_shared(fd, 4 * page_size));
	ASSERT_EQ(0, drop_capability(CAP_IPC_LOCK));
	EXPECT_EQ(MAP_FAILED, map_shared(fd, page_size));
	EXPECT_EQ(EAGAIN, errno);
}

TEST_HARNESS_MAIN
