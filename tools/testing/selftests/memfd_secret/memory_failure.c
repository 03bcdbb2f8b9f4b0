// SPDX-License-Identifier: GPL-2.0
/*
 * When the memory of a secret page fails, whoever touches that page is told so,
 * the rest of the file stays as it is, and nobody gets the page again. A page
 * that is only suspect stays where it is: to move it takes a copy.
 *
 * Each failure costs the machine a page until it is booted again, and some leave
 * one that can not be read in the direct map, so other tests come first.
 */
#define _GNU_SOURCE
#include "threads.h"
#include "inject.h"

#include <linux/mempolicy.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#ifndef MADV_SOFT_OFFLINE
#define MADV_SOFT_OFFLINE 101
#endif

#define HWPOISON	"/sys/kernel/debug/hwpoison/"
#define OFFLINE		"/sys/devices/system/memory/"
#define LOST_KB		"HardwareCorrupted"
#define KPF_HWPOISON	19
#define KPF_BUDDY	10
#define KPF_UPTODATE	3

#define PAGES	64
#define VICTIM	30
#define NEW_PAGES	4096

enum { SECRET = 1, PLAIN };

/* What came with the last signal of a probe. */
static __thread siginfo_t last;

static void failure_handler(int sig, siginfo_t *info, void *context)
{
	last = *info;
	probe_handler(sig);
}

/* A secret file of which one page is going to fail, and ordinary memory. */
FIXTURE(failure) {
	bool there;
	size_t size;
	int fd;
	char *mem;
	char *victim;
	char *plain;
	unsigned long long frames[PAGES];
	unsigned long long frame;	/* of the victim */
};

FIXTURE_VARIANT(failure) {
	bool written;
};

FIXTURE_VARIANT_ADD(failure, written) { .written = true };
FIXTURE_VARIANT_ADD(failure, read) { };

FIXTURE_SETUP(failure)
{
	struct sigaction action = {
		.sa_sigaction = failure_handler, .sa_flags = SA_SIGINFO,
	};
	size_t i;

	self->there = !access(HWPOISON "corrupt-pfn", W_OK);
	ASSERT_EQ(0, sigaction(SIGBUS, &action, NULL));

	self->size = PAGES * page_size;
	self->fd = secret_file(self->size);
	self->mem = map_shared(self->fd, self->size);
	self->plain = map_plain(page_size);
	ASSERT_NE(MAP_FAILED, (void *)self->mem);
	ASSERT_NE(MAP_FAILED, (void *)self->plain);
	if (variant->written)
		fill(self->mem, self->size, SECRET);
	for (i = 0; i < PAGES; i++) {
		ASSERT_EQ(0, probe_read(self->mem + i * page_size));
		self->frames[i] = page_frame(self->mem + i * page_size);
	}
	self->victim = self->mem + VICTIM * page_size;
	self->frame = self->frames[VICTIM];
	ASSERT_NE(0, self->frame);
	fill(self->plain, page_size, PLAIN);
}

FIXTURE_TEARDOWN(failure)
{
	munmap(self->mem, self->size);
	close(self->fd);
}

/* 0, or the error number that writing @number to the file gave. */
static int write_number(const char *path, unsigned long long number)
{
	char text[32];

	sprintf(text, "%#llx", number);
	return write_text(path, text) ? errno : 0;
}

static int fail_frame(unsigned long long frame)
{
	return write_number(HWPOISON "corrupt-pfn", frame);
}

static int unfail_frame(unsigned long long frame)
{
	return write_number(HWPOISON "unpoison-pfn", frame);
}

/* Does a probe, of which @sig came, say that the memory at @p has failed? */
static bool has_failed(int sig, const void *p)
{
	return sig == SIGBUS && last.si_code == BUS_MCEERR_AR &&
	       last.si_addr == p && 1UL << last.si_addr_lsb == page_size;
}

static bool fails_to_read(const char *p)
{
	return has_failed(probe_read(p), p);
}

static bool fails_to_write(char *p)
{
	return has_failed(probe_write(p, 1), p);
}

/* All pages of @mem but the victim. */
static bool rest_is_whole(const char *mem, bool written)
{
	size_t i;

	for (i = 0; i < PAGES * page_size; i++)
		if (i / page_size != VICTIM &&
		    mem[i] != (char)(written ? pattern(SECRET, i) : 0))
			return false;
	return true;
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
		/* So that this one has the page in its page tables, too. */
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

	/* And one that is made later. */
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

/* What a signal handler of a test saw. */
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

static char direct_map_state(unsigned long long frame)
{
	int fd = open(DIRECT_MAP, O_RDONLY | O_CLOEXEC);
	char state = 0;

	if (fd >= 0 && pread(fd, &state, 1, frame) != 1)
		state = 0;
	close(fd);
	return state;
}

static bool frame_has_flag(unsigned long long frame, int flag)
{
	int fd = open("/proc/kpageflags", O_RDONLY | O_CLOEXEC);
	unsigned long long flags = 0;

	if (fd >= 0 && pread(fd, &flags, sizeof(flags),
			     frame * sizeof(flags)) != sizeof(flags))
		flags = 0;
	close(fd);
	return flags >> flag & 1;
}

/*
 * Which of the file's frames does new memory have? It is of the same kind, so it
 * comes from the same lists of free pages; and page by page, as what is left of a
 * block with a page that failed is free in pieces.
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
	/* Nor was it wiped, or it would not be. */
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

/*
 * A control group that was removed lives on while something is charged to it.
 */

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

	/* It is freed after a while, and the charge goes in batches. */
	for (tries = 0; tries < 50 && dying_groups(root) != number; tries++)
		usleep(100000);
	return dying_groups(root) == number;
}

TEST_F(failure, no_group_is_charged_for_a_lost_page)
{
	char root[] = "/tmp/cgroupXXXXXX", path[64];
	int dying;
	pid_t pid;

	if (!self->there)
		SKIP(return, "kernel without HWPOISON_INJECT");
	ASSERT_NE(NULL, mkdtemp(root));
	sprintf(path, "%s/cgroup.subtree_control", root);
	if (mount("none", root, "cgroup2", 0, NULL) ||
	    write_text(path, "+memory"))
		SKIP(return, "kernel without MEMCG");
	dying = dying_groups(root);
	sprintf(path, "%s/group", root);
	ASSERT_EQ(0, mkdir(path, 0700));

	/* Other pages of another file: this one's are charged already. */
	close_file(self);
	self->fd = secret_file(self->size);
	self->mem = map_shared(self->fd, self->size);
	pid = fork();
	if (!pid) {
		strcat(path, "/cgroup.procs");
		if (write_text(path, "0"))
			_exit(1);
		if (variant->written)
			fill(self->mem, self->size, SECRET);
		_exit(probe_read(self->victim));
	}
	EXPECT_EQ(0, wait_status(pid));
	EXPECT_EQ(0, probe_read(self->victim));
	EXPECT_EQ(0, fail_frame(page_frame(self->victim)));
	ASSERT_EQ(0, rmdir(path));
	EXPECT_EQ(dying + 1, dying_groups(root));

	close_file(self);
	EXPECT_TRUE(are_dying(root, dying));
	umount2(root, MNT_DETACH);
	rmdir(root);
}

/*
 * Who has to take hold of the page first
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

TEST_F(failure, soft_offline_page_does_not_move_it)
{
	unsigned long long frame = page_frame(self->plain);
	long lost = read_field("/proc/meminfo", LOST_KB);

	if (!self->there)
		SKIP(return, "kernel without HWPOISON_INJECT");
	EXPECT_EQ(EIO, write_number(OFFLINE "soft_offline_page",
				    self->frame * page_size));
	EXPECT_TRUE(whole(self->mem, variant->written));
	EXPECT_EQ(self->frame, page_frame(self->victim));
	EXPECT_EQ(lost, read_field("/proc/meminfo", LOST_KB));

	/* Nor when it is in no page table. */
	EXPECT_EQ(0, munmap(self->mem, self->size));
	EXPECT_EQ(EIO, write_number(OFFLINE "soft_offline_page",
				    self->frame * page_size));
	self->mem = map_shared(self->fd, self->size);
	EXPECT_TRUE(whole(self->mem, variant->written));
	EXPECT_EQ(self->frame,
		  page_frame(self->mem + VICTIM * page_size));

	EXPECT_EQ(0, write_number(OFFLINE "soft_offline_page",
				  frame * page_size));
	EXPECT_NE(frame, page_frame(self->plain));
	EXPECT_TRUE(is_filled(self->plain, page_size, PLAIN));
}

/*
 * While another thread faults pages in, again and again. Not too often once they
 * have failed, as each time is a line in the kernel's log.
 */

struct toucher {
	int fd;
	bool written;
	int failures;
};

static void touch_mapping(struct toucher *toucher, char *p)
{
	char *victim = p + VICTIM * page_size;
	int sig = probe_read(victim);

	if (sig && !has_failed(sig, victim))
		complain();
	/* What has failed once has failed for good. */
	if (!sig && toucher->failures)
		complain();
	toucher->failures += !!sig;
	if (!rest_is_whole(p, toucher->written))
		complain();
}

static void *touch_again_and_again(void *arg)
{
	struct toucher *toucher = arg;
	char *p;

	while (!stopped() && toucher->failures < 10) {
		p = map_shared(toucher->fd, PAGES * page_size);
		if (p == MAP_FAILED) {
			complain();
			break;
		}
		touch_mapping(toucher, p);
		munmap(p, PAGES * page_size);
	}
	return NULL;
}

TEST_F(failure, access_by_threads_at_once_gives_SIGBUS)
{
	struct toucher toucher = {
		.fd = self->fd, .written = variant->written,
	};
	pthread_t thread;

	if (!self->there)
		SKIP(return, "kernel without HWPOISON_INJECT");
	ASSERT_EQ(0, pthread_create(&thread, NULL, touch_again_and_again,
				    &toucher));
	usleep(100000);
	EXPECT_EQ(0, fail_frame(self->frame));
	usleep(300000);
	stop = true;
	pthread_join(thread, NULL);
	EXPECT_LT(0, toucher.failures);
	EXPECT_EQ(0, wrong);
	EXPECT_TRUE(fails_to_read(self->victim));
}

/* A block's frames are used one after the other: that of the next file of one page. */
#define BLOCK_FRAMES	512

static unsigned long long next_frame;

static void *make_files(void *unused)
{
	unsigned long long frame, before = 0;
	char *p;
	int sig;

	while (!stopped()) {
		p = map_secret(page_size);
		sig = probe_read(p);
		if (sig && !has_failed(sig, p))
			complain();
		frame = page_frame(p);
		if (frame == before + 1 && (frame + 1) % BLOCK_FRAMES)
			__atomic_store_n(&next_frame, frame + 1, __ATOMIC_SEQ_CST);
		munmap(p, page_size);
		before = frame;
	}
	return NULL;
}

TEST(page_that_fails_on_its_way_in_or_out_of_a_file_does_no_harm)
{
	struct sigaction action = {
		.sa_sigaction = failure_handler, .sa_flags = SA_SIGINFO,
	};
	unsigned long long frame;
	pthread_t thread;
	long n = 0;

	if (access(HWPOISON "corrupt-pfn", W_OK))
		SKIP(return, "kernel without HWPOISON_INJECT");
	ASSERT_EQ(0, sigaction(SIGBUS, &action, NULL));
	ASSERT_EQ(0, pthread_create(&thread, NULL, make_files, NULL));
	while (n < races() / 50 && !wrong) {
		frame = __atomic_exchange_n(&next_frame, 0, __ATOMIC_SEQ_CST);
		if (frame) {
			/* It may be in use, or free again by now. */
			fail_frame(frame);
			n++;
		}
		usleep(rand() % 100);
	}
	stop = true;
	pthread_join(thread, NULL);
	EXPECT_EQ(0, wrong);
}

/*
 * A block of memory that goes offline and comes back comes back with all of its
 * pages, whatever happened to them before.
 */

#define NODE	1

static bool set_block(long block, const char *state)
{
	char path[64];

	snprintf(path, sizeof(path), OFFLINE "memory%ld/state", block);
	return !write_text(path, state);
}

static long block_pages(void)
{
	char text[32];

	if (read_text(OFFLINE "block_size_bytes", text, sizeof(text)))
		return -1;
	return strtoul(text, NULL, 16) / page_size;
}

/* The last one of the node that can be taken offline, -1 if there is none. */
static long find_block(void)
{
	char path[80];
	long block;

	for (block = 255; block >= 0; block--) {
		snprintf(path, sizeof(path), "/sys/devices/system/node/node%d/memory%ld",
			 NODE, block);
		if (!access(path, F_OK) && set_block(block, "offline"))
			break;
	}
	/* Back it comes to the end of the lists of free pages. */
	return block >= 0 && set_block(block, "online_kernel") ? block : -1;
}

static long node_free_kb(void)
{
	char text[256], *found;

	if (read_text("/sys/devices/system/node/node1/meminfo", text,
		      sizeof(text)))
		return -1;
	found = strstr(text, "MemFree:");
	return found ? atol(found + strlen("MemFree:")) : -1;
}

/* Only these pages are to be from the node, not what the kernel needs for them. */
static bool take_from_node(char *p, size_t size)
{
	const unsigned long node = 1UL << NODE;
	size_t i;

	if (p == MAP_FAILED ||
	    syscall(SYS_mbind, p, size, MPOL_BIND, &node, sizeof(node) * 8, 0))
		return false;
	for (i = 0; i < size; i += page_size)
		if (probe_write(p + i, 1))
			return false;
	return true;
}

/*
 * A secret page in the block that came online last. First all but half of its
 * size is taken from the node, then some secret memory, as there may be memory
 * elsewhere that is kept for pages that can not be moved.
 */
static char *take_from_block(void)
{
	size_t left = block_pages() / 2 * page_size;
	size_t size = node_free_kb() * 1024 - left;
	size_t more = NEW_PAGES * page_size;
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

/* In no file: it is off the direct map, for the next secret. */
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

	/* That is an error: nobody knows the page. */
	fail_frame(frame);
	EXPECT_TRUE(frame_has_flag(frame, KPF_HWPOISON));
	p = map_secret(size);
	ASSERT_NE(MAP_FAILED, (void *)p);
	for (i = 0; i < size; i += page_size) {
		p[i] = 1;
		EXPECT_NE(frame, page_frame(p + i));
	}
	munmap(p, size);

	/* It stays where it is, and counts. */
	EXPECT_TRUE(give_spare_memory_back());
	EXPECT_EQ(before + (long)(page_size >> 10), secret_kb());
	if (!access(DIRECT_MAP, R_OK))
		EXPECT_EQ('-', direct_map_state(frame));
}

TEST(memory_with_a_page_that_failed_does_not_go_offline)
{
	long block = find_block();
	unsigned long long frame;
	char *page;

	if (access(HWPOISON "corrupt-pfn", W_OK))
		SKIP(return, "kernel without HWPOISON_INJECT");
	if (block < 0)
		SKIP(return, "no memory of another node can go offline");
	page = take_from_block();
	ASSERT_NE(MAP_FAILED, (void *)page);
	frame = page_frame(page);
	ASSERT_EQ(block, (long)frame / block_pages());

	EXPECT_EQ(0, fail_frame(frame));
	EXPECT_FALSE(set_block(block, "offline"));
	munmap(page, page_size);
	EXPECT_FALSE(set_block(block, "offline"));
}

TEST_HARNESS_MAIN
