// SPDX-License-Identifier: GPL-2.0
/*
 * When blocks of secret memory are given back: if they are not needed, if
 * memory is short, and before code goes through all memory.
 */

#include <linux/compiler.h>
#include <linux/errno.h>
#include <linux/init.h>
#include <linux/jiffies.h>
#include <linux/jump_label.h>
#include <linux/kernel.h>
#include <linux/list.h>
#include <linux/memory.h>
#include <linux/mm.h>
#include <linux/notifier.h>
#include <linux/sched.h>
#include <linux/secretmem.h>
#include <linux/shrinker.h>
#include <linux/spinlock.h>
#include <linux/suspend.h>
#include <linux/swap.h>
#include <linux/workqueue.h>

#include "secretmem_pool_internal.h"

/*
 * A block in use is split only if it has this many free pages: splitting costs
 * the large page for good, and takes a page table.
 */
#define SPLIT_PAGES	16

/*
 * An idle block is given back after it was not needed for one to two such
 * periods.
 */
#define IDLE_PERIOD	(HZ / 2)

static unsigned long give_back_idle(struct secretmem_pool *pool,
				    unsigned int keep)
{
	spin_lock(&pool->lock);
	if (pool->nr_idle <= keep) {
		spin_unlock(&pool->lock);
		return 0;
	}
	pool_lose_idle(pool);
	return secretmem_block_return(list_last_entry(&pool->idle,
						      struct secretmem_block,
						      list));
}

/* Break the last block of a list that has at least @min free pages. */
static unsigned long break_last_block(struct secretmem_pool *pool,
				      struct list_head *list, unsigned int min)
{
	struct secretmem_block *block;

	spin_lock(&pool->lock);
	list_for_each_entry_reverse(block, list, list) {
		/* The large page of a small block is split already. */
		if (block->nr_free >= min || block->order != BLOCK_ORDER) {
			secretmem_block_break(block);
			return secretmem_block_return(block);
		}
	}
	spin_unlock(&pool->lock);
	return 0;
}

/**
 * secretmem_pool_work() - give back the blocks a node does not need
 * @work: that of the pool
 *
 * Context: may sleep.
 */
void secretmem_pool_work(struct work_struct *work)
{
	struct secretmem_pool *pool =
		container_of(to_delayed_work(work), struct secretmem_pool, work);
	unsigned int keep = READ_ONCE(secretmem_idle_limit), unneeded;

	/* Ends: a block leaves this list even if its pages cannot be mapped. */
	while (!list_empty_careful(&pool->to_return)) {
		break_last_block(pool, &pool->to_return, 0);
		cond_resched();
	}

	spin_lock(&pool->lock);
	unneeded = keep ? pool->least_idle : pool->nr_idle;
	pool->least_idle = pool->nr_idle;
	spin_unlock(&pool->lock);

	for (; unneeded > keep && give_back_idle(pool, keep); unneeded--)
		cond_resched();
	if (READ_ONCE(pool->nr_idle) > keep)
		queue_delayed_work(system_unbound_wq, &pool->work, IDLE_PERIOD);
}

/**
 * secretmem_pool_start_work() - have unneeded blocks given back
 * @pool: of the node
 *
 * At once, except for idle blocks, which may be needed again soon, unless none
 * may be kept.
 *
 * Context: any.
 */
void secretmem_pool_start_work(struct secretmem_pool *pool)
{
	if (!list_empty_careful(&pool->to_return) ||
	    !READ_ONCE(secretmem_idle_limit))
		mod_delayed_work(system_unbound_wq, &pool->work, 0);
	else
		queue_delayed_work(system_unbound_wq, &pool->work, IDLE_PERIOD);
}

/**
 * secretmem_drain() - give back all idle blocks
 *
 * For hibernation and memory offlining, which go through all memory. Blocks in
 * use stay as they are, and new blocks may come at any time.
 *
 * Context: may sleep.
 */
void secretmem_drain(void)
{
	int nid;

	if (!static_branch_unlikely(&secretmem_key))
		return;

	for_each_node(nid) {
		struct secretmem_pool *pool = secretmem_pools[nid];

		flush_delayed_work(&pool->work);
		while (give_back_idle(pool, 0))
			cond_resched();
	}
}

#ifdef CONFIG_DEBUG_SECRETMEM
/**
 * secretmem_give_all_back() - give back each page that holds no secret
 *
 * For tests, which can have this without making memory short: blocks in use are
 * split, however few pages that gains.
 *
 * Context: may sleep.
 */
void secretmem_give_all_back(void)
{
	int nid;

	secretmem_drain();
	if (!static_branch_unlikely(&secretmem_key))
		return;

	for_each_node(nid) {
		struct secretmem_pool *pool = secretmem_pools[nid];

		while (break_last_block(pool, &pool->partial, 0))
			cond_resched();
	}
}
#endif

/*
 * Shrinkers
 */

static struct secretmem_pool *shrinker_pool(struct shrink_control *sc)
{
	return secretmem_pools[sc->nid];
}

/*
 * Report progress to reclaim, so that it does not declare the system out of
 * memory.
 */
static unsigned long pages_reclaimed(unsigned long nr)
{
	if (current->reclaim_state)
		current->reclaim_state->reclaimed_slab += nr;
	return nr ?: SHRINK_STOP;
}

static unsigned long secretmem_idle_count(struct shrinker *shrinker,
					  struct shrink_control *sc)
{
	return READ_ONCE(shrinker_pool(sc)->nr_idle) * BLOCK_PAGES ?:
	       SHRINK_EMPTY;
}

static unsigned long secretmem_idle_scan(struct shrinker *shrinker,
					 struct shrink_control *sc)
{
	unsigned long freed = give_back_idle(shrinker_pool(sc), 0);

	sc->nr_scanned = max(sc->nr_to_scan, freed);
	return pages_reclaimed(freed);
}

static unsigned long secretmem_partial_count(struct shrinker *shrinker,
					     struct shrink_control *sc)
{
	struct secretmem_pool *pool = shrinker_pool(sc);
	unsigned long idle = READ_ONCE(pool->nr_idle) * BLOCK_PAGES;
	unsigned long free = READ_ONCE(pool->nr_free);

	/*
	 * Only for a task that waits for memory. drop_caches and soft offlining
	 * call shrinkers without need, and kswapd may only be after larger
	 * pages than there are.
	 */
	if (!current->reclaim_state || current_is_kswapd())
		return 0;
	return free > idle ? free - idle : SHRINK_EMPTY;
}

static unsigned long secretmem_partial_scan(struct shrinker *shrinker,
					    struct shrink_control *sc)
{
	struct secretmem_pool *pool = shrinker_pool(sc);
	unsigned long freed = break_last_block(pool, &pool->partial,
					       SPLIT_PAGES);

	sc->nr_scanned = max(sc->nr_to_scan, freed);
	return pages_reclaimed(freed);
}

/* No seeks, so that reclaim is eager: replacing an idle block needs no I/O. */
static struct shrinker secretmem_idle_shrinker = {
	.count_objects	= secretmem_idle_count,
	.scan_objects	= secretmem_idle_scan,
	.flags		= SHRINKER_NUMA_AWARE,
};

/*
 * Splitting is permanent, so do it late, and one block at a time. As the batch
 * is never reached, do_shrink_slab() scans only if it would scan all there is.
 * With these seeks that is so at the last three priorities of reclaim.
 */
static struct shrinker secretmem_partial_shrinker = {
	.count_objects	= secretmem_partial_count,
	.scan_objects	= secretmem_partial_scan,
	.batch		= LONG_MAX,
	.seeks		= 2 * DEFAULT_SEEKS,
	.flags		= SHRINKER_NUMA_AWARE,
};

/*
 * Notifiers
 */

/* Is there a page of the block in a range, be it used, free or lost? */
static bool __maybe_unused block_is_in(const struct secretmem_block *block,
				       const struct memory_notify *range)
{
	unsigned long first = page_to_pfn(block->pages);
	unsigned long pfn = max(first, range->start_pfn);
	unsigned long end = min(first + (1UL << block->order),
				range->start_pfn + range->nr_pages);

	/* page->private of a page that was given back is not this block. */
	for (; pfn < end; pfn++)
		if (page_block(pfn_to_page(pfn)) == block)
			return true;
	return false;
}

/*
 * Offlining skips pages whose memory has failed, and onlining gives every page
 * of the range to the page allocator. A page of the pool that has failed has no
 * direct map, whether it is still in its file or lost: refuse to offline its
 * memory. PG_hwpoison does not tell these pages: a machine check takes ordinary
 * pages that fail off the direct map as well. So look for pages of blocks, in
 * any state: nothing can move them either.
 */
static int __maybe_unused secretmem_memory_event(struct notifier_block *nb,
						 unsigned long event, void *arg)
{
	const struct memory_notify *range = arg;
	struct secretmem_block *block;
	struct secretmem_pool *pool;
	bool found = false;

	if (event != MEM_GOING_OFFLINE)
		return NOTIFY_OK;

	/* The whole range is on one node. */
	pool = secretmem_pools[pfn_to_nid(range->start_pfn)];
	spin_lock(&pool->lock);
	list_for_each_entry(block, &pool->all, all) {
		found = block_is_in(block, range);
		if (found)
			break;
	}
	spin_unlock(&pool->lock);
	return found ? notifier_from_errno(-EBUSY) : NOTIFY_OK;
}

/*
 * The image of hibernation is copied through the direct map: give back all idle
 * blocks, and keep none until it is done.
 */
static int __maybe_unused secretmem_pm_event(struct notifier_block *nb,
					     unsigned long event, void *unused)
{
	switch (event) {
	case PM_HIBERNATION_PREPARE:
	case PM_RESTORE_PREPARE:
		WRITE_ONCE(secretmem_idle_limit, 0);
		secretmem_drain();
		break;
	case PM_POST_HIBERNATION:
	case PM_POST_RESTORE:
		WRITE_ONCE(secretmem_idle_limit, 1);
		break;
	}
	return NOTIFY_OK;
}

/**
 * secretmem_init_reclaim() - register the shrinkers and notifiers
 *
 * Context: at boot, after the pools of all nodes are there; may sleep.
 *
 * Return: 0, or -ENOMEM.
 */
int __init secretmem_init_reclaim(void)
{
	int err = register_shrinker(&secretmem_idle_shrinker) ?:
		  register_shrinker(&secretmem_partial_shrinker);

	if (err)
		return err;
	hotplug_memory_notifier(secretmem_memory_event, 0);
	pm_notifier(secretmem_pm_event, 0);
	return 0;
}
