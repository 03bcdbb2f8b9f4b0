/* SPDX-License-Identifier: GPL-2.0 */
/*
 * How is a lowmem page mapped? Helpers for mm/secretmem_debug.c and the KUnit
 * tests.
 */
#ifndef _MM_SECRETMEM_PROBE_H
#define _MM_SECRETMEM_PROBE_H

#include <linux/mm.h>
#include <linux/pgtable.h>
#include <linux/uaccess.h>

/* Can the kernel read the first word of @page in the direct map? */
static inline bool first_word_readable(struct page *page)
{
	unsigned long word;

	return !copy_from_kernel_nofault(&word, page_address(page),
					 sizeof(word));
}

/* Can the kernel read the last word of @page in the direct map? */
static inline bool last_word_readable(struct page *page)
{
	unsigned long word;

	return !copy_from_kernel_nofault(&word, page_address(page) + PAGE_SIZE -
					 sizeof(word), sizeof(word));
}

/* Is @page part of a large page of the direct map? */
static inline bool mapped_by_large_page(struct page *page)
{
	unsigned long addr = (unsigned long)page_address(page);
	p4d_t *p4d = p4d_offset(pgd_offset_k(addr), addr);
	pud_t *pud = pud_offset(p4d, addr);

	return pud_leaf(*pud) || pmd_leaf(*pmd_offset(pud, addr));
}

#endif /* _MM_SECRETMEM_PROBE_H */
