/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Search of all memory that the kernel can read, through /proc/kcore.
 *
 * To search memory for a secret is to risk making the copy that is found, so:
 *
 * - A program never holds a key, only its complement. The key itself exists in
 *   the pages filled with it and, a word at a time, in a register.
 * - What is read from /proc/kcore is read into secret memory.
 * - The kernel has the page that it read last in a buffer of its own, and may
 *   come across that buffer later. Each record has the number of its page, and
 *   pages are counted by their number, so such a copy is not a second page. Of
 *   a page that the kernel can not read there is no such copy either. What the
 *   buffer holds at the end of a scan is a page without a record.
 */
#ifndef SELFTEST_KCORE_H
#define SELFTEST_KCORE_H

#include <stdbool.h>
#include <stddef.h>

#define KCORE_KEY_WORDS		(32 / sizeof(long))
#define KCORE_RECORD_SIZE	64

struct kcore_key {
	unsigned long complement[KCORE_KEY_WORDS];
};

enum kcore_kind {
	KCORE_DIRECT_MAP,
	KCORE_IMAGE,
	KCORE_VMEMMAP,
	KCORE_VMALLOC,
	KCORE_KINDS
};

/**
 * struct kcore_search - one set of pages that are searched for
 * @key:      what all of them are filled with
 * @nr_pages: how many there are
 * @found:    how many of them were seen
 * @where:    how many pages of the kernel's address space showed one, by kind
 */
struct kcore_search {
	struct kcore_key key;
	unsigned long nr_pages;
	unsigned long found;
	unsigned long where[KCORE_KINDS];
};

/**
 * struct kcore_scan - what was read
 * @bytes: how many, by kind of address
 * @hidden: how many bytes of vmalloc areas /proc/kcore has no way to show
 * @error: why the scan proves nothing, where kcore_scan() returned -1
 */
struct kcore_scan {
	unsigned long long bytes[KCORE_KINDS];
	unsigned long long hidden;
	char error[120];
};

extern const char * const kcore_kind_name[KCORE_KINDS];

/* A new search for @nr_pages pages with a key of its own; 0, or -1 and errno. */
int kcore_search_init(struct kcore_search *search, unsigned long nr_pages);

/* Fill pages @from to @to of @search, all of which are mapped at @pages. */
void kcore_fill(const struct kcore_search *search, void *pages,
		unsigned long from, unsigned long to);

/* Does a record of @key lie at @addr? */
bool kcore_record_at(const struct kcore_key *key, const void *addr);

/* How many records of @key are there in @size bytes at @buf? */
unsigned long kcore_count_records(const struct kcore_key *key, const void *buf,
				  size_t size);

/*
 * Read all memory of the kernel once and fill in the @nr searches. Returns 0,
 * or -1 if any part of it could not be read.
 */
int kcore_scan(struct kcore_search *search, int nr, struct kcore_scan *scan);

/* The pages of the kernel's address space that showed one, of all kinds. */
unsigned long kcore_where_total(const struct kcore_search *search);

/* The word at the kernel's address @addr; 0, or -1 if it can not be read. */
int kcore_read_word(unsigned long addr, unsigned long *word);

/* A field of /proc/meminfo in KiB, -1 if there is none of that name. */
long meminfo_kb(const char *name);

#endif /* SELFTEST_KCORE_H */
