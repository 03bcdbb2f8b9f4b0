/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The pool of pages without a kernel mapping, and its parts:
 *
 *  secretmem_pool.c	which page is handed out, what happens to one that comes
 *			back, and statistics
 *  secretmem_block.c	how a block of pages is taken from the page allocator and
 *			off the direct map, and given back
 *  secretmem_window.c	how a page without a kernel mapping is zeroed
 *  secretmem_reclaim.c	when blocks are given back
 *
 * No kernel page table has an entry for a secret page from before user space
 * first sees it until its contents have been wiped, except in the window of a
 * CPU while that CPU zeroes the page or a part of it. Removing a page from the
 * direct map takes a page table change and a flush of every TLB, and removing
 * part of a large page splits that page. So the pool takes blocks of 2 MiB if
 * the page allocator has them, and hands out their pages one by one.
 *
 * States of a page:
 *
 *  free	unmapped and zeroed; its bit in block->free is set. Protected by
 *		pool->lock
 *  used	unmapped, with contents. Belongs to the caller of
 *		secretmem_pool_get(), and then to the file
 *  wiped	as free, but its bit is in block->wiped instead: the address at
 *		which the page was wiped may still be in the TLB of a CPU.
 *		Where nothing else is said, "free" includes these pages
 *  returning	zeroed, being mapped again. Belongs to the task that claimed it
 *  lost	unmapped for good, because its memory failed. Counts as used. A
 *		used page is not wiped in this case: that would touch the memory
 *		that failed. A free page is lost when it would be returned
 *
 *  page allocator -> free	secretmem_block_create(): zero, unmap, flush all TLBs
 *  free -> used		block_take()
 *  used -> wiped		secretmem_wipe_pages(), then block_put_page()
 *  used -> lost		block_put_page(), if PG_uptodate is still set
 *  wiped -> free		secretmem_block_see_flush(), after a flush
 *  free, wiped -> returning	block_claim(), with a flush of all TLBs for wiped ones
 *  returning -> page allocator	block_give_back()
 *  returning -> free		block_finish_return(), if there was no page table
 *  returning -> lost		block_give_back(), if the memory failed
 *
 * PG_uptodate means "has contents": the file sets it, and wiping clears it. A
 * page whose memory has failed is not written to; wiping sets PG_uptodate
 * instead. So block_put_page() knows that a page with PG_uptodate is lost.
 *
 * The pool holds a reference of its own to each page until the page is mapped
 * again. So the last reference that a file, or anybody who found the page
 * there, drops never gives an unmapped page to the page allocator. A page with
 * any other reference is not handed out. If its block is given back meanwhile,
 * the page is mapped first, and is freed by the last holder.
 *
 * All TLBs are flushed when a block is created, and when a part of a page is
 * zeroed. Otherwise the pool flushes them only if many pages were wiped since
 * the last flush, if memory is short, or if a block with wiped pages is given
 * back.
 *
 * An unbroken block of 2 MiB with free pages only is idle. Each node keeps one
 * idle block. A work item gives back others that were not needed for a while.
 * Under memory pressure one shrinker gives back idle blocks at once. If a task
 * waits for memory and reclaim finds next to nothing any more, another shrinker
 * breaks blocks that are in use: their free pages are given back, which splits
 * the large page for good. Pages that become free in a broken block later are
 * given back as well, and not handed out, unless the direct map cannot be
 * restored for want of a page table: then they stay free pages of the pool.
 *
 * Lock order: pool->lock is a spinlock and innermost. Nothing is allocated,
 * zeroed, mapped or unmapped while it is held.
 */
#ifndef _MM_SECRETMEM_POOL_INTERNAL_H
#define _MM_SECRETMEM_POOL_INTERNAL_H

#include <linux/atomic.h>
#include <linux/gfp.h>
#include <linux/kernel.h>
#include <linux/list.h>
#include <linux/lockdep.h>
#include <linux/log2.h>
#include <linux/mm.h>
#include <linux/nodemask.h>
#include <linux/percpu.h>
#include <linux/sizes.h>
#include <linux/spinlock.h>
#include <linux/types.h>
#include <linux/workqueue.h>

#include "secretmem_pool.h"

/*
 * 2 MiB on all architectures: PMD_SIZE would be 4 MiB on i386 without PAE, and
 * 512 MiB on arm64 with pages of 64 KiB. All large pages of the direct map are
 * multiples of 2 MiB, so a block never crosses one.
 */
#define BLOCK_ORDER	(ilog2(SZ_2M) - PAGE_SHIFT)
#define BLOCK_PAGES	(SZ_2M >> PAGE_SHIFT)

/*
 * The pages of one node. In the list partial, blocks with pages in block->free
 * come before blocks whose free pages are all wiped ones.
 */
struct secretmem_pool {
	spinlock_t lock;		/* protects the blocks, and all but work */
	struct list_head partial;	/* blocks with free and with used pages */
	struct list_head idle;		/* unbroken blocks of 2 MiB, all pages free */
	struct list_head to_return;	/* blocks whose free pages are to be given back */
	struct list_head all;		/* all blocks, also those in no other list */
	unsigned int nr_idle;		/* blocks in idle */
	unsigned int least_idle;	/* lowest nr_idle since the work item looked */
	unsigned long nr_free;		/* pages */
	unsigned long nr_used;		/* includes lost pages */
	unsigned long nr_lost;
	unsigned long nr_wiped;		/* pages wiped since the last flush began */
	u64 flush_begun;		/* number of the newest flush of all TLBs */
	u64 flush_done;			/* number of the newest one that has ended */
	struct delayed_work work;	/* gives back what is not needed */
};

/*
 * Pages that left the page allocator together. page->private of each page
 * points here until the page is given back; the block lives until the last one
 * is.
 */
struct secretmem_block {
	struct list_head list;		/* in a list of the pool, or empty */
	struct list_head all;		/* in pool->all */
	struct secretmem_pool *pool;
	struct page *pages;		/* the first page */
	unsigned int order;
	unsigned int nr_pages;		/* pages that are still the pool's */
	unsigned int nr_free;		/* bits in free and in wiped */
	bool broken;			/* free pages are to be given back */
	u64 wiped_after;		/* newest flush begun when a page was wiped */
	unsigned long *wiped;		/* one bit a page, stored after those of free */
	unsigned long free[];		/* one bit a page */
};

/* Indexed by node. */
extern struct secretmem_pool **secretmem_pools;

/*
 * Number of blocks with a page that is, or is about to be, off the direct map.
 */
extern atomic_long_t nr_secretmem_blocks;

/* Idle blocks to keep on each node; 0 during hibernation. */
extern unsigned int secretmem_idle_limit;

/* What has happened since boot, for /sys/kernel/debug/secretmem_pool. */
enum secretmem_event {
	BLOCKS_TAKEN,		/* of 2 MiB, from the page allocator */
	BLOCKS_SPLIT,		/* broken up while in use, or with a lost page */
	BLOCKS_RETURNED,	/* of 2 MiB, in one piece */
	PAGES_TAKEN,		/* in blocks of any size */
	PAGES_RETURNED,
	FLUSHES,		/* of the TLBs of all CPUs, by the pool */
	LOCAL_FLUSHES,		/* of one CPU's TLB, after wiping */
	NR_EVENTS
};

struct secretmem_events {
	unsigned long nr[NR_EVENTS];
};

extern struct secretmem_events __percpu *secretmem_events;

static inline void add_events(enum secretmem_event event, unsigned long nr)
{
	this_cpu_add(secretmem_events->nr[event], nr);
}

/* A block leaves the list of idle ones. */
static inline void pool_lose_idle(struct secretmem_pool *pool)
{
	lockdep_assert_held(&pool->lock);

	pool->nr_idle--;
	pool->least_idle = min(pool->least_idle, pool->nr_idle);
}

static inline struct secretmem_block *page_block(const struct page *page)
{
	return (void *)page_private(page);
}

/* secretmem_pool.c */
void secretmem_pool_flush(struct secretmem_pool *pool);
void secretmem_block_see_flush(struct secretmem_block *block);

/* secretmem_block.c */
struct secretmem_block *secretmem_block_create(gfp_t gfp, unsigned int order,
					       int nid, nodemask_t *nodes);
void secretmem_block_break(struct secretmem_block *block);
unsigned int secretmem_block_return(struct secretmem_block *block)
	__releases(&block->pool->lock);

/* secretmem_window.c */
void secretmem_wipe_pages(struct list_head *pages);
int secretmem_init_windows(void);

/* secretmem_reclaim.c */
void secretmem_pool_work(struct work_struct *work);
void secretmem_pool_start_work(struct secretmem_pool *pool);
int secretmem_init_reclaim(void);

#endif /* _MM_SECRETMEM_POOL_INTERNAL_H */
