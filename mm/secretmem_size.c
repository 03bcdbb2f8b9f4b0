// SPDX-License-Identifier: GPL-2.0
/*
 * How large secret files are, and which of their pages exist
 *
 * A page is added by whoever touches it first, or by fallocate(), and leaves its file
 * when this is cut, when a hole is punched, or with the last descriptor and mapping.
 *
 * Faults take no lock of the file. Whoever makes it smaller sets the size first, then
 * unmaps what is beyond it, and then removes the pages, each under its lock. A fault
 * that adds a page looks at the size again when the page can be found and is locked:
 * either it sees the new size, or whoever cuts the file finds the page. A file that is
 * wiped before hibernation keeps its size, and is marked instead.
 *
 * PG_uptodate: set by the first fault, and until then the page has nothing but zeros.
 * So a page that was allocated and never touched counts as a hole for lseek(), as in a
 * memfd, and is taken back if the call that allocated it fails in the end.
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

/* How many pages are given back together, at most. */
#define BATCH	512

static pgoff_t pages_of(loff_t size)
{
	/* Unsigned: neither the rounding nor the size can overflow. */
	return ((u64)size + PAGE_SIZE - 1) >> PAGE_SHIFT;
}

/**
 * secretmem_out_of_reach() - may nobody touch a page of a file?
 * @inode: of the file
 * @index: of the page
 *
 * Context: any.
 *
 * Return: true if no byte of the page is within the size of the file, or if the file was
 * wiped.
 */
bool secretmem_out_of_reach(struct inode *inode, pgoff_t index)
{
	return READ_ONCE(SECRETMEM_I(inode)->wiped) ||
	       index >= pages_of(i_size_read(inode));
}

/*
 * Pages that have left their file and are mapped nowhere, with a reference to each.
 */
struct removed_pages {
	struct list_head list;
	unsigned int nr;
	bool flush;		/* a CPU may still have one of them in its TLB */
};

static void remove_locked(struct address_space *mapping, struct pagevec *pvec,
			  struct removed_pages *removed)
{
	struct page *page;
	unsigned int i;

	delete_from_page_cache_batch(mapping, pvec);
	for (i = 0; i < pagevec_count(pvec); i++) {
		page = pvec->pages[i];
		/*
		 * Whoever unmaps takes the page off the page table first, then flushes,
		 * then puts its reference. The pool has one, and there is ours.
		 */
		if (page_count(page) != 2)
			removed->flush = true;
		unlock_page(page);
		list_add_tail(&page->lru, &removed->list);
		removed->nr++;
	}
}

static void put_removed(struct removed_pages *removed)
{
	/* To wipe a page that somebody still writes to would be in vain. */
	if (removed->flush)
		flush_tlb_all();
	secretmem_pool_put(&removed->list);
	removed->nr = 0;
	removed->flush = false;
}

/* Removes some of the pages from *@index to @last. Returns how many it has seen. */
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
			/* A fault has taken back what it had added. */
			unlock_page(page);
			put_page(page);
			continue;
		}
		/* Found by a fault before the size was set, and mapped after that. */
		if (page_mapped(page))
			unmap_mapping_pages(mapping, page->index, 1, false);
		ClearPageDirty(page);
		pagevec_add(&ours, page);
	}
	remove_locked(mapping, &ours, removed);
	return pagevec_count(&found);
}

/* Removes all pages from @index to @last, or until a fatal signal if @killable. */
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
 * secretmem_empty() - remove all pages of a file
 * @mapping: of the file, which gets no new ones
 *
 * Context: may sleep.
 */
void secretmem_empty(struct address_space *mapping)
{
	remove_range(mapping, 0, ULONG_MAX, false);
}

/**
 * secretmem_remove_page() - take a page out of the file again that was just added
 * @page: of secretmem_add_page(), locked since, with a reference; both are gone then
 *
 * Context: may sleep.
 */
void secretmem_remove_page(struct page *page)
{
	struct removed_pages removed = {
		.list = LIST_HEAD_INIT(removed.list),
	};
	struct pagevec pvec;

	pagevec_init(&pvec);
	ClearPageDirty(page);
	pagevec_add(&pvec, page);
	remove_locked(page->mapping, &pvec, &removed);
	put_removed(&removed);
}

/* Zeroes bytes of one page, if it is there. */
static void zero_bytes(struct address_space *mapping, loff_t start, loff_t end)
{
	struct page *page = find_lock_page(mapping, start >> PAGE_SHIFT);

	if (!page)
		return;
	secretmem_pool_zero(page, offset_in_page(start), end - start);
	unlock_page(page);
	put_page(page);
}

/* Zeroes what is in the last page of a file of that size, and behind its end. */
static void zero_past_end(struct address_space *mapping, loff_t size)
{
	unsigned int rest = -size & ~PAGE_MASK;

	if (rest)
		zero_bytes(mapping, size, size + rest);
}

/**
 * secretmem_set_size() - make a file larger or smaller
 * @inode: of the file; the caller holds i_rwsem
 * @size:  to be its size, which has been found to be permitted
 *
 * What is cut is wiped when this function returns, and what is added reads as zeros. A
 * file that was wiped is as new once its size is 0.
 *
 * Context: may sleep.
 */
void secretmem_set_size(struct inode *inode, loff_t size)
{
	struct address_space *mapping = inode->i_mapping;
	loff_t old = i_size_read(inode);
	pgoff_t end = pages_of(size);

	if (size > old) {
		/* It may have been written to through a mapping. */
		zero_past_end(mapping, old);
		i_size_write(inode, size);
		return;
	}

	i_size_write(inode, size);
	/* Pairs with secretmem_add_page(): the size is set before pages are looked for. */
	smp_mb();
	unmap_mapping_pages(mapping, end, 0, false);
	remove_range(mapping, end, ULONG_MAX, false);
	zero_past_end(mapping, size);
	secretmem_lower_charge(inode, end);
	/* A fault that sees this, and then adds a page, sees the size as well. */
	if (!size)
		WRITE_ONCE(SECRETMEM_I(inode)->wiped, false);
}

/**
 * secretmem_wipe() - wipe a file, and let nobody touch it
 * @inode: of the file; the caller holds i_rwsem
 *
 * All pages are gone when this function returns, and no other is added until the size
 * is set to 0.
 *
 * Context: may sleep; takes page locks and i_mmap_rwsem, and allocates nothing.
 */
void secretmem_wipe(struct inode *inode)
{
	struct address_space *mapping = inode->i_mapping;

	WRITE_ONCE(SECRETMEM_I(inode)->wiped, true);
	/* Pairs with secretmem_add_page(), as where the size is set. */
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
	pgoff_t first = pages_of(start), past = end >> PAGE_SHIFT;

	/* Within one page. */
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

/* Takes back the pages that a call has allocated, but not those in use by now. */
static void undo_allocation(struct address_space *mapping,
			    struct list_head *added)
{
	struct removed_pages removed = {
		.list = LIST_HEAD_INIT(removed.list),
	};
	struct page *page, *next;
	struct pagevec pvec;

	list_for_each_entry_safe(page, next, added, lru) {
		list_del_init(&page->lru);
		lock_page(page);
		if (PageUptodate(page)) {
			unlock_page(page);
			continue;
		}
		get_page(page);
		ClearPageDirty(page);
		pagevec_init(&pvec);
		pagevec_add(&pvec, page);
		remove_locked(mapping, &pvec, &removed);
		if (removed.nr == BATCH)
			put_removed(&removed);
	}
	put_removed(&removed);
}

/*
 * Adds all pages from @index to @end that are not there. While i_rwsem is held, nobody
 * removes one of them, so they can be in a list meanwhile.
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
		undo_allocation(mapping, &added);
	else
		list_for_each_entry_safe(page, next, &added, lru)
			list_del_init(&page->lru);
	return err;
}

/* Everything that can be known to forbid the call before the file has changed. */
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

	/* RLIMIT_FSIZE, and the seal, are for pages behind the end as well. */
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
 * @file:   one
 * @mode:   see fallocate(2)
 * @offset: in bytes
 * @len:    in bytes; the caller has seen that it is positive and that the sum of both
 *          is no more than what a file may have
 *
 * If a fatal signal ends it, what it would have done may be done in part, but pages it
 * has allocated are gone, and their charge.
 *
 * Context: may sleep; takes i_rwsem.
 *
 * Return: 0, or -EOPNOTSUPP, -EINTR, -ENOMEM if memory or the limit is exhausted,
 * -EFBIG, -EPERM if a seal forbids it, or -EIO if the file was wiped.
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

/* The first page from @index on that was touched, or @end. */
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

/* The first page from @index on that is not there or was not touched, or @end. */
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
 * @file:   one
 * @offset: in bytes
 * @whence: see lseek(2)
 *
 * Context: may sleep; takes i_rwsem.
 *
 * Return: the new position in bytes, or -EINVAL, -ENXIO as that call.
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
