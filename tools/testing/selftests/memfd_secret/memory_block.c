// SPDX-License-Identifier: GPL-2.0
/*
 * A secret page is never in ZONE_MOVABLE, and keeps its memory block online.
 *
 * Needs ZONE_MOVABLE ("movablecore=" on the kernel command line), and two
 * memory nodes.
 *
 * The last test loses a page until the next boot.
 */
#define _GNU_SOURCE
#include "hwpoison.h"
#include "memory_block.h"
#include "movement_pages.h"

static bool block_goes_offline(unsigned long long frame)
{
	static long tried = -1;
	long block = block_of(frame);
	int err;

	if (block == tried)
		return false;
	tried = block;
	err = set_block(block, "offline");
	return !err || err == ETIME || !block_says(block, "state", "online");
}

TEST_F(pages, are_never_in_ZONE_MOVABLE)
{
	const size_t nr = 4096;
	unsigned long long *entry;
	size_t i, wrong = 0;
	char *p;

	if (!find_zone_movable(-1))
		SKIP(return, "no ZONE_MOVABLE");
	EXPECT_TRUE(in_zone_movable(page_frame(self->plain)));
	EXPECT_EQ(0, count_frames(&self->secrets, in_zone_movable));

	p = map_secret(nr * page_size);
	ASSERT_NE(MAP_FAILED, (void *)p);
	touch(p, nr * page_size);
	entry = read_pagemap(p, nr);
	for (i = 0; i < nr; i++)
		wrong += in_zone_movable(entry[i] & PM_FRAME);
	EXPECT_EQ(0, wrong);
	munmap(p, nr * page_size);
}

TEST_F(pages, do_not_leave_their_memory_block)
{
	if (!block_size())
		SKIP(return, "kernel without MEMORY_HOTREMOVE");
	EXPECT_EQ(0, count_frames(&self->secrets, block_goes_offline));
}

/*
 * A block that just went offline is empty, and if it is onlined for the kernel,
 * the next allocation comes from it. So it is secret pages that keep it from
 * going offline again, unless other allocations were faster: but not each time.
 */
TEST_F(pages, are_enough_to_keep_a_memory_block)
{
	const size_t nr = 64;
	unsigned long long *entry;
	bool free_again = false;
	long block = -1;
	int tries;
	char *p;

	if (!block_size())
		SKIP(return, "kernel without MEMORY_HOTREMOVE");
	for (tries = 0; tries < 10 && !free_again; tries++) {
		if (block < 0 || set_block(block, "offline"))
			block = take_block_offline();
		if (block < 0)
			break;
		/* All other allocations come from another node. */
		bind_memory(!node_of_block(block));
		p = map_secret(nr * page_size);
		ASSERT_NE(MAP_FAILED, (void *)p);
		bind_range(p, nr * page_size, node_of_block(block));
		probe_read(p);

		ASSERT_EQ(0, set_block(block, "online_kernel"));
		/* Otherwise the other pages would come from it. */
		EXPECT_TRUE(give_spare_memory_back());
		fill_alike(p + page_size, (nr - 1) * page_size, 1);
		entry = read_pagemap(p, nr);
		EXPECT_EQ(block, block_of(entry[nr - 1]));
		EXPECT_EQ(EBUSY, set_block(block, "offline"));
		EXPECT_TRUE(block_says(block, "state", "online"));
		EXPECT_TRUE(are_filled(p + page_size, (nr - 1) * page_size, 1));
		EXPECT_EQ(0, pages_moved(p, nr, entry));
		munmap(p, nr * page_size);
		free_again = !set_block(block, "offline");
	}
	if (!tries)
		SKIP(return, "no memory block goes offline");
	EXPECT_TRUE(free_again);
	if (free_again)
		EXPECT_EQ(0, set_block(block, "online_movable"));
}

/*
 * A memory block that comes online again has all of its pages, whatever happened
 * to them before. So a block with a page that failed must not go offline.
 */

#define OTHER_NODE	1

/*
 * Take the last block of the node that can go offline there and back; -1 if
 * there is none. Onlining adds its pages to the tail of the free lists.
 */
static long renew_block(void)
{
	char path[80];
	long block;

	for (block = 255; block >= 0; block--) {
		snprintf(path, sizeof(path), NODE "node%d/memory%ld",
			 OTHER_NODE, block);
		if (!access(path, F_OK) && !set_block(block, "offline"))
			break;
	}
	return block >= 0 && !set_block(block, "online_kernel") ? block : -1;
}

/*
 * Fault in @size bytes from the node. Only these pages are bound to it, not what
 * the kernel allocates to map them.
 */
static bool take_from_node(char *p, size_t size)
{
	size_t i;

	if (p == MAP_FAILED || bind_range(p, size, OTHER_NODE))
		return false;
	for (i = 0; i < size; i += page_size)
		if (probe_write(p + i, 1))
			return false;
	return true;
}

/*
 * A secret page in the block, or MAP_FAILED. A block of ZONE_MOVABLE is onlined
 * into a zone that has no other memory, and that is where secret pages of the
 * node come from first.
 */
static char *take_from_zone(long block)
{
	char *page = map_secret(page_size);

	give_spare_memory_back();
	if (take_from_node(page, page_size) &&
	    block_of(page_frame(page)) == block)
		return page;
	munmap(page, page_size);
	give_spare_memory_back();
	return MAP_FAILED;
}

/*
 * A secret page in the block that came online last, if other blocks are in the
 * same zone. All free memory of the node but half the size of a block is taken
 * first, so that the rest is in this block. Then some secret memory is taken, in
 * case other blocks have free pages that are reserved for unmovable allocations.
 */
static char *take_last_memory(void)
{
	size_t left = block_size() / 2;
	size_t size = free_kb(OTHER_NODE) * 1024 - left;
	size_t more = 4096 * page_size;
	char *plain = map_plain(size), *secrets = map_secret(more);
	char *page = map_secret(page_size);

	if (!take_from_node(plain, size) || !take_from_node(secrets, more) ||
	    !take_from_node(page, page_size))
		page = MAP_FAILED;
	munmap(plain, size);
	munmap(secrets, more);
	give_spare_memory_back();
	return page;
}

/* This must be the last one: the block does not go offline any more. */
FIXTURE(lost_page) {
};

FIXTURE_SETUP(lost_page)
{
}

FIXTURE_TEARDOWN(lost_page)
{
}

TEST_F(lost_page, memory_with_a_page_that_failed_does_not_go_offline)
{
	long block = renew_block();
	unsigned long long frame;
	char *page;

	if (access(HWPOISON "corrupt-pfn", W_OK))
		SKIP(return, "kernel without HWPOISON_INJECT");
	if (block < 0)
		SKIP(return, "no memory of another node can go offline");
	page = take_from_zone(block);
	if (page == MAP_FAILED)
		page = take_last_memory();
	ASSERT_NE(MAP_FAILED, (void *)page);
	frame = page_frame(page);
	ASSERT_EQ(block, block_of(frame));

	EXPECT_EQ(0, fail_frame(frame));
	EXPECT_NE(0, set_block(block, "offline"));
	munmap(page, page_size);
	EXPECT_NE(0, set_block(block, "offline"));
}

TEST_HARNESS_MAIN
