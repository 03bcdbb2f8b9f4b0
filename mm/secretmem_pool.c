// SPDX-License-Identifier: GPL-2.0
/*
 * Pages that the kernel itself can not reach.
 *
 * A page of a secret file has no kernel mapping at all, from before user space
 * first sees it until it is wiped. This file makes such pages and turns them
 * back into ordinary ones, one at a time:
 *
 *	page allocator
 *	     |  zeroed, taken off the direct map, every stale entry flushed
 *	     v
 *	secretmem_pool_get()  --->  page cache of a secret file
 *	                                 |
 *	page allocator <--- put_page() <--- secretmem_pool_wipe()
 *	                                    back on the direct map, zeroed
 *
 * A page whose memory has failed is not touched again: it stays as it is, and is
 * lost.
 *
 * Nothing else in the kernel may change the direct map of these pages, so no
 * lock is needed here: a page has one owner, who got it or is freeing it.
 */

#include <linux/atomic.h>
#include <linux/gfp.h>
#include <linux/highmem.h>
#include <linux/init.h>
#include <linux/memcontrol.h>
#include <linux/memory.h>
#include <linux/mm.h>
#include <linux/notifier.h>
#include <linux/page-flags.h>
#include <linux/page_ref.h>
#include <linux/secretmem.h>
#include <linux/set_memory.h>

#include <asm/tlbflush.h>

#include "secretmem_pool.h"

/* Pages that are off the direct map, about to be, or lost there. */
static atomic_long_t secretmem_pages = ATOMIC_LONG_INIT(0);

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
	return atomic_long_read(&secretmem_pages);
}

/*
 * A page fresh from the page allocator has its direct map, and may have more in
 * the TLBs: vmalloc and the per-CPU allocator remove their mappings before they
 * free the pages, but leave the flush for later. vm_unmap_aliases() would do it
 * for areas that are freed already, and miss a per-CPU chunk that is about to
 * be. So flush everything, which a block of pages can share one day.
 */
static int secretmem_unmap_page(struct page *page)
{
	int err;

	err = set_direct_map_valid_noflush(page, 1, false);
	if (err)
		return err;

	flush_tlb_all();
	return 0;
}

/**
 * secretmem_pool_get() - get a page that only user space will be able to read
 * @gfp:  how to allocate; must allow sleeping and must not ask for highmem or
 *        movable memory
 * @vma:  the area the page is for, whose memory policy is honoured; or NULL for
 *        the policy of the current task
 * @addr: the user address in @vma the page is for; unused without @vma
 *
 * Context: may sleep; takes the locks of the page allocator and those of the
 * architecture's kernel page tables.
 *
 * Return: a zeroed page with one reference and without any kernel mapping, to
 * be given to secretmem_pool_wipe() before its last reference is dropped; or
 * NULL if there is no memory.
 */
struct page *secretmem_pool_get(gfp_t gfp, struct vm_area_struct *vma,
				unsigned long addr)
{
	struct page *page;

	gfp |= __GFP_ZERO;
	page = vma ? alloc_page_vma(gfp, vma, addr) : alloc_page(gfp);
	if (!page)
		return NULL;

	atomic_long_inc(&secretmem_pages);
	if (secretmem_unmap_page(page)) {
		/* Refused before anything was changed: still an ordinary page. */
		atomic_long_dec(&secretmem_pages);
		put_page(page);
		return NULL;
	}
	return page;
}

/*
 * Nobody will get this page again, and no cgroup has to pay for it for ever. Two
 * references: one that is the last would be put if the page is declared good
 * again, as tests do.
 */
static void secretmem_lose_page(struct page *page)
{
	page_ref_add(page, 2);
	mem_cgroup_uncharge(page);
}

/**
 * secretmem_pool_wipe() - make a secret page an ordinary one again
 * @page: a page of secretmem_pool_get() that is mapped nowhere any more, not in
 *        user space and not in any TLB; the caller holds a reference
 *
 * Afterwards the page holds zeros, has its direct map back, and is the caller's
 * to put. Others may still hold transient references to it: they keep nothing
 * but a wiped page from the page allocator. If the memory of the page has failed,
 * it stays as it was, without a mapping and never to be used again.
 *
 * Context: may sleep.
 */
void secretmem_pool_wipe(struct page *page)
{
	/* Writing to it, or the processor reading ahead, is a machine check. */
	if (PageHWPoison(page)) {
		secretmem_lose_page(page);
		return;
	}

	/*
	 * The entry was made by secretmem_unmap_page(), so there is nothing
	 * left to allocate and no way to fail. If an architecture does, a page
	 * lost is better than an unmapped page that somebody allocates.
	 */
	if (WARN_ON_ONCE(set_direct_map_valid_noflush(page, 1, true))) {
		secretmem_lose_page(page);
		return;
	}
	clear_highpage(page);
	atomic_long_dec(&secretmem_pages);
}

/*
 * Pages whose memory has failed are no obstacle to taking it offline, and if it is
 * ever online again, all of it goes to the page allocator. Ours have no direct
 * map, and may still be in their files: let them be an obstacle.
 */
static int __maybe_unused secretmem_pool_memory_event(struct notifier_block *nb,
						      unsigned long event,
						      void *arg)
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

/**
 * secretmem_pool_init() - prepare for secretmem_pool_get()
 *
 * Context: at boot; may sleep.
 */
void __init secretmem_pool_init(void)
{
	hotplug_memory_notifier(secretmem_pool_memory_event, 0);
}
