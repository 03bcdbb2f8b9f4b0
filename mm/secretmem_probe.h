/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What tests of the direct map ask of a page that is in low memory.
 */
#ifndef _MM_SECRETMEM_PROBE_H
#define _MM_SECRETMEM_PROBE_H

#include <linux/mm.h>
#include <linux/pgtable.h>
#include <linux/uaccess.h>

/* Can the kernel read the first and the last word of it? */
static inline bool first_word_readable(struct page *page)
{
	unsigned long word;

	return !copy_from_kernel_nofault(&word, page_address(page),
					 sizeof(word));
}

static inline bool last_word_readable(struct page *page)
{
	unsigned long word;

	return !copy_from_kernel_nofault(&word, page_address(page) + PAGE_SIZE -
					 sizeof(word), sizeof(word));
}

static inline bool mapped_by_large_page(struct page *page)
{
	unsigned long addr = (unsigned long)page_address(page);
	p4d_t *p4d = p4d_offset(pgd_offset_k(addr), addr);
	pud_t *pud = pud_offset(p4d, addr);

	return pud_leaf(*pud) || pmd_leaf(*pmd_offset(pud, addr));
}

#endif /* _MM_SECRETMEM_PROBE_H */
