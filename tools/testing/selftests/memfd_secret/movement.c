// SPDX-License-Identifier: GPL-2.0
/*
 * Nothing in the kernel moves a secret page, writes it out, drops it or loses
 * it, and nobody spins on one. Ordinary memory is the control: who leaves
 * secret pages alone has to be seen at work there.
 *
 * Wants two memory nodes, ZONE_MOVABLE ("movablecore=" on the kernel command
 * line), NUMA balancing ("numa_balancing=enable"), and a blank disk to swap to.
 *
 * ROUNDS in the environment is how many files each race at the end makes; 20 if
 * it is not set.
 */
#define _GNU_SOURCE
#include "testing.h"
#include "swapspace.h"

#include <linux/mempolicy.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>

#define MB		(1024 * 1024UL)
#define KPF_THP		22
#define PM_FRAME	((1ULL << 55) - 1)
#define PM_SWAP		62
#define PM_PRESENT	63
/* Nothing here takes a second where nobody spins; emulation takes its time. */
#define LIMIT_SECONDS	40

#define MEMORY		"/sys/devices/system/memory/"
#define NODE		"/sys/devices/system/node/"
#define THP		"/sys/kernel/mm/transparent_hugepage/"
#define KSM		"/sys/kernel/mm/ksm/"
#define CACHED_DISK	"/dev/ram1"
#define SWAP_DISK	"/dev/vda"
#define SWAP_SIZE	(16 * MB)

/*
 * What the tests look at
 */

/* What /proc/self/pagemap has of @nr pages at @p; to be freed. */
static unsigned long long *read_pagemap(const char *p, size_t nr)
{
	unsigned long long *entry = calloc(nr, sizeof(*entry));
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	ssize_t size = nr * sizeof(*entry);

	if (!entry || pread(fd, entry, size, (uintptr_t)p / page_size *
			    sizeof(*entry)) != size)
		abort();
	close(fd);
	return entry;
}

static size_t swapped_pages(const char *p, size_t nr)
{
	unsigned long long *entry = read_pagemap(p, nr);
	size_t i, swapped = 0;

	for (i = 0; i < nr; i++)
		swapped += entry[i] >> PM_SWAP & 1;
	free(entry);
	return swapped;
}

/* How many of the pages that were there are gone or elsewhere by now? */
static size_t pages_moved(const char *p, size_t nr,
			  const unsigned long long *before)
{
	unsigned long long *now = read_pagemap(p, nr);
	size_t i, moved = 0;

	for (i = 0; i < nr; i++)
		moved += before[i] >> PM_PRESENT &&
			(!(now[i] >> PM_PRESENT) ||
			 (now[i] ^ before[i]) & PM_FRAME);
	free(now);
	return moved;
}

static bool is_huge(const char *p)
{
	int fd = open("/proc/kpageflags", O_RDONLY | O_CLOEXEC);
	unsigned long long flags = 0;

	if (pread(fd, &flags, sizeof(flags), page_frame(p) * sizeof(flags)) !=
	    sizeof(flags))
		flags = 0;
	close(fd);
	return flags & 1ULL << KPF_THP;
}

/* What the kernel can read at the address of a frame; 0 if it does not say. */
static char direct_map_at(unsigned long long frame)
{
	int fd = open(DIRECT_MAP, O_RDONLY | O_CLOEXEC);
	char state = 0;

	if (fd < 0)
		return 0;
	if (pread(fd, &state, 1, frame) != 1)
		state = 0;
	close(fd);
	return state;
}

/* The number behind a name in /proc/vmstat; -1 if it is not there. */
static long read_vmstat(const char *name)
{
	FILE *file = fopen("/proc/vmstat", "re");
	long value, found = -1;
	char word[64];

	while (file && found < 0 &&
	       fscanf(file, "%63s %ld", word, &value) == 2)
		if (!strcmp(word, name))
			found = value;
	if (file)
		fclose(file);
	return found;
}

/* Where ZONE_MOVABLE is, for each node that has it. */
static struct {
	unsigned long long start;
	unsigned long long end;
} movable[8];

/*
 * Looks for it. How many bytes of it are free on @node, or if that is negative,
 * on all nodes?
 */
static size_t find_zone_movable(int node)
{
	unsigned long long spanned = 0, start, free = 0;
	FILE *file = fopen("/proc/zoneinfo", "re");
	size_t n = 0, sum = 0;
	char line[256], zone[16] = "";
	int of = -1;

	while (file && fgets(line, sizeof(line), file)) {
		if (sscanf(line, "Node %d, zone %15s", &of, zone) == 2 ||
		    sscanf(line, " pages free %llu", &free) == 1 ||
		    sscanf(line, " spanned %llu", &spanned) == 1 ||
		    sscanf(line, " start_pfn: %llu", &start) != 1 ||
		    strcmp(zone, "Movable") || !spanned ||
		    n == ARRAY_SIZE(movable))
			continue;
		movable[n].start = start;
		movable[n++].end = start + spanned;
		if (node < 0 || node == of)
			sum += free * page_size;
	}
	if (file)
		fclose(file);
	return sum;
}

static bool in_zone_movable(unsigned long long frame)
{
	size_t n;

	for (n = 0; n < ARRAY_SIZE(movable); n++)
		if (frame >= movable[n].start && frame < movable[n].end)
			return true;
	return false;
}

static long read_number(const char *path)
{
	char text[64];

	return read_text(path, text, sizeof(text)) ? -1 : atol(text);
}

/*
 * What the tests do
 */

static void interrupt(int sig)
{
}

/*
 * Writes to a file of the kernel's that may start long work: 0, the error, or
 * ETIME if it took longer than it may. Work that no signal stops ends the test.
 */
static int timed_write(const char *path, const char *text)
{
	const struct sigaction action = { .sa_handler = interrupt };
	int err;

	sigaction(SIGALRM, &action, NULL);
	alarm(LIMIT_SECONDS);
	err = write_text(path, text) ? errno : 0;
	return alarm(0) ? err : ETIME;
}

/* Settings of the kernel's, to be as they were when a test is over. */
static struct setting {
	const char *path;
	char saved[64];
} settings[8];

/* Of "always [madvise] never", the one in brackets. */
static void keep_chosen(char *text)
{
	char *start = strchr(text, '['), *end = strchr(text, ']');

	if (!start || !end)
		return;
	*end = '\0';
	memmove(text, start + 1, end - start);
}

/* False if there is no such setting. */
static bool set(const char *path, const char *text)
{
	struct setting *setting = settings;

	while (setting->path && strcmp(setting->path, path))
		if (++setting == settings + ARRAY_SIZE(settings))
			abort();
	if (!setting->path) {
		if (read_text(path, setting->saved, sizeof(setting->saved)))
			return false;
		keep_chosen(setting->saved);
		setting->path = path;
	}
	return !write_text(path, text);
}

static void restore_settings(void)
{
	struct setting *setting = settings;

	while (setting < settings + ARRAY_SIZE(settings) && setting->path) {
		write_text(setting->path, setting->saved);
		setting++;
	}
}

/* Pages are on the lists where others look for them, not in a CPU's batch. */
static void settle(void)
{
	write_text("/proc/sys/vm/compact_memory", "1");
}

static unsigned long nodes_with_memory(void)
{
	unsigned long nodes = 0;

	syscall(SYS_get_mempolicy, NULL, &nodes, sizeof(nodes) * 8, NULL,
		MPOL_F_MEMS_ALLOWED);
	return nodes ?: 1;
}

/* Memory for this process from one node only; from any if it is negative. */
static int bind_memory(int node)
{
	unsigned long mask = node < 0 ? 0 : 1UL << node;

	return syscall(SYS_set_mempolicy, node < 0 ? MPOL_DEFAULT : MPOL_BIND,
		       node < 0 ? NULL : &mask, sizeof(mask) * 8);
}

/* Memory for these pages from one node, whatever the process has. */
static int bind_range(void *p, size_t size, int node)
{
	unsigned long mask = 1UL << node;

	return syscall(SYS_mbind, p, size, MPOL_BIND, &mask, sizeof(mask) * 8,
		       0);
}

/* Each page alike, so that they could be merged. */
static void fill_pages(char *p, size_t size, unsigned int seed)
{
	size_t i;

	fill(p, page_size, seed);
	for (i = page_size; i < size; i += page_size)
		memcpy(p + i, p, page_size);
}

static bool are_filled(const char *p, size_t size, unsigned int seed)
{
	return is_filled(p, page_size, seed) &&
		!memcmp(p, p + page_size, size - page_size);
}

static void touch(const char *p, size_t size)
{
	size_t i;

	for (i = 0; i < size; i += page_size)
		probe_read(p + i);
}

/* A place to look for huge pages in. */
static char *map_aligned(int fd, int flags)
{
	const size_t size = 2 * MB;
	char *p = map_plain(2 * size);

	p = (char *)(((uintptr_t)p + size - 1) & -size);
	return mmap(p, size, PROT_READ | PROT_WRITE, MAP_FIXED | flags, fd, 0);
}

static bool reached(time_t deadline)
{
	usleep(20000);
	return time(NULL) >= deadline;
}

/*
 * Secret pages with a past
 */

/* Clean or dirty, mapped or only in their file: reclaim and migration care. */
static const struct past {
	const char *name;
	bool written;
	bool unmapped;
	bool mapped_again;
} pasts[] = {
	{ .name = "read" },
	{ .name = "written", .written = true },
	{ .name = "read, unmapped", .unmapped = true },
	{ .name = "written, unmapped", .written = true, .unmapped = true },
	{ .name = "written, remapped", .written = true, .mapped_again = true },
};

struct area {
	int fd;
	char *mem;			/* or NULL: mapped nowhere */
	unsigned long long *before;	/* of /proc/self/pagemap */
};

struct secrets {
	struct area area[ARRAY_SIZE(pasts)];
	size_t nr;			/* pages of each area */
	size_t size;
	unsigned int seed;
	long locked_kb;
};

static bool make_area(struct area *area, const struct past *past,
		      const struct secrets *s)
{
	area->fd = secret_file(s->size);
	area->mem = map_shared(area->fd, s->size);
	if (area->mem == MAP_FAILED)
		return false;
	if (past->written)
		fill_pages(area->mem, s->size, s->seed);
	touch(area->mem, s->size);
	area->before = read_pagemap(area->mem, s->nr);

	if (past->unmapped || past->mapped_again) {
		munmap(area->mem, s->size);
		area->mem = NULL;
	}
	if (past->mapped_again) {
		area->mem = map_shared(area->fd, s->size);
		touch(area->mem, s->size);
	}
	return area->mem != MAP_FAILED;
}

static void make_secrets(struct __test_metadata *_metadata, struct secrets *s,
			 size_t nr)
{
	struct rlimit unlimited = { RLIM_INFINITY, RLIM_INFINITY };
	size_t i;

	ASSERT_EQ(0, setrlimit(RLIMIT_MEMLOCK, &unlimited));
	s->nr = nr;
	s->size = nr * page_size;
	s->seed = 2 * getpid();
	for (i = 0; i < ARRAY_SIZE(pasts); i++)
		ASSERT_TRUE(make_area(&s->area[i], &pasts[i], s));
	s->locked_kb = locked_kb();
}

/* How many of these frames are in another state for the kernel? */
static size_t frames_not(char state, const unsigned long long *entry, size_t nr)
{
	size_t i, n = 0;

	if (access(DIRECT_MAP, R_OK))
		return 0;
	for (i = 0; i < nr; i++)
		n += direct_map_at(entry[i] & PM_FRAME) != state;
	return n;
}

static void check_area(struct __test_metadata *_metadata, struct area *area,
		       const struct past *past, const struct secrets *s)
{
	if (!area->mem)
		area->mem = map_shared(area->fd, s->size);
	ASSERT_NE(MAP_FAILED, (void *)area->mem);
	EXPECT_EQ(s->nr, resident_pages(area->mem, s->size)) {
		TH_LOG("%s: not all there", past->name);
	}
	EXPECT_TRUE(past->written ? are_filled(area->mem, s->size, s->seed) :
				    is_zero(area->mem, s->size)) {
		TH_LOG("%s: contents changed", past->name);
	}
	touch(area->mem, s->size);
	EXPECT_EQ(0, pages_moved(area->mem, s->nr, area->before)) {
		TH_LOG("%s: moved", past->name);
	}
	EXPECT_EQ(0, frames_not('-', area->before, s->nr)) {
		TH_LOG("%s: readable by the kernel", past->name);
	}

	munmap(area->mem, s->size);
	close(area->fd);
	EXPECT_TRUE(give_spare_memory_back());
	if (frees_unmap())
		return;
	EXPECT_EQ(0, frames_not('r', area->before, s->nr)) {
		TH_LOG("%s: still unreadable after close", past->name);
	}
}

/* All is as it was made; then it goes, and the frames are ordinary again. */
static void check_secrets(struct __test_metadata *_metadata, struct secrets *s)
{
	size_t i;

	EXPECT_EQ(s->locked_kb, locked_kb());
	for (i = 0; i < ARRAY_SIZE(pasts); i++)
		check_area(_metadata, &s->area[i], &pasts[i], s);
}

/* For how many of the frames, @is_one()? */
static size_t count_frames(const struct secrets *s,
			   bool (*is_one)(unsigned long long frame))
{
	size_t i, k, n = 0;

	for (i = 0; i < ARRAY_SIZE(pasts); i++)
		for (k = 0; k < s->nr; k++)
			n += is_one(s->area[i].before[k] & PM_FRAME);
	return n;
}

/*
 * Some secret pages of every past, and ordinary ones.
 */

FIXTURE(pages) {
	struct secrets secrets;
	char *plain;
	size_t nr;
	size_t size;
};

FIXTURE_SETUP(pages)
{
	self->nr = 64;
	self->size = self->nr * page_size;
	self->plain = map_plain(self->size);
	ASSERT_NE(MAP_FAILED, (void *)self->plain);
	fill_pages(self->plain, self->size, 1);
	make_secrets(_metadata, &self->secrets, 16);
	settle();
}

FIXTURE_TEARDOWN(pages)
{
	restore_settings();
	check_secrets(_metadata, &self->secrets);
}

/* Of what a disk has in the page cache, which is the control. */
static int cached_pages(size_t size)
{
	int fd = open(CACHED_DISK, O_RDONLY | O_CLOEXEC), n;
	void *p = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);

	n = p == MAP_FAILED ? -1 : resident_pages(p, size);
	munmap(p, size);
	close(fd);
	return n;
}

TEST_F(pages, are_not_dropped_with_caches)
{
	int fd = open(CACHED_DISK, O_RDONLY | O_CLOEXEC);
	char text[2] = "1";

	if (fd < 0)
		SKIP(return, "no " CACHED_DISK);
	for (; text[0] <= '3'; text[0]++) {
		ASSERT_EQ(self->size, pread(fd, self->plain, self->size, 0));
		EXPECT_EQ(self->nr, cached_pages(self->size));
		EXPECT_EQ(0, timed_write("/proc/sys/vm/drop_caches", text));
		EXPECT_EQ(text[0] & 1 ? 0 : self->nr,
			  cached_pages(self->size));
	}
}

TEST_F(pages, are_not_dropped_or_written_by_descriptor)
{
	static const int advice[] = {
		POSIX_FADV_NORMAL, POSIX_FADV_RANDOM, POSIX_FADV_SEQUENTIAL,
		POSIX_FADV_WILLNEED, POSIX_FADV_NOREUSE, POSIX_FADV_DONTNEED,
	};
	int disk = open(CACHED_DISK, O_RDONLY | O_CLOEXEC), fd;
	size_t i, k;

	if (disk < 0)
		SKIP(return, "no " CACHED_DISK);
	ASSERT_EQ(self->size, pread(disk, self->plain, self->size, 0));
	EXPECT_EQ(0, posix_fadvise(disk, 0, self->size, POSIX_FADV_DONTNEED));
	EXPECT_EQ(0, cached_pages(self->size));

	/* They may fail, or do what does no harm. */
	for (k = 0; k < ARRAY_SIZE(pasts); k++) {
		fd = self->secrets.area[k].fd;
		for (i = 0; i < ARRAY_SIZE(advice); i++)
			posix_fadvise(fd, 0, 0, advice[i]);
		readahead(fd, 0, self->secrets.size);
		sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WAIT_BEFORE |
				SYNC_FILE_RANGE_WRITE |
				SYNC_FILE_RANGE_WAIT_AFTER);
		fdatasync(fd);
		fsync(fd);
		syncfs(fd);
	}
	sync();
}

TEST_F(pages, stay_when_references_are_cleared)
{
	static const char * const values[] = { "1", "2", "3", "4", "5" };
	long referenced;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(values); i++)
		EXPECT_EQ(0, timed_write("/proc/self/clear_refs", values[i]));

	touch(self->plain, self->size);
	referenced = read_field("/proc/self/smaps_rollup", "Referenced");
	EXPECT_EQ(0, timed_write("/proc/self/clear_refs", "1"));
	EXPECT_GE(referenced - (long)(self->size >> 10),
		  read_field("/proc/self/smaps_rollup", "Referenced"));
}

static bool set_idle(unsigned long long frame)
{
	int fd = open("/sys/kernel/mm/page_idle/bitmap", O_RDWR | O_CLOEXEC);
	unsigned long long mask = 1ULL << frame % 64;
	off_t at = frame / 64 * sizeof(mask);
	bool idle;

	idle = pwrite(fd, &mask, sizeof(mask), at) == sizeof(mask) &&
		pread(fd, &mask, sizeof(mask), at) == sizeof(mask) &&
		mask & 1ULL << frame % 64;
	close(fd);
	return idle;
}

TEST_F(pages, are_not_tracked_by_number)
{
	if (access("/sys/kernel/mm/page_idle/bitmap", W_OK))
		SKIP(return, "kernel without IDLE_PAGE_TRACKING");
	EXPECT_TRUE(set_idle(page_frame(self->plain)));
	EXPECT_EQ(0, count_frames(&self->secrets, set_idle));
}

static bool soft_offline(unsigned long long frame)
{
	char text[32];

	snprintf(text, sizeof(text), "%#llx", frame * page_size);
	return !timed_write(MEMORY "soft_offline_page", text);
}

TEST_F(pages, are_not_replaced_by_number)
{
	unsigned long long frame = page_frame(self->plain);

	if (access(MEMORY "soft_offline_page", W_OK))
		SKIP(return, "kernel without MEMORY_FAILURE");
	EXPECT_TRUE(soft_offline(frame));
	EXPECT_NE(frame, page_frame(self->plain));
	EXPECT_TRUE(are_filled(self->plain, self->size, 1));
	EXPECT_EQ(0, count_frames(&self->secrets, soft_offline));
}

TEST_F(pages, are_not_merged_with_equal_ones)
{
	const size_t size = self->secrets.size;
	time_t deadline = time(NULL) + LIMIT_SECONDS;
	char *one, *two, *end;
	size_t k;

	if (access(KSM "run", W_OK))
		SKIP(return, "kernel without KSM");
	one = map_plain(size);
	two = map_plain(size);
	fill_pages(one, size, self->secrets.seed);
	fill_pages(two, size, self->secrets.seed);
	EXPECT_EQ(0, madvise(one, size, MADV_MERGEABLE));
	EXPECT_EQ(0, madvise(two, size, MADV_MERGEABLE));
	for (k = 0; k < ARRAY_SIZE(pasts); k++)
		if (self->secrets.area[k].mem)
			madvise(self->secrets.area[k].mem, size,
				MADV_MERGEABLE);

	end = two + size - page_size;
	ASSERT_TRUE(set(KSM "pages_to_scan", "1000"));
	ASSERT_TRUE(set(KSM "run", "1"));
	while (page_frame(one) != page_frame(end) && !reached(deadline))
		;
	EXPECT_EQ(page_frame(one), page_frame(end));
}

TEST_F(pages, give_no_place_to_huge_pages)
{
	const size_t size = 2 * MB, nr = size / page_size;
	int fd = secret_file(size), shmem = memfd_create("control", 0);
	char *secret = map_aligned(fd, MAP_SHARED), *anonymous, *shared;
	time_t deadline = time(NULL) + LIMIT_SECONDS;
	unsigned long long *before;
	long scans;

	if (!set(THP "enabled", "madvise"))
		SKIP(return, "kernel without TRANSPARENT_HUGEPAGE");
	ASSERT_TRUE(set(THP "shmem_enabled", "never"));
	ASSERT_EQ(0, ftruncate(shmem, size));
	anonymous = map_aligned(-1, MAP_PRIVATE | MAP_ANONYMOUS);
	shared = map_aligned(shmem, MAP_SHARED);
	ASSERT_NE(MAP_FAILED, (void *)secret);
	ASSERT_NE(MAP_FAILED, (void *)anonymous);
	ASSERT_NE(MAP_FAILED, (void *)shared);
	fill_pages(secret, size, 1);
	fill_pages(anonymous, size, 2);
	fill_pages(shared, size, 3);
	EXPECT_FALSE(is_huge(anonymous));
	EXPECT_FALSE(is_huge(shared));
	before = read_pagemap(secret, nr);

	/* All pages are small so far; now khugepaged looks at them. */
	ASSERT_TRUE(set(THP "shmem_enabled", "advise"));
	ASSERT_TRUE(set(THP "khugepaged/pages_to_scan", "4096"));
	EXPECT_EQ(0, madvise(secret, size, MADV_HUGEPAGE));
	EXPECT_EQ(0, madvise(anonymous, size, MADV_HUGEPAGE));
	EXPECT_EQ(0, madvise(shared, size, MADV_HUGEPAGE));
	ASSERT_TRUE(set(THP "khugepaged/scan_sleep_millisecs", "10"));
	do {
		touch(anonymous, size);
		touch(shared, size);
	} while (!(is_huge(anonymous) && is_huge(shared)) &&
		 !reached(deadline));
	EXPECT_TRUE(is_huge(anonymous));
	EXPECT_TRUE(is_huge(shared));
	scans = read_number(THP "khugepaged/full_scans") + 2;
	while (read_number(THP "khugepaged/full_scans") < scans &&
	       !reached(deadline))
		;
	EXPECT_LE(scans, read_number(THP "khugepaged/full_scans"));

	EXPECT_EQ(nr, resident_pages(secret, size));
	EXPECT_TRUE(are_filled(secret, size, 1));
	EXPECT_EQ(0, pages_moved(secret, nr, before));
	EXPECT_FALSE(is_huge(secret));
	munmap(secret, size);
}

TEST_F(pages, do_not_follow_their_process_to_another_node)
{
	unsigned long nodes = nodes_with_memory(), from, to;
	unsigned long long *before;

	if (nodes != 3)
		SKIP(return, "not two nodes with memory");
	for (from = 1; from <= 2; from++) {
		to = 3 - from;
		syscall(SYS_migrate_pages, 0, sizeof(to) * 8, &to, &from);
		before = read_pagemap(self->plain, self->nr);
		EXPECT_LE(0, syscall(SYS_migrate_pages, 0, sizeof(to) * 8,
				     &from, &to));
		EXPECT_EQ(self->nr,
			  pages_moved(self->plain, self->nr, before));
		free(before);
	}
}

/* Uses pages for @seconds of a CPU's time. */
static void use_pages(const char *a, const char *b, size_t size, int seconds)
{
	clock_t end = clock() + seconds * CLOCKS_PER_SEC;

	while (clock() < end) {
		touch(a, size);
		touch(b, size);
	}
}

/*
 * The process runs on node 0 and its memory is on node 1, though it did not ask
 * for that: the kernel looks at what it uses, and moves it.
 */
TEST_F(pages, do_not_come_to_where_they_are_used)
{
	time_t deadline = time(NULL) + LIMIT_SECONDS;
	long updates = read_vmstat("numa_pte_updates");
	const size_t nr = 256, size = nr * page_size;
	unsigned long long *before, *secret_before;
	char *plain, *secret;
	cpu_set_t first;

	if (nodes_with_memory() != 3)
		SKIP(return, "not two nodes with memory");
	CPU_ZERO(&first);
	CPU_SET(0, &first);
	ASSERT_EQ(0, sched_setaffinity(0, sizeof(first), &first));
	ASSERT_EQ(0, bind_memory(1));
	plain = map_plain(size);
	secret = map_secret(size);
	ASSERT_NE(MAP_FAILED, (void *)plain);
	ASSERT_NE(MAP_FAILED, (void *)secret);
	fill_pages(plain, size, 1);
	/* The other half is only read. */
	fill_pages(secret, size / 2, 2);
	touch(secret, size);
	before = read_pagemap(plain, nr);
	secret_before = read_pagemap(secret, nr);
	ASSERT_EQ(0, bind_memory(-1));

	do {
		use_pages(plain, secret, size, 1);
	} while (pages_moved(plain, nr, before) < nr / 2 && !reached(deadline));
	if (updates == read_vmstat("numa_pte_updates"))
		SKIP(return, "no NUMA balancing");
	EXPECT_LE(nr / 2, pages_moved(plain, nr, before));
	use_pages(secret, secret, size, 2);

	EXPECT_EQ(nr, resident_pages(secret, size));
	EXPECT_TRUE(are_filled(secret, size / 2, 2));
	EXPECT_TRUE(is_zero(secret + size / 2, size / 2));
	EXPECT_EQ(0, pages_moved(secret, nr, secret_before));
	munmap(secret, size);
}

/*
 * Memory blocks
 */

static long block_size(void)
{
	char text[32];

	return read_text(MEMORY "block_size_bytes", text, sizeof(text)) ? 0 :
		strtoul(text, NULL, 16);
}

static long block_of(unsigned long long entry)
{
	return (entry & PM_FRAME) * page_size / block_size();
}

static int set_block(long block, const char *state)
{
	char path[64];

	snprintf(path, sizeof(path), MEMORY "memory%ld/state", block);
	return timed_write(path, state);
}

static bool block_says(long block, const char *name, const char *text)
{
	char path[64], content[64];

	snprintf(path, sizeof(path), MEMORY "memory%ld/%s", block, name);
	return !read_text(path, content, sizeof(content)) &&
		!strncmp(content, text, strlen(text));
}

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

/* Takes a block offline that has only movable pages; -1 if there is none. */
static long take_block_offline(void)
{
	char path[64];
	long block;

	for (block = 0; block < 1024; block++) {
		snprintf(path, sizeof(path), MEMORY "memory%ld", block);
		if (access(path, F_OK) ||
		    !block_says(block, "valid_zones", "Movable") ||
		    set_block(block, "offline"))
			continue;
		return block;
	}
	return -1;
}

static int node_of_block(long block)
{
	char path[64];
	int node;

	for (node = 0; node < 64; node++) {
		snprintf(path, sizeof(path), MEMORY "memory%ld/node%d", block,
			 node);
		if (!access(path, F_OK))
			return node;
	}
	return 0;
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
 * A block that just went offline is empty, and if it comes back for the kernel,
 * what is allocated next is there. So it is secret pages that keep it from
 * going again, unless others were faster: but not each time.
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
		/* All else that takes memory meanwhile takes it elsewhere. */
		bind_memory(!node_of_block(block));
		p = map_secret(nr * page_size);
		ASSERT_NE(MAP_FAILED, (void *)p);
		bind_range(p, nr * page_size, node_of_block(block));
		probe_read(p);

		ASSERT_EQ(0, set_block(block, "online_kernel"));
		/* Of which the other pages would be else. */
		EXPECT_TRUE(give_spare_memory_back());
		fill_pages(p + page_size, (nr - 1) * page_size, 1);
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
 * Compaction
 */

/* Of @node, or of the machine if that has none. */
static long free_kb(int node)
{
	char path[64], line[128];
	long kb = -1;
	FILE *file;

	snprintf(path, sizeof(path), NODE "node%d/meminfo", node);
	file = fopen(path, "re");
	if (!file)
		return read_field("/proc/meminfo", "MemFree");
	while (kb < 0 && fgets(line, sizeof(line), file))
		if (sscanf(line, "Node %*d MemFree: %ld", &kb) != 1)
			kb = -1;
	fclose(file);
	return kb;
}

/*
 * A node's memory such as compaction is for: full of ordinary pages but for
 * what secret pages were made of last. Holes are made in it later.
 */
struct fragments {
	struct secrets secrets;
	int node;
	char *plain;
	size_t nr;
	unsigned long long *before;
	char *huge;
	size_t huge_size;
};

FIXTURE(fragments) {
	struct fragments fragments;
};

FIXTURE_SETUP(fragments)
{
	struct fragments *f = &self->fragments;
	const size_t reserve = 48 * MB;
	size_t i;

	/* The last one: the first has the kernel and others' memory. */
	while (nodes_with_memory() >> f->node > 1)
		f->node++;
	bind_memory(f->node);

	/* What is in ZONE_MOVABLE does not count here, and is taken faster. */
	set(THP "enabled", "madvise");
	f->huge_size = find_zone_movable(f->node) + 2 * MB;
	f->huge = map_plain(f->huge_size);
	ASSERT_NE(MAP_FAILED, (void *)f->huge);
	madvise(f->huge, f->huge_size, MADV_HUGEPAGE);
	for (i = 0; i < f->huge_size; i += 2 * MB)
		f->huge[i] = 1;

	f->nr = ((free_kb(f->node) << 10) - reserve) / page_size;
	f->plain = mmap(NULL, f->nr * page_size, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE |
			MAP_POPULATE, -1, 0);
	ASSERT_NE(MAP_FAILED, (void *)f->plain);
	make_secrets(_metadata, &f->secrets, 512);
}

FIXTURE_TEARDOWN(fragments)
{
	struct fragments *f = &self->fragments;

	munmap(f->plain, f->nr * page_size);
	munmap(f->huge, f->huge_size);
	restore_settings();
	check_secrets(_metadata, &f->secrets);
}

static unsigned long long last_moved;

/* Gives back one ordinary page of five, each time another one. */
static void make_holes(struct fragments *f, size_t first)
{
	size_t i;

	for (i = first; i < f->nr; i += 5)
		madvise(f->plain + i * page_size, page_size, MADV_DONTNEED);
	free(f->before);
	f->before = read_pagemap(f->plain, f->nr);
	last_moved = 0;
}

static bool is_below_last_moved(unsigned long long frame)
{
	return frame < last_moved;
}

/*
 * Compaction goes from the low end of a zone to the high end. How many secret
 * pages are below an ordinary one that it has moved, and so were looked at?
 */
static size_t secrets_passed(const struct fragments *f)
{
	unsigned long long *now = read_pagemap(f->plain, f->nr), frame;
	size_t i;

	for (i = 0; i < f->nr; i++) {
		frame = f->before[i] & PM_FRAME;
		if (frame && now[i] != f->before[i] &&
		    !in_zone_movable(frame) && frame > last_moved)
			last_moved = frame;
	}
	free(now);
	return count_frames(&f->secrets, is_below_last_moved);
}

/* Takes all huge pages that can be had, and gives them back. */
static void want_huge_pages(int node)
{
	size_t size = free_kb(node) << 10, i;
	char *p = map_plain(size);

	if (p == MAP_FAILED)
		return;
	madvise(p, size, MADV_HUGEPAGE);
	for (i = 0; i < size; i += 2 * MB)
		p[i] = 1;
	munmap(p, size);
}

TEST_F(fragments, are_left_alone_by_compaction)
{
	time_t deadline = time(NULL) + LIMIT_SECONDS;
	struct fragments *f = &self->fragments;
	char path[64];
	long stall;

	if (!set("/proc/sys/vm/compaction_proactiveness", "0"))
		SKIP(return, "kernel without COMPACTION");

	/* By who needs it */
	make_holes(f, 0);
	if (set(THP "defrag", "madvise")) {
		stall = read_vmstat("compact_stall");
		do {
			want_huge_pages(f->node);
		} while (!secrets_passed(f) && !reached(deadline));
		EXPECT_LT(stall, read_vmstat("compact_stall"));
		EXPECT_LT(0, secrets_passed(f));
	}

	/* In the background, before anybody asks for it */
	make_holes(f, 1);
	ASSERT_TRUE(set("/proc/sys/vm/compaction_proactiveness", "100"));
	while (!secrets_passed(f) && !reached(deadline))
		;
	EXPECT_LT(0, secrets_passed(f));
	ASSERT_TRUE(set("/proc/sys/vm/compaction_proactiveness", "0"));

	/* By hand */
	snprintf(path, sizeof(path), NODE "node%d/compact", f->node);
	make_holes(f, 2);
	if (!access(path, W_OK)) {
		EXPECT_EQ(0, timed_write(path, "1"));
		EXPECT_LT(0, secrets_passed(f));
		make_holes(f, 3);
	}
	EXPECT_EQ(0, timed_write("/proc/sys/vm/compact_memory", "1"));
	EXPECT_LT(0, secrets_passed(f));
}

/*
 * Swap
 */

/* False if there is no disk of which one may be sure that nobody needs it. */
static bool swap_on(void)
{
	int fd = open(SWAP_DISK, O_RDWR | O_EXCL | O_CLOEXEC);
	char *start = map_plain(MB);
	bool blank;

	if (fd < 0)
		return false;
	blank = lseek(fd, 0, SEEK_END) >= (off_t)SWAP_SIZE &&
		pread(fd, start, MB, 0) == (ssize_t)MB && is_zero(start, MB);
	munmap(start, MB);
	close(fd);
	return blank && make_swap(SWAP_DISK, SWAP_SIZE / page_size) &&
	       !swapon(SWAP_DISK, 0);
}

/* Blank again, as far as that is looked at. */
static void swap_off(void)
{
	char *zeros = map_plain(MB);
	int fd;

	swapoff(SWAP_DISK);
	fd = open(SWAP_DISK, O_RDWR | O_EXCL | O_CLOEXEC);
	if (pwrite(fd, zeros, MB, 0) != (ssize_t)MB)
		perror(SWAP_DISK);
	munmap(zeros, MB);
	close(fd);
}

/* How often the beginning of a pattern is in what the disk has of swap. */
static int count_on_disk(unsigned int seed)
{
	int fd = open(SWAP_DISK, O_RDONLY | O_DIRECT | O_CLOEXEC);
	char *buf = map_plain(MB), *p, key[32];
	int count = 0;
	off_t at;

	fill(key, sizeof(key), seed);
	for (at = 0; at < (off_t)SWAP_SIZE; at += MB) {
		if (pread(fd, buf, MB, at) != (ssize_t)MB)
			return -1;
		for (p = buf; (p = memmem(p, buf + MB - p, key, sizeof(key)));
		     p++)
			count++;
	}
	munmap(buf, MB);
	close(fd);
	return count;
}

/*
 * Secret pages of every past, and a lot of ordinary ones, in a memory cgroup on
 * a machine that swaps.
 */
struct swap {
	struct secrets secrets;
	bool disk;
	bool group;
	char root[32];
	char dir[48];
	char *plain;
	size_t nr;
	size_t size;
	unsigned int seed;
};

FIXTURE(swap) {
	struct swap swap;
};

static bool write_in(const char *dir, const char *name, const char *text)
{
	char path[96];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return !timed_write(path, text);
}

FIXTURE_SETUP(swap)
{
	struct swap *s = &self->swap;

	s->disk = swap_on();
	strcpy(s->root, "/tmp/cgroupXXXXXX");
	ASSERT_NE(NULL, mkdtemp(s->root));
	sprintf(s->dir, "%s/swap", s->root);
	s->group = !mount("none", s->root, "cgroup2", 0, NULL) &&
		write_in(s->root, "cgroup.subtree_control", "+memory") &&
		!mkdir(s->dir, 0700) &&
		write_in(s->dir, "cgroup.procs", "0");

	make_secrets(_metadata, &s->secrets, 64);
	s->size = 12 * MB;
	s->nr = s->size / page_size;
	s->seed = s->secrets.seed + 1;
	s->plain = map_plain(s->size);
	ASSERT_NE(MAP_FAILED, (void *)s->plain);
	fill_pages(s->plain, s->size, s->seed);
}

FIXTURE_TEARDOWN(swap)
{
	struct swap *s = &self->swap;

	EXPECT_TRUE(are_filled(s->plain, s->size, s->seed));
	check_secrets(_metadata, &s->secrets);
	munmap(s->plain, s->size);
	if (s->disk) {
		EXPECT_EQ(0, count_on_disk(s->secrets.seed));
		swap_off();
	}
	write_in(s->root, "cgroup.procs", "0");
	rmdir(s->dir);
	umount2(s->root, MNT_DETACH);
	rmdir(s->root);
}

/* The control: most of the ordinary memory has to go, and is on the disk. */
static void limit_group(struct __test_metadata *_metadata,
			const struct swap *s, const char *limit)
{
	EXPECT_TRUE(write_in(s->dir, limit, "4M"));
	EXPECT_LE(s->nr / 2, swapped_pages(s->plain, s->nr));
	touch(s->plain, s->size);
	EXPECT_LE(s->nr / 2, swapped_pages(s->plain, s->nr));
	EXPECT_LT(s->nr / 2, count_on_disk(s->seed));
}

TEST_F(swap, does_not_take_them_from_a_group_over_its_limit)
{
	struct swap *s = &self->swap;

	if (!s->disk)
		SKIP(return, "no blank disk to swap to");
	if (!s->group)
		SKIP(return, "kernel without MEMCG");
	limit_group(_metadata, s, "memory.max");
}

TEST_F(swap, does_not_take_them_from_a_throttled_group)
{
	struct swap *s = &self->swap;
	const size_t size = 2 * MB;
	time_t start = time(NULL);
	char *p;

	if (!s->disk)
		SKIP(return, "no blank disk to swap to");
	if (!s->group)
		SKIP(return, "kernel without MEMCG");
	limit_group(_metadata, s, "memory.high");

	/* Ordinary memory makes room for them. */
	p = map_secret(size);
	ASSERT_NE(MAP_FAILED, (void *)p);
	fill_pages(p, size, s->secrets.seed);
	EXPECT_GT(LIMIT_SECONDS, time(NULL) - start);
	EXPECT_TRUE(are_filled(p, size, s->secrets.seed));
	munmap(p, size);
	write_in(s->dir, "memory.high", "max");
}

static const int advices[] = {
	MADV_COLD, MADV_PAGEOUT, MADV_FREE, MADV_DONTNEED,
};

static void advise(const struct secrets *s, int advice)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(pasts); i++)
		if (s->area[i].mem)
			madvise(s->area[i].mem, s->size, advice);
}

TEST_F(swap, does_not_take_them_on_advice)
{
	struct swap *s = &self->swap;
	size_t i;

	if (!s->disk)
		SKIP(return, "no blank disk to swap to");
	/* It may be refused, or do what does no harm. */
	for (i = 0; i < ARRAY_SIZE(advices); i++)
		advise(&s->secrets, advices[i]);
	EXPECT_EQ(0, madvise(s->plain, s->size, MADV_PAGEOUT));
	EXPECT_LE(s->nr / 2, swapped_pages(s->plain, s->nr));
	EXPECT_LT(s->nr / 2, count_on_disk(s->seed));
}

/*
 * After fork() a child's mappings are not locked any more, those of secret
 * files included. This one has them for itself, and ordinary pages as well.
 */
static void advised_child(const struct swap *s, int go, int ready,
			  bool by_itself)
{
	bool good = true;
	size_t i;
	char c;

	fill_pages(s->plain, s->size, s->seed);
	for (i = 0; i < ARRAY_SIZE(pasts); i++)
		if (s->secrets.area[i].mem)
			touch(s->secrets.area[i].mem, s->secrets.size);
	if (write(ready, "", 1) != 1 || read(go, &c, 1) != 1)
		_exit(1);
	if (by_itself) {
		madvise(s->plain, s->size, MADV_PAGEOUT);
		for (i = 0; i < ARRAY_SIZE(advices); i++)
			advise(&s->secrets, advices[i]);
	}
	if (swapped_pages(s->plain, s->nr) < s->nr / 2)
		_exit(2);
	for (i = 0; i < ARRAY_SIZE(pasts); i++) {
		const struct area *area = &s->secrets.area[i];

		if (!area->mem)
			continue;
		touch(area->mem, s->secrets.size);
		good &= !pages_moved(area->mem, s->secrets.nr,
				     area->before);
	}
	_exit(good ? 0 : 3);
}

/* Gives advice to another process on all that it has mapped. */
static void advise_child(const struct swap *s, pid_t pid, int advice)
{
	int pidfd = syscall(SYS_pidfd_open, pid, 0);
	struct iovec range = { s->plain, s->size };
	size_t i;

	syscall(SYS_process_madvise, pidfd, &range, 1, advice, 0);
	for (i = 0; i < ARRAY_SIZE(pasts); i++) {
		range.iov_base = s->secrets.area[i].mem;
		range.iov_len = s->secrets.size;
		if (range.iov_base)
			syscall(SYS_process_madvise, pidfd, &range, 1, advice,
				0);
	}
	close(pidfd);
}

static int run_advised_child(struct swap *s, bool by_itself)
{
	int go[2], ready[2];
	pid_t pid;
	size_t i;
	char c;

	if (pipe(go) || pipe(ready))
		return -1;
	pid = fork();
	if (!pid)
		advised_child(s, go[0], ready[1], by_itself);
	/* Of what others have mapped as well advice has no effect. */
	for (i = 0; i < ARRAY_SIZE(pasts); i++)
		if (s->secrets.area[i].mem)
			munmap(s->secrets.area[i].mem, s->secrets.size);
	if (read(ready[0], &c, 1) == 1 && !by_itself) {
		advise_child(s, pid, MADV_COLD);
		advise_child(s, pid, MADV_PAGEOUT);
	}
	if (write(go[1], "", 1) != 1)
		return -1;
	for (i = 0; i < ARRAY_SIZE(pasts); i++)
		s->secrets.area[i].mem = NULL;
	s->secrets.locked_kb = 0;
	return wait_status(pid);
}

TEST_F(swap, does_not_take_them_on_advice_after_fork)
{
	struct swap *s = &self->swap;

	if (!s->disk)
		SKIP(return, "no blank disk to swap to");
	EXPECT_EQ(0, run_advised_child(s, true));
	EXPECT_LT(s->nr / 2, count_on_disk(s->seed));
}

TEST_F(swap, does_not_take_them_on_advice_from_another_process)
{
	struct swap *s = &self->swap;

	if (!s->disk)
		SKIP(return, "no blank disk to swap to");
	EXPECT_EQ(0, run_advised_child(s, false));
	EXPECT_LT(s->nr / 2, count_on_disk(s->seed));
}

/*
 * The same again, while pages become secret and ordinary
 */

#define RACE_PAGES 16

/* Shared with the process that disturbs. */
struct disturber {
	unsigned long long frame;	/* to aim at */
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

/* What comes back is for the kernel, and so for secrets. */
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
	/* Each ordinary page that is hit is gone for good. */
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
		fill_pages(p, size / 2, round);
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
