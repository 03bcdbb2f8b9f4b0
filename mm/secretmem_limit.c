// SPDX-License-Identifier: GPL-2.0
/*
 * What secret files are charged, so that locked memory cannot escape its limit
 *
 * A process has RLIMIT_MEMLOCK for what it maps, and mmap() looks at it. But the pages
 * stay in the file when they are unmapped, or when the descriptor lies in the queue of
 * a socket. So a file is charged as well, to the user who made it: for all pages from
 * its start to the furthest one that was ever mapped or allocated. That is one number
 * a file. It is looked at by the calls that make pages reachable, mmap(), mremap() and
 * fallocate(). A page fault never fails for it.
 *
 * It falls when the file is cut, and ends with the last descriptor and mapping.
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

/* The caller's, in pages. */
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

/* Raises the charge of a file, but not that of its user over @limit. */
static bool charge_within(struct secretmem_inode *info, pgoff_t end,
			  unsigned long limit)
{
	unsigned long pages;
	bool charged = true;
	long locked;

	spin_lock(&info->charge_lock);
	if (end > info->charged) {
		pages = end - info->charged;
		/* Others change it without our lock. */
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
 * secretmem_charge() - charge a file up to a page
 * @inode: of the file
 * @end:   the furthest page that is going to be reachable, plus one
 *
 * Context: any in which the caller's capabilities may be asked for; takes a spinlock.
 *
 * Return: false if that is more than the caller's RLIMIT_MEMLOCK lets the user have who
 * made the file, and the caller has no CAP_IPC_LOCK. Nothing has been changed then.
 */
bool secretmem_charge(struct inode *inode, pgoff_t end)
{
	struct secretmem_inode *info = SECRETMEM_I(inode);

	if (end <= READ_ONCE(info->charged) ||
	    charge_within(info, end, memlock_limit()))
		return true;
	if (!capable(CAP_IPC_LOCK))
		return false;
	/* Fails only if the sum would overflow. */
	charge_within(info, end, LONG_MAX);
	return true;
}

/**
 * secretmem_may_charge() - would secretmem_charge() succeed?
 * @inode: of the file
 * @end:   as there
 *
 * Context: as there.
 *
 * Return: true if it would now. It may fail nevertheless if others are charged first.
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
 * secretmem_charge_anyway() - charge a file for a page that a fault adds
 * @inode: of the file
 * @end:   the page's index plus one
 *
 * What maps the page was charged. But a call that cut the file may have lowered the
 * charge after that, and before it could see the mapping.
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
 * secretmem_lower_charge() - charge a file for no more than is reachable
 * @inode: of the file
 * @end:   the furthest page that the file is to be charged for, plus one, if no mapping
 *         reaches beyond it
 *
 * If there is a page beyond that, the charge stays as it is.
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

	/* A page stays in the file when the mapping is gone that it came by. */
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

/* For secretmem_may_grow(), which describes it. */
bool __secretmem_may_grow(struct vm_area_struct *vma, pgoff_t end)
{
	return secretmem_charge(file_inode(vma->vm_file), end);
}
