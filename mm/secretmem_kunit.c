// SPDX-License-Identifier: GPL-2.0
/*
 * Tests for what user space cannot trigger at will
 *
 * set_direct_map_valid_noflush() changes exactly the pages it is asked to
 * change, whatever large pages they are in, and no TLB entry for a pool page
 * remains. A page with an extra reference is neither handed out again nor taken
 * away from the holder of the reference. Memory that has failed can go offline
 * if it is ordinary memory, but not if it is a page of the pool. SLUB survives
 * reading a free object whose page has become secret.
 */

#include <kunit/test.h>
#include <linux/atomic.h>
#include <linux/completion.h>
#include <linux/cpumask.h>
#include <linux/gfp.h>
#include <linux/highmem.h>
#include <linux/kmemleak.h>
#include <linux/kthread.h>
#include <linux/memory.h>
#include <linux/mm.h>
#include <linux/notifier.h>
#include <linux/page-flags.h>
#include <linux/page_ref.h>
#include <linux/sched.h>
#include <linux/secretmem.h>
#include <linux/set_memory.h>
#include <linux/slab.h>
#include <linux/smp.h>

#include <asm/tlbflush.h>

#include "secretmem_pool.h"
#include "secretmem_probe.h"
#include "slab.h"

/* The pages of one large page of the direct map, and of two adjacent ones. */
#define LEAF_NR		((int)(PMD_SIZE / PAGE_SIZE))
#define PAIR_NR		(2 * LEAF_NR)
#define PAIR_ORDER	(PMD_SHIFT - PAGE_SHIFT + 1)
/* Let two threads split this many large pages. */
#define SPLITS		64

/* Expect all of @pair to be readable except @nr pages from @first. */
static void expect_unmapped(struct kunit *test, struct page *pair, int first,
			    int nr)
{
	int i;

	for (i = 0; i < PAIR_NR; i++) {
		bool mapped = i < first || i >= first + nr;

		if (first_word_readable(pair + i) == mapped &&
		    kernel_page_present(pair + i) == mapped)
			continue;
		KUNIT_FAIL(test, "page %d is %sreadable and %spresent", i,
			   first_word_readable(pair + i) ? "" : "not ",
			   kernel_page_present(pair + i) ? "" : "not ");
		return;
	}
}

static void unmap_and_map(struct kunit *test, struct page *pair, int first,
			  int nr)
{
	struct page *page = pair + first;

	KUNIT_ASSERT_EQ(test, 0, set_direct_map_valid_noflush(page, nr, false));
	flush_tlb_all();
	expect_unmapped(test, pair, first, nr);

	/* Mapping pages that are mapped already changes nothing. */
	KUNIT_EXPECT_EQ(test, 0, set_direct_map_valid_noflush(page, nr, true));
	KUNIT_EXPECT_EQ(test, 0, set_direct_map_valid_noflush(page, nr, true));
	expect_unmapped(test, pair, 0, 0);
}

static void whole_large_pages_are_not_split(struct kunit *test)
{
	struct page *pair = test->priv;
	bool first = mapped_by_large_page(pair);
	bool second = mapped_by_large_page(pair + LEAF_NR);

	unmap_and_map(test, pair, 0, LEAF_NR);
	unmap_and_map(test, pair, LEAF_NR, LEAF_NR);
	unmap_and_map(test, pair, 0, PAIR_NR);
	KUNIT_EXPECT_EQ(test, first, mapped_by_large_page(pair));
	KUNIT_EXPECT_EQ(test, second, mapped_by_large_page(pair + LEAF_NR));
	kunit_info(test, "%d large pages stayed whole\n", first + second);
}

static void large_page_is_split_in_part_only(struct kunit *test)
{
	struct page *pair = test->priv;
	bool second = mapped_by_large_page(pair + LEAF_NR);

	unmap_and_map(test, pair, 1, 1);
	KUNIT_EXPECT_FALSE(test, mapped_by_large_page(pair));
	KUNIT_EXPECT_EQ(test, second, mapped_by_large_page(pair + LEAF_NR));
}

static void unmapped_large_page_is_mapped_in_parts(struct kunit *test)
{
	struct page *pair = test->priv;
	int i;

	KUNIT_ASSERT_EQ(test, 0,
			set_direct_map_valid_noflush(pair, PAIR_NR, false));
	flush_tlb_all();
	for (i = 0; i < PAIR_NR; i++) {
		if (i == LEAF_NR - 1 || i == LEAF_NR + 1)
			expect_unmapped(test, pair, i, PAIR_NR - i);
		KUNIT_ASSERT_EQ(test, 0,
				set_direct_map_valid_noflush(pair + i, 1, true));
	}
	expect_unmapped(test, pair, 0, 0);
}

static void ranges_have_exact_ends(struct kunit *test)
{
	static const struct {
		int first;
		int nr;
	} range[] = {
		{ 0, 1 },
		{ LEAF_NR - 1, 1 },
		{ LEAF_NR, 1 },
		{ PAIR_NR - 1, 1 },
		{ 1, LEAF_NR - 1 },
		{ 0, LEAF_NR - 1 },
		{ LEAF_NR - 3, 7 },
		{ 1, PAIR_NR - 2 },
		{ 0, PAIR_NR },
	};
	int i;

	for (i = 0; i < ARRAY_SIZE(range); i++)
		unmap_and_map(test, test->priv, range[i].first, range[i].nr);
}

/* The last page of a large page, for the thread that unmaps it. */
struct last_page {
	struct page *page;
	atomic_t arrived;
	struct completion done;
	int err;
};

static void meet(atomic_t *arrived)
{
	atomic_inc(arrived);
	while (atomic_read(arrived) < 2)
		cond_resched();
}

static int unmap_last_page(void *data)
{
	struct last_page *last = data;

	meet(&last->arrived);
	last->err = set_direct_map_valid_noflush(last->page, 1, false);
	complete(&last->done);
	return 0;
}

/* Two threads unmap one page each, and both find a large page to be split. */
static void unmap_both_ends(struct kunit *test, struct page *large)
{
	struct last_page last = { .page = large + LEAF_NR - 1 };
	struct task_struct *thread;
	int i, err;

	init_completion(&last.done);
	thread = kthread_run(unmap_last_page, &last, "set_direct_map");
	KUNIT_ASSERT_FALSE(test, IS_ERR(thread));
	meet(&last.arrived);
	err = set_direct_map_valid_noflush(large, 1, false);
	wait_for_completion(&last.done);
	flush_tlb_all();

	KUNIT_EXPECT_EQ(test, 0, err);
	KUNIT_EXPECT_EQ(test, 0, last.err);
	for (i = 0; i < LEAF_NR; i++) {
		bool mapped = i && i != LEAF_NR - 1;

		KUNIT_EXPECT_EQ(test, mapped, first_word_readable(large + i));
	}

	set_direct_map_valid_noflush(large, 1, true);
	set_direct_map_valid_noflush(last.page, 1, true);
}

static void large_page_is_split_by_two_at_once(struct kunit *test)
{
	struct page *large[SPLITS] = { };
	int i, split = 0;

	/* Allocate all before freeing any, or the same page would come back. */
	for (i = 0; i < SPLITS; i++)
		large[i] = alloc_pages(GFP_KERNEL | __GFP_NOWARN,
				       PAIR_ORDER - 1);
	for (i = 0; i < SPLITS && large[i]; i++) {
		split += mapped_by_large_page(large[i]);
		unmap_both_ends(test, large[i]);
	}
	KUNIT_EXPECT_NE(test, 0, i);
	kunit_info(test, "%d large pages were split\n", split);
	for (i = 0; i < SPLITS && large[i]; i++)
		__free_pages(large[i], PAIR_ORDER - 1);
}

static int set_direct_map_init(struct kunit *test)
{
	/* Fail rather than pass without having tested anything. */
	if (!can_set_direct_map())
		return -EOPNOTSUPP;
	test->priv = alloc_pages(GFP_KERNEL, PAIR_ORDER);
	return test->priv ? 0 : -ENOMEM;
}

static void set_direct_map_exit(struct kunit *test)
{
	if (test->priv)
		__free_pages(test->priv, PAIR_ORDER);
}

static struct kunit_case set_direct_map_cases[] = {
	KUNIT_CASE(whole_large_pages_are_not_split),
	KUNIT_CASE(large_page_is_split_in_part_only),
	KUNIT_CASE(unmapped_large_page_is_mapped_in_parts),
	KUNIT_CASE(ranges_have_exact_ends),
	KUNIT_CASE(large_page_is_split_by_two_at_once),
	{ }
};

static struct kunit_suite set_direct_map_suite = {
	.name		= "set_direct_map",
	.init		= set_direct_map_init,
	.exit		= set_direct_map_exit,
	.test_cases	= set_direct_map_cases,
};

static struct page *get_secret_page(struct kunit *test)
{
	struct page *page = secretmem_pool_get(GFP_USER, NULL, 0);

	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, page);
	return page;
}

static void put_secret_page(struct page *page)
{
	LIST_HEAD(pages);

	list_add(&page->lru, &pages);
	secretmem_pool_put(&pages);
}

/*
 * Takes @nr pages from the pool and adds them to @pages. Returns true if @page
 * is one of them.
 */
static bool get_secret_pages(struct kunit *test, int nr, struct list_head *pages,
			     const struct page *page)
{
	bool found = false;
	struct page *one;

	while (nr--) {
		one = get_secret_page(test);
		list_add_tail(&one->lru, pages);
		found |= one == page;
	}
	return found;
}

/*
 * The block was zeroed through the direct map just before it was unmapped, so
 * its addresses have been in the TLB.
 */
static void tlb_has_nothing_left_of_a_block(struct kunit *test)
{
	struct page *first = get_secret_page(test);
	unsigned long block = page_private(first);
	int i;

	for (i = 0; i < LEAF_NR && page_private(first + i) == block; i++)
		KUNIT_EXPECT_FALSE(test, first_word_readable(first + i));
	put_secret_page(first);
}

/* Each test starts with an empty pool: the first page is from a new block. */
static void wiped_page_is_handed_out_after_all_others(struct kunit *test)
{
	struct page *page = get_secret_page(test);
	LIST_HEAD(pages);

	put_secret_page(page);
	KUNIT_EXPECT_FALSE(test, get_secret_pages(test, LEAF_NR - 1, &pages, page));
	secretmem_pool_put(&pages);

	/* The whole block was wiped: the pool flushes and uses it again. */
	KUNIT_EXPECT_TRUE(test, get_secret_pages(test, LEAF_NR, &pages, page));
	secretmem_pool_put(&pages);
}

/* While the pool can get a new block, it does not flush for a few pages. */
static void new_block_comes_before_a_flush_for_few_pages(struct kunit *test)
{
	struct page *page = get_secret_page(test), *next;
	LIST_HEAD(pages);

	get_secret_pages(test, LEAF_NR - 1, &pages, NULL);
	put_secret_page(page);
	next = get_secret_page(test);
	KUNIT_EXPECT_NE(test, page_private(page), page_private(next));
	put_secret_page(next);
	secretmem_pool_put(&pages);
}

static void held_page_is_not_handed_out(struct kunit *test)
{
	struct page *held = get_secret_page(test), *page;
	LIST_HEAD(pages);

	get_secret_pages(test, LEAF_NR - 1, &pages, NULL);
	get_page(held);
	list_add(&held->lru, &pages);
	secretmem_pool_put(&pages);
	KUNIT_EXPECT_FALSE(test, get_secret_pages(test, LEAF_NR - 1, &pages, held));

	/* The last free page is handed out as soon as nobody holds it. */
	put_page(held);
	page = get_secret_page(test);
	KUNIT_EXPECT_PTR_EQ(test, held, page);
	put_secret_page(page);
	secretmem_pool_put(&pages);
}

static void held_page_is_given_back_by_its_holder(struct kunit *test)
{
	struct page *held = get_secret_page(test);

	KUNIT_EXPECT_FALSE(test, kernel_page_present(held));
	get_page(held);
	put_secret_page(held);
	secretmem_drain();
	KUNIT_EXPECT_FALSE(test, secretmem_unmapped());
	KUNIT_EXPECT_TRUE(test, kernel_page_present(held));
	KUNIT_EXPECT_EQ(test, 1, page_ref_count(held));
	KUNIT_EXPECT_EQ(test, 0UL, page_private(held));
	put_page(held);
}

/* KASAN would treat the object in the secret page as a real one. */
#if defined(CONFIG_SLUB) && !defined(CONFIG_KASAN)
/* With a constructor, a cache is not merged and does not zero objects. */
static void constructor(void *object)
{
}

/*
 * The fast path of an allocation reads the first free object before it can know
 * that the object is still free. Simulate that it comes too late: let the first
 * free object be in a secret page. The fast path has to survive reading it, and
 * then returns it, as nothing has changed the free list in between.
 */
static void slab_allocation_can_be_late(struct kunit *test)
{
	struct page *page = get_secret_page(test);
	struct kmem_cache_cpu *cpu;
	struct kmem_cache *cache;
	void *object, **freelist;

	cache = kmem_cache_create("secretmem_kunit", 64, 0, 0, constructor);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, cache);
	object = kmem_cache_alloc(cache, GFP_KERNEL);
	KUNIT_EXPECT_NOT_ERR_OR_NULL(test, object);

	/* This task stays on its CPU, and nothing else uses the cache. */
	cpu = raw_cpu_ptr(cache->cpu_slab);
	freelist = cpu->freelist;
	/* With slub_debug there is no free list here, and no fast path. */
	if (freelist) {
		cpu->freelist = page_address(page);
		KUNIT_EXPECT_PTR_EQ(test, page_address(page),
				    kmem_cache_alloc(cache, GFP_KERNEL));
		/* The object was never part of the cache: do not free it. */
		kmemleak_free(page_address(page));
		cpu->freelist = freelist;
	}

	kmem_cache_free(cache, object);
	kmem_cache_destroy(cache);
	put_secret_page(page);
}
#endif

#if defined(CONFIG_MEMORY_FAILURE) && defined(CONFIG_MEMORY_HOTREMOVE)
/*
 * Asks whether the memory of @page may go offline after it has failed. Returns
 * 0 or an error number.
 */
static int go_offline_after_failure(struct page *page)
{
	struct memory_notify range = {
		.start_pfn = page_to_pfn(page),
		.nr_pages = 1,
		.status_change_nid_normal = NUMA_NO_NODE,
		.status_change_nid_high = NUMA_NO_NODE,
		.status_change_nid = NUMA_NO_NODE,
	};
	int err;

	SetPageHWPoison(page);
	err = notifier_to_errno(memory_notify(MEM_GOING_OFFLINE, &range));
	memory_notify(MEM_CANCEL_OFFLINE, &range);
	ClearPageHWPoison(page);
	return err;
}

static void page_that_failed_does_not_go_offline(struct kunit *test)
{
	struct page *page = get_secret_page(test);

	KUNIT_EXPECT_EQ(test, -EBUSY, go_offline_after_failure(page));
	get_page(page);
	put_secret_page(page);
	/* The page is free now, but still off the direct map. */
	KUNIT_EXPECT_EQ(test, -EBUSY, go_offline_after_failure(page));

	secretmem_drain();
	KUNIT_EXPECT_EQ(test, 0, go_offline_after_failure(page));
	put_page(page);
}

/* An ordinary page can be off the direct map as well, after a machine check. */
static void ordinary_page_that_failed_goes_offline(struct kunit *test)
{
	struct page *page = alloc_page(GFP_KERNEL);

	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, page);
	KUNIT_EXPECT_EQ(test, 0, set_direct_map_valid_noflush(page, 1, false));
	flush_tlb_all();
	KUNIT_EXPECT_EQ(test, 0, go_offline_after_failure(page));
	KUNIT_EXPECT_EQ(test, 0, set_direct_map_valid_noflush(page, 1, true));
	__free_page(page);
}
#endif

static int secretmem_pool_test_init(struct kunit *test)
{
	if (!secretmem_enabled())
		return -EOPNOTSUPP;
	secretmem_drain();
	/* Stay on one CPU: another may be on a node with another pool. */
	return set_cpus_allowed_ptr(current,
				    cpumask_of(raw_smp_processor_id()));
}

static void secretmem_pool_test_exit(struct kunit *test)
{
	secretmem_drain();
}

static struct kunit_case secretmem_pool_cases[] = {
	KUNIT_CASE(tlb_has_nothing_left_of_a_block),
	KUNIT_CASE(wiped_page_is_handed_out_after_all_others),
	KUNIT_CASE(new_block_comes_before_a_flush_for_few_pages),
	KUNIT_CASE(held_page_is_not_handed_out),
	KUNIT_CASE(held_page_is_given_back_by_its_holder),
#if defined(CONFIG_SLUB) && !defined(CONFIG_KASAN)
	KUNIT_CASE(slab_allocation_can_be_late),
#endif
#if defined(CONFIG_MEMORY_FAILURE) && defined(CONFIG_MEMORY_HOTREMOVE)
	KUNIT_CASE(page_that_failed_does_not_go_offline),
	KUNIT_CASE(ordinary_page_that_failed_goes_offline),
#endif
	{ }
};

static struct kunit_suite secretmem_pool_suite = {
	.name		= "secretmem_pool",
	.init		= secretmem_pool_test_init,
	.exit		= secretmem_pool_test_exit,
	.test_cases	= secretmem_pool_cases,
};

kunit_test_suites(&set_direct_map_suite, &secretmem_pool_suite);
