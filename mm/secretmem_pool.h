/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Where the pages of secret files come from and go to.
 */
#ifndef _MM_SECRETMEM_POOL_H
#define _MM_SECRETMEM_POOL_H

#include <linux/gfp.h>

struct list_head;
struct page;
struct vm_area_struct;

struct page *secretmem_pool_get(gfp_t gfp, struct vm_area_struct *vma,
				unsigned long addr);
void secretmem_pool_put(struct list_head *pages);
int secretmem_pool_init(void);
void secretmem_give_all_back(void);

#endif /* _MM_SECRETMEM_POOL_H */
