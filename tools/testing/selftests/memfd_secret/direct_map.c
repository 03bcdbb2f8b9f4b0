// SPDX-License-Identifier: GPL-2.0
/*
 * What the kernel itself can read, as it reports itself: a secret page cannot
 * be read at its address in the direct map, its neighbours can, and all of them
 * can once the file is closed. Needs a kernel with DEBUG_SECRETMEM.
 *
 * $ROUNDS is how often the last test takes and frees its memory, default 4.
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <dirent.h>
#include <sys/resource.h>

#include "testing.h"
#include "inject.h"

#define SPLIT		"/sys/kernel/debug/secretmem/split"
#define READABLE	'r'
#define UNREADABLE	'-'
#define DISAGREE	'?'

#define FILES		256
#define BIG		(64UL << 20)
#define SPLIT_AT_BOOT	(160UL << 20)
#define SLACK_KB	1024

#define LINES		8192

/* One byte for each page frame, as in DIRECT_MAP. */
struct frames {
	char *state;
	size_t nr;
};

static struct frames read_frames(void)
{
	struct frames frames = { };
	size_t room = 1 << 22;
	int fd = open(DIRECT_MAP, O_RDONLY | O_CLOEXEC);
	ssize_t n = -1;

	frames.state = malloc(room);
	while (fd >= 0 && frames.state && frames.nr < room &&
	       (n = read(fd, frames.state + frames.nr, room - frames.nr)) > 0)
		frames.nr += n;
	if (n)
		abort();
	close(fd);
	return frames;
}

static size_t count_frames(const struct frames *frames, char state)
{
	size_t i, count = 0;

	for (i = 0; i < frames->nr; i++)
		count += frames->state[i] == state;
	return count;
}

/*
 * KASAN keeps the slab objects that were freed last, up to a 32nd of all memory:
 * have them freed. Other kernels keep none, and lockdep complains of SLUB if a
 * cache was destroyed before this.
 */
static void empty_quarantine(void)
{
	bool kasan = symbol_address("kasan_report");
	DIR *dir = kasan ? opendir("/sys/kernel/slab") : NULL;
	struct dirent *entry;
	char path[300];

	while (dir && (entry = readdir(dir))) {
		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "/sys/kernel/slab/%s/shrink",
			 entry->d_name);
		write_text(path, "1");
	}
	if (dir)
		closedir(dir);
}

/* How the direct map has the page at @p. */
static char state_of(const struct frames *frames, const void *p)
{
	unsigned long long frame = page_frame(p);

	return frame && frame < frames->nr ? frames->state[frame] : 0;
}

/* How many pages of the @size bytes at @p are in this state? */
static size_t count_pages(const struct frames *frames, const char *p,
			  size_t size, char state)
{
	size_t i, count = 0;

	for (i = 0; i < size; i += page_size)
		count += state_of(frames, p + i) == state;
	return count;
}

static bool may_lack_large_pages(void)
{
#ifdef __aarch64__
	return true;
#else
	return frees_unmap();
#endif
}

/*
 * Use up the pages whose large mappings KUnit has already split, so that the
 * next ones need a page table, which can be made to fail.
 */
static char *hold_split_memory(void)
{
	char *p = map_secret(SPLIT_AT_BOOT);

	if (p != MAP_FAILED)
		memset(p, 1, SPLIT_AT_BOOT);
	return p;
}

FIXTURE(direct_map) {
};

FIXTURE_SETUP(direct_map)
{
	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &(struct rlimit){ 1024, 1024 }));
	ASSERT_EQ(0, limit_locked(RLIM_INFINITY));
}

FIXTURE_TEARDOWN(direct_map)
{
}

TEST_F(direct_map, secret_pages_are_unreadable_and_ordinary_ones_readable)
{
	const size_t size = 64 * page_size;
	char *secret = map_secret(size), *plain = map_plain(size);
	struct frames frames;
	size_t i;

	if (access(DIRECT_MAP, R_OK))
		SKIP(return, "kernel without DEBUG_SECRETMEM");
	ASSERT_NE(MAP_FAILED, (void *)secret);
	ASSERT_NE(MAP_FAILED, (void *)plain);
	/* Half of the pages are only read. */
	for (i = 0; i < size; i += 2 * page_size) {
		ASSERT_EQ(0, probe_read(secret + i));
		secret[i + page_size] = 1;
	}
	memset(plain, 1, size);

	frames = read_frames();
	EXPECT_EQ(size / page_size,
		  count_pages(&frames, secret, size, UNREADABLE));
	/* Ordinary memory may be highmem; no secret page is. */
	EXPECT_EQ(size / page_size,
		  count_pages(&frames, plain, size, READABLE) +
		  count_pages(&frames, plain, size, 'h'));
	EXPECT_EQ(0, count_frames(&frames, DISAGREE));
	free(frames.state);
}

/*
 * Files of one page get neighbouring pages. If every other file is closed, and
 * memory is short, each secret page is between two readable ones.
 */
TEST_F(direct_map, neighbours_of_a_secret_page_are_readable)
{
	size_t both_sides = 0, unreadable;
	unsigned long long frame;
	struct frames frames;
	char *page[FILES];
	int i;

	if (access(DIRECT_MAP, R_OK))
		SKIP(return, "kernel without DEBUG_SECRETMEM");
	if (frees_unmap())
		SKIP(return, "debug_pagealloc unmaps free pages");

	for (i = 0; i < FILES; i++) {
		page[i] = map_secret(page_size);
		ASSERT_NE(MAP_FAILED, (void *)page[i]);
		fill(page[i], page_size, i);
	}
	for (i = 1; i < FILES; i += 2)
		ASSERT_EQ(0, munmap(page[i], page_size));

	ASSERT_TRUE(give_spare_memory_back());
	frames = read_frames();
	unreadable = count_frames(&frames, UNREADABLE);
	for (i = 0; i < FILES; i += 2) {
		frame = page_frame(page[i]);
		ASSERT_LT(frame + 1, frames.nr);
		EXPECT_EQ(UNREADABLE, frames.state[frame]);
		both_sides += frames.state[frame - 1] == READABLE &&
			      frames.state[frame + 1] == READABLE;
		EXPECT_TRUE(is_filled(page[i], page_size, i));
	}
	/*
	 * Exactly these pages are unreadable, so every other neighbour is
	 * readable.
	 */
	EXPECT_EQ(FILES / 2, unreadable);
	EXPECT_EQ(0, count_frames(&frames, DISAGREE));
	EXPECT_LT(FILES / 8, both_sides);
	free(frames.state);
}

TEST_F(direct_map, all_is_readable_again_after_close)
{
	const size_t size = 8 << 20;
	struct frames before, during, after;
	long off;
	char *secret;

	if (access(DIRECT_MAP, R_OK))
		SKIP(return, "kernel without DEBUG_SECRETMEM");
	if (frees_unmap())
		SKIP(return, "debug_pagealloc unmaps free pages");

	ASSERT_TRUE(give_spare_memory_back());
	before = read_frames();
	secret = map_secret(size);
	ASSERT_NE(MAP_FAILED, (void *)secret);
	memset(secret, 1, size);
	during = read_frames();
	off = secret_kb() + spare_kb();
	EXPECT_EQ(0, munmap(secret, size));
	EXPECT_TRUE(give_spare_memory_back());
	after = read_frames();

	EXPECT_EQ(0, count_frames(&before, UNREADABLE));
	EXPECT_LE(size >> 10, off);
	EXPECT_EQ(off, count_frames(&during, UNREADABLE) * page_size >> 10);
	EXPECT_EQ(0, count_frames(&after, UNREADABLE));
	EXPECT_EQ(0, count_frames(&after, DISAGREE));
	EXPECT_EQ(count_frames(&before, READABLE),
		  count_frames(&after, READABLE));
	free(before.state);
	free(during.state);
	free(after.state);
}

/*
 * Splitting a large page of the direct map takes a page table. Without one the
 * page stays as it was, as the kernel itself checks.
 */
TEST_F(direct_map, large_page_that_can_not_be_split_stays_whole)
{
	int split = open(SPLIT, O_WRONLY | O_CLOEXEC);
	int fail_nth = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);
	int n, err, failed = 0;
	char text[16] = "";

	if (split < 0)
		SKIP(return, "kernel without DEBUG_SECRETMEM");
	if (write(split, "1", 1) < 0 && errno == ENXIO && may_lack_large_pages())
		SKIP(return, "no large pages in the direct map");
	if (!inject_failures(0))
		SKIP(return, "kernel without FAULT_INJECTION");

	/* Let the n-th allocation fail, until there are fewer. */
	for (n = 1; n < 1000; n++) {
		snprintf(text, sizeof(text), "%d", n);
		ASSERT_LT(0, pwrite(fail_nth, text, strlen(text), 0));
		err = write(split, "1", 1) < 0 ? errno : 0;
		EXPECT_NE(EIO, err);
		failed += err == ENOMEM;
		ASSERT_LT(0, pread(fail_nth, text, sizeof(text), 0));
		if (atoi(text))
			break;
	}
	EXPECT_EQ(0, err);
	EXPECT_LT(0, failed);
	ASSERT_LT(0, pwrite(fail_nth, "0", 1, 0));
	inject_failures(0);
}

/*
 * Giving back a part of a block splits a large page as well. Without a page
 * table the part stays off the direct map, and is given back later.
 */
TEST_F(direct_map, memory_that_can_not_be_mapped_goes_back_later)
{
	int give = open(GIVE_BACK, O_WRONLY | O_CLOEXEC);
	char *secret = map_secret(page_size), *held = hold_split_memory();
	long small, spare;
	struct frames frames;
	bool kept;

	if (access(DIRECT_MAP, R_OK))
		SKIP(return, "kernel without DEBUG_SECRETMEM");
	ASSERT_NE(MAP_FAILED, (void *)held);
	ASSERT_NE(MAP_FAILED, (void *)secret);
	ASSERT_LE(0, give);
	ASSERT_TRUE(give_spare_memory_back());
	fill(secret, page_size, 1);
	spare = spare_kb();
	ASSERT_LT(0, spare);
	/*
	 * If it is not a whole large page, it may have been split when it was
	 * taken.
	 */
	small = read_field("/proc/meminfo", "DirectMap4k");
	/* Only pages fail: the write itself allocates other memory. */
	if (!inject_failures(100) || !inject_set("failslab", "probability", "0"))
		SKIP(return, "kernel without FAULT_INJECTION");

	inject_here(true);
	EXPECT_EQ(1, write(give, "1", 1));
	inject_here(false);
	inject_failures(0);
	kept = spare_kb() == spare;
	TH_LOG("%ld of %ld kB stayed, DirectMap4k %ld and %ld kB", spare_kb(), spare,
	       small, read_field("/proc/meminfo", "DirectMap4k"));
	frames = read_frames();
	if (!frees_unmap())
		EXPECT_EQ(secret_kb() + spare_kb(),
			  count_frames(&frames, UNREADABLE) * page_size >> 10);
	EXPECT_EQ(0, count_frames(&frames, DISAGREE));
	free(frames.state);

	EXPECT_TRUE(give_spare_memory_back());
	frames = read_frames();
	if (!frees_unmap())
		EXPECT_EQ(1 + SPLIT_AT_BOOT / page_size,
			  count_frames(&frames, UNREADABLE));
	EXPECT_EQ(0, count_frames(&frames, DISAGREE));
	free(frames.state);
	EXPECT_TRUE(kept || small == read_field("/proc/meminfo", "DirectMap4k"));
	EXPECT_TRUE(is_filled(secret, page_size, 1));
	munmap(secret, page_size);
	munmap(held, SPLIT_AT_BOOT);
	close(give);
}

/*
 * A large page has to be split for a secret page, and there is no page table
 * for that: the page must go back to the page allocator.
 */
TEST_F(direct_map, large_page_that_can_not_be_split_leaves_no_page_behind)
{
	/*
	 * @step is what one page table of user space maps; take several of
	 * these.
	 */
	const size_t step = 512 * page_size, size = 32 * step;
	const unsigned int many = 4 * (SLACK_KB << 10) / page_size;
	int space = open(INJECT_DIR "fail_page_alloc/space", O_WRONLY | O_CLOEXEC);
	char *held, *map, *area, *p;
	unsigned int failed = 0;
	bool touched;
	long before;

	if (may_lack_large_pages())
		SKIP(return, "no large pages in the direct map");
	if (space < 0 || !inject_failures(100) ||
	    !inject_set("failslab", "probability", "0"))
		SKIP(return, "kernel without FAULT_INJECTION");
	held = hold_split_memory();
	map = map_plain(size + step);
	ASSERT_NE(MAP_FAILED, (void *)held);
	ASSERT_NE(MAP_FAILED, (void *)map);
	ASSERT_TRUE(give_spare_memory_back());
	empty_quarantine();
	limit_percpu_lists();
	before = read_field("/proc/meminfo", "MemFree") - SLACK_KB;
	area = map + step - (unsigned long)map % step;
	for (p = area; p < area + size; p += step)
		*p = 1;

	/*
	 * The user space page table exists, and for the only page of a file
	 * nothing else is allocated. Some pages may need no split.
	 */
	for (p = area; p < area + size && failed < many; p += page_size) {
		int fd;

		if (!((p - area) % step))
			continue;
		fd = secret_file(page_size);
		ASSERT_EQ(p, mmap(p, page_size, PROT_READ | PROT_WRITE,
				  MAP_SHARED | MAP_FIXED, fd, 0));
		close(fd);
		for (touched = false; !touched && failed < many; failed += !touched) {
			/*
			 * Blocks fail, a single page succeeds, and everything
			 * after it fails.
			 */
			ASSERT_EQ(1, write(space, "2", 1));
			inject_here(true);
			touched = kernel_touch(p);
			inject_here(false);
		}
	}
	ASSERT_EQ(1, write(space, "0", 1));
	inject_failures(0);
	TH_LOG("%u attempts failed, after %zu pages", failed,
	       (p - area) / page_size);
	EXPECT_EQ(many, failed);
	munmap(map, size + step);
	empty_quarantine();
	EXPECT_LT(before, free_kb_above(before));
	munmap(held, SPLIT_AT_BOOT);
	close(space);
}

/* Nor does the failure of any other allocation. */
TEST_F(direct_map, failed_allocations_leave_no_page_half_way)
{
	const size_t size = BIG;
	struct frames frames;
	size_t i, failed = 0;
	char *secret, *held;
	long before;

	if (access(DIRECT_MAP, R_OK))
		SKIP(return, "kernel without DEBUG_SECRETMEM");
	if (frees_unmap())
		SKIP(return, "debug_pagealloc unmaps free pages");
	held = hold_split_memory();
	ASSERT_NE(MAP_FAILED, (void *)held);
	ASSERT_TRUE(give_spare_memory_back());
	limit_percpu_lists();
	before = read_field("/proc/meminfo", "MemFree") - SLACK_KB;
	if (!inject_failures(80))
		SKIP(return, "kernel without FAULT_INJECTION");

	secret = map_secret(size);
	ASSERT_NE(MAP_FAILED, (void *)secret);
	inject_here(true);
	for (i = 0; i < size; i += page_size)
		failed += !kernel_touch(secret + i);
	inject_here(false);
	inject_failures(0);

	EXPECT_LT(0, failed);
	EXPECT_EQ(size / page_size - failed, resident_pages(secret, size));
	EXPECT_EQ((SPLIT_AT_BOOT + size - failed * page_size) >> 10,
		  secret_kb());
	frames = read_frames();
	EXPECT_EQ(secret_kb() + spare_kb(),
		  count_frames(&frames, UNREADABLE) * page_size >> 10);
	EXPECT_EQ(0, count_frames(&frames, DISAGREE));
	free(frames.state);

	EXPECT_EQ(0, munmap(secret, size));
	EXPECT_TRUE(give_spare_memory_back());
	EXPECT_LT(before, free_kb_above(before));
	EXPECT_EQ(0, munmap(held, SPLIT_AT_BOOT));
	EXPECT_TRUE(give_spare_memory_back());
	frames = read_frames();
	EXPECT_EQ(0, count_frames(&frames, UNREADABLE));
	EXPECT_EQ(0, count_frames(&frames, DISAGREE));
	free(frames.state);
}

/*
 * The kernel's own dump of its page tables
 */

/* A range of the direct map that is mapped alike. */
struct range {
	unsigned long start;
	unsigned long end;
	char attributes[64];
};

struct dump {
	struct range range[LINES];
	size_t nr;
};

/*
 * Skip sizes, physical addresses and levels: a large page may have been split.
 */
static bool says_how_large(const char *word)
{
	static const char * const how_large[] = {
		"pgd", "p4d", "pud", "pmd", "pte", "PSE", "BLK", "CON",
	};
	size_t i;

	if (isdigit(word[0]))
		return true;
	for (i = 0; i < ARRAY_SIZE(how_large); i++)
		if (!strcasecmp(word, how_large[i]))
			return true;
	return false;
}

static void add_range(struct dump *dump, const struct range *range)
{
	struct range *last = &dump->range[dump->nr - 1];

	if (dump->nr && last->end == range->start &&
	    !strcmp(last->attributes, range->attributes)) {
		last->end = range->end;
		return;
	}
	if (dump->nr == LINES)
		abort();
	dump->range[dump->nr++] = *range;
}

/*
 * The dumps of all architectures are alike, apart from the name of the direct
 * map. On arm64 it comes first, and may have no marker at its start.
 */
static bool is_direct_map(const char *marker)
{
	return strcasestr(marker, "[ Low Kernel Mapping ]") ||
	       strcasestr(marker, "[ Kernel Mapping ]") ||
	       strcasestr(marker, "[ Linear Mapping ]") ||
	       strcasestr(marker, "[ Linear Mapping start ]");
}

static bool read_dump(struct dump *dump)
{
	FILE *f = fopen("/sys/kernel/debug/kernel_page_tables", "re") ?:
		  fopen("/sys/kernel/debug/page_tables/kernel", "re");
	char line[256], *word;
	bool inside = true;
	struct range range;
	int len;

	dump->nr = 0;
	while (f && fgets(line, sizeof(line), f)) {
		if (!strncmp(line, "---[", 4))
			inside = is_direct_map(line);
		if (!inside || sscanf(line, "0x%lx-0x%lx%n", &range.start,
				      &range.end, &len) != 2)
			continue;
		range.attributes[0] = '\0';
		for (word = strtok(line + len, " \t\n"); word;
		     word = strtok(NULL, " \t\n"))
			if (!says_how_large(word)) {
				strcat(range.attributes, word);
				strcat(range.attributes, " ");
			}
		add_range(dump, &range);
	}
	if (f)
		fclose(f);
	return dump->nr;
}

/* Log the first range in which they differ. */
static bool same_dumps(const struct dump *a, const struct dump *b)
{
	size_t i;

	for (i = 0; i < a->nr && i < b->nr; i++) {
		const struct range *x = &a->range[i], *y = &b->range[i];

		if (x->start == y->start && x->end == y->end &&
		    !strcmp(x->attributes, y->attributes))
			continue;
		printf("# %#lx-%#lx %s became %#lx-%#lx %s\n", x->start, x->end,
		       x->attributes, y->start, y->end, y->attributes);
		return false;
	}
	return a->nr == b->nr;
}

static int rounds(void)
{
	return atoi(getenv("ROUNDS") ?: "4");
}

TEST_F_TIMEOUT(direct_map, page_tables_are_as_before_and_do_not_grow, 3600)
{
	static struct dump before, during, after;
	long free_kb = 0;
	char *secret;
	int round;

	if (access(DIRECT_MAP, R_OK))
		SKIP(return, "kernel without DEBUG_SECRETMEM");
	if (frees_unmap())
		SKIP(return, "debug_pagealloc unmaps free pages");
	ASSERT_TRUE(give_spare_memory_back());
	ASSERT_TRUE(read_dump(&before));

	for (round = 0; round < rounds(); round++) {
		secret = map_secret(BIG);
		ASSERT_NE(MAP_FAILED, (void *)secret);
		memset(secret, round + 1, BIG);
		if (!round)
			EXPECT_TRUE(read_dump(&during));
		ASSERT_EQ(0, munmap(secret, BIG));
		/* Large pages are split in the first round, and stay split. */
		if (!round)
			free_kb = read_field("/proc/meminfo", "MemFree");
	}

	ASSERT_TRUE(give_spare_memory_back());
	ASSERT_TRUE(read_dump(&after));
	EXPECT_TRUE(same_dumps(&before, &after));
	EXPECT_FALSE(same_dumps(&before, &during)) {
		TH_LOG("the dump does not even show secret pages");
	}
	EXPECT_LT(free_kb - SLACK_KB, read_field("/proc/meminfo", "MemFree"));
}

TEST_HARNESS_MAIN
