// SPDX-License-Identifier: GPL-2.0
/*
 * The pool of secret pages: which page is handed out, what happens to one that
 * comes back, and statistics. See secretmem_pool_internal.h for the states of
 * a page and the lock order.
 */

#include <linux/atomic.h>
#include <linux/bitmap.h>
#include <linux/bug.h>
#include <linux/cache.h>
#include <linux/capability.h>
#include <linux/compiler.h>
#include <linux/cpuset.h>
#include <linux/cred.h>
#include <linux/debugfs.h>
#include <linux/gfp.h>
#include <linux/init.h>
#include <linux/jump_label.h>
#include <linux/kernel.h>
#include <linux/list.h>
#include <linux/lockdep.h>
#include <linux/log2.h>
#include <linux/memcontrol.h>
#include <linux/mempolicy.h>
#include <linux/mm.h>
#include <linux/nodemask.h>
#include <linux/page-flags.h>
#include <linux/page_ref.h>
#include <linux/percpu.h>
#include <linux/sched.h>
#include <linux/secretmem.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/workqueue.h>

#include <asm/tlbflush.h>

#include "secretmem_pool_internal.h"

/*
 * If there is memory for a new block, a flush of all TLBs is worth it only if
 * this many pages become free.
 */
#define FLUSH_PAGES	(BLOCK_PAGES / 4)

struct secretmem_pool **secretmem_pools __ro_after_init;

atomic_long_t nr_secretmem_blocks = ATOMIC_LONG_INIT(0);

unsigned int secretmem_idle_limit = 1;

struct secretmem_events __percpu *secretmem_events __ro_after_init;

/*
 * Statistics
 */

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

/* Numbers of unmapped pages with contents and without. */
static void sum_pages(unsigned long *used, unsigned long *free)
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
 * A page counts before it is handed out and until it has been wiped. So a
 * result of false holds for as long as nothing else runs. A lost page counts
 * until the next boot: its memory may still have a secret.
 *
 * Context: any.
 *
 * Return: true if there is a secret in the memory of the machine.
 */
bool secretmem_active(void)
{
	unsigned long used, free;

	sum_pages(&used, &free);
	return used;
}

/**
 * secretmem_pool_has_lost() - is there a lost page?
 *
 * A page that fails while it is in a file is lost when it leaves the file, and
 * a free page that fails when its block is given back.
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
 * True whenever secretmem_active() is. Also true while the pool keeps free
 * pages for the next secret; secretmem_drain() gives most of them back.
 *
 * Context: any.
 *
 * Return: true if the kernel cannot read some page in the direct map, or if
 * some page is just being removed from it or added to it.
 */
bool secretmem_unmapped(void)
{
	return atomic_long_read(&nr_secretmem_blocks);
}

/**
 * secretmem_report_meminfo() - print the SecretMem lines of /proc/meminfo
 * @m: seq_file to print to
 *
 * All users can read this file, and must not see each key come and go there. So
 * only the administrator gets exact numbers. Others see how many blocks the
 * secrets would fill.
 *
 * Context: may sleep.
 */
void secretmem_report_meminfo(struct seq_file *m)
{
	unsigned long used, free, all;

	sum_pages(&used, &free);
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
 * Flushing
 */

/**
 * secretmem_pool_flush() - flush all TLBs, of all addresses
 * @pool: the pool whose wiped pages become free
 *
 * Afterwards no TLB has a kernel address of a page that was unmapped or wiped
 * before the call. The lock orders the end of wiping, which block_put_page()
 * notes under it, before any flush with a higher number.
 *
 * Context: interrupts are enabled, as flush_tlb_all() wants it.
 */
void secretmem_pool_flush(struct secretmem_pool *pool)
{
	u64 flush;

	spin_lock(&pool->lock);
	flush = ++pool->flush_begun;
	pool->nr_wiped = 0;
	spin_unlock(&pool->lock);

	flush_tlb_all();
	add_events(FLUSHES, 1);

	spin_lock(&pool->lock);
	pool->flush_done = max(pool->flush_done, flush);
	spin_unlock(&pool->lock);
}

/**
 * secretmem_block_see_flush() - make wiped pages of a block free pages
 * @block: the block
 *
 * Does so if all CPUs have flushed since the last of these pages was wiped.
 *
 * Context: pool->lock is held.
 */
void secretmem_block_see_flush(struct secretmem_block *block)
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
 * Taking
 */

/*
 * Take a free page for use. Pages with another reference are skipped: the
 * holder may be a CPU that keeps the page until a deferred flush of its TLB is
 * done, or may have the page locked. Reading a count of one pairs with the full
 * barrier of the other holder's last put_page().
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
		secretmem_block_see_flush(block);
		page = block_take(block);
		if (page)
			goto unlock;
		/*
		 * Neither has a block after it, unless a flush began before
		 * pages of this one were wiped.
		 */
		if (!block_has_free(block))
			break;
	}
	list_for_each_entry(block, &pool->idle, list) {
		secretmem_block_see_flush(block);
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

/* Flush if there is no free page, but @worth_flush or more wiped ones. */
static struct page *pool_take(struct secretmem_pool *pool,
			      unsigned long worth_flush)
{
	struct page *page = pool_take_free(pool);

	if (page || READ_ONCE(pool->nr_wiped) < worth_flush)
		return page;
	secretmem_pool_flush(pool);
	return pool_take_free(pool);
}

/* Add a new block to its pool, and take its first page. */
static struct page *pool_add_and_take(struct secretmem_block *block)
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
 * The node to take the page at @index of a file from, by memory policy and
 * cpuset. *@nodes: the nodes an allocation may fall back to, or NULL if policy
 * does not limit them.
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
 * How hard to try for a block. A block of 2 MiB is worth some compaction.
 * Smaller ones are a fallback, which must stay cheap. A single page is the last
 * resort, and tries as hard as @gfp allows.
 */
static gfp_t block_gfp(gfp_t gfp, unsigned int order)
{
	if (!order)
		return gfp;
	gfp |= __GFP_THISNODE | __GFP_NOWARN | __GFP_NORETRY;
	return order == BLOCK_ORDER ? gfp : gfp & ~__GFP_DIRECT_RECLAIM;
}

/**
 * secretmem_pool_get() - get a page that only user space can read
 * @gfp:    how to allocate; must allow sleeping, and must not ask for
 *          highmem or movable memory
 * @policy: from which nodes, or NULL for the policy of the task; the caller
 *          has a reference
 * @index:  of the page in its file
 *
 * Context: may sleep; takes the locks of the page allocator and of the
 * architecture's kernel page tables.
 *
 * Return: a zeroed page without any kernel mapping and with a reference for the
 * caller, which secretmem_pool_put() takes back; or NULL if there is no memory.
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
		block = secretmem_block_create(block_gfp(gfp, orders[i]),
					       orders[i], nid, nodes);
		if (block) {
			/* Retry if all its pages have other references. */
			page = pool_add_and_take(block);
		} else {
			/* A flush is better than a smaller block. */
			page = pool_take(pool, 1);
			i++;
		}
	}
	return page;
}

/*
 * Putting
 */

/* Make a used page a wiped one, or a lost one if it was not wiped. */
static void block_put_page(struct secretmem_block *block, struct page *page)
{
	struct secretmem_pool *pool = block->pool;

	lockdep_assert_held(&pool->lock);

	/*
	 * Not wiped, because its memory had failed when the others were. Keep
	 * the page and also the reference of the file: if the pool's were the
	 * only one, unpoison_memory() would drop it.
	 */
	if (PageUptodate(page)) {
		pool->nr_lost++;
		secretmem_block_break(block);
		return;
	}
	ClearPageReferenced(page);
	/* Never the last reference: the pool has its own. */
	put_page(page);
	__set_bit(page - block->pages, block->wiped);
	block->nr_free++;
	pool->nr_free++;
	pool->nr_used--;
	pool->nr_wiped++;
}

/*
 * Put a block into the list it belongs to, after pages of it became free or
 * lost. Returns true if there is something to give back.
 */
static bool block_update_list(struct secretmem_block *block)
{
	struct secretmem_pool *pool = block->pool;
	bool whole = block->nr_free == block->nr_pages;

	lockdep_assert_held(&pool->lock);

	if (block->broken || (whole && block->order != BLOCK_ORDER)) {
		list_move(&block->list, &pool->to_return);
		return true;
	}
	if (whole) {
		list_move_tail(&block->list, &pool->idle);
		return ++pool->nr_idle > READ_ONCE(secretmem_idle_limit);
	}
	if (list_empty(&block->list))
		list_add_tail(&block->list, &pool->partial);
	return false;
}

/*
 * Put the first page of a list, and those after it that are of the same block.
 */
static void put_pages_of_block(struct list_head *pages)
{
	struct page *page = list_first_entry(pages, struct page, lru), *next;
	struct secretmem_block *block = page_block(page);
	struct secretmem_pool *pool = block->pool;
	bool surplus;

	spin_lock(&pool->lock);
	secretmem_block_see_flush(block);
	block->wiped_after = pool->flush_begun;
	list_for_each_entry_safe_from(page, next, pages, lru) {
		if (page_block(page) != block)
			break;
		list_del(&page->lru);
		block_put_page(block, page);
	}
	surplus = block_update_list(block);
	/* The block can be freed as soon as the lock is dropped. */
	spin_unlock(&pool->lock);

	if (surplus)
		secretmem_pool_start_work(pool);
}

/**
 * secretmem_pool_put() - take pages back
 * @pages: list by page->lru of pages of secretmem_pool_get(), each with its
 *         reference; they are in no file, and no page table and no TLB has an
 *         entry for them
 *
 * The pages are zeroed when this function returns. They stay off the direct
 * map. As soon as all CPUs have flushed their TLBs and there is no other
 * reference to a page, it may be handed out again, or go back to the page
 * allocator. A page whose memory has failed stays as it was, and is never used
 * again. The list is empty afterwards. Cheapest if called with many pages at
 * once.
 *
 * Context: may sleep.
 */
void secretmem_pool_put(struct list_head *pages)
{
	secretmem_wipe_pages(pages);
	/* Free pages of the pool are charged to no cgroup. */
	mem_cgroup_uncharge_list(pages);
	while (!list_empty(pages))
		put_pages_of_block(pages);
}

static struct secretmem_pool * __init secretmem_new_pool(int nid)
{
	/* kmalloc() aligns powers of two: no two pools share a cache line. */
	size_t size = roundup_pow_of_two(sizeof(struct secretmem_pool));
	struct secretmem_pool *pool =
		kzalloc_node(size, GFP_KERNEL,
			     node_online(nid) ? nid : NUMA_NO_NODE);

	if (!pool)
		return NULL;
	spin_lock_init(&pool->lock);
	INIT_LIST_HEAD(&pool->partial);
	INIT_LIST_HEAD(&pool->idle);
	INIT_LIST_HEAD(&pool->to_return);
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

	err = secretmem_init_windows() ?: secretmem_init_reclaim();
	if (err)
		return err;

	debugfs_create_file("secretmem_pool", 0444, NULL, NULL,
			    &secretmem_pool_fops);
	return 0;
}
