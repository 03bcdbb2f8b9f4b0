// SPDX-License-Identifier: GPL-2.0
/*
 * If the memory of a secret page fails, whatever touches that page gets an
 * error, the rest of the file stays as it is, and the page is never reused. A
 * page that is only suspected to fail stays where it is: moving it would take a
 * copy.
 *
 * Each failure loses a page until the next boot, and some leave one that is
 * unreadable in the direct map, so other tests come first.
 */
#define _GNU_SOURCE
#include "cgroup.h"
#include "inject.h"
#include "memory_failure.h"

#include <sys/prctl.h>

#ifndef MADV_SOFT_OFFLINE
#define MADV_SOFT_OFFLINE 101
#endif

#define OFFLINE		"/sys/devices/system/memory/"
#define LOST_KB		"HardwareCorrupted"
#define KPF_HWPOISON	19
#define KPF_BUDDY	10
#define KPF_UPTODATE	3

#define NEW_PAGES	4096

static int unfail_frame(unsigned long long frame)
{
	return write_number(HWPOISON "unpoison-pfn", frame);
}

static bool whole(const char *mem, bool written)
{
	return written ? is_filled(mem, PAGES * page_size, SECRET) :
			 is_zero(mem, PAGES * page_size);
}

TEST_F(failure, access_gives_SIGBUS)
{
	if (!self->there)
		SKIP(return, "kernel without HWPOISON_INJECT");
	EXPECT_EQ(0, fail_frame(self->frame));
	EXPECT_TRUE(fails_to_read(self->victim));
	EXPECT_TRUE(fails_to_write(self->victim));
	EXPECT_TRUE(fails_to_read(self->victim));
	EXPECT_EQ(0, page_frame(self->victim));
}

TEST_F(failure, other_pages_stay_as_they_are)
{
	if (!self->there)
		SKIP(return, "kernel without HWPOISON_INJECT");
	EXPECT_EQ(0, fail_frame(self->frame));
	EXPECT_TRUE(rest_is_whole(self->mem, variant->written));
	EXPECT_EQ(0, probe_write(self->victim - 1, 1));
	EXPECT_EQ(0, probe_write(self->victim + page_size, 1));
}

TEST_F(failure, access_through_a_later_mapping_gives_SIGBUS)
{
	const int prot = PROT_READ | PROT_WRITE;
	char *p;

	if (!self->there)
		SKIP(return, "kernel without HWPOISON_INJECT");
	EXPECT_EQ(0, fail_frame(self->frame));
	EXPECT_EQ(0, munmap(self->mem, self->size));
	p = map_shared(self->fd, self->size);
	EXPECT_TRUE(fails_to_read(p + VICTIM * page_size));
	EXPECT_TRUE(fails_to_write(p + VICTIM * page_size));
	EXPECT_TRUE(rest_is_whole(p, variant->written));

	self->mem = mmap(NULL, self->size, prot, MAP_SHARED | MAP_POPULATE,
			 self->fd, 0);
	ASSERT_NE(MAP_FAILED, (void *)self->mem);
	EXPECT_TRUE(fails_to_read(self->mem + VICTIM * page_size));
	EXPECT_TRUE(rest_is_whole(self->mem, variant->written));
	munmap(p, self->size);
}

TEST_F(failure, access_where_the_mapping_was_moved_gives_SIGBUS)
{
	char *p = map_plain(self->size);

	if (!self->there)
		SKIP(return, "kernel without HWPOISON_INJECT");
	EXPECT_EQ(0, fail_frame(self->frame));
	ASSERT_EQ(p, mremap(self->mem, self->size, self->size,
			    MREMAP_MAYMOVE | MREMAP_FIXED, p));
	self->mem = p;
	EXPECT_TRUE(fails_to_read(p + VICTIM * page_size));
	EXPECT_TRUE(rest_is_whole(p, variant->written));
}

TEST_F(failure, access_by_another_process_gives_SIGBUS)
{
	int go[2];
	pid_t pid;
	char c;

	if (!self->there)
		SKIP(return, "kernel without HWPOISON_INJECT");
	ASSERT_EQ(0, pipe(go));
	pid = fork();
	if (!pid) {
		/* So that this process has the page in its page tables. */
		probe_read(self->victim);
		close(go[1]);
		read(go[0], &c, 1);
		_exit(!fails_to_read(self->victim) ||
		      !fails_to_write(self->victim) ||
		      !rest_is_whole(self->mem, variant->written));
	}
	usleep(100000);
	EXPECT_EQ(0, fail_frame(self->frame));
	close(go[1]);
	EXPECT_EQ(0, wait_status(pid));
	EXPECT_TRUE(fails_to_read(self->victim));

	/* And a process that is created later. */
	pid = fork();
	if (!pid)
		_exit(!fails_to_read(self->victim) ||
		      !rest_is_whole(self->mem, variant->written));
	EXPECT_EQ(0, wait_status(pid));
}

TEST_F(failure, access_to_a_file_that_nobody_had_mapped_gives_SIGBUS)
{
	if (!self->there)
		SKIP(return, "kernel without HWPOISON_INJECT");
	EXPECT_EQ(0, munmap(self->mem, self->size));
	EXPECT_EQ(0, fail_frame(self->frame));
	self->mem = map_shared(self->fd, self->size);
	EXPECT_TRUE(fails_to_write(self->mem + VICTIM * page_size));
	EXPECT_TRUE(fails_to_read(self->mem + VICTIM * page_size));
	EXPECT_TRUE(rest_is_whole(self->mem, variant->written));
}

TEST_F(failure, system_call_gives_EFAULT)
{
	int fds[2];

	if (!self->there)
		SKIP(return, "kernel without HWPOISON_INJECT");
	ASSERT_EQ(0, pipe(fds));
	EXPECT_EQ(page_size, write(fds[1], self->victim, page_size));
	EXPECT_EQ(page_size, read(fds[0], self->victim, page_size));
	EXPECT_EQ(0, fail_frame(self->frame));
	EXPECT_EQ(-1, write(fds[1], self->victim, page_size));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(1, write(fds[1], self->plain, 1));
	EXPECT_EQ(-1, read(fds[0], self->victim, 1));
	EXPECT_EQ(EFAULT, errno);
}

TEST_F(failure, hard_offline_page_fails_it_alike)
{
	if (!self->there)
		SKIP(return, "kernel without HWPOISON_INJECT");
	EXPECT_EQ(0, write_number(OFFLINE "hard_offline_page",
				  self->frame * page_size));
	EXPECT_TRUE(fails_to_read(self->victim));
	EXPECT_TRUE(fails_to_write(self->victim));
	EXPECT_TRUE(rest_is_whole(self->mem, variant->written));
}

/* What the signal handler of a test saw. */
static bool told;
static siginfo_t told_info;

static void tell(int sig, siginfo_t *info, void *context)
{
	told_info = *info;
	__atomic_store_n(&told, true, __ATOMIC_SEQ_CST);
}

TEST_F(failure, process_that_asked_for_it_is_told_at_once)
{
	struct sigaction action = {
		.sa_sigaction = tell, .sa_flags = SA_SIGINFO,
	};

	if (!self->there)
		SKIP(return, "kernel without HWPOISON_INJECT");
	ASSERT_EQ(0, sigaction(SIGBUS, &action, NULL));
	ASSERT_EQ(0, prctl(PR_MCE_KILL, PR_MCE_KILL_SET, PR_MCE_KILL_EARLY,
			   0, 0));
	EXPECT_EQ(0, fail_frame(self->frame));
	EXPECT_TRUE(__atomic_load_n(&told, __ATOMIC_SEQ_CST));
	EXPECT_EQ(BUS_MCEERR_AO, told_info.si_code);
	EXPECT_EQ(self->victim, (char *)told_info.si_addr);
}

TEST_F(failure, process_that_did_not_ask_is_not_told)
{
	struct sigaction action = {
		.sa_sigaction = tell, .sa_flags = SA_SIGINFO,
	};

	if (!self->there)
		SKIP(return, "kernel without HWPOISON_INJECT");
	ASSERT_EQ(0, sigaction(SIGBUS, &action, NULL));
	EXPECT_EQ(0, fail_frame(self->frame));
	EXPECT_FALSE(__atomic_load_n(&told, __ATOMIC_SEQ_CST));
}

/*
 * What becomes of the page
 */

/*
 * Which of the file's frames does new memory get? It is of the same kind, so it
 * is allocated from the same free lists; and page by page, as the rest of a
 * block with a failed page is freed page by page.
 */
static void allocate_again(const unsigned long long *frames, bool *again)
{
	static unsigned long long entry[NEW_PAGES];
	int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	int fd = secret_file(NEW_PAGES * page_size), i, j;
	char *p;

	if (!inject_fragmentation(true))
		abort();
	inject_here(true);
	p = mmap(NULL, NEW_PAGES * page_size, PROT_READ | PROT_WRITE,
		 MAP_SHARED | MAP_POPULATE, fd, 0);
	inject_here(false);
	if (!inject_fragmentation(false) || p == MAP_FAILED ||
	    pread(pagemap, entry, sizeof(entry), (uintptr_t)p / page_size *
		  sizeof(entry[0])) != sizeof(entry))
		abort();
	memset(again, 0, PAGES * sizeof(*again));
	for (i = 0; i < NEW_PAGES; i++)
		for (j = 0; j < PAGES; j++)
			again[j] |= (entry[i] & ((1ULL << 55) - 1)) ==
				    frames[j];
	munmap(p, NEW_PAGES * page_size);
	close(pagemap);
	close(fd);
}

static void close_file(struct _test_data_failure *self)
{
	munmap(self->mem, self->size);
	close(self->fd);
	self->fd = -1;
	give_spare_memory_back();
}

TEST_F(failure, page_stays_off_the_direct_map)
{
	int i;

	if (!self->there)
		SKIP(return, "kernel without HWPOISON_INJECT");
	if (access(DIRECT_MAP, R_OK))
		SKIP(return, "kernel without DEBUG_SECRETMEM");
	if (frees_unmap())
		SKIP(return, "debug_pagealloc unmaps free pages");
	EXPECT_EQ(0, fail_frame(self->frame));
	EXPECT_EQ('-', direct_map_state(self->frame));
	close_file(self);
	for (i = 0; i < PAGES; i++)
		EXPECT_EQ(i == VICTIM ? '-' : 'r',
			  direct_map_state(self->frames[i]));
	/* Nor was it wiped, as wiping clears this flag. */
	EXPECT_TRUE(frame_has_flag(self->frame, KPF_UPTODATE));
}

TEST_F(failure, rest_of_the_block_is_given_back)
{
	long before = spare_kb(), split = read_field(POOL_EVENTS, "blocks_split");
	int i;

	if (!self->there)
		SKIP(return, "kernel without HWPOISON_INJECT");
	ASSERT_LT(0, before);
	ASSERT_LE(0, split);
	EXPECT_EQ(0, fail_frame(self->frame));
	munmap(self->mem, self->size);
	close(self->fd);
	self->fd = -1;
	for (i = 0; i < 50 && spare_kb() >= before; i++)
		usleep(100000);
	EXPECT_GT(before, spare_kb());
	EXPECT_EQ(split + 1, read_field(POOL_EVENTS, "blocks_split"));
}

TEST_F(failure, page_is_never_allocated_again)
{
	int i, others = 0;
	bool again[PAGES];

	if (!self->there)
		SKIP(return, "kernel without HWPOISON_INJECT");
	EXPECT_EQ(0, fail_frame(self->frame));
	close_file(self);
	allocate_again(self->frames, again);
	EXPECT_FALSE(again[VICTIM]);
	for (i = 0; i < PAGES; i++)
		others += again[i] && i != VICTIM;
	EXPECT_LT(PAGES / 2, others);
	EXPECT_TRUE(frame_has_flag(self->frame, KPF_HWPOISON));
	EXPECT_FALSE(frame_has_flag(self->frame, KPF_BUDDY));
}

TEST_F(failure, page_can_not_be_declared_good)
{
	bool again[PAGES];

	if (!self->there)
		SKIP(return, "kernel without HWPOISON_INJECT");
	EXPECT_EQ(0, fail_frame(self->frame));
	unfail_frame(self->frame);
	EXPECT_TRUE(fails_to_read(self->victim));
	EXPECT_TRUE(frame_has_flag(self->frame, KPF_HWPOISON));

	close_file(self);
	unfail_frame(self->frame);
	unfail_frame(self->frame);
	EXPECT_TRUE(frame_has_flag(self->frame, KPF_HWPOISON));
	EXPECT_FALSE(frame_has_flag(self->frame, KPF_BUDDY));
	allocate_again(self->frames, again);
	EXPECT_FALSE(again[VICTIM]);
}

TEST_F(failure, page_is_counted_once)
{
	long before = read_field("/proc/meminfo", LOST_KB);
	long one = page_size / 1024;

	if (!self->there)
		SKIP(return, "kernel without HWPOISON_INJECT");
	EXPECT_EQ(0, fail_frame(self->frame));
	EXPECT_EQ(before + one, read_field("/proc/meminfo", LOST_KB));
	fail_frame(self->frame);
	EXPECT_TRUE(fails_to_read(self->victim));
	EXPECT_EQ(before + one, read_field("/proc/meminfo", LOST_KB));
	close_file(self);
	EXPECT_EQ(before + one, read_field("/proc/meminfo", LOST_KB));
	fail_frame(self->frame);
	EXPECT_EQ(before + one, read_field("/proc/meminfo", LOST_KB));
}

/* A removed cgroup lives on while something is charged to it. */

static int dying_groups(const char *root)
{
	char path[64], text[256], *found;

	snprintf(path, sizeof(path), "%s/cgroup.stat", root);
	if (read_text(path, text, sizeof(text)))
		return -1;
	found = strstr(text, "nr_dying_descendants ");
	return found ? atoi(strchr(found, ' ')) : -1;
}

static bool are_dying(const char *root, int number)
{
	int tries;

	/* It is freed after a while, and charges are released in batches. */
	for (tries = 0; tries < 50 && dying_groups(root) != number; tries++)
		usleep(100000);
	return dying_groups(root) == number;
}

TEST_F(failure, no_group_is_charged_for_a_lost_page)
{
	struct cgroup group;
	int dying;
	pid_t pid;

	if (!self->there)
		SKIP(return, "kernel without HWPOISON_INJECT");
	if (!cgroup_create(&group))
		SKIP(return, "kernel without MEMCG");
	dying = dying_groups(group.root);

	/* Use another file, as the pages of this one are charged already. */
	close_file(self);
	self->fd = secret_file(self->size);
	self->mem = map_shared(self->fd, self->size);
	pid = fork();
	if (!pid) {
		if (!write_in(group.dir, "cgroup.procs", "0"))
			_exit(1);
		if (variant->written)
			fill(self->mem, self->size, SECRET);
		_exit(probe_read(self->victim));
	}
	EXPECT_EQ(0, wait_status(pid));
	EXPECT_EQ(0, probe_read(self->victim));
	EXPECT_EQ(0, fail_frame(page_frame(self->victim)));
	ASSERT_EQ(0, rmdir(group.dir));
	EXPECT_EQ(dying + 1, dying_groups(group.root));

	close_file(self);
	EXPECT_TRUE(are_dying(group.root, dying));
	cgroup_destroy(&group);
}

/* A free page of the pool: in no file, but off the direct map. */
TEST(spare_page_that_fails_is_not_used)
{
	char *p = map_secret(page_size);
	const size_t size = 512 * page_size;
	unsigned long long frame;
	long before;
	size_t i;

	if (access(HWPOISON "corrupt-pfn", W_OK))
		SKIP(return, "kernel without HWPOISON_INJECT");
	ASSERT_NE(MAP_FAILED, (void *)p);
	ASSERT_TRUE(give_spare_memory_back());
	before = secret_kb();
	p[0] = 1;
	frame = page_frame(p);
	ASSERT_NE(0, frame);
	munmap(p, page_size);
	ASSERT_LT(0, spare_kb());

	/*
	 * This returns an error, as memory_failure() does not know the page's
	 * owner.
	 */
	fail_frame(frame);
	EXPECT_TRUE(frame_has_flag(frame, KPF_HWPOISON));
	p = map_secret(size);
	ASSERT_NE(MAP_FAILED, (void *)p);
	for (i = 0; i < size; i += page_size) {
		p[i] = 1;
		EXPECT_NE(frame, page_frame(p + i));
	}
	munmap(p, size);

	/* The page stays in the pool, and is counted as secret. */
	EXPECT_TRUE(give_spare_memory_back());
	EXPECT_EQ(before + (long)(page_size >> 10), secret_kb());
	if (!access(DIRECT_MAP, R_OK))
		EXPECT_EQ('-', direct_map_state(frame));

	/* It stays there when the failure is taken back. */
	unfail_frame(frame);
	EXPECT_FALSE(frame_has_flag(frame, KPF_BUDDY));
	EXPECT_EQ(before + (long)(page_size >> 10), secret_kb());
	if (!access(DIRECT_MAP, R_OK))
		EXPECT_EQ('-', direct_map_state(frame));
}

/*
 * Calls that need a reference to the page first
 */

TEST_F(failure, madvise_does_not_fail_it)
{
	if (!self->there)
		SKIP(return, "kernel without HWPOISON_INJECT");
	EXPECT_EQ(-1, madvise(self->victim, page_size, MADV_HWPOISON));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_TRUE(whole(self->mem, variant->written));
	EXPECT_EQ(self->frame, page_frame(self->victim));

	EXPECT_EQ(0, madvise(self->plain, page_size, MADV_HWPOISON));
	EXPECT_TRUE(fails_to_read(self->plain));
}

TEST_F(failure, madvise_does_not_move_it)
{
	unsigned long long frame = page_frame(self->plain);

	if (!self->there)
		SKIP(return, "kernel without HWPOISON_INJECT");
	EXPECT_EQ(-1, madvise(self->victim, page_size, MADV_SOFT_OFFLINE));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_TRUE(whole(self->mem, variant->written));
	EXPECT_EQ(self->frame, page_frame(self->victim));

	EXPECT_EQ(0, madvise(self->plain, page_size, MADV_SOFT_OFFLINE));
	EXPECT_NE(frame, page_frame(self->plain));
	EXPECT_TRUE(is_filled(self->plain, page_size, PLAIN));
}

/* The error differs between versions of the kernel. */
static bool is_refused(unsigned long long frame)
{
	int err = write_number(OFFLINE "soft_offline_page", frame * page_size);

	return err == EIO || err == EBUSY;
}

TEST_F(failure, soft_offline_page_does_not_move_it)
{
	unsigned long long frame = page_frame(self->plain);
	long lost = read_field("/proc/meminfo", LOST_KB);

	if (!self->there)
		SKIP(return, "kernel without HWPOISON_INJECT");
	EXPECT_TRUE(is_refused(self->frame));
	EXPECT_TRUE(whole(self->mem, variant->written));
	EXPECT_EQ(self->frame, page_frame(self->victim));
	EXPECT_EQ(lost, read_field("/proc/meminfo", LOST_KB));

	/* Nor if it is in no page table. */
	EXPECT_EQ(0, munmap(self->mem, self->size));
	EXPECT_TRUE(is_refused(self->frame));
	self->mem = map_shared(self->fd, self->size);
	EXPECT_TRUE(whole(self->mem, variant->written));
	EXPECT_EQ(self->frame,
		  page_frame(self->mem + VICTIM * page_size));

	EXPECT_EQ(0, write_number(OFFLINE "soft_offline_page",
				  frame * page_size));
	EXPECT_NE(frame, page_frame(self->plain));
	EXPECT_TRUE(is_filled(self->plain, page_size, PLAIN));
}

TEST_HARNESS_MAIN
