/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Where the pages of secret files come from and go to.
 */
#ifndef _MM_SECRETMEM_POOL_H
#define _MM_SECRETMEM_POOL_H

#include <linux/gfp.h>

struct page;
struct vm_area_struct;

/* How many pages are wiped together at most. */
#define SECRETMEM_WIPE_BATCH	64

struct page *secretmem_pool_get(gfp_t gfp, struct vm_area_struct *vma,
				unsigned long addr);
void secretmem_pool_wipe(struct page **pages, unsigned int nr);
void secretmem_pool_put(struct page *page);
int secretmem_pool_init(void);

#endif /* _MM_SECRETMEM_POOL_H */
