// SPDX-License-Identifier: GPL-2.0
/*
 * Pages that the kernel itself can not reach.
 *
 * A page of a secret file has no kernel mapping at all, from before user space
 * first sees it until it has been wiped. To take memory off the direct map costs
 * a change of the kernel's page tables and a flush of every TLB, and to take a
 * part of a large page off splits that. So it is done for blocks of 2 MiB, if
 * the page allocator has them, and the pages of a block are handed out one by
 * one. This is a page's life:
 *
 *	page allocator
 *	     |                      ^
 *	     | block_create()       | block_give_back()
 *	     | zeroed, unmapped,    | mapped
 *	     | TLBs flushed         |
 *	     v                      |
 *	    free  --------------> leaving	block_claim()
 *	    |  ^
 *	    |  | secretmem_pool_put()
 *	    |  | zeroed through a mapping that one CPU has for itself
 *	    v  |
 *	    used  --------------> lost		its memory has failed
 *	secretmem_pool_get()
 *
 *	free	 off the direct map, zeroed; its bit in block->free is set. Of
 *		 the pool's lock's holder, who may make it used or leaving
 *	used	 off the direct map, with contents. Of whom secretmem_pool_get()
 *		 gave it to, and of the file it is in
 *	leaving	 zeroed, being mapped again. Of the task that does that
 *	lost	 off the direct map and never to be used again. Not wiped if it was
 *		 used, as that would touch the memory that has failed; a free page
 *		 that fails is lost when it is to leave. Counts as used
 *
 * The pool has a reference to each page of its own, from the beginning until the
 * page is mapped again: a page that leaves its file stays here, whoever puts the
 * last reference that comes from there. A page to which anybody else still has a
 * reference is not handed out again. If it is given back, it is an ordinary page
 * by then, and the page allocator gets it from that holder.
 *
 * A block of which all pages are free is idle. A node keeps one such block, a
 * work item gives others back soon. If memory is short, shrinkers give the idle
 * ones back at once, and if that does not help they give back the free pages of
 * blocks that are in use: this splits the large page, and such a block is broken.
 * What becomes free in it is given back and not handed out again.
 *
 * Lock order: secretmem_pool::lock is innermost, and a spinlock. Nothing is
 * allocated, zeroed, mapped or unmapped with it held.
 */

#define pr_fmt(fmt) "secretmem: " fmt

#include <linux/atomic.h>
#include <linux/bitmap.h>
#include <linux/cpuset.h>
#include <linux/debugfs.h>
#include <linux/gfp.h>
#include <linux/init.h>
#include <linux/list.h>
#include <linux/memcontrol.h>
#include <linux/memory.h>
#include <linux/mempolicy.h>
#include <linux/mm.h>
#include <linux/nodemask.h>
#include <linux/notifier.h>
#include <linux/page-flags.h>
#include <linux/page_ref.h>
#include <linux/percpu.h>
#include <linux/sched.h>
#include <linux/secretmem.h>
#include <linux/seq_file.h>
#include <linux/set_memory.h>
#include <linux/shrinker.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/suspend.h>
#include <linux/swap.h>
#include <linux/vmalloc.h>
#include <linux/workqueue.h>

#include <asm/tlbflush.h>

#include "secretmem_pool.h"

/* A block lies in one large page of the direct map, or is one. */
#define BLOCK_ORDER	(ilog2(SZ_2M) - PAGE_SHIFT)
#define BLOCK_PAGES	(SZ_2M >> PAGE_SHIFT)

/* The pages of one node. */
struct secretmem_pool {
	spinlock_t lock;		/* of all below but work, and of the blocks */
	struct list_head partial;	/* blocks with pages of both kinds */
	struct list_head idle;		/* blocks with free pages only */
	struct list_head leaving;	/* blocks whose free pages are to leave */
	unsigned int nr_idle;		/* blocks in idle */
	unsigned long nr_free;		/* pages */
	unsigned long nr_used;
	struct work_struct work;	/* gives back what is too much */
};

/*
 * Pages that left the page allocator together. Those that have not been given
 * back point here with page->private. Lives as long as there is one of them.
 */
struct secretmem_block {
	struct list_head list;		/* one of the pool's, or none if nr_free is 0 */
	struct secretmem_pool *pool;
	struct page *pages;		/* the first */
	unsigned int order;
	unsigned int nr_pages;		/* that have not been given back */
	unsigned int nr_free;
	bool broken;
	unsigned long free[];		/* a bit for each page */
};

/* Indexed by node. */
static struct secretmem_pool *secretmem_pools __ro_after_init;

/* Blocks any page of which is off the direct map, or about to be. */
static atomic_long_t secretmem_blocks = ATOMIC_LONG_INIT(0);

/* How many idle blocks a node keeps. None when an image of memory is to be made. */
static unsigned int secretmem_keep_idle = 1;

/* What has happened since boot, for /sys/kernel/debug/secretmem_pool. */
enum secretmem_event {
	BLOCKS_TAKEN,		/* of 2 MiB, from the page allocator */
	BLOCKS_SPLIT,		/* broken with pages in use, or lost */
	BLOCKS_RETURNED,	/* of 2 MiB, in one piece */
	PAGES_TAKEN,		/* in blocks of any size */
	PAGES_RETURNED,
	FLUSHES,		/* of the TLBs of all CPUs */
	LOCAL_FLUSHES,		/* of that of a CPU that has wiped pages */
	NR_EVENTS
};

static atomic_long_t secretmem_events[NR_EVENTS];

static void count_events(enum secretmem_event event, unsigned long nr)
{
	atomic_long_add(nr, &secretmem_events[event]);
}

static int secretmem_pool_show(struct seq_file *m, void *unused)
{
	static const char * const names[NR_EVENTS] = {
		[BLOCKS_TAKEN]		= "blocks_taken",
		[BLOCKS_SPLIT]		= "blocks_split",
		[BLOCKS_RETURNED]	= "blocks_returned",
		[PAGES_TAKEN]		= "pages_taken",
		[PAGES_RETURNED]	= "pages_returned",
		[FLUSHES]		= "flushes",
		[LOCAL_FLUSHES]		= "local_flushes",
	};
	unsigned int i;

	for (i = 0; i < NR_EVENTS; i++)
		seq_printf(m, "%s: %lu\n", names[i],
			   atomic_long_read(&secretmem_events[i]));
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(secretmem_pool);

/* Pages that are off the direct map, those with contents and those without. */
static void count_pages(unsigned long *used, unsigned long *free)
{
	int nid;

	*used = 0;
	*free = 0;
	if (!static_branch_unlikely(&secretmem_key))
		return;

	for_each_node(nid) {
		*used += READ_ONCE(secretmem_pools[nid].nr_used);
		*free += READ_ONCE(secretmem_pools[nid].nr_free);
	}
}

/**
 * secretmem_active() - is there any secret page?
 *
 * A page counts before it is handed out and until it has been wiped, so that an
 * answer of false holds for as long as nothing else can run. One whose memory
 * has failed counts for good: the secret may still be there.
 *
 * Context: any.
 *
 * Return: true if the machine has a secret in its memory.
 */
bool secretmem_active(void)
{
	unsigned long used, free;

	count_pages(&used, &free);
	return used;
}

/**
 * secretmem_unmapped() - are there pages off the direct map for secret memory?
 *
 * There are while secretmem_active(), and there may be others, which are kept for
 * the next secret. secretmem_drain() makes these fewer.
 *
 * Context: any.
 *
 * Return: true if some page can not be read in the direct map, or may be on its
 * way off or onto it.
 */
bool secretmem_unmapped(void)
{
	return atomic_long_read(&secretmem_blocks);
}

/**
 * secretmem_report_meminfo() - print the lines that /proc/meminfo has of this
 * @m: where to
 *
 * Context: may sleep.
 */
void secretmem_report_meminfo(struct seq_file *m)
{
	unsigned long used, free;

	count_pages(&used, &free);
	seq_printf(m, "SecretMem:      %8lu kB\n"
		      "SecretMemFree:  %8lu kB\n",
		   used << (PAGE_SHIFT - 10), free << (PAGE_SHIFT - 10));
}

/*
 * Wiping
 */

/*
 * Where a CPU, and no other, sees the pages it is wiping: only its own TLB has to
 * be flushed afterwards. That is once for all pages that find room.
 */
#define WINDOW_PAGES	(IS_ENABLED(CONFIG_64BIT) ? BLOCK_PAGES : 32)

struct secretmem_window {
	unsigned long addr;
	pte_t *pte[WINDOW_PAGES];
};

static DEFINE_PER_CPU(struct secretmem_window, secretmem_window);

/*
 * Zeroes pages of a list from @page on, until the window is full or somebody waits
 * for this CPU. Returns the page that is next, which may be the list's head.
 */
static struct page *clear_through_window(struct list_head *pages,
					 struct page *page)
{
	struct secretmem_window *window = &get_cpu_var(secretmem_window);
	unsigned long addr = window->addr;
	unsigned int i = 0;

	list_for_each_entry_from(page, pages, lru) {
		if (i == WINDOW_PAGES || (i && need_resched()))
			break;
		/* To write to memory that has failed, or to read ahead, is a machine check. */
		if (PageHWPoison(page))
			continue;
		set_pte_at(&init_mm, addr, window->pte[i],
			   mk_pte(page, PAGE_KERNEL));
		clear_page((void *)addr);
		pte_clear(&init_mm, addr, window->pte[i]);
		ClearPageUptodate(page);
		addr += PAGE_SIZE;
		i++;
	}
	local_flush_tlb_kernel_range(window->addr, addr);
	put_cpu_var(secretmem_window);
	count_events(LOCAL_FLUSHES, 1);
	return page;
}

static int __init note_pte(pte_t *pte, unsigned long addr, void *data)
{
	struct secretmem_window *window = data;

	window->pte[(addr - window->addr) >> PAGE_SHIFT] = pte;
	return 0;
}

static int __init secretmem_init_windows(void)
{
	unsigned long size = WINDOW_PAGES * PAGE_SIZE;
	struct secretmem_window *window;
	struct vm_struct *area;
	int cpu, err;

	for_each_possible_cpu(cpu) {
		/* This flag makes it a hole in /proc/kcore. */
		area = get_vm_area(size, VM_IOREMAP);
		if (!area)
			return -ENOMEM;
		window = per_cpu_ptr(&secretmem_window, cpu);
		window->addr = (unsigned long)area->addr;
		err = apply_to_page_range(&init_mm, window->addr, size,
					  note_pte, window);
		if (err)
			return err;
	}
	return 0;
}

/*
 * Giving back
 */

/* Takes all free pages of a block, which is in no list afterwards. */
static void block_claim(struct secretmem_block *block, unsigned long *claimed)
{
	struct secretmem_pool *pool = block->pool;

	lockdep_assert_held(&pool->lock);

	bitmap_copy(claimed, block->free, 1U << block->order);
	bitmap_zero(block->free, 1U << block->order);
	list_del_init(&block->list);
	pool->nr_free -= block->nr_free;
	block->nr_free = 0;
}

/* What is free or becomes free in the block is to be given back, not handed out. */
static void block_break(struct secretmem_block *block)
{
	lockdep_assert_held(&block->pool->lock);

	if (!block->broken && block->order == BLOCK_ORDER &&
	    block->nr_free < block->nr_pages)
		count_events(BLOCKS_SPLIT, 1);
	block->broken = true;
}

/*
 * Puts a block into the list it belongs to, after pages of it became free or lost.
 * True if there is something to give back now.
 */
static bool block_sort(struct secretmem_block *block)
{
	struct secretmem_pool *pool = block->pool;
	bool whole = block->nr_free == block->nr_pages;

	lockdep_assert_held(&pool->lock);

	if (block->broken || (whole && block->order != BLOCK_ORDER)) {
		list_move(&block->list, &pool->leaving);
		return true;
	}
	if (whole) {
		list_move(&block->list, &pool->idle);
		return ++pool->nr_idle > READ_ONCE(secretmem_keep_idle);
	}
	if (list_empty(&block->list))
		list_add(&block->list, &pool->partial);
	return false;
}

/* The rest of what was claimed: @given pages are gone, and @lost have failed. */
static void block_unclaim(struct secretmem_block *block, unsigned long *claimed,
			  unsigned int given, unsigned int lost)
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
	if (left)
		list_move(&block->list, &pool->partial);
	gone = !block->nr_pages;
	spin_unlock(&pool->lock);

	if (gone) {
		atomic_long_dec(&secretmem_blocks);
		kfree(block);
	}
}

static void free_mapped_pages(struct page *pages, unsigned int nr)
{
	unsigned int i;

	for (i = 0; i < nr; i++)
		put_page(pages + i);
}

/* In one piece, as they came, unless somebody still has a reference to one. */
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
 * Maps the pages that were claimed from @block, and frees them. If a large page has
 * to be split, and there is no memory for that, they become free pages as before.
 * The block may be gone afterwards. Returns how many pages were freed.
 */
static unsigned int block_give_back(struct secretmem_block *block,
				    unsigned long *claimed)
{
	unsigned int nr = 1U << block->order;
	unsigned int start, end, i, given = 0, lost = 0;

	/* The processor may read ahead what is mapped. */
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
		/* The page allocator clears it for the first page of a block only. */
		for (i = start; i < end; i++)
			set_page_private(block->pages + i, 0);
		if (end - start == nr)
			free_mapped_block(pages, block->order);
		else
			free_mapped_pages(pages, end - start);
		if (end - start == BLOCK_PAGES)
			count_events(BLOCKS_RETURNED, 1);
	}
	count_events(PAGES_RETURNED, given);
	block_unclaim(block, claimed, given, lost);
	return given;
}

static unsigned long give_back_idle(struct secretmem_pool *pool,
				    unsigned int keep)
{
	DECLARE_BITMAP(claimed, BLOCK_PAGES);
	struct secretmem_block *block;

	spin_lock(&pool->lock);
	if (pool->nr_idle <= keep) {
		spin_unlock(&pool->lock);
		return 0;
	}
	block = list_last_entry(&pool->idle, struct secretmem_block, list);
	pool->nr_idle--;
	block_claim(block, claimed);
	spin_unlock(&pool->lock);

	return block_give_back(block, claimed);
}

/* Breaks the last block of a list. */
static unsigned long give_back_part(struct secretmem_pool *pool,
				    struct list_head *list)
{
	DECLARE_BITMAP(claimed, BLOCK_PAGES);
	struct secretmem_block *block;

	spin_lock(&pool->lock);
	if (list_empty(list)) {
		spin_unlock(&pool->lock);
		return 0;
	}
	block = list_last_entry(list, struct secretmem_block, list);
	block_break(block);
	block_claim(block, claimed);
	spin_unlock(&pool->lock);

	return block_give_back(block, claimed);
}

static void secretmem_pool_work(struct work_struct *work)
{
	struct secretmem_pool *pool =
		container_of(work, struct secretmem_pool, work);

	/* What can not be given back leaves this list as well. */
	while (!list_empty_careful(&pool->leaving)) {
		give_back_part(pool, &pool->leaving);
		cond_resched();
	}
	while (give_back_idle(pool, READ_ONCE(secretmem_keep_idle)))
		cond_resched();
}

/**
 * secretmem_drain() - give back all memory that could be used for secrets, but is not
 *
 * For those who are about to look at, move or write to disk all memory. Blocks that
 * are in use stay as they are, and new ones may come at any time.
 *
 * Context: may sleep.
 */
void secretmem_drain(void)
{
	int nid;

	if (!static_branch_unlikely(&secretmem_key))
		return;

	for_each_node(nid) {
		struct secretmem_pool *pool = &secretmem_pools[nid];

		flush_work(&pool->work);
		while (give_back_idle(pool, 0))
			cond_resched();
	}
}

/*
 * Taking
 */

/*
 * Pages fresh from the page allocator have their direct map, and may have more in
 * the TLBs: vmalloc and the per-CPU allocator remove their mappings before they
 * free the pages, but leave the flush for later. vm_unmap_aliases() would do it
 * for areas that are freed already, and miss a per-CPU chunk that is about to be.
 * So everything is flushed.
 */
static int unmap_pages(struct page *pages, unsigned int nr)
{
	int err = set_direct_map_valid_noflush(pages, nr, false);

	if (err)
		return err;
	flush_tlb_all();
	count_events(FLUSHES, 1);
	return 0;
}

/* A block of free pages, in no list yet, or NULL. */
static struct secretmem_block *block_create(gfp_t gfp, unsigned int order,
					    int nid, nodemask_t *nodes)
{
	unsigned int nr = 1U << order, i;
	struct secretmem_block *block;

	block = kzalloc(struct_size(block, free, BITS_TO_LONGS(nr)),
			GFP_KERNEL);
	if (!block)
		return NULL;

	block->pages = __alloc_pages_nodemask(gfp | __GFP_ZERO, order, nid,
					      nodes);
	if (!block->pages)
		goto err_free_block;

	atomic_long_inc(&secretmem_blocks);
	/* All in one large page: if it fails, nothing has been changed. */
	if (unmap_pages(block->pages, nr))
		goto err_free_pages;

	split_page(block->pages, order);
	for (i = 0; i < nr; i++)
		set_page_private(block->pages + i, (unsigned long)block);
	INIT_LIST_HEAD(&block->list);
	block->pool = &secretmem_pools[page_to_nid(block->pages)];
	block->order = order;
	block->nr_pages = nr;
	block->nr_free = nr;
	bitmap_fill(block->free, nr);
	count_events(PAGES_TAKEN, nr);
	if (order == BLOCK_ORDER)
		count_events(BLOCKS_TAKEN, 1);
	return block;

err_free_pages:
	atomic_long_dec(&secretmem_blocks);
	__free_pages(block->pages, order);
err_free_block:
	kfree(block);
	return NULL;
}

/*
 * Makes a free page a used one. Not one to which somebody has a reference: it may
 * be in the TLB of a CPU that has not flushed yet and holds the page that long, and
 * it may be locked. Reading a count of one pairs with the full barrier of the last
 * other holder's put_page().
 */
static struct page *block_take(struct secretmem_block *block)
{
	struct secretmem_pool *pool = block->pool;
	struct page *page;
	unsigned int i;

	lockdep_assert_held(&pool->lock);

	for_each_set_bit(i, block->free, 1U << block->order) {
		page = block->pages + i;
		if (page_ref_count(page) != 1 || PageHWPoison(page))
			continue;

		get_page(page);
		__clear_bit(i, block->free);
		block->nr_free--;
		pool->nr_free--;
		pool->nr_used++;
		if (block->nr_free)
			list_move(&block->list, &pool->partial);
		else
			list_del_init(&block->list);
		return page;
	}
	return NULL;
}

static struct page *pool_take(struct secretmem_pool *pool)
{
	struct secretmem_block *block;
	struct page *page = NULL;

	spin_lock(&pool->lock);
	list_for_each_entry(block, &pool->partial, list) {
		page = block_take(block);
		if (page)
			goto unlock;
	}
	list_for_each_entry(block, &pool->idle, list) {
		page = block_take(block);
		if (page) {
			pool->nr_idle--;
			goto unlock;
		}
	}
unlock:
	spin_unlock(&pool->lock);
	return page;
}

/* The first page of a new block, and to the pool with the others. */
static struct page *pool_add(struct secretmem_block *block)
{
	struct secretmem_pool *pool = block->pool;
	struct page *page;

	spin_lock(&pool->lock);
	pool->nr_free += block->nr_free;
	list_add(&block->list, &pool->partial);
	page = block_take(block);
	spin_unlock(&pool->lock);
	return page;
}

#ifdef CONFIG_NUMA
static int interleaved_node(const nodemask_t *nodes, pgoff_t index)
{
	int nid = first_node(*nodes);

	for (index %= max(nodes_weight(*nodes), 1); index; index--)
		nid = next_node(nid, *nodes);
	return nid < MAX_NUMNODES ? nid : numa_node_id();
}

/*
 * The node that memory policy and cpuset have for a page at @addr, whose pool can
 * be asked, and all @nodes that will do, or NULL if these are no matter of policy.
 */
static int policy_node(gfp_t gfp, struct vm_area_struct *vma,
		       unsigned long addr, nodemask_t **nodes)
{
	struct mempolicy *policy = __get_vma_policy(vma, addr);
	enum zone_type zone = gfp_zone(gfp);
	int nid = numa_node_id();
	struct zoneref *nearest;

	*nodes = NULL;
	if (!policy)
		policy = get_task_policy(current);
	if (policy->mode == MPOL_BIND && zone >= policy_zone &&
	    cpuset_nodemask_valid_mems_allowed(&policy->v.nodes))
		*nodes = &policy->v.nodes;
	if (policy->mode == MPOL_PREFERRED && !(policy->flags & MPOL_F_LOCAL))
		nid = policy->v.preferred_node;
	if (policy->mode == MPOL_INTERLEAVE)
		nid = interleaved_node(&policy->v.nodes,
				       linear_page_index(vma, addr));

	nearest = first_zones_zonelist(node_zonelist(nid, gfp), zone,
				       *nodes ?: &cpuset_current_mems_allowed);
	return nearest->zone ? zone_to_nid(nearest->zone) : nid;
}
#else
static int policy_node(gfp_t gfp, struct vm_area_struct *vma,
		       unsigned long addr, nodemask_t **nodes)
{
	*nodes = NULL;
	return numa_node_id();
}
#endif

/*
 * How hard to try for a block. It is worth some compaction to have a large one;
 * others are a way to get along, and only a single page must be had.
 */
static gfp_t block_gfp(gfp_t gfp, unsigned int order)
{
	if (!order)
		return gfp;
	gfp |= __GFP_THISNODE | __GFP_NOWARN | __GFP_NORETRY;
	return order == BLOCK_ORDER ? gfp : gfp & ~__GFP_DIRECT_RECLAIM;
}

/**
 * secretmem_pool_get() - get a page that only user space will be able to read
 * @gfp:  how to allocate; must allow sleeping and must not ask for highmem or
 *        movable memory
 * @vma:  the area the page is for, whose memory policy is honoured; the caller
 *        holds its mm's mmap_lock
 * @addr: the user address in @vma the page is for
 *
 * Context: may sleep; takes the locks of the page allocator and those of the
 * architecture's kernel page tables.
 *
 * Return: a zeroed page with a reference for the caller and without any kernel
 * mapping, to be given to secretmem_pool_put() with that reference; or NULL if there
 * is no memory.
 */
struct page *secretmem_pool_get(gfp_t gfp, struct vm_area_struct *vma,
				unsigned long addr)
{
	static const unsigned char orders[] = {
		BLOCK_ORDER, BLOCK_ORDER / 2, 0
	};
	struct secretmem_block *block;
	nodemask_t *nodes;
	int nid = policy_node(gfp, vma, addr, &nodes);
	struct page *page = pool_take(&secretmem_pools[nid]);
	int i = 0;

	/* A new block may have no page to take either, if somebody holds it. */
	while (!page && i < ARRAY_SIZE(orders)) {
		block = block_create(block_gfp(gfp, orders[i]), orders[i],
				     nid, nodes);
		if (block)
			page = pool_add(block);
		else
			i++;
	}
	return page;
}

/* Zeroes pages, except those whose memory has failed: these stay up to date. */
static void wipe_pages(struct list_head *pages)
{
	struct page *page = list_first_entry(pages, struct page, lru);

	while (&page->lru != pages) {
		page = clear_through_window(pages, page);
		cond_resched();
	}
}

static struct secretmem_block *page_block(const struct page *page)
{
	return (void *)page_private(page);
}

/* Makes a used page a free one if it has been wiped, and a lost one if not. */
static void block_put_page(struct secretmem_block *block, struct page *page)
{
	struct secretmem_pool *pool = block->pool;

	lockdep_assert_held(&pool->lock);

	/*
	 * Its memory has failed, or so it seemed when the others were wiped. It stays
	 * as it is, and so does the reference that came with it: the pool's own would
	 * be put if the page is declared good again, as tests do.
	 */
	if (PageUptodate(page)) {
		block_break(block);
		return;
	}
	ClearPageReferenced(page);
	/* Never the last: the pool has its own. */
	put_page(page);
	__set_bit(page - block->pages, block->free);
	block->nr_free++;
	pool->nr_free++;
	pool->nr_used--;
}

/* Puts the first page of a list, and those behind it that are of the same block. */
static void put_pages_of_block(struct list_head *pages)
{
	struct page *page = list_first_entry(pages, struct page, lru), *next;
	struct secretmem_block *block = page_block(page);
	struct secretmem_pool *pool = block->pool;
	bool surplus;

	spin_lock(&pool->lock);
	list_for_each_entry_safe_from(page, next, pages, lru) {
		if (page_block(page) != block)
			break;
		list_del(&page->lru);
		block_put_page(block, page);
	}
	surplus = block_sort(block);
	/* The block may be gone as soon as the lock is. */
	spin_unlock(&pool->lock);

	if (surplus)
		queue_work(system_unbound_wq, &pool->work);
}

/**
 * secretmem_pool_put() - take pages back
 * @pages: list by page->lru of pages of secretmem_pool_get(), with a reference to each;
 *         they are in no file and mapped nowhere, not in user space and not in any TLB
 *
 * The pages are zeroed before this function returns. They stay off the direct map, may
 * become pages of another secret file as soon as nobody else has a reference to them,
 * or go back to the page allocator. If the memory of a page has failed, it stays as it
 * was, and is never used again. The list is empty afterwards, and the references are
 * gone. Costs least for many pages.
 *
 * Context: may sleep.
 */
void secretmem_pool_put(struct list_head *pages)
{
	wipe_pages(pages);
	/* No cgroup has to pay for them any more. */
	mem_cgroup_uncharge_list(pages);
	while (!list_empty(pages))
		put_pages_of_block(pages);
}

/*
 * Shrinkers
 */

static struct secretmem_pool *shrinker_pool(struct shrink_control *sc)
{
	return &secretmem_pools[sc->nid];
}

/* Whoever reclaims hears of it, and does not take memory for exhausted. */
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

static unsigned long secretmem_part_count(struct shrinker *shrinker,
					  struct shrink_control *sc)
{
	struct secretmem_pool *pool = shrinker_pool(sc);
	unsigned long idle = READ_ONCE(pool->nr_idle) * BLOCK_PAGES;
	unsigned long free = READ_ONCE(pool->nr_free);

	return free > idle ? free - idle : SHRINK_EMPTY;
}

static unsigned long secretmem_part_scan(struct shrinker *shrinker,
					 struct shrink_control *sc)
{
	struct secretmem_pool *pool = shrinker_pool(sc);
	unsigned long freed = give_back_part(pool, &pool->partial);

	sc->nr_scanned = max(sc->nr_to_scan, freed);
	return pages_reclaimed(freed);
}

/* No seeks: it costs nothing but a flush to have such memory again. */
static struct shrinker secretmem_idle_shrinker = {
	.count_objects	= secretmem_idle_count,
	.scan_objects	= secretmem_idle_scan,
	.flags		= SHRINKER_NUMA_AWARE,
};

/*
 * The large page that is split stays so: only if memory gets really short, a block at
 * a time. With more seeks than these a single free page would never be asked for.
 */
static struct shrinker secretmem_part_shrinker = {
	.count_objects	= secretmem_part_count,
	.scan_objects	= secretmem_part_scan,
	.batch		= BLOCK_PAGES,
	.seeks		= 2 * DEFAULT_SEEKS,
	.flags		= SHRINKER_NUMA_AWARE,
};

/*
 * Events
 */

/*
 * Pages whose memory has failed are no obstacle to taking it offline, and if it is
 * ever online again, all of it goes to the page allocator. Ours have no direct
 * map, and may still be in their files: let them be an obstacle.
 */
static int __maybe_unused secretmem_memory_event(struct notifier_block *nb,
						 unsigned long event, void *arg)
{
	struct memory_notify *range = arg;
	struct page *page;
	unsigned long nr;

	if (event != MEM_GOING_OFFLINE)
		return NOTIFY_OK;

	for (nr = 0; nr < range->nr_pages; nr++) {
		page = pfn_to_page(range->start_pfn + nr);
		if (PageHWPoison(page) && !kernel_page_present(page))
			return notifier_from_errno(-EBUSY);
	}
	return NOTIFY_OK;
}

/* An image of memory is made from the direct map: keep nothing off it in vain. */
static int __maybe_unused secretmem_pm_event(struct notifier_block *nb,
					     unsigned long event, void *unused)
{
	switch (event) {
	case PM_HIBERNATION_PREPARE:
	case PM_RESTORE_PREPARE:
		WRITE_ONCE(secretmem_keep_idle, 0);
		secretmem_drain();
		break;
	case PM_POST_HIBERNATION:
	case PM_POST_RESTORE:
		WRITE_ONCE(secretmem_keep_idle, 1);
		break;
	}
	return NOTIFY_OK;
}

/**
 * secretmem_pool_init() - prepare for secretmem_pool_get()
 *
 * Context: at boot; may sleep.
 *
 * Return: 0, or -ENOMEM.
 */
int __init secretmem_pool_init(void)
{
	int nid, err;

	BUILD_BUG_ON(BLOCK_ORDER >= MAX_ORDER);

	secretmem_pools = kcalloc(nr_node_ids, sizeof(*secretmem_pools),
				  GFP_KERNEL);
	if (!secretmem_pools)
		return -ENOMEM;
	for (nid = 0; nid < nr_node_ids; nid++) {
		struct secretmem_pool *pool = &secretmem_pools[nid];

		spin_lock_init(&pool->lock);
		INIT_LIST_HEAD(&pool->partial);
		INIT_LIST_HEAD(&pool->idle);
		INIT_LIST_HEAD(&pool->leaving);
		INIT_WORK(&pool->work, secretmem_pool_work);
	}

	err = secretmem_init_windows() ?:
	      register_shrinker(&secretmem_idle_shrinker) ?:
	      register_shrinker(&secretmem_part_shrinker);
	if (err)
		return err;

	hotplug_memory_notifier(secretmem_memory_event, 0);
	pm_notifier(secretmem_pm_event, 0);
	debugfs_create_file("secretmem_pool", 0444, NULL, NULL,
			    &secretmem_pool_fops);
	return 0;
}
