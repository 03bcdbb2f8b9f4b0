// SPDX-License-Identifier: GPL-2.0
/*
 * No kernel mapping can read secret memory, whichever page frames it uses.
 *
 * As much memory as possible is taken as secret pages, so that they include
 * page frames which the kernel has mapped more than once, such as freed parts
 * of its own image. Then all memory that the kernel can read is searched for
 * them. The control is ordinary memory, which the same search must find.
 *
 * In /proc/kcore the kernel image ends where the image does, but its last large
 * page may extend further: the second part of the test looks into the page
 * tables instead.
 *
 * $ALIAS_PERCENT of all memory must be secret for the test to count, default
 * 80.
 */
#define _GNU_SOURCE
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "../kselftest.h"
#include "kcore.h"
#include "secretmem.h"

#define CONTROL_SIZE	(4UL << 20)
#define BALLAST_SIZE	(32UL << 20)
#define SPARE_KB	(20L << 10)	/* page tables, the control, the search */
#define SLACK_KB	(8L << 10)	/* per-CPU lists, split large pages */
#define PAGE_TABLES	"/sys/kernel/debug/page_tables/"

struct memory {
	char *pages;
	size_t size;
};

enum { CONTROL, SECRET, KINDS };

static size_t page_size;

/* Map @size bytes of a new file, and choose their contents. */
static void take(struct memory *memory, int fd, size_t size,
		 struct kcore_search *search)
{
	memory->size = size;
	if (fd < 0 || ftruncate(fd, size))
		ksft_exit_fail_msg("a file: %m\n");
	memory->pages = map_shared(fd, size);
	if (memory->pages == MAP_FAILED)
		ksft_exit_fail_msg("a mapping: %m\n");
	close(fd);
	if (kcore_search_init(search, size / page_size))
		ksft_exit_fail_msg("a key: %m\n");
}

static void take_ordinary(struct memory *memory, size_t size,
			  struct kcore_search *search)
{
	take(memory, memfd_create("alias", 0), size, search);
	kcore_fill(search, memory->pages, 0, search->nr_pages);
}

/* The mapping has the last reference to the file. */
static void give_back(struct memory *memory)
{
	munmap(memory->pages, memory->size);
}

/*
 * Freed parts of the kernel image are small blocks, which the page allocator
 * gives to movable allocations first. Occupy them with ordinary memory until
 * everything else is taken.
 */
static void take_secret(struct memory *memory, size_t size,
			struct kcore_search *search)
{
	unsigned long last = (size - BALLAST_SIZE) / page_size;
	struct kcore_search ballast_search;
	struct memory ballast;

	take_ordinary(&ballast, BALLAST_SIZE, &ballast_search);
	take(memory, memfd_secret(0), size, search);
	kcore_fill(search, memory->pages, 0, last);
	give_back(&ballast);
	kcore_fill(search, memory->pages, last, search->nr_pages);
}

static bool holds_all(const struct memory *memory,
		      const struct kcore_search *search)
{
	return kcore_count_records(&search->key, memory->pages, memory->size) ==
	       memory->size / KCORE_RECORD_SIZE;
}

/*
 * Migration may leave copies of ordinary pages behind, so more may be found
 * than there are.
 */
static bool scan(struct kcore_search *search, int nr)
{
	struct kcore_scan scan;

	if (kcore_scan(search, nr, &scan)) {
		ksft_print_msg("%s\n", scan.error);
		return false;
	}
	for (int kind = 0; kind < KCORE_KINDS; kind++) {
		ksft_print_msg("%s: %llu KiB, %lu pages of the control",
			       kcore_kind_name[kind], scan.bytes[kind] >> 10,
			       search[CONTROL].where[kind]);
		if (nr == KINDS)
			printf(", %lu of the secret", search[SECRET].where[kind]);
		printf("\n");
	}
	if (scan.hidden)
		ksft_print_msg("%s: %llu KiB not in /proc/kcore\n",
			       kcore_kind_name[KCORE_VMALLOC], scan.hidden >> 10);
	return true;
}

static bool all_found(const struct kcore_search *search)
{
	return search->found == search->nr_pages;
}

static bool none_found(const struct kcore_search *search)
{
	return !search->found && !kcore_where_total(search);
}

/*
 * Is all that was found in the direct map? Copies of a page are there as well,
 * so they do not matter here.
 */
static bool one_address(const struct kcore_search *search)
{
	return kcore_where_total(search) == search->where[KCORE_DIRECT_MAP];
}

/* Is all but SLACK_KB of @before free again, after a while? */
static bool free_again(long before)
{
	long now = 0;

	for (int tries = 0; tries < 100; tries++) {
		now = meminfo_kb("MemFree");
		if (now >= before - SLACK_KB)
			break;
		usleep(100000);
	}
	ksft_print_msg("free: %ld KiB before, %ld KiB after\n", before, now);
	return now >= before - SLACK_KB;
}

static void test_secret_memory(void)
{
	struct memory memory[KINDS];
	struct kcore_search search[KINDS];
	long total = meminfo_kb("MemTotal"), before = meminfo_kb("MemFree");
	long kb = (meminfo_kb("MemAvailable") - SPARE_KB) & ~1023L;
	long percent = kb * 100 / total;
	bool ok;

	if (percent < atol(getenv("ALIAS_PERCENT") ?: "80"))
		ksft_exit_fail_msg("only %ld %% of %ld KiB can be taken\n",
				   percent, total);

	take_secret(&memory[SECRET], kb << 10, &search[SECRET]);
	take_ordinary(&memory[CONTROL], CONTROL_SIZE, &search[CONTROL]);
	ksft_print_msg("%lu pages are secret, %lu are the control\n",
		       search[SECRET].nr_pages, search[CONTROL].nr_pages);

	ok = holds_all(&memory[SECRET], &search[SECRET]) && scan(search, KINDS);
	ksft_test_result(ok && all_found(&search[CONTROL]),
			 "the scan finds all pages of ordinary memory\n");
	ksft_test_result(ok && all_found(&search[CONTROL]) &&
			 none_found(&search[SECRET]),
			 "no kernel mapping reads a secret page, %ld %% of memory being secret\n",
			 percent);

	give_back(&memory[SECRET]);
	ok = scan(search, KINDS);
	ksft_test_result(ok && all_found(&search[CONTROL]) &&
			 none_found(&search[SECRET]),
			 "nothing is left of the secret once its file is closed\n");

	give_back(&memory[CONTROL]);
	ksft_test_result(free_again(before), "the memory is free again\n");

	take_ordinary(&memory[CONTROL], kb << 10, &search[CONTROL]);
	ok = scan(search, 1);
	ksft_test_result(ok && all_found(&search[CONTROL]) &&
			 one_address(&search[CONTROL]),
			 "the kernel can read the memory again, and at one address\n");
	give_back(&memory[CONTROL]);
}

/*
 * The high mapping of the kernel image
 */

enum {
	TEXT_START, TEXT_END, RODATA_START, RODATA_END, DATA_START, INIT_START,
	INIT_END, LOCKS_START, LOCKS_END, BRK_END, SYMBOLS
};

static const char * const symbol_name[SYMBOLS] = {
	[TEXT_START]	= "_text",
	[TEXT_END]	= "_etext",
	[RODATA_START]	= "__start_rodata",
	[RODATA_END]	= "__end_rodata",
	[DATA_START]	= "_sdata",
	[INIT_START]	= "__init_begin",
	[INIT_END]	= "__init_end",
	[LOCKS_START]	= "__smp_locks",
	[LOCKS_END]	= "__smp_locks_end",
	[BRK_END]	= "_brk_end",
};

struct range {
	unsigned long start;
	unsigned long end;
};

/* The present parts of the high mapping. */
static struct range mapped[1024];
static int nr_mapped;

/* Are all symbols known? */
static bool read_symbols(unsigned long symbol[SYMBOLS])
{
	FILE *f = fopen("/proc/kallsyms", "r");
	char line[512], name[256];
	unsigned long addr;
	int nr = 0;

	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx %*c %255s", &addr, name) != 2)
			continue;
		for (int n = 0; n < SYMBOLS; n++) {
			if (addr && !symbol[n] && !strcmp(name, symbol_name[n])) {
				symbol[n] = addr;
				nr++;
			}
		}
	}
	if (f)
		fclose(f);
	return nr == SYMBOLS;
}

/* Add the present parts of the high mapping in @path; is there one at all? */
static bool read_page_tables(const char *path)
{
	FILE *f = fopen(path, "r");
	bool high = false, seen = false;
	struct range range;
	char line[256];

	while (f && fgets(line, sizeof(line), f)) {
		if (!strncmp(line, "---[", 4)) {
			high = strstr(line, "High Kernel Mapping");
			seen |= high;
		}
		if (!high || (!strstr(line, " RW ") && !strstr(line, " ro ")) ||
		    sscanf(line, "0x%lx-0x%lx", &range.start, &range.end) != 2)
			continue;
		if (nr_mapped == sizeof(mapped) / sizeof(range))
			ksft_exit_fail_msg("too many mappings\n");
		mapped[nr_mapped++] = range;
	}
	if (f)
		fclose(f);
	return seen;
}

static bool is_mapped(unsigned long start, unsigned long end)
{
	for (int n = 0; n < nr_mapped; n++) {
		if (mapped[n].start < end && mapped[n].end > start)
			return true;
	}
	return false;
}

/* @start to @end were freed: is none of it mapped? */
static bool is_gone(const char *what, unsigned long start, unsigned long end)
{
	bool gone = !is_mapped(start, end);

	ksft_print_msg("%s, %#lx-%#lx: %s\n", what, start, end,
		       gone ? "not mapped" : "MAPPED");
	return gone && start <= end;
}

static unsigned long page_align(unsigned long addr)
{
	return (addr + page_size - 1) & ~(page_size - 1);
}

/*
 * The list of lock prefixes is kept if the image was patched for one processor
 * and more can come.
 */
static bool smp_locks_freed(void)
{
	return sysconf(_SC_NPROCESSORS_ONLN) > 1 ||
	       sysconf(_SC_NPROCESSORS_CONF) == 1;
}

static void test_kernel_image(void)
{
	static const char name[] = "what was freed of the kernel image is not mapped";
	unsigned long symbol[SYMBOLS] = {}, brk_end;
	bool ok;

	if (!read_page_tables(PAGE_TABLES "kernel")) {
		ksft_test_result_skip("%s: no high mapping in " PAGE_TABLES "\n",
				      name);
		return;
	}
	/* With page table isolation, user space has its own page tables. */
	read_page_tables(PAGE_TABLES "current_user");

	if (!read_symbols(symbol) || kcore_read_word(symbol[BRK_END], &brk_end)) {
		ksft_test_result_skip("%s: symbols not known\n", name);
		return;
	}

	/*
	 * The control: parts of the image that are in use are seen to be
	 * mapped.
	 */
	ok = is_mapped(symbol[TEXT_START], symbol[TEXT_START] + page_size) &&
	     is_mapped(brk_end - 1, brk_end);
	if (!ok)
		ksft_print_msg("not even the image in use is seen mapped\n");

	ok &= is_gone("behind text", page_align(symbol[TEXT_END]),
		      symbol[RODATA_START]);
	ok &= is_gone("behind read-only data", page_align(symbol[RODATA_END]),
		      symbol[DATA_START]);
	ok &= is_gone("init", symbol[INIT_START], symbol[INIT_END]);
	if (smp_locks_freed())
		ok &= is_gone("lock prefixes", symbol[LOCKS_START],
			      symbol[LOCKS_END]);
	ok &= is_gone("behind the image", page_align(brk_end), -1UL);
	ksft_test_result(ok, "%s\n", name);
}

int main(void)
{
	int fd = memfd_secret(0);

	setvbuf(stdout, NULL, _IOLBF, 0);
	ksft_print_header();
	if (fd < 0)
		ksft_exit_skip("memfd_secret: %m\n");
	close(fd);
	page_size = getpagesize();
	if (limit_locked(RLIM_INFINITY))
		ksft_print_msg("RLIMIT_MEMLOCK: %m\n");

	ksft_set_plan(6);
	test_secret_memory();
	test_kernel_image();
	ksft_print_cnts();
	return ksft_get_fail_cnt() ? KSFT_FAIL : KSFT_PASS;
}
