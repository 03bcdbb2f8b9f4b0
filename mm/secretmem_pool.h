/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Where the pages of secret files come from and go to.
 */
#ifndef _MM_SECRETMEM_POOL_H
#define _MM_SECRETMEM_POOL_H

#include <linux/gfp.h>
#include <linux/types.h>

struct list_head;
struct mempolicy;
struct page;

struct page *secretmem_pool_get(gfp_t gfp, struct mempolicy *policy,
				pgoff_t index);
void secretmem_pool_put(struct list_head *pages);
void secretmem_pool_zero(struct page *page, unsigned int offset,
			 unsigned int len);
int secretmem_pool_init(void);
bool secretmem_pool_has_lost(void);
bool secretmem_unmapped(void);
void secretmem_give_all_back(void);

#endif /* _MM_SECRETMEM_POOL_H */
