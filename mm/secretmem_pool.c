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
 *	    |  ^                    ^
 *	    |  | pool_flush()       | TLBs flushed
 *	    |  |                    |
 *	    | wiped  ---------------'
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
 *	wiped	 as free, but its bit is in block->wiped: a CPU may still have in
 *		 its TLB the address at which the page was wiped. It is free once
 *		 all CPUs have flushed. Where nothing else is said, the word free
 *		 includes such pages
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
 * The TLBs of all CPUs are flushed when a block is made, and otherwise only if many
 * pages were wiped since, or memory is short, or a block is to be given back.
 *
 * A block of which all pages are free is idle. A node keeps one such block. Others
 * are given back by a work item if they were not needed for a while. If memory is
 * short, shrinkers give the idle ones back at once. If a task waits for memory and
 * reclaim finds next to nothing any more, the free pages of blocks that are in use are
 * given back as well, where these are not too few: this splits the large page, and such
 * a block is broken. What becomes free in it is given back and not handed out again.
 *
 * Lock order: secretmem_pool::lock is innermost, and a spinlock. Nothing is
 * allocated, zeroed, mapped or unmapped with it held.
 */

#define pr_fmt(fmt) "secretmem: " fmt

#include <linux/atomic.h>
#include <linux/bitmap.h>
#include <linux/capability.h>
#include <linux/compiler.h>
#include <linux/cpuset.h>
#include <linux/cred.h>
#include <linux/debugfs.h>
#include <linux/gfp.h>
#include <linux/init.h>
#include <linux/jiffies.h>
#include <linux/list.h>
#include <linux/log2.h>
#include <linux/memcontrol.h>
#include <linux/memory.h>
#include <linux/mempolicy.h>
#include <linux/mm.h>
#include <linux/nodemask.h>
#include <linux/notifier.h>
#include <linux/page-flags.h>
#include <linux/page_ref.h>
#include <linux/percpu.h>
#include <linux/pgtable.h>
#include <linux/sched.h>
#include <linux/secretmem.h>
#include <linux/seq_file.h>
#include <linux/set_memory.h>
#include <linux/shrinker.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/smp.h>
#include <linux/spinlock.h>
#include <linux/string.h>
#include <linux/suspend.h>
#include <linux/swap.h>
#include <linux/vmalloc.h>
#include <linux/workqueue.h>

#include <asm/tlbflush.h>

#include "secretmem_pool.h"

/* A block lies in one large page of the direct map, or is one. */
#define BLOCK_ORDER	(ilog2(SZ_2M) - PAGE_SHIFT)
#define BLOCK_PAGES	(SZ_2M >> PAGE_SHIFT)

/*
 * So many pages must have been wiped to be worth a flush of all TLBs, if there is
 * memory for a new block instead.
 */
#define FLUSH_PAGES	(BLOCK_PAGES / 4)

/*
 * So many pages of a block must be free to be worth the large page, which is split for
 * good, and the page table that this takes.
 */
#define SPLIT_PAGES	16

/* An idle block is given back if it was not needed for as long as this, or twice that. */
#define IDLE_PERIOD	(HZ / 2)

/*
 * The pages of one node. In the list partial the blocks with pages in block->free come
 * before those of which all free pages are wiped ones.
 */
struct secretmem_pool {
	spinlock_t lock;		/* of all below but work, and of the blocks */
	struct list_head partial;	/* blocks with pages of both kinds, see above */
	struct list_head idle;		/* blocks with free pages only */
	struct list_head leaving;	/* blocks whose free pages are to leave */
	struct list_head all;		/* blocks, those in no other list as well */
	unsigned int nr_idle;		/* blocks in idle */
	unsigned int least_idle;	/* of that, since the work looked last */
	unsigned long nr_free;		/* pages */
	unsigned long nr_used;		/* with those that are lost */
	unsigned long nr_lost;
	unsigned long nr_wiped;		/* pages wiped since the last flush began */
	u64 flush_begun;		/* flushes of all TLBs are numbered */
	u64 flush_done;			/* the newest that is over */
	struct delayed_work work;	/* gives back what is too much */
};

/*
 * Pages that left the page allocator together. Those that have not been given
 * back point here with page->private. Lives as long as there is one of them.
 */
struct secretmem_block {
	struct list_head list;		/* one of the pool's, or none if nr_free is 0 */
	struct list_head all;		/* the pool's of this name */
	struct secretmem_pool *pool;
	struct page *pages;		/* the first */
	unsigned int order;
	unsigned int nr_pages;		/* that have not been given back */
	unsigned int nr_free;		/* in free or wiped */
	bool broken;
	u64 wiped_after;		/* the last flush before a page was wiped */
	unsigned long *wiped;		/* a bit for each page, behind those of free */
	unsigned long free[];		/* a bit for each page */
};

/* Indexed by node. */
static struct secretmem_pool **secretmem_pools __ro_after_init;

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

struct secretmem_events {
	unsigned long nr[NR_EVENTS];
};

static struct secretmem_events __percpu *secretmem_events __ro_after_init;

static void count_events(enum secretmem_event event, unsigned long nr)
{
	this_cpu_add(secretmem_events->nr[event], nr);
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
	unsigned long nr;
	unsigned int i;
	int cpu;

	for (i = 0; i < NR_EVENTS; i++) {
		nr = 0;
		for_each_possible_cpu(cpu)
			nr += per_cpu_ptr(secretmem_events, cpu)->nr[i];
		seq_printf(m, "%s: %lu\n", names[i], nr);
	}
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
		*used += READ_ONCE(secretmem_pools[nid]->nr_used);
		*free += READ_ONCE(secretmem_pools[nid]->nr_free);
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
 * secretmem_pool_has_lost() - has memory failed with a secret in it?
 *
 * A page that fails while it is in a file is lost when it leaves the file.
 *
 * Context: any.
 *
 * Return: true if there is memory that counts as secret until the next boot.
 */
bool secretmem_pool_has_lost(void)
{
	bool lost = false;
	int nid;

	if (!static_branch_unlikely(&secretmem_key))
		return false;

	for_each_node(nid)
		lost |= READ_ONCE(secretmem_pools[nid]->nr_lost);
	return lost;
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
 * Everybody can read that file, and somebody who watches it must not see each key
 * come and go. So the exact numbers are for the administrator, and others see how
 * many blocks hold secrets if these are packed.
 *
 * Context: may sleep.
 */
void secretmem_report_meminfo(struct seq_file *m)
{
	unsigned long used, free, all;

	count_pages(&used, &free);
	if (!ns_capable_noaudit(&init_user_ns, CAP_SYS_ADMIN)) {
		all = used + free;
		used = round_up(used, BLOCK_PAGES);
		free = all > used ? all - used : 0;
	}
	seq_printf(m, "SecretMem:      %8lu kB\n"
		      "SecretMemFree:  %8lu kB\n",
		   used << (PAGE_SHIFT - 10), free << (PAGE_SHIFT - 10));
}

/*
 * Wiping
 */

/*
 * Where a CPU sees the pages it is wiping: the windows of all CPUs are side by side.
 * No other CPU has a reason to use such an address, so to wipe the next pages through
 * it only the CPU's own TLB has to be flushed, once for all pages that find room. But
 * the page tables are everybody's. A CPU that reads there nevertheless, in vain or by
 * speculation, may keep the translation: see block->wiped.
 */
#define WINDOW_PAGES	(IS_ENABLED(CONFIG_64BIT) ? BLOCK_PAGES : 32)
#define WINDOW_SIZE	(WINDOW_PAGES * PAGE_SIZE)

static unsigned long secretmem_windows __ro_after_init;

static void window_map(unsigned long addr, pte_t *pte, struct page *page)
{
	set_pte_at(&init_mm, addr, pte, mk_pte(page, PAGE_KERNEL));
	/* Without barriers the compiler sees no use of the entry and drops it. */
	barrier();
}

static void window_unmap(unsigned long addr, pte_t *pte)
{
	barrier();
	pte_clear(&init_mm, addr, pte);
}

/*
 * Zeroes pages of a list from @page on, until the window is full or somebody waits
 * for this CPU. Returns the page that is next, which may be the list's head.
 */
static struct page *clear_through_window(struct list_head *pages,
					 struct page *page)
{
	unsigned long window = secretmem_windows + get_cpu() * WINDOW_SIZE;
	unsigned long addr = window;
	pte_t *pte = NULL;

	list_for_each_entry_from(page, pages, lru) {
		if (addr == window + WINDOW_SIZE ||
		    (addr != window && need_resched()))
			break;
		/* To write to memory that has failed, or to read ahead, is a machine check. */
		if (PageHWPoison(page)) {
			SetPageUptodate(page);
			continue;
		}
		/* Neighbours in a page table: to walk there for each page takes time. */
		pte = pte && (addr & ~PMD_MASK) ? pte + 1 : virt_to_kpte(addr);
		window_map(addr, pte, page);
		clear_page((void *)addr);
		window_unmap(addr, pte);
		ClearPageUptodate(page);
		addr += PAGE_SIZE;
	}
	local_flush_tlb_kernel_range(window, addr);
	put_cpu();
	count_events(LOCAL_FLUSHES, 1);
	return page;
}

/**
 * secretmem_pool_zero() - zero a part of a page that stays in use
 * @page:   of secretmem_pool_get(), locked
 * @offset: of the part, in bytes
 * @len:    of the part, in bytes
 *
 * A page whose memory has failed is left as it is.
 *
 * Context: may sleep. Flushes the TLBs of all CPUs: what else is in the page stays
 * secret, and no CPU may keep an address of it.
 */
void secretmem_pool_zero(struct page *page, unsigned int offset,
			 unsigned int len)
{
	unsigned long window = secretmem_windows + get_cpu() * WINDOW_SIZE;
	pte_t *pte = virt_to_kpte(window);

	if (!PageHWPoison(page)) {
		window_map(window, pte, page);
		memset((void *)window + offset, 0, len);
		window_unmap(window, pte);
		flush_tlb_kernel_range(window, window + PAGE_SIZE);
		count_events(FLUSHES, 1);
	}
	put_cpu();
}

static int __init leave_pte_empty(pte_t *pte, unsigned long addr, void *data)
{
	return 0;
}

static int __init secretmem_init_windows(void)
{
	unsigned long size = nr_cpu_ids * WINDOW_SIZE;
	struct vm_struct *area;

	/* This flag makes it a hole in /proc/kcore. */
	area = get_vm_area(size, VM_IOREMAP);
	if (!area)
		return -ENOMEM;
	secretmem_windows = (unsigned long)area->addr;
	/* That there are page tables is all that is wanted of it. */
	return apply_to_page_range(&init_mm, secretmem_windows, size,
				   leave_pte_empty, NULL);
}

/*
 * Flushing
 */

/*
 * Flushes all TLBs, of everything: from when it is called, no CPU has any address of
 * a page that was unmapped or wiped before. The lock orders the end of wiping, which
 * block_put_page() notes under it, before a flush that is newer.
 */
static void pool_flush(struct secretmem_pool *pool)
{
	u64 flush;

	spin_lock(&pool->lock);
	flush = ++pool->flush_begun;
	pool->nr_wiped = 0;
	spin_unlock(&pool->lock);

	flush_tlb_all();
	count_events(FLUSHES, 1);

	spin_lock(&pool->lock);
	pool->flush_done = max(pool->flush_done, flush);
	spin_unlock(&pool->lock);
}

/* If all CPUs have flushed since the last of them was wiped, wiped pages are free. */
static void block_see_flush(struct secretmem_block *block)
{
	unsigned int nr = 1U << block->order;

	lockdep_assert_held(&block->pool->lock);

	if (block->pool->flush_done > block->wiped_after) {
		bitmap_or(block->free, block->free, block->wiped, nr);
		bitmap_zero(block->wiped, nr);
	}
}

static bool block_has_free(const struct secretmem_block *block)
{
	return !bitmap_empty(block->free, 1U << block->order);
}

/*
 * Giving back
 */

static void pool_lose_idle(struct secretmem_pool *pool)
{
	lockdep_assert_held(&pool->lock);

	pool->nr_idle--;
	pool->least_idle = min(pool->least_idle, pool->nr_idle);
}

/*
 * Takes all free pages of a block, which is in no list afterwards. True if some of them
 * are wiped pages: all TLBs are to be flushed first.
 */
static bool block_claim(struct secretmem_block *block, unsigned long *claimed)
{
	struct secretmem_pool *pool = block->pool;
	unsigned int nr = 1U << block->order;
	bool stale;

	lockdep_assert_held(&pool->lock);

	block_see_flush(block);
	stale = !bitmap_empty(block->wiped, nr);
	bitmap_or(claimed, block->free, block->wiped, nr);
	bitmap_zero(block->free, nr);
	bitmap_zero(block->wiped, nr);
	list_del_init(&block->list);
	pool->nr_free -= block->nr_free;
	block->nr_free = 0;
	return stale;
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
 * True if there is something to give back.
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
		list_move_tail(&block->list, &pool->idle);
		return ++pool->nr_idle > READ_ONCE(secretmem_keep_idle);
	}
	if (list_empty(&block->list))
		list_add_tail(&block->list, &pool->partial);
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
	pool->nr_lost += lost;
	if (left)
		list_move(&block->list, &pool->partial);
	gone = !block->nr_pages;
	if (gone)
		list_del(&block->all);
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

/* The same for all free pages of a block. */
static unsigned int block_leave(struct secretmem_block *block)
	__releases(&block->pool->lock)
{
	struct secretmem_pool *pool = block->pool;
	DECLARE_BITMAP(claimed, BLOCK_PAGES);
	bool stale = block_claim(block, claimed);

	spin_unlock(&pool->lock);
	if (stale)
		pool_flush(pool);
	return block_give_back(block, claimed);
}

static unsigned long give_back_idle(struct secretmem_pool *pool,
				    unsigned int keep)
{
	spin_lock(&pool->lock);
	if (pool->nr_idle <= keep) {
		spin_unlock(&pool->lock);
		return 0;
	}
	pool_lose_idle(pool);
	return block_leave(list_last_entry(&pool->idle, struct secretmem_block,
					   list));
}

/* Breaks the last block of a list that has @min free pages or more. */
static unsigned long give_back_part(struct secretmem_pool *pool,
				    struct list_head *list, unsigned int min)
{
	struct secretmem_block *block;

	spin_lock(&pool->lock);
	list_for_each_entry_reverse(block, list, list) {
		/* Small blocks have no large page any more. */
		if (block->nr_free >= min || block->order != BLOCK_ORDER) {
			block_break(block);
			return block_leave(block);
		}
	}
	spin_unlock(&pool->lock);
	return 0;
}

static void secretmem_pool_work(struct work_struct *work)
{
	struct secretmem_pool *pool =
		container_of(to_delayed_work(work), struct secretmem_pool, work);
	unsigned int keep = READ_ONCE(secretmem_keep_idle), unneeded;

	/* What can not be given back leaves this list as well. */
	while (!list_empty_careful(&pool->leaving)) {
		give_back_part(pool, &pool->leaving, 0);
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

/* Has what is too much given back: soon, or later if it may be needed again. */
static void pool_start_work(struct secretmem_pool *pool)
{
	if (!list_empty_careful(&pool->leaving) ||
	    !READ_ONCE(secretmem_keep_idle))
		mod_delayed_work(system_unbound_wq, &pool->work, 0);
	else
		queue_delayed_work(system_unbound_wq, &pool->work, IDLE_PERIOD);
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
		struct secretmem_pool *pool = secretmem_pools[nid];

		flush_delayed_work(&pool->work);
		while (give_back_idle(pool, 0))
			cond_resched();
	}
}

#ifdef CONFIG_DEBUG_SECRETMEM
/**
 * secretmem_give_all_back() - give back each page that could be used for secrets
 *
 * For tests, which want it without bringing the system to the end of its memory:
 * blocks that are in use are split, however little that gains.
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

		while (give_back_part(pool, &pool->partial, 0))
			cond_resched();
	}
}
#endif

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
static int unmap_pages(struct secretmem_pool *pool, struct page *pages,
		       unsigned int nr)
{
	int err = set_direct_map_valid_noflush(pages, nr, false);

	if (!err)
		pool_flush(pool);
	return err;
}

/* A block of free pages, in no list yet, or NULL. */
static struct secretmem_block *block_create(gfp_t gfp, unsigned int order,
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
	atomic_long_inc(&secretmem_blocks);
	/* All in one large page: if it fails, nothing has been changed. */
	if (unmap_pages(block->pool, block->pages, nr))
		goto err_free_pages;

	split_page(block->pages, order);
	/* Pairs with what memory_failure() does between the flag and the count. */
	smp_mb();
	for (i = 0; i < nr; i++) {
		set_page_private(block->pages + i, (unsigned long)block);
		/*
		 * It may have failed when most pages of the block had no count to
		 * take a reference by. The pool's own would be put if the page is
		 * declared good again.
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
		if (!block->nr_free)
			list_del_init(&block->list);
		else if (block_has_free(block))
			list_move(&block->list, &pool->partial);
		else
			list_move_tail(&block->list, &pool->partial);
		return page;
	}
	return NULL;
}

static struct page *pool_take_free(struct secretmem_pool *pool)
{
	struct secretmem_block *block;
	struct page *page = NULL;

	spin_lock(&pool->lock);
	list_for_each_entry(block, &pool->partial, list) {
		block_see_flush(block);
		page = block_take(block);
		if (page)
			goto unlock;
		/* Nor has any behind it, unless a flush began before this one was wiped. */
		if (!block_has_free(block))
			break;
	}
	list_for_each_entry(block, &pool->idle, list) {
		block_see_flush(block);
		page = block_take(block);
		if (page) {
			pool_lose_idle(pool);
			goto unlock;
		}
	}
unlock:
	spin_unlock(&pool->lock);
	return page;
}

/* Flushes if there is no other page, and @worth_flush pages or more were wiped. */
static struct page *pool_take(struct secretmem_pool *pool,
			      unsigned long worth_flush)
{
	struct page *page = pool_take_free(pool);

	if (page || READ_ONCE(pool->nr_wiped) < worth_flush)
		return page;
	pool_flush(pool);
	return pool_take_free(pool);
}

/* The first page of a new block, and to the pool with the others. */
static struct page *pool_add(struct secretmem_block *block)
{
	struct secretmem_pool *pool = block->pool;
	struct page *page;

	spin_lock(&pool->lock);
	pool->nr_free += block->nr_free;
	list_add(&block->list, &pool->partial);
	list_add(&block->all, &pool->all);
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
 * The node that memory policy and cpuset have for the page at @index of a file, whose
 * pool can be asked, and all @nodes that will do, or NULL if these are no matter of
 * policy.
 */
static int policy_node(gfp_t gfp, struct mempolicy *policy, pgoff_t index,
		       nodemask_t **nodes)
{
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
		nid = interleaved_node(&policy->v.nodes, index);

	nearest = first_zones_zonelist(node_zonelist(nid, gfp), zone,
				       *nodes ?: &cpuset_current_mems_allowed);
	return nearest->zone ? zone_to_nid(nearest->zone) : nid;
}
#else
static int policy_node(gfp_t gfp, struct mempolicy *policy, pgoff_t index,
		       nodemask_t **nodes)
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
 * @gfp:    how to allocate; must allow sleeping and must not ask for highmem or movable
 *          memory
 * @policy: says from which nodes, or NULL if that of the task does; the caller has a
 *          reference
 * @index:  of the page in its file
 *
 * Context: may sleep; takes the locks of the page allocator and those of the
 * architecture's kernel page tables.
 *
 * Return: a zeroed page with a reference for the caller and without any kernel
 * mapping, to be given to secretmem_pool_put() with that reference; or NULL if there
 * is no memory.
 */
struct page *secretmem_pool_get(gfp_t gfp, struct mempolicy *policy,
				pgoff_t index)
{
	static const unsigned char orders[] = {
		BLOCK_ORDER, BLOCK_ORDER / 2, 0
	};
	struct secretmem_block *block;
	nodemask_t *nodes;
	int nid = policy_node(gfp, policy, index, &nodes);
	struct secretmem_pool *pool = secretmem_pools[nid];
	struct page *page = pool_take(pool, FLUSH_PAGES);
	int i = 0;

	while (!page && i < ARRAY_SIZE(orders)) {
		block = block_create(block_gfp(gfp, orders[i]), orders[i],
				     nid, nodes);
		if (block) {
			/* It may have no page either, if somebody holds them. */
			page = pool_add(block);
		} else {
			/* A flush is better than a smaller block. */
			page = pool_take(pool, 1);
			i++;
		}
	}
	return page;
}

/* Zeroes pages, except those whose memory has failed: only these are up to date then. */
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

/* Makes a used page a wiped one, or a lost one if it was not wiped. */
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
		pool->nr_lost++;
		block_break(block);
		return;
	}
	ClearPageReferenced(page);
	/* Never the last: the pool has its own. */
	put_page(page);
	__set_bit(page - block->pages, block->wiped);
	block->nr_free++;
	pool->nr_free++;
	pool->nr_used--;
	pool->nr_wiped++;
}

/* Puts the first page of a list, and those behind it that are of the same block. */
static void put_pages_of_block(struct list_head *pages)
{
	struct page *page = list_first_entry(pages, struct page, lru), *next;
	struct secretmem_block *block = page_block(page);
	struct secretmem_pool *pool = block->pool;
	bool surplus;

	spin_lock(&pool->lock);
	block_see_flush(block);
	block->wiped_after = pool->flush_begun;
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
		pool_start_work(pool);
}

/**
 * secretmem_pool_put() - take pages back
 * @pages: list by page->lru of pages of secretmem_pool_get(), with a reference to each;
 *         they are in no file and mapped nowhere, not in user space and not in any TLB
 *
 * The pages are zeroed before this function returns. They stay off the direct map, may
 * become pages of another secret file as soon as all CPUs have flushed their TLBs and
 * nobody else has a reference to them, or go back to the page allocator. If the memory
 * of a page has failed, it stays as it was, and is never used again. The list is empty
 * afterwards, and the references are gone. Costs least for many pages.
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
	return secretmem_pools[sc->nid];
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

	/*
	 * Only for a task that waits for memory. drop_caches and soft offlining ask
	 * without need, and kswapd may only be after larger pages than there are.
	 */
	if (!current->reclaim_state || current_is_kswapd())
		return 0;
	return free > idle ? free - idle : SHRINK_EMPTY;
}

static unsigned long secretmem_part_scan(struct shrinker *shrinker,
					 struct shrink_control *sc)
{
	struct secretmem_pool *pool = shrinker_pool(sc);
	unsigned long freed = give_back_part(pool, &pool->partial, SPLIT_PAGES);

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
 * a time. With no other batch than all there is, scanning waits for the last three
 * priorities of reclaim: only then is a quarter or more asked for at once.
 */
static struct shrinker secretmem_part_shrinker = {
	.count_objects	= secretmem_part_count,
	.scan_objects	= secretmem_part_scan,
	.batch		= LONG_MAX,
	.seeks		= 2 * DEFAULT_SEEKS,
	.flags		= SHRINKER_NUMA_AWARE,
};

/*
 * Events
 */

/* Is there a page of the block in a range, be it used, free or lost? */
static bool __maybe_unused block_is_in(const struct secretmem_block *block,
				       const struct memory_notify *range)
{
	unsigned long first = page_to_pfn(block->pages);
	unsigned long pfn = max(first, range->start_pfn);
	unsigned long end = min(first + (1UL << block->order),
				range->start_pfn + range->nr_pages);

	/* What was given back does not point here, and nothing else does. */
	for (; pfn < end; pfn++)
		if (page_block(pfn_to_page(pfn)) == block)
			return true;
	return false;
}

/*
 * Pages whose memory has failed are no obstacle to taking it offline, and if it is
 * ever online again, all of it goes to the page allocator. Ours have no direct
 * map, and may still be in their files: let them be an obstacle. Ask whose they
 * are, as others may have no direct map either: a machine check takes it away.
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

	/* All of the range is of one node. */
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

static struct secretmem_pool * __init secretmem_new_pool(int nid)
{
	/* A power of two is aligned to itself: no pool shares a cache line. */
	size_t size = roundup_pow_of_two(sizeof(struct secretmem_pool));
	struct secretmem_pool *pool =
		kzalloc_node(size, GFP_KERNEL,
			     node_online(nid) ? nid : NUMA_NO_NODE);

	if (!pool)
		return NULL;
	spin_lock_init(&pool->lock);
	INIT_LIST_HEAD(&pool->partial);
	INIT_LIST_HEAD(&pool->idle);
	INIT_LIST_HEAD(&pool->leaving);
	INIT_LIST_HEAD(&pool->all);
	INIT_DELAYED_WORK(&pool->work, secretmem_pool_work);
	return pool;
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

	secretmem_events = alloc_percpu(struct secretmem_events);
	secretmem_pools = kcalloc(nr_node_ids, sizeof(*secretmem_pools),
				  GFP_KERNEL);
	if (!secretmem_events || !secretmem_pools)
		return -ENOMEM;
	for_each_node(nid) {
		secretmem_pools[nid] = secretmem_new_pool(nid);
		if (!secretmem_pools[nid])
			return -ENOMEM;
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
