// SPDX-License-Identifier: GPL-2.0
/*
 * Blocks of secret memory: how their pages are taken from the page allocator
 * and off the direct map, and how they are mapped again and given back.
 */

#include <linux/atomic.h>
#include <linux/bitmap.h>
#include <linux/compiler.h>
#include <linux/gfp.h>
#include <linux/list.h>
#include <linux/lockdep.h>
#include <linux/mm.h>
#include <linux/overflow.h>
#include <linux/page-flags.h>
#include <linux/page_ref.h>
#include <linux/set_memory.h>
#include <linux/slab.h>
#include <linux/spinlock.h>

#include "secretmem_pool_internal.h"

/*
 * Taking
 */

/*
 * A newly allocated page is in the direct map, and stale TLB entries for other
 * addresses of it can remain: vmalloc and the per-CPU allocator remove their
 * mappings before they free the pages, and flush later. vm_unmap_aliases()
 * would flush for areas that are freed already, and miss a per-CPU chunk that
 * is about to be freed. So flush everything.
 */
static int unmap_pages(struct secretmem_pool *pool, struct page *pages,
		       unsigned int nr)
{
	int err = set_direct_map_valid_noflush(pages, nr, false);

	if (!err)
		secretmem_pool_flush(pool);
	return err;
}

/**
 * secretmem_block_create() - take a block of pages off the direct map
 * @gfp:   how to allocate the pages
 * @order: of the block, at most BLOCK_ORDER
 * @nid:   the node to allocate from
 * @nodes: the nodes the allocation may fall back to, or NULL for any
 *
 * Context: may sleep.
 *
 * Return: a block of free pages that is in no list yet, or NULL if there is no
 * memory.
 */
struct secretmem_block *secretmem_block_create(gfp_t gfp, unsigned int order,
					       int nid, nodemask_t *nodes)
{
	unsigned int nr = 1U << order, i;
	struct secretmem_block *block;

	block = kzalloc(struct_size(block, free, 2 * BITS_TO_LONGS(nr)),
			GFP_KERNEL);
	if (!block)
		return NULL;

	block->pages = __alloc_pages_nodemask(gfp | __GFP_ZERO, order, nid,
					      nodes);
	if (!block->pages)
		goto err_free_block;

	block->pool = secretmem_pools[page_to_nid(block->pages)];
	atomic_long_inc(&nr_secretmem_blocks);
	/*
	 * The pages are in one large page: if this fails, nothing has changed.
	 */
	if (unmap_pages(block->pool, block->pages, nr))
		goto err_free_pages;

	split_page(block->pages, order);
	/*
	 * Pairs with the atomic operations of memory_failure(), which sets the
	 * flag and then looks at the page count: either it finds the count that
	 * split_page() has set, or the flag is seen here.
	 */
	smp_mb();
	for (i = 0; i < nr; i++) {
		set_page_private(block->pages + i, (unsigned long)block);
		/*
		 * The page may have failed before split_page(), when all pages
		 * but the first had a count of 0, so that memory_failure() took
		 * no reference. If the pool's were the only one,
		 * unpoison_memory() would drop it.
		 */
		if (PageHWPoison(block->pages + i))
			get_page(block->pages + i);
	}
	INIT_LIST_HEAD(&block->list);
	block->order = order;
	block->nr_pages = nr;
	block->nr_free = nr;
	block->wiped = block->free + BITS_TO_LONGS(nr);
	bitmap_fill(block->free, nr);
	add_events(PAGES_TAKEN, nr);
	if (order == BLOCK_ORDER)
		add_events(BLOCKS_TAKEN, 1);
	return block;

err_free_pages:
	atomic_long_dec(&nr_secretmem_blocks);
	__free_pages(block->pages, order);
err_free_block:
	kfree(block);
	return NULL;
}

/*
 * Giving back
 */

/**
 * secretmem_block_break() - hand out no more pages of a block
 * @block: the block
 *
 * From now on, free pages of the block are given back instead.
 *
 * Context: pool->lock is held.
 */
void secretmem_block_break(struct secretmem_block *block)
{
	lockdep_assert_held(&block->pool->lock);

	if (!block->broken && block->order == BLOCK_ORDER &&
	    block->nr_free < block->nr_pages)
		add_events(BLOCKS_SPLIT, 1);
	block->broken = true;
}

/*
 * Take all free pages of a block, which is in no list afterwards. Returns true
 * if some of them are wiped pages: then all TLBs must be flushed first.
 */
static bool block_claim(struct secretmem_block *block, unsigned long *claimed)
{
	struct secretmem_pool *pool = block->pool;
	unsigned int nr = 1U << block->order;
	bool stale;

	lockdep_assert_held(&pool->lock);

	secretmem_block_see_flush(block);
	stale = !bitmap_empty(block->wiped, nr);
	bitmap_or(claimed, block->free, block->wiped, nr);
	bitmap_zero(block->free, nr);
	bitmap_zero(block->wiped, nr);
	list_del_init(&block->list);
	pool->nr_free -= block->nr_free;
	block->nr_free = 0;
	return stale;
}

/*
 * Account for claimed pages after giving back: @given were freed, @lost have
 * failed, and those still in @claimed become free pages again. The block may be
 * freed.
 */
static void block_finish_return(struct secretmem_block *block,
				unsigned long *claimed, unsigned int given,
				unsigned int lost)
{
	struct secretmem_pool *pool = block->pool;
	unsigned int nr = 1U << block->order;
	unsigned int left = bitmap_weight(claimed, nr);
	bool gone;

	spin_lock(&pool->lock);
	bitmap_or(block->free, block->free, claimed, nr);
	block->nr_free += left;
	block->nr_pages -= given;
	pool->nr_free += left;
	pool->nr_used += lost;
	pool->nr_lost += lost;
	if (left)
		list_move(&block->list, &pool->partial);
	gone = !block->nr_pages;
	if (gone)
		list_del(&block->all);
	spin_unlock(&pool->lock);

	if (gone) {
		atomic_long_dec(&nr_secretmem_blocks);
		kfree(block);
	}
}

static void free_mapped_pages(struct page *pages, unsigned int nr)
{
	unsigned int i;

	for (i = 0; i < nr; i++)
		put_page(pages + i);
}

/*
 * Free a whole block in one piece, unless one of its pages has another
 * reference.
 */
static void free_mapped_block(struct page *pages, unsigned int order)
{
	unsigned int nr = 1U << order, i;

	for (i = 0; i < nr; i++)
		if (!page_ref_freeze(pages + i, 1))
			break;
	if (i == nr) {
		page_ref_unfreeze(pages, 1);
		__free_pages(pages, order);
		return;
	}
	while (i--)
		page_ref_unfreeze(pages + i, 1);
	free_mapped_pages(pages, nr);
}

/*
 * Map the pages that were claimed from @block, and free them. If a large page
 * has to be split and there is no memory for that, they become free pages
 * again. The block may be gone afterwards. Returns the number of pages that
 * were freed.
 */
static unsigned int block_give_back(struct secretmem_block *block,
				    unsigned long *claimed)
{
	unsigned int nr = 1U << block->order;
	unsigned int start, end, i, given = 0, lost = 0;

	/*
	 * The CPU may access mapped memory speculatively: never map a failed
	 * page.
	 */
	for_each_set_bit(start, claimed, nr) {
		if (!PageHWPoison(block->pages + start))
			continue;
		__clear_bit(start, claimed);
		lost++;
	}

	for (start = find_first_bit(claimed, nr); start < nr;
	     start = find_next_bit(claimed, nr, end)) {
		struct page *pages = block->pages + start;

		end = find_next_zero_bit(claimed, nr, start);
		if (set_direct_map_valid_noflush(pages, end - start, true))
			continue;
		bitmap_clear(claimed, start, end - start);
		given += end - start;
		/*
		 * page->private must be 0 when a page is freed. The page
		 * allocator clears only that of the first page of a block.
		 */
		for (i = start; i < end; i++)
			set_page_private(block->pages + i, 0);
		if (end - start == nr)
			free_mapped_block(pages, block->order);
		else
			free_mapped_pages(pages, end - start);
		if (end - start == BLOCK_PAGES)
			add_events(BLOCKS_RETURNED, 1);
	}
	add_events(PAGES_RETURNED, given);
	block_finish_return(block, claimed, given, lost);
	return given;
}

/**
 * secretmem_block_return() - give back all free pages of a block
 * @block: the block, which may be gone afterwards
 *
 * Context: may sleep; pool->lock is held, and released.
 *
 * Return: the number of pages that were freed.
 */
unsigned int secretmem_block_return(struct secretmem_block *block)
	__releases(&block->pool->lock)
{
	struct secretmem_pool *pool = block->pool;
	DECLARE_BITMAP(claimed, BLOCK_PAGES);
	bool stale = block_claim(block, claimed);

	spin_unlock(&pool->lock);
	if (stale)
		secretmem_pool_flush(pool);
	return block_give_back(block, claimed);
}
