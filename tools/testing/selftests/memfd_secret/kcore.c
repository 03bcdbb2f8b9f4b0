// SPDX-License-Identifier: GPL-2.0
/*
 * Search of all memory that the kernel can read, through /proc/kcore.
 *
 * /proc/kcore is an ELF core file of the kernel. Its segments for RAM (the
 * direct map), for the kernel image and for the memory map are read from end to
 * end. The segments for vmalloc areas and modules are terabytes of address
 * space with a few areas in it; /proc/vmallocinfo lists these. Areas of devices
 * are skipped, as /proc/kcore shows them as zeros. Segments below the direct
 * map, where RISC-V has its vmalloc areas, have a negative offset in the file,
 * at which nothing can be read.
 *
 * Where the kernel cannot read an address, /proc/kcore has zeros. A read that
 * fails altogether makes the scan fail, and so does a direct map that is
 * smaller than the memory of the machine.
 */
#define _GNU_SOURCE
#define _FILE_OFFSET_BITS 64
#include <errno.h>
#include <fcntl.h>
#include <linux/elf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "kcore.h"
#include "secretmem.h"

#define CHUNK_SIZE	(256 << 10)
#define KPTR_RESTRICT	"/proc/sys/kernel/kptr_restrict"
#define RECORD_WORDS	(KCORE_RECORD_SIZE / sizeof(long))
#define PAGE_WORD	KCORE_KEY_WORDS		/* a record's page number */

#if __SIZEOF_LONG__ == 8
#define elf_hdr		elf64_hdr
#define elf_phdr	elf64_phdr
#else
#define elf_hdr		elf32_hdr
#define elf_phdr	elf32_phdr
#endif

/* Note the error for the caller of kcore_scan(). */
#define fail(kcore, ...) \
	(snprintf((kcore)->scan->error, sizeof((kcore)->scan->error), \
		  __VA_ARGS__), -1)

struct area {
	unsigned long start;
	unsigned long end;
};

struct kcore {
	int fd;
	struct elf_phdr *segment;
	size_t nr_segments;
	struct area *area;
	size_t nr_areas;
	char *buf;			/* CHUNK_SIZE bytes of secret memory */
	struct kcore_search *search;
	unsigned char **seen;		/* for each search, one byte a page */
	int nr_searches;
	off_t harmless;			/* of a page without any record */
	struct kcore_scan *scan;
};

const char * const kcore_kind_name[KCORE_KINDS] = {
	[KCORE_DIRECT_MAP]	= "direct map",
	[KCORE_IMAGE]		= "kernel image",
	[KCORE_VMEMMAP]		= "memory map",
	[KCORE_VMALLOC]		= "vmalloc and modules",
};

/*
 * Keys and records
 */

/*
 * Used between two words of a key, so that the compiler never has all of it in
 * registers: from there it would get to the stack, or to the kernel's copy of
 * the registers.
 */
static inline void barrier(void)
{
	asm volatile("" ::: "memory");
}

int kcore_search_init(struct kcore_search *search, unsigned long nr_pages)
{
	struct kcore_key *key = &search->key;

	memset(search, 0, sizeof(*search));
	search->nr_pages = nr_pages;
	if (getrandom(key, sizeof(*key), 0) != sizeof(*key))
		return -1;
	return 0;
}

static void write_record(const struct kcore_key *key, void *addr,
			 unsigned long page)
{
	unsigned long *word = addr;

	for (size_t n = 0; n < KCORE_KEY_WORDS; n++) {
		word[n] = ~key->complement[n];
		barrier();
	}
	word[PAGE_WORD] = page;
}

void kcore_fill(const struct kcore_search *search, void *pages,
		unsigned long from, unsigned long to)
{
	size_t page_size = getpagesize();

	for (unsigned long page = from; page < to; page++) {
		char *addr = (char *)pages + page * page_size;

		for (size_t n = 0; n < page_size; n += KCORE_RECORD_SIZE)
			write_record(&search->key, addr + n, page);
	}
}

bool kcore_record_at(const struct kcore_key *key, const void *addr)
{
	const unsigned long *word = addr;

	for (size_t n = 0; n < KCORE_KEY_WORDS; n++) {
		if ((word[n] ^ key->complement[n]) != ~0UL)
			return false;
		barrier();
	}
	return true;
}

/* The first record of @key in words @from to @nr, or @nr if there is none. */
static size_t next_record(const struct kcore_key *key, const unsigned long *word,
			  size_t from, size_t nr)
{
	unsigned long first = ~key->complement[0];

	for (; from + RECORD_WORDS <= nr; from++) {
		if (word[from] == first && kcore_record_at(key, word + from))
			return from;
	}
	return nr;
}

unsigned long kcore_count_records(const struct kcore_key *key, const void *buf,
				  size_t size)
{
	size_t nr = size / sizeof(unsigned long);
	unsigned long count = 0;

	for (size_t at = next_record(key, buf, 0, nr); at < nr;
	     at = next_record(key, buf, at + RECORD_WORDS, nr))
		count++;
	return count;
}

unsigned long kcore_where_total(const struct kcore_search *search)
{
	unsigned long total = 0;

	for (int kind = 0; kind < KCORE_KINDS; kind++)
		total += search->where[kind];
	return total;
}

/*
 * Small files
 */

long meminfo_kb(const char *name)
{
	FILE *f = fopen("/proc/meminfo", "r");
	size_t len = strlen(name);
	long value = -1;
	char line[128];

	while (f && value < 0 && fgets(line, sizeof(line), f)) {
		if (!strncmp(line, name, len) && line[len] == ':')
			value = strtol(line + len + 1, NULL, 10);
	}
	if (f)
		fclose(f);
	return value;
}

/* Set kptr_restrict to @new and return what it was; -1 if that fails. */
static int swap_kptr_restrict(int new)
{
	FILE *f = fopen(KPTR_RESTRICT, "r+");
	int old;

	if (!f)
		return -1;
	if (fscanf(f, "%d", &old) != 1)
		old = -1;
	rewind(f);
	fprintf(f, "%d\n", new);
	if (fclose(f))
		return -1;
	return old;
}

/*
 * What to read
 */

static int add_area(struct kcore *kcore, unsigned long start, unsigned long end)
{
	size_t nr = kcore->nr_areas;
	struct area *area;

	if (!(nr & (nr + 1))) {
		area = realloc(kcore->area, (2 * nr + 2) * sizeof(*area));
		if (!area)
			return fail(kcore, "no memory for the vmalloc areas");
		kcore->area = area;
	}
	kcore->area[nr].start = start;
	kcore->area[nr].end = end;
	kcore->nr_areas++;
	return 0;
}

static int parse_areas(struct kcore *kcore, FILE *f)
{
	unsigned long start, end, size;
	char line[512];

	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "0x%lx-0x%lx %lu", &start, &end, &size) != 3)
			return fail(kcore, "/proc/vmallocinfo: not understood");
		if (!start || end - start != size)
			return fail(kcore, "/proc/vmallocinfo hides addresses");
		if (strstr(line, " ioremap"))
			continue;
		if (add_area(kcore, start, end))
			return -1;
	}
	if (!kcore->nr_areas)
		return fail(kcore, "/proc/vmallocinfo has no areas");
	return 0;
}

static int read_areas(struct kcore *kcore)
{
	int restricted = swap_kptr_restrict(1);
	FILE *f;
	int ret;

	if (restricted < 0)
		return fail(kcore, KPTR_RESTRICT ": %m");

	f = fopen("/proc/vmallocinfo", "r");
	if (f) {
		ret = parse_areas(kcore, f);
		fclose(f);
	} else {
		ret = fail(kcore, "/proc/vmallocinfo: %m");
	}
	if (swap_kptr_restrict(restricted) < 0)
		return fail(kcore, KPTR_RESTRICT ": %m");
	return ret;
}

static int read_segments(struct kcore *kcore)
{
	struct elf_hdr ehdr;
	size_t size;

	if (pread(kcore->fd, &ehdr, sizeof(ehdr), 0) != sizeof(ehdr) ||
	    memcmp(ehdr.e_ident, ELFMAG, SELFMAG) ||
	    ehdr.e_phentsize != sizeof(*kcore->segment))
		return fail(kcore, "/proc/kcore: no ELF header");

	size = ehdr.e_phnum * sizeof(*kcore->segment);
	kcore->segment = malloc(size);
	if (!kcore->segment)
		return fail(kcore, "no memory for the segments");
	if (pread(kcore->fd, kcore->segment, size, ehdr.e_phoff) !=
	    (ssize_t)size)
		return fail(kcore, "/proc/kcore: no program headers");
	kcore->nr_segments = ehdr.e_phnum;
	return 0;
}

static bool has_physical_address(const struct elf_phdr *segment)
{
	return segment->p_type == PT_LOAD &&
	       segment->p_paddr + 1 != 0;
}

static bool same_memory(const struct elf_phdr *part, const struct elf_phdr *whole)
{
	return whole != part && has_physical_address(whole) &&
	       part->p_paddr >= whole->p_paddr &&
	       part->p_paddr + part->p_memsz <=
	       whole->p_paddr + whole->p_memsz;
}

static bool has_areas(const struct kcore *kcore, const struct elf_phdr *segment)
{
	for (size_t n = 0; n < kcore->nr_areas; n++) {
		if (kcore->area[n].start - segment->p_vaddr < segment->p_memsz)
			return true;
	}
	return false;
}

/*
 * Segments have no names. The kernel image lies in RAM, so a segment for RAM
 * contains it as well. The memory map is a small fraction of the memory.
 */
static enum kcore_kind kind_of(const struct kcore *kcore,
			       const struct elf_phdr *segment)
{
	unsigned long long memory = meminfo_kb("MemTotal") * 1024ULL;

	if (!has_physical_address(segment)) {
		if (has_areas(kcore, segment) || segment->p_memsz > memory / 4)
			return KCORE_VMALLOC;
		return KCORE_VMEMMAP;
	}
	for (size_t n = 0; n < kcore->nr_segments; n++) {
		if (same_memory(segment, &kcore->segment[n]))
			return KCORE_IMAGE;
	}
	return KCORE_DIRECT_MAP;
}

/* How much memory the direct map covers: with highmem, not all of it. */
static unsigned long long direct_map_size(void)
{
	long low = meminfo_kb("LowTotal");

	return (low < 0 ? meminfo_kb("MemTotal") : low) * 1024ULL;
}

/*
 * Reading
 */

/* Count the records in this page; false if there is none. */
static bool look_at_page(struct kcore *kcore, const void *addr,
			 enum kcore_kind kind)
{
	size_t nr = getpagesize() / sizeof(unsigned long);
	const unsigned long *word = addr;
	bool any = false;

	for (int n = 0; n < kcore->nr_searches; n++) {
		struct kcore_search *search = &kcore->search[n];
		size_t at = next_record(&search->key, word, 0, nr);

		if (at < nr) {
			search->where[kind]++;
			any = true;
		}
		for (; at < nr; at = next_record(&search->key, word,
						 at + RECORD_WORDS, nr)) {
			unsigned long page = word[at + PAGE_WORD];

			if (page >= search->nr_pages || kcore->seen[n][page])
				continue;
			kcore->seen[n][page] = 1;
			search->found++;
		}
	}
	return any;
}

static int scan_range(struct kcore *kcore, const struct elf_phdr *segment,
		      unsigned long start, unsigned long end, enum kcore_kind kind)
{
	size_t page_size = getpagesize();
	ssize_t nr;

	for (; start < end; start += nr) {
		size_t size = end - start < CHUNK_SIZE ? end - start : CHUNK_SIZE;
		off_t offset = segment->p_offset + (start - segment->p_vaddr);

		nr = pread(kcore->fd, kcore->buf, size, offset);
		if (nr < 0 && errno == EFAULT && segment->p_memsz == page_size)
			return 0;	/* the vsyscall page: not readable */
		if (nr <= 0 || nr % page_size)
			return fail(kcore, "/proc/kcore, %s at %#lx: %s",
				    kcore_kind_name[kind], start,
				    nr < 0 ? strerror(errno) : "short read");
		for (ssize_t n = 0; n < nr; n += page_size) {
			if (!look_at_page(kcore, kcore->buf + n, kind) &&
			    kind != KCORE_VMALLOC && kcore->buf[n])
				kcore->harmless = offset + n;
		}
		kcore->scan->bytes[kind] += nr;
	}
	return 0;
}

static bool can_be_read(const struct elf_phdr *segment)
{
	return (off_t)segment->p_offset >= 0;
}

static int scan_areas(struct kcore *kcore, const struct elf_phdr *segment)
{
	unsigned long last = segment->p_vaddr + (segment->p_memsz - 1);

	for (size_t n = 0; n < kcore->nr_areas; n++) {
		struct area *area = &kcore->area[n];

		if (area->start < segment->p_vaddr || area->end - 1 > last)
			continue;
		if (!can_be_read(segment)) {
			kcore->scan->hidden += area->end - area->start;
			continue;
		}
		if (scan_range(kcore, segment, area->start, area->end,
			       KCORE_VMALLOC))
			return -1;
	}
	return 0;
}

/*
 * The kernel image need not end at a page boundary; the file has whole pages.
 */
static int scan_segment(struct kcore *kcore, const struct elf_phdr *segment)
{
	enum kcore_kind kind = kind_of(kcore, segment);
	unsigned long page_mask = getpagesize() - 1;

	if (segment->p_type != PT_LOAD)
		return 0;
	if (kind == KCORE_VMALLOC)
		return scan_areas(kcore, segment);
	if (!can_be_read(segment))
		return 0;
	return scan_range(kcore, segment, segment->p_vaddr & ~page_mask,
			  (segment->p_vaddr + segment->p_memsz + page_mask) &
			  ~page_mask, kind);
}

/*
 * The kernel's buffer is freed with the contents it read last. Make these a
 * page without records that is known to be readable, as its first byte is not
 * 0.
 */
static int clear_kernel_buffer(struct kcore *kcore)
{
	if (pread(kcore->fd, kcore->buf, getpagesize(), kcore->harmless) < 0)
		return fail(kcore, "/proc/kcore: %m");
	return 0;
}

static int scan_segments(struct kcore *kcore)
{
	unsigned long long memory = direct_map_size();
	unsigned long long vmalloc = 0;

	for (size_t n = 0; n < kcore->nr_segments; n++) {
		if (scan_segment(kcore, &kcore->segment[n]))
			return -1;
	}
	for (size_t n = 0; n < kcore->nr_areas; n++)
		vmalloc += kcore->area[n].end - kcore->area[n].start;
	if (kcore->scan->bytes[KCORE_VMALLOC] + kcore->scan->hidden != vmalloc)
		return fail(kcore, "a vmalloc area is in no segment, or in two");
	if (kcore->scan->bytes[KCORE_DIRECT_MAP] < memory)
		return fail(kcore, "%llu MiB of %llu MiB memory read",
			    kcore->scan->bytes[KCORE_DIRECT_MAP] >> 20,
			    memory >> 20);
	return clear_kernel_buffer(kcore);
}

static int prepare(struct kcore *kcore)
{
	int fd;

	kcore->fd = open("/proc/kcore", O_RDONLY | O_CLOEXEC);
	if (kcore->fd < 0)
		return fail(kcore, "/proc/kcore: %m");

	fd = secret_file(CHUNK_SIZE);
	if (fd >= 0) {
		kcore->buf = map_shared(fd, CHUNK_SIZE);
		close(fd);
	}
	if (kcore->buf == MAP_FAILED)
		return fail(kcore, "no secret memory to read to: %m");

	kcore->seen = calloc(kcore->nr_searches, sizeof(*kcore->seen));
	for (int n = 0; kcore->seen && n < kcore->nr_searches; n++) {
		struct kcore_search *search = &kcore->search[n];

		search->found = 0;
		memset(search->where, 0, sizeof(search->where));
		kcore->seen[n] = calloc(search->nr_pages, 1);
		if (!kcore->seen[n])
			return fail(kcore, "no memory for a list of pages");
	}
	if (!kcore->seen)
		return fail(kcore, "no memory for a list of pages");
	return 0;
}

static void finish(struct kcore *kcore)
{
	for (int n = 0; kcore->seen && n < kcore->nr_searches; n++)
		free(kcore->seen[n]);
	free(kcore->seen);
	free(kcore->area);
	free(kcore->segment);
	if (kcore->buf != MAP_FAILED)
		munmap(kcore->buf, CHUNK_SIZE);
	if (kcore->fd >= 0)
		close(kcore->fd);
}

int kcore_scan(struct kcore_search *search, int nr, struct kcore_scan *scan)
{
	struct kcore kcore = {
		.fd = -1,
		.buf = MAP_FAILED,
		.search = search,
		.nr_searches = nr,
		.scan = scan,
	};
	int ret;

	memset(scan, 0, sizeof(*scan));
	ret = prepare(&kcore);
	if (!ret)
		ret = read_areas(&kcore);
	if (!ret)
		ret = read_segments(&kcore);
	if (!ret)
		ret = scan_segments(&kcore);
	finish(&kcore);
	return ret;
}

int kcore_read_word(unsigned long addr, unsigned long *word)
{
	struct kcore_scan scan;
	struct kcore kcore = { .scan = &scan };
	int ret = -1;

	kcore.fd = open("/proc/kcore", O_RDONLY | O_CLOEXEC);
	if (kcore.fd < 0)
		return -1;
	if (!read_segments(&kcore)) {
		for (size_t n = 0; ret && n < kcore.nr_segments; n++) {
			struct elf_phdr *segment = &kcore.segment[n];
			unsigned long offset = addr - segment->p_vaddr;

			if (segment->p_type == PT_LOAD &&
			    offset < segment->p_memsz &&
			    pread(kcore.fd, word, sizeof(*word),
				  segment->p_offset + offset) == sizeof(*word))
				ret = 0;
		}
	}
	free(kcore.segment);
	close(kcore.fd);
	return ret;
}
