// SPDX-License-Identifier: GPL-2.0
/*
 * Debugfs files for the tests of secret memory
 *
 * /sys/kernel/debug/secretmem/direct_map shows which pages the kernel can read.
 * It has one byte for each page frame, and the offset of the byte is the page
 * frame number:
 *
 *	r  the page can be read in the direct map
 *	-  the page cannot be read in the direct map
 *	?  the page tables say something else than reading the page does
 *	h  highmem, which is not in the direct map
 *	.  no memory, or reserved and not handed out by the page allocator
 *
 * This is a snapshot: the state can change at any time.
 *
 * Writing to /sys/kernel/debug/secretmem/split splits one large page of the
 * direct map, for tests that let the allocation of the page table fail.
 *
 * Writing to /sys/kernel/debug/secretmem/give_back gives back all memory that
 * the pool keeps unmapped without using it. Otherwise, free pages of blocks in
 * use are only given back when a system runs out of memory.
 */

#include <linux/debugfs.h>
#include <linux/fs.h>
#include <linux/gfp.h>
#include <linux/init.h>
#include <linux/list.h>
#include <linux/memory_hotplug.h>
#include <linux/mm.h>
#include <linux/mmzone.h>
#include <linux/page-flags.h>
#include <linux/sched.h>
#include <linux/set_memory.h>
#include <linux/uaccess.h>

#include <asm/cacheflush.h>
#include <asm/tlbflush.h>

#include "secretmem_pool.h"
#include "secretmem_probe.h"

#define LARGE_ORDER	(PMD_SHIFT - PAGE_SHIFT)
#define LARGE_NR	(PMD_SIZE / PAGE_SIZE)

static char direct_map_state(unsigned long pfn)
{
	struct page *page = pfn_to_online_page(pfn);
	bool present;

	if (!page || PageReserved(page))
		return '.';
	if (PageHighMem(page))
		return 'h';

	present = kernel_page_present(page);
	if (first_word_readable(page) != present ||
	    last_word_readable(page) != present)
		return '?';
	return present ? 'r' : '-';
}

/* The end of memory. ZONE_DEVICE page frames can lie far beyond it. */
static unsigned long memory_end_pfn(void)
{
	unsigned long end = 0;
	struct zone *zone;

	for_each_populated_zone(zone)
		end = max(end, zone_end_pfn(zone));
	return end;
}

static ssize_t direct_map_read(struct file *file, char __user *buf,
			       size_t count, loff_t *ppos)
{
	unsigned long end = memory_end_pfn();
	char state[128];
	size_t done, n;

	for (done = 0; done < count; done += n) {
		for (n = 0; n < min(count - done, sizeof(state)) &&
		     *ppos + n < end; n++)
			state[n] = direct_map_state(*ppos + n);
		if (!n)
			break;
		if (copy_to_user(buf + done, state, n))
			return done ? done : -EFAULT;
		*ppos += n;
		if (signal_pending(current))
			return done + n;
		cond_resched();
	}
	return done;
}

static const struct file_operations direct_map_fops = {
	.read	= direct_map_read,
	.llseek	= default_llseek,
};

/* Is the whole large page readable, and still mapped as one? */
static bool is_whole(struct page *large)
{
	int i;

	for (i = 0; i < LARGE_NR; i++)
		if (direct_map_state(page_to_pfn(large + i)) != 'r')
			return false;
	return mapped_by_large_page(large);
}

static int split(struct page *large)
{
	int err = set_direct_map_valid_noflush(large + 1, 1, false);

	if (err)
		return is_whole(large) ? err : -EIO;
	flush_tlb_all();
	return set_direct_map_valid_noflush(large + 1, 1, true);
}

/*
 * Splits one large page. Returns 0; -EAGAIN if no memory can be allocated;
 * -ENXIO if there is no large page left; the error of
 * set_direct_map_valid_noflush() if that failed with nothing changed, which is
 * -ENOMEM without a page table; or -EIO if that failed and has changed
 * something.
 */
static int split_one(void)
{
	struct page *page, *next;
	LIST_HEAD(tried);
	int err = -ENXIO;

	while (err == -ENXIO) {
		page = alloc_pages(GFP_KERNEL | __GFP_NOWARN | __GFP_NORETRY,
				   LARGE_ORDER);
		if (!page) {
			err = list_empty(&tried) ? -EAGAIN : -ENXIO;
			break;
		}
		list_add(&page->lru, &tried);
		if (mapped_by_large_page(page))
			err = split(page);
	}
	list_for_each_entry_safe(page, next, &tried, lru)
		__free_pages(page, LARGE_ORDER);
	return err;
}

static ssize_t split_write(struct file *file, const char __user *buf,
			   size_t count, loff_t *ppos)
{
	int err = split_one();

	return err ?: count;
}

static const struct file_operations split_fops = {
	.write	= split_write,
};

static ssize_t give_back_write(struct file *file, const char __user *buf,
			       size_t count, loff_t *ppos)
{
	secretmem_give_all_back();
	return count;
}

static const struct file_operations give_back_fops = {
	.write	= give_back_write,
};

static int __init secretmem_debug_init(void)
{
	struct dentry *dir = debugfs_create_dir("secretmem", NULL);

	debugfs_create_file("direct_map", 0400, dir, NULL, &direct_map_fops);
	debugfs_create_file("split", 0200, dir, NULL, &split_fops);
	debugfs_create_file("give_back", 0200, dir, NULL, &give_back_fops);
	return 0;
}
late_initcall(secretmem_debug_init);
