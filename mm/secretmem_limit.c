// SPDX-License-Identifier: GPL-2.0
/*
 * Charging secret files, so that locked memory cannot escape RLIMIT_MEMLOCK
 *
 * mmap() checks RLIMIT_MEMLOCK for the mappings of a process. That is not
 * enough for secret memory, because the pages stay in the file when they are
 * unmapped, or when the descriptor is in the queue of a socket. So each file is
 * also charged to the user who made it, in user_struct::locked_vm: for all
 * pages from the start of the file to the furthest page that was ever mapped or
 * allocated. This takes one number per file. The calls that make more pages
 * reachable check and raise it: mmap(), mremap() and fallocate(). A page fault
 * never fails because of the limit.
 *
 * The charge is lowered when the file is cut or wiped, and dropped when the
 * last descriptor and mapping are gone.
 */

#include <linux/capability.h>
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/sched/user.h>
#include <linux/secretmem.h>
#include <linux/spinlock.h>

#include "secretmem_internal.h"

/* RLIMIT_MEMLOCK of the current process, in pages. */
static unsigned long memlock_limit(void)
{
	unsigned long limit = rlimit(RLIMIT_MEMLOCK);

	return limit == RLIM_INFINITY ? LONG_MAX : limit >> PAGE_SHIFT;
}

static bool has_room(unsigned long locked, unsigned long pages,
		     unsigned long limit)
{
	return pages <= limit && locked <= limit - pages;
}

/*
 * Raises the charge of a file to @end pages. Returns false, with nothing
 * changed, if the locked memory of the file's user would exceed @limit.
 */
static bool charge_within(struct secretmem_inode *info, pgoff_t end,
			  unsigned long limit)
{
	unsigned long pages;
	bool charged = true;
	long locked;

	spin_lock(&info->charge_lock);
	if (end > info->charged) {
		pages = end - info->charged;
		/* Other users of locked_vm do not hold charge_lock. */
		locked = atomic_long_read(&info->user->locked_vm);
		do {
			charged = has_room(locked, pages, limit);
		} while (charged &&
			 !atomic_long_try_cmpxchg(&info->user->locked_vm,
						  &locked, locked + pages));
		if (charged)
			WRITE_ONCE(info->charged, end);
	}
	spin_unlock(&info->charge_lock);
	return charged;
}

/**
 * secretmem_charge() - raise the charge of a secret file
 * @inode: the inode of the file
 * @end:   the index of the furthest page that will be reachable, plus one
 *
 * The limit is RLIMIT_MEMLOCK of the current process. It applies to the locked
 * memory of the user who made the file.
 *
 * Context: any that permits capable(); takes a spinlock.
 *
 * Return: true if the file is charged up to @end, or if the sum would overflow
 * and the current process has CAP_IPC_LOCK. False, with nothing changed, if the
 * limit would be exceeded and the process lacks CAP_IPC_LOCK.
 */
bool secretmem_charge(struct inode *inode, pgoff_t end)
{
	struct secretmem_inode *info = SECRETMEM_I(inode);

	if (end <= READ_ONCE(info->charged) ||
	    charge_within(info, end, memlock_limit()))
		return true;
	if (!capable(CAP_IPC_LOCK))
		return false;
	/* This fails only if the sum would overflow. */
	charge_within(info, end, LONG_MAX);
	return true;
}

/**
 * secretmem_may_charge() - would secretmem_charge() succeed?
 * @inode: the inode of the file
 * @end:   the index of the furthest page that will be reachable, plus one
 *
 * Context: any that permits capable().
 *
 * Return: true if secretmem_charge() would succeed now. It can still fail
 * later, if something else is charged to the same user first.
 */
bool secretmem_may_charge(struct inode *inode, pgoff_t end)
{
	struct secretmem_inode *info = SECRETMEM_I(inode);
	unsigned long charged = READ_ONCE(info->charged);

	return end <= charged ||
	       has_room(atomic_long_read(&info->user->locked_vm),
			end - charged, memlock_limit()) ||
	       capable(CAP_IPC_LOCK);
}

/**
 * secretmem_charge_anyway() - charge a file for a page that a fault has added
 * @inode: the inode of the file
 * @end:   the index of the page, plus one
 *
 * The file was charged when the page was mapped. But a call that cuts the file
 * may have lowered the charge again before the mapping was visible to it.
 * Restore it here, whatever the limit is.
 *
 * Context: any; takes a spinlock.
 */
void secretmem_charge_anyway(struct inode *inode, pgoff_t end)
{
	struct secretmem_inode *info = SECRETMEM_I(inode);

	if (end > READ_ONCE(info->charged))
		charge_within(info, end, LONG_MAX);
}

/**
 * secretmem_lower_charge() - lower the charge of a secret file
 * @inode: the inode of the file
 * @end:   the index of the furthest page to remain charged, plus one
 *
 * If a mapping reaches beyond @end, the file remains charged up to the end of
 * that mapping. If the file has a page at @end or beyond, its charge is not
 * lowered.
 *
 * Context: may sleep; takes i_mmap_rwsem.
 */
void secretmem_lower_charge(struct inode *inode, pgoff_t end)
{
	struct secretmem_inode *info = SECRETMEM_I(inode);
	struct address_space *mapping = inode->i_mapping;
	unsigned long charged = end;
	struct vm_area_struct *vma;
	struct page *page;

	i_mmap_lock_read(mapping);
	vma_interval_tree_foreach(vma, &mapping->i_mmap, end, ULONG_MAX)
		charged = max(charged, vma->vm_pgoff + vma_pages(vma));

	/* A page can be in the file without a mapping that reaches it. */
	if (find_get_pages_range(mapping, &end, ULONG_MAX, 1, &page)) {
		put_page(page);
		goto unlock;
	}

	spin_lock(&info->charge_lock);
	if (charged < info->charged) {
		atomic_long_sub(info->charged - charged, &info->user->locked_vm);
		WRITE_ONCE(info->charged, charged);
	}
	spin_unlock(&info->charge_lock);
unlock:
	i_mmap_unlock_read(mapping);
}

/* Slow path of secretmem_may_grow(), see there. */
bool __secretmem_may_grow(struct vm_area_struct *vma, pgoff_t end)
{
	return secretmem_charge(file_inode(vma->vm_file), end);
}
