// SPDX-License-Identifier: GPL-2.0
/*
 * Files with secret pages come and go, while another process compacts memory,
 * drops caches, takes memory offline, or moves pages: no page is lost.
 *
 * Needs two memory nodes. $ROUNDS is how many files each race makes, default
 * 20.
 */
#define _GNU_SOURCE
#include "memory_block.h"

#include <sys/prctl.h>

#define RACE_PAGES 16

/* Shared with the process that disturbs. */
struct disturber {
	unsigned long long frame;	/* the target */
	long done;
	long late;
	long block;			/* that goes offline; or -1 */
};

static bool disturb_by_compaction(struct disturber *shared)
{
	return !timed_write("/proc/sys/vm/compact_memory", "1");
}

static bool disturb_by_dropping(struct disturber *shared)
{
	return !timed_write("/proc/sys/vm/drop_caches", "3");
}

/*
 * Online the block for the kernel, so that secret pages can be allocated from
 * it.
 */
static bool disturb_by_offlining(struct disturber *shared)
{
	static long next;
	long block = shared->block < 0 ? next++ % 8 : shared->block;
	int err = set_block(block, "offline");

	if (err == ETIME)
		shared->late++;
	set_block(block, "online_kernel");
	return !err || err == EBUSY;
}

static bool disturb_by_replacing(struct disturber *shared)
{
	/* Each ordinary page that is hit is lost: do not hit too many. */
	usleep(5000);
	soft_offline(__atomic_load_n(&shared->frame, __ATOMIC_SEQ_CST));
	return true;
}

static bool disturb_by_tracking(struct disturber *shared)
{
	set_idle(__atomic_load_n(&shared->frame, __ATOMIC_SEQ_CST));
	return true;
}

static bool disturb_by_migration(struct disturber *shared)
{
	unsigned long from = 1, to = 2;

	return syscall(SYS_migrate_pages, getppid(), sizeof(to) * 8, &from,
		       &to) >= 0 &&
		syscall(SYS_migrate_pages, getppid(), sizeof(to) * 8, &to,
			&from) >= 0;
}

FIXTURE(race) {
	struct disturber *shared;
	pid_t pid;
};

FIXTURE_VARIANT(race) {
	bool (*disturb)(struct disturber *shared);
};

FIXTURE_VARIANT_ADD(race, compaction) { .disturb = disturb_by_compaction };
FIXTURE_VARIANT_ADD(race, dropping) { .disturb = disturb_by_dropping };
FIXTURE_VARIANT_ADD(race, offlining) { .disturb = disturb_by_offlining };
FIXTURE_VARIANT_ADD(race, replacing) { .disturb = disturb_by_replacing };
FIXTURE_VARIANT_ADD(race, tracking) { .disturb = disturb_by_tracking };
FIXTURE_VARIANT_ADD(race, migration) { .disturb = disturb_by_migration };

FIXTURE_SETUP(race)
{
	self->shared = mmap(NULL, page_size, PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, (void *)self->shared);
	self->shared->block = -1;
	if (variant->disturb == disturb_by_offlining && block_size())
		self->shared->block = take_block_offline();
	if (self->shared->block >= 0)
		bind_memory(!node_of_block(self->shared->block));
	self->pid = fork();
	if (!self->pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			self->shared->done += variant->disturb(self->shared);
	}
}

FIXTURE_TEARDOWN(race)
{
	kill(self->pid, SIGKILL);
	wait_status(self->pid);
	if (self->shared->block >= 0 &&
	    set_block(self->shared->block, "online_movable"))
		set_block(self->shared->block, "online");
}

static int rounds(void)
{
	return atoi(getenv("ROUNDS") ?: "20");
}

TEST_F_TIMEOUT(race, loses_no_page, 3600)
{
	const size_t size = RACE_PAGES * page_size;
	time_t deadline = time(NULL) + LIMIT_SECONDS;
	struct disturber *shared = self->shared;
	unsigned long long *before;
	int round, fd;
	char *p;

	if (variant->disturb == disturb_by_migration &&
	    nodes_with_memory() != 3)
		SKIP(return, "not two nodes with memory");
	for (round = 0; round < rounds() || (!shared->done &&
					     !reached(deadline)); round++) {
		fd = secret_file(size);
		p = map_shared(fd, size);
		ASSERT_NE(MAP_FAILED, (void *)p);
		if (shared->block >= 0)
			bind_range(p, size, node_of_block(shared->block));
		/* The other half is only read. */
		fill_alike(p, size / 2, round);
		touch(p, size);
		before = read_pagemap(p, RACE_PAGES);
		__atomic_store_n(&shared->frame,
				 before[round % RACE_PAGES] & PM_FRAME,
				 __ATOMIC_SEQ_CST);
		EXPECT_EQ(0, frames_not('-', before, RACE_PAGES));
		if (round % 2) {
			munmap(p, size);
			p = map_shared(fd, size);
		}
		EXPECT_EQ(RACE_PAGES, resident_pages(p, size));
		EXPECT_TRUE(are_filled(p, size / 2, round));
		EXPECT_TRUE(is_zero(p + size / 2, size / 2));
		EXPECT_EQ(0, pages_moved(p, RACE_PAGES, before));
		munmap(p, size);
		close(fd);
		free(before);
	}
	EXPECT_LT(0, shared->done);
	EXPECT_EQ(0, shared->late);
}

TEST_HARNESS_MAIN
