// SPDX-License-Identifier: GPL-2.0
/*
 * The size of secret files, and adding and removing their pages
 *
 * A page is added to its file by the first page fault on it or by fallocate().
 * It is removed when the file is cut, when a hole is punched, when the file is
 * wiped for hibernation, or when the last descriptor and mapping are gone.
 *
 * Page faults take no lock of the file. A task that cuts the file sets the size
 * first, then unmaps the pages beyond the new end, and then removes them, each
 * under its lock. A fault that adds a page checks the size again while the page
 * is in the page cache and locked. Either the fault sees the new size, or the
 * task that cuts the file finds the page. A file that is wiped for hibernation
 * keeps its size: secretmem_inode::wiped takes the place of the new size then.
 *
 * The first fault on a page sets PG_uptodate. Until then, the page contains
 * only zeros. lseek() treats a page that was allocated but never touched as a
 * hole, as it does in a memfd, and fallocate() removes such pages again if it
 * fails.
 */

#include <linux/types.h>
#include <linux/falloc.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/kernel.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/page-flags.h>
#include <linux/page_ref.h>
#include <linux/pagemap.h>
#include <linux/pagevec.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>

#include <asm/tlbflush.h>

#include "secretmem_internal.h"
#include "secretmem_pool.h"

/*
 * Pass at most this many pages to the pool at once: one block of 2 MiB where
 * pages are 4 KiB. A larger batch would save little, and its first pages would
 * have to wait longer until they are wiped.
 */
#define BATCH	512

static pgoff_t pages_of(loff_t size)
{
	/* Unsigned: neither the rounding nor the size can overflow. */
	return ((u64)size + PAGE_SIZE - 1) >> PAGE_SHIFT;
}

/**
 * secretmem_out_of_reach() - is a page of a secret file inaccessible?
 * @inode: the inode of the file
 * @index: the index of the page in the file
 *
 * Context: any.
 *
 * Return: true if the whole page is beyond the end of the file, or if the file
 * was wiped.
 */
bool secretmem_out_of_reach(struct inode *inode, pgoff_t index)
{
	return READ_ONCE(SECRETMEM_I(inode)->wiped) ||
	       index >= pages_of(i_size_read(inode));
}

/*
 * Pages that were removed from their file and are in no page table. The list
 * holds a reference to each.
 */
struct removed_pages {
	struct list_head list;	/* linked by page->lru */
	unsigned int nr;
	bool flush;		/* one of them can still be in a TLB */
};

static void remove_locked(struct address_space *mapping, struct pagevec *pvec,
			  struct removed_pages *removed)
{
	struct page *page;
	unsigned int i;

	/* unaccount_page_cache_page() warns about dirty pages. */
	for (i = 0; i < pagevec_count(pvec); i++)
		ClearPageDirty(pvec->pages[i]);
	delete_from_page_cache_batch(mapping, pvec);
	for (i = 0; i < pagevec_count(pvec); i++) {
		page = pvec->pages[i];
		/*
		 * Code that unmaps a page clears the page table entry, then
		 * flushes the TLBs, and then drops its reference. The pool has
		 * one reference and the caller has one. Any other may be of a
		 * task that has not flushed yet.
		 */
		if (page_count(page) != 2)
			removed->flush = true;
		unlock_page(page);
		list_add_tail(&page->lru, &removed->list);
		removed->nr++;
	}
}

static void remove_one_locked(struct page *page, struct removed_pages *removed)
{
	struct pagevec pvec;

	pagevec_init(&pvec);
	pagevec_add(&pvec, page);
	remove_locked(page->mapping, &pvec, removed);
}

static void put_removed(struct removed_pages *removed)
{
	/* With a stale TLB entry, a CPU could write to a wiped page. */
	if (removed->flush)
		flush_tlb_all();
	secretmem_pool_put(&removed->list);
	removed->nr = 0;
	removed->flush = false;
}

/*
 * Removes some of the pages from *@index to @last, and advances *@index.
 * Returns the number of pages found, which is 0 only if there are none left.
 *
 * Several pages are locked at the same time, in the order of their index. Other
 * code that works on these pages never waits for one page lock while it holds
 * another.
 */
static unsigned int remove_some(struct address_space *mapping, pgoff_t *index,
				pgoff_t last, struct removed_pages *removed)
{
	unsigned int max = min_t(unsigned int, BATCH - removed->nr, PAGEVEC_SIZE);
	struct pagevec found, ours;
	struct page *page;
	unsigned int i;

	pagevec_init(&found);
	pagevec_init(&ours);
	found.nr = find_get_pages_range(mapping, index, last, max, found.pages);
	for (i = 0; i < pagevec_count(&found); i++) {
		page = found.pages[i];
		lock_page(page);
		if (page->mapping != mapping) {
			/* A page fault has added and removed the page. */
			unlock_page(page);
			put_page(page);
			continue;
		}
		/*
		 * A page fault that checked the size before it was set can have
		 * mapped the page after the range was unmapped.
		 */
		if (page_mapped(page))
			unmap_mapping_pages(mapping, page->index, 1, false);
		pagevec_add(&ours, page);
	}
	remove_locked(mapping, &ours, removed);
	return pagevec_count(&found);
}

/*
 * Removes and wipes all pages from @index to @last. If @killable, stops at a
 * fatal signal and returns -EINTR.
 */
static int remove_range(struct address_space *mapping, pgoff_t index,
			pgoff_t last, bool killable)
{
	struct removed_pages removed = {
		.list = LIST_HEAD_INIT(removed.list),
	};
	unsigned int nr;
	int err = 0;

	do {
		nr = remove_some(mapping, &index, last, &removed);
		if (killable && fatal_signal_pending(current))
			err = -EINTR;
		if (!nr || err || removed.nr == BATCH)
			put_removed(&removed);
	} while (nr && !err);
	return err;
}

/**
 * secretmem_empty() - remove and wipe all pages of a secret file
 * @mapping: the address space of the file, to which no page is added any more
 *
 * Context: may sleep.
 */
void secretmem_empty(struct address_space *mapping)
{
	remove_range(mapping, 0, ULONG_MAX, false);
}

/**
 * secretmem_remove_page() - remove a page that was just added to a secret file
 * @page: a page from secretmem_add_page() that has been locked ever since; the
 *        lock and the caller's reference are dropped
 *
 * Context: may sleep.
 */
void secretmem_remove_page(struct page *page)
{
	struct removed_pages removed = {
		.list = LIST_HEAD_INIT(removed.list),
	};

	remove_one_locked(page, &removed);
	put_removed(&removed);
}

/* Zeroes the bytes from @start to @end, which lie in one page, if it exists. */
static void zero_bytes(struct address_space *mapping, loff_t start, loff_t end)
{
	struct page *page = find_lock_page(mapping, start >> PAGE_SHIFT);

	if (!page)
		return;
	secretmem_pool_zero(page, offset_in_page(start), end - start);
	unlock_page(page);
	put_page(page);
}

/* Zeroes the part of the last page that is past the end of a file of @size. */
static void zero_past_end(struct address_space *mapping, loff_t size)
{
	unsigned int rest = -size & ~PAGE_MASK;

	if (rest)
		zero_bytes(mapping, size, size + rest);
}

/**
 * secretmem_set_size() - cut or extend a secret file
 * @inode: the inode of the file; the caller holds its i_rwsem
 * @size:  the new size in bytes; the caller has checked that it is permitted
 *
 * Everything that is cut off has been wiped when this function returns, and
 * everything that is added reads as zeros. Setting the size of a wiped file to
 * 0 makes the file usable again.
 *
 * Context: may sleep.
 */
void secretmem_set_size(struct inode *inode, loff_t size)
{
	struct address_space *mapping = inode->i_mapping;
	loff_t old = i_size_read(inode);
	pgoff_t end = pages_of(size);

	if (size > old) {
		/* A mapping permits writes to the page past the end. */
		zero_past_end(mapping, old);
		i_size_write(inode, size);
		return;
	}

	i_size_write(inode, size);
	/* Set i_size, then look for pages. Pairs with secretmem_add_page(). */
	smp_mb();
	unmap_mapping_pages(mapping, end, 0, false);
	remove_range(mapping, end, ULONG_MAX, false);
	zero_past_end(mapping, size);
	secretmem_lower_charge(inode, end);
	/*
	 * A page fault that reads this value and then adds a page also sees the
	 * new size when it checks again.
	 */
	if (!size)
		WRITE_ONCE(SECRETMEM_I(inode)->wiped, false);
}

/**
 * secretmem_wipe() - wipe a secret file and make it inaccessible
 * @inode: the inode of the file; the caller holds its i_rwsem
 *
 * All pages have been removed when this function returns, and page faults add
 * no new ones until the size of the file is set to 0.
 *
 * Context: may sleep; takes page locks and i_mmap_rwsem, and allocates nothing.
 */
void secretmem_wipe(struct inode *inode)
{
	struct address_space *mapping = inode->i_mapping;

	WRITE_ONCE(SECRETMEM_I(inode)->wiped, true);
	/* Set wiped, then look for pages. Pairs with secretmem_add_page(). */
	smp_mb();
	unmap_mapping_pages(mapping, 0, 0, false);
	secretmem_empty(mapping);
	secretmem_lower_charge(inode, 0);
	inode->i_mtime = current_time(inode);
	inode->i_ctime = inode->i_mtime;
}

/*
 * fallocate()
 */

static int punch_hole(struct address_space *mapping, loff_t start, loff_t end)
{
	/* The whole pages of the hole are those from first to past - 1. */
	pgoff_t first = pages_of(start), past = end >> PAGE_SHIFT;

	/* The hole lies within one page. */
	if (first > past) {
		zero_bytes(mapping, start, end);
		return 0;
	}
	if (offset_in_page(start))
		zero_bytes(mapping, start, (loff_t)first << PAGE_SHIFT);
	if (offset_in_page(end))
		zero_bytes(mapping, (loff_t)past << PAGE_SHIFT, end);
	if (first == past)
		return 0;
	unmap_mapping_pages(mapping, first, past - first, false);
	return remove_range(mapping, first, past - 1, true);
}

/*
 * Removes the pages that a failed fallocate() has added, except those that a
 * page fault has used in the meantime.
 */
static void undo_allocation(struct list_head *added)
{
	struct removed_pages removed = {
		.list = LIST_HEAD_INIT(removed.list),
	};
	struct page *page, *next;

	list_for_each_entry_safe(page, next, added, lru) {
		list_del_init(&page->lru);
		lock_page(page);
		if (PageUptodate(page)) {
			unlock_page(page);
			continue;
		}
		get_page(page);
		remove_one_locked(page, &removed);
		if (removed.nr == BATCH)
			put_removed(&removed);
	}
	put_removed(&removed);
}

/*
 * Adds all missing pages from @index to @end - 1. The caller holds i_rwsem, so
 * nobody else removes the added pages, and they can be in a list until all have
 * been added.
 */
static int allocate_pages(struct address_space *mapping, pgoff_t index,
			  pgoff_t end)
{
	struct page *page, *next;
	LIST_HEAD(added);
	int err = 0;

	for (; index < end && !err; index++) {
		page = find_get_page(mapping, index);
		if (page) {
			put_page(page);
		} else {
			page = secretmem_add_page(mapping, index);
			if (!IS_ERR(page)) {
				list_add_tail(&page->lru, &added);
				unlock_page(page);
				put_page(page);
			} else if (page != ERR_PTR(-EEXIST)) {
				err = PTR_ERR(page);
			}
		}
		if (fatal_signal_pending(current))
			err = -EINTR;
		cond_resched();
	}
	if (err)
		undo_allocation(&added);
	else
		list_for_each_entry_safe(page, next, &added, lru)
			list_del_init(&page->lru);
	return err;
}

/* All checks that can refuse the call before the file is changed. */
static int may_fallocate(struct inode *inode, int mode, loff_t end)
{
	int err;

	if (SECRETMEM_I(inode)->wiped)
		return -EIO;
	if (mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)) {
		err = secretmem_seals_permit_zeroing(inode);
		if (err)
			return err;
	}
	if (mode & FALLOC_FL_PUNCH_HOLE)
		return 0;

	/*
	 * RLIMIT_FSIZE and F_SEAL_GROW also apply to pages that are allocated
	 * past the end of the file with FALLOC_FL_KEEP_SIZE.
	 */
	err = inode_newsize_ok(inode, end);
	if (err)
		return err;
	return secretmem_seals_permit_size(inode, max(end, i_size_read(inode)));
}

static int allocate(struct inode *inode, int mode, loff_t start, loff_t end)
{
	struct address_space *mapping = inode->i_mapping;
	unsigned long charged = READ_ONCE(SECRETMEM_I(inode)->charged);
	int err = 0;

	if (!secretmem_charge(inode, pages_of(end)))
		return -ENOMEM;

	if (mode & FALLOC_FL_ZERO_RANGE)
		err = punch_hole(mapping, start, end);
	if (!err)
		err = allocate_pages(mapping, start >> PAGE_SHIFT,
				     pages_of(end));
	if (err) {
		secretmem_lower_charge(inode, charged);
		return err;
	}
	if (!(mode & FALLOC_FL_KEEP_SIZE) && end > i_size_read(inode))
		secretmem_set_size(inode, end);
	return 0;
}

/**
 * secretmem_fallocate() - ->fallocate of secret files
 * @file:   a secret file
 * @mode:   see fallocate(2)
 * @offset: in bytes
 * @len:    in bytes; vfs_fallocate() has checked that it is positive and that
 *          @offset + @len does not exceed the maximum size of a file
 *
 * A call that fails with -EINTR or -ENOMEM may already have punched the hole or
 * a part of it. Pages that it has allocated and nobody has touched are removed
 * again, and so is their charge.
 *
 * Context: may sleep; takes i_rwsem.
 *
 * Return: 0; -EOPNOTSUPP if @mode is not supported; -EINTR after a fatal
 * signal; -ENOMEM if there is no memory or RLIMIT_MEMLOCK is exceeded; -EFBIG
 * if RLIMIT_FSIZE is exceeded; -EPERM if a seal forbids the change; -EIO if the
 * file was wiped.
 */
long secretmem_fallocate(struct file *file, int mode, loff_t offset, loff_t len)
{
	struct inode *inode = file_inode(file);
	loff_t end = offset + len;
	long err;

	if (mode & ~(FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE |
		     FALLOC_FL_ZERO_RANGE))
		return -EOPNOTSUPP;

	inode_lock(inode);
	err = may_fallocate(inode, mode, end);
	if (err)
		goto unlock;
	if (mode & FALLOC_FL_PUNCH_HOLE)
		err = punch_hole(inode->i_mapping, offset, end);
	else
		err = allocate(inode, mode, offset, end);
	if (!err) {
		inode->i_ctime = current_time(inode);
		if (mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE))
			inode->i_mtime = inode->i_ctime;
	}
unlock:
	inode_unlock(inode);
	return err;
}

/*
 * lseek()
 */

/* Returns the index of the first touched page from @index to @end, or @end. */
static pgoff_t next_data(struct address_space *mapping, pgoff_t index,
			 pgoff_t end)
{
	struct page *page;
	pgoff_t found;
	bool data;

	while (index < end &&
	       find_get_pages_range(mapping, &index, end - 1, 1, &page)) {
		found = page->index;
		data = PageUptodate(page);
		put_page(page);
		if (data)
			return found;
		cond_resched();
	}
	return end;
}

/*
 * Returns the index of the first page from @index to @end that does not exist
 * or was never touched, or @end.
 */
static pgoff_t next_hole(struct address_space *mapping, pgoff_t index,
			 pgoff_t end)
{
	struct page *page;
	bool data = true;

	for (; index < end; index++) {
		page = find_get_page(mapping, index);
		data = page && PageUptodate(page);
		if (page)
			put_page(page);
		if (!data)
			break;
		cond_resched();
	}
	return index;
}

static loff_t data_or_hole(struct inode *inode, loff_t offset, int whence)
{
	loff_t size = i_size_read(inode);
	pgoff_t index = offset >> PAGE_SHIFT, end = pages_of(size);

	if (offset < 0 || offset >= size)
		return -ENXIO;
	if (whence == SEEK_DATA) {
		index = next_data(inode->i_mapping, index, end);
		if (index == end)
			return -ENXIO;
	} else {
		index = next_hole(inode->i_mapping, index, end);
	}
	return clamp((loff_t)index << PAGE_SHIFT, offset, size);
}

/**
 * secretmem_llseek() - ->llseek of secret files
 * @file:   a secret file
 * @offset: in bytes
 * @whence: see lseek(2)
 *
 * Context: may sleep; takes i_rwsem for SEEK_DATA and SEEK_HOLE.
 *
 * Return: the new position in bytes, or -EINVAL or -ENXIO as described in
 * lseek(2).
 */
loff_t secretmem_llseek(struct file *file, loff_t offset, int whence)
{
	struct inode *inode = file_inode(file);
	loff_t max = inode->i_sb->s_maxbytes;

	if (whence != SEEK_DATA && whence != SEEK_HOLE)
		return generic_file_llseek_size(file, offset, whence, max,
						i_size_read(inode));

	inode_lock(inode);
	offset = data_or_hole(inode, offset, whence);
	if (offset >= 0)
		offset = vfs_setpos(file, offset, max);
	inode_unlock(inode);
	return offset;
}
