/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Search of all memory that the kernel can read, through /proc/kcore.
 *
 * A program that searches memory for a secret may find a copy that it made
 * itself. So:
 *
 * - A program never holds a key, only its complement. The key itself exists in
 *   the pages filled with it and, a word at a time, in a register.
 * - What is read from /proc/kcore is read into secret memory.
 * - The kernel keeps the page that it read last in a buffer of its own, which
 *   the search may reach later. Each record has the number of its page, and
 *   pages are counted by number, so such a copy does not count as a second page.
 *   A page that the kernel cannot read leaves no such copy either. At the end of
 *   a scan, the buffer holds a page without a record.
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
 * @where:    how many pages of the kernel's address space had one, by kind
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
 * @hidden: how many bytes of vmalloc areas /proc/kcore cannot show
 * @error: why the scan proves nothing, if kcore_scan() returned -1
 */
struct kcore_scan {
	unsigned long long bytes[KCORE_KINDS];
	unsigned long long hidden;
	char error[120];
};

extern const char * const kcore_kind_name[KCORE_KINDS];

/* A new search for @nr_pages pages with its own key; 0, or -1 and errno. */
int kcore_search_init(struct kcore_search *search, unsigned long nr_pages);

/* Fill pages @from to @to of @search; @pages is where page 0 is mapped. */
void kcore_fill(const struct kcore_search *search, void *pages,
		unsigned long from, unsigned long to);

/* Is there a record of @key at @addr? */
bool kcore_record_at(const struct kcore_key *key, const void *addr);

/* How many records of @key are there in @size bytes at @buf? */
unsigned long kcore_count_records(const struct kcore_key *key, const void *buf,
				  size_t size);

/*
 * Read all memory of the kernel once and fill in the @nr searches. Returns 0,
 * or -1 if any part of it could not be read.
 */
int kcore_scan(struct kcore_search *search, int nr, struct kcore_scan *scan);

/* How many pages of the kernel's address space had a record, of all kinds. */
unsigned long kcore_where_total(const struct kcore_search *search);

/* The word at the kernel address @addr; 0, or -1 if it cannot be read. */
int kcore_read_word(unsigned long addr, unsigned long *word);

/* A field of /proc/meminfo in KiB; -1 if there is none of that name. */
long meminfo_kb(const char *name);

#endif /* SELFTEST_KCORE_H */
