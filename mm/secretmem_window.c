// SPDX-License-Identifier: GPL-2.0
/*
 * Zeroing of secret pages, which have no kernel mapping.
 *
 * Each CPU has a window of kernel addresses for this, and maps there the pages
 * that it is about to zero.
 */

#include <linux/cache.h>
#include <linux/compiler.h>
#include <linux/cpumask.h>
#include <linux/errno.h>
#include <linux/init.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/page-flags.h>
#include <linux/pgtable.h>
#include <linux/sched.h>
#include <linux/smp.h>
#include <linux/string.h>
#include <linux/vmalloc.h>

#include <asm/tlbflush.h>

#include "secretmem_pool_internal.h"

/*
 * The windows of all CPUs are next to each other. No other CPU has a reason to
 * use the addresses of a window. So one flush of the local TLB for each batch
 * of pages is enough to use the window for the next pages. But all CPUs share
 * the kernel's page tables: a CPU that reads at such an address nevertheless,
 * by a bug or by speculation, may keep the translation. Therefore the pages are
 * wiped ones afterwards, and not free ones.
 *
 * Address space for vmalloc() is scarce on 32 bit, so windows are smaller
 * there.
 */
#define WINDOW_PAGES	(IS_ENABLED(CONFIG_64BIT) ? BLOCK_PAGES : 32)
#define WINDOW_SIZE	(WINDOW_PAGES * PAGE_SIZE)

static unsigned long secretmem_windows __ro_after_init;

static void window_map(unsigned long addr, pte_t *pte, struct page *page)
{
	set_pte_at(&init_mm, addr, pte, mk_pte(page, PAGE_KERNEL));
	/* The compiler sees no use of the entry, and would drop it. */
	barrier();
}

static void window_unmap(unsigned long addr, pte_t *pte)
{
	barrier();
	pte_clear(&init_mm, addr, pte);
}

/*
 * Zero pages of a list from @page on, until the window is full or another task
 * waits for this CPU. Returns the page to go on with, or the head of the list
 * in the place of a page.
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
		/* Touching memory that failed can raise a machine check. */
		if (PageHWPoison(page)) {
			SetPageUptodate(page);
			continue;
		}
		/* Walk once for each table: for each page would take long. */
		pte = pte && (addr & ~PMD_MASK) ? pte + 1 : virt_to_kpte(addr);
		window_map(addr, pte, page);
		clear_page((void *)addr);
		window_unmap(addr, pte);
		ClearPageUptodate(page);
		addr += PAGE_SIZE;
	}
	local_flush_tlb_kernel_range(window, addr);
	put_cpu();
	add_events(LOCAL_FLUSHES, 1);
	return page;
}

/**
 * secretmem_wipe_pages() - zero pages that have left their file
 * @pages: list by page->lru
 *
 * A page whose memory has failed is not written to. It is the only kind of page
 * that has PG_uptodate afterwards.
 *
 * Context: may sleep.
 */
void secretmem_wipe_pages(struct list_head *pages)
{
	struct page *page = list_first_entry(pages, struct page, lru);

	while (&page->lru != pages) {
		page = clear_through_window(pages, page);
		cond_resched();
	}
}

/**
 * secretmem_pool_zero() - zero a part of a page that stays in use
 * @page:   a page of secretmem_pool_get(), locked
 * @offset: where the part begins, in bytes
 * @len:    length of the part in bytes
 *
 * A page whose memory has failed is left as it is.
 *
 * Flushes the TLBs of all CPUs: the rest of the page stays secret, so no CPU
 * may keep an address of the page.
 *
 * Context: may sleep.
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
		add_events(FLUSHES, 1);
	}
	put_cpu();
}

static int __init leave_pte_empty(pte_t *pte, unsigned long addr, void *data)
{
	return 0;
}

/**
 * secretmem_init_windows() - make the page tables of the windows
 *
 * Context: at boot; may sleep.
 *
 * Return: 0, or -ENOMEM.
 */
int __init secretmem_init_windows(void)
{
	unsigned long size = nr_cpu_ids * WINDOW_SIZE;
	struct vm_struct *area;

	/* VM_IOREMAP keeps /proc/kcore from reading the windows. */
	area = get_vm_area(size, VM_IOREMAP);
	if (!area)
		return -ENOMEM;
	secretmem_windows = (unsigned long)area->addr;
	/* Allocates the page tables, and leaves them empty. */
	return apply_to_page_range(&init_mm, secretmem_windows, size,
				   leave_pte_empty, NULL);
}
