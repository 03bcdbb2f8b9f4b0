/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Secret memory: pages that only the holders of a file descriptor can read.
 *
 * What the rest of the kernel asks about such pages and the mappings of them.
 * See Documentation/vm/secretmem.rst.
 */
#ifndef _LINUX_SECRETMEM_H
#define _LINUX_SECRETMEM_H

#include <linux/types.h>

struct address_space;
struct file;
struct page;
struct seq_file;

#ifdef CONFIG_SECRETMEM

#include <linux/fs.h>
#include <linux/jump_label.h>
#include <linux/mm.h>

extern const struct address_space_operations secretmem_aops;
extern const struct vm_operations_struct secretmem_vm_ops;

DECLARE_STATIC_KEY_FALSE(secretmem_key);

bool secretmem_enabled(void);
void secretmem_disable(const char *reason);
bool secretmem_active(void);
bool secretmem_unmapped(void);
void secretmem_drain(void);
bool secretmem_hinders_hibernation(void);
void secretmem_explain_refusal(void);
int secretmem_prepare_image(void);
bool secretmem_forbids_image(void);
void secretmem_report_meminfo(struct seq_file *m);
bool __user_range_maybe_secretmem(unsigned long start, unsigned long len);
bool __secretmem_may_grow(struct vm_area_struct *vma, pgoff_t end);
unsigned int *__secretmem_seals(struct file *file);
void __secretmem_flush_writers(void);
struct vm_area_struct *secretmem_find_futex(struct mm_struct *mm,
					    unsigned long address, bool write);

/**
 * vma_is_secretmem() - does this area map a secret file?
 * @vma: the area; the caller holds its mm's mmap_lock
 *
 * Return: true if the pages of @vma must not be handed to anyone.
 */
static inline bool vma_is_secretmem(const struct vm_area_struct *vma)
{
	return vma->vm_ops == &secretmem_vm_ops;
}

/**
 * secretmem_may_grow() - may an area map its file up to a page?
 * @vma: the area, of the current process; the caller holds its mmap_lock for writing
 * @end: the furthest page it is going to map, plus one
 *
 * For a secret file this charges the pages to the user who made the file.
 *
 * Context: may sleep.
 *
 * Return: false if that is more secret memory than the limit allows.
 */
static inline bool secretmem_may_grow(struct vm_area_struct *vma, pgoff_t end)
{
	return !vma_is_secretmem(vma) || __secretmem_may_grow(vma, end);
}

/**
 * secretmem_seals() - the seals of a file, if it is a secret one
 * @file: any
 *
 * Context: any. To change them, hold the inode's i_rwsem.
 *
 * Return: where they are, or NULL.
 */
static inline unsigned int *secretmem_seals(struct file *file)
{
	if (file->f_mapping->a_ops != &secretmem_aops)
		return NULL;
	return __secretmem_seals(file);
}

/**
 * secretmem_flush_writers() - let nobody write any more to a secret file
 * @mapping: of any file; no area that may write maps it, and none will
 *
 * munmap() takes an area off its file first, and flushes the TLBs that have its pages
 * afterwards. In between another CPU can still write. Whoever has pinned a page can
 * write as well, but nobody can pin a secret page.
 *
 * Context: may sleep.
 *
 * Return: false if it is no secret file.
 */
static inline bool secretmem_flush_writers(struct address_space *mapping)
{
	if (mapping->a_ops != &secretmem_aops)
		return false;
	__secretmem_flush_writers();
	return true;
}

/**
 * page_maybe_secretmem() - may this page belong to a secret file?
 * @page: a page found in a user page table, or its head page; the caller holds
 *        a reference and has interrupts off, or is in an RCU read section
 *
 * The question of those who have a page, but not the vm_area_struct it was
 * found in. It must be asked after the page table entry was seen unchanged
 * with the reference held: before that the page can be anybody's.
 *
 * A page without a mapping may have been truncated from its file a moment ago,
 * and a secret page in that state is still unmapped and not wiped, so the
 * answer for it is yes. The inode behind a mapping is freed after a grace
 * period, which the caller holds up.
 *
 * Return: false if @page is certainly not secret. True if it is or was, or if
 * nobody can tell; then the area itself has to be asked, vma_is_secretmem().
 */
static inline bool page_maybe_secretmem(struct page *page)
{
	struct address_space *mapping;

	if (!static_branch_unlikely(&secretmem_key))
		return false;

	mapping = READ_ONCE(page->mapping);
	if (!mapping)
		return true;
	if ((unsigned long)mapping & PAGE_MAPPING_FLAGS)
		return false;
	return READ_ONCE(mapping->a_ops) == &secretmem_aops;
}

/**
 * freed_memory_may_be_secret() - can a read of freed memory fault?
 *
 * The question of those who read in the direct map what somebody else may have freed
 * by then, and find that out only later. They must not take it for granted that the
 * address is still mapped; it is not either if debug_pagealloc is on.
 *
 * Context: any.
 *
 * Return: true if the page that the memory was in can be a secret one now.
 */
static inline bool freed_memory_may_be_secret(void)
{
	return static_branch_unlikely(&secretmem_key);
}

/**
 * page_is_secretmem() - does this page belong to a secret file?
 * @page: any page; the caller holds its lock, so that it can not leave a file
 *
 * Return: true if @page is in a secret file, and thus in no kernel mapping.
 */
static inline bool page_is_secretmem(struct page *page)
{
	struct address_space *mapping;

	if (!static_branch_unlikely(&secretmem_key))
		return false;

	mapping = page_mapping(page);
	return mapping && mapping->a_ops == &secretmem_aops;
}

/**
 * user_range_maybe_secretmem() - is there secret memory in this address range?
 * @start: first address of the range, of the current process
 * @len:   length of the range in bytes
 *
 * The question of those who are about to show user memory to others, whatever
 * the context they are in.
 *
 * Context: any. Tries to take mmap_lock for reading.
 *
 * Return: false if there is certainly none. True if there is, or if that can not
 * be found out here.
 */
static inline bool user_range_maybe_secretmem(unsigned long start,
					      unsigned long len)
{
	return static_branch_unlikely(&secretmem_key) && secretmem_active() &&
	       __user_range_maybe_secretmem(start, len);
}

#else /* !CONFIG_SECRETMEM */

struct mm_struct;
struct vm_area_struct;

static inline bool secretmem_enabled(void)
{
	return false;
}

static inline void secretmem_disable(const char *reason)
{
}

static inline bool secretmem_active(void)
{
	return false;
}

static inline void secretmem_drain(void)
{
}

static inline bool secretmem_hinders_hibernation(void)
{
	return false;
}

static inline void secretmem_explain_refusal(void)
{
}

static inline int secretmem_prepare_image(void)
{
	return 0;
}

static inline bool secretmem_forbids_image(void)
{
	return false;
}

static inline void secretmem_report_meminfo(struct seq_file *m)
{
}

static inline bool vma_is_secretmem(const struct vm_area_struct *vma)
{
	return false;
}

static inline bool secretmem_may_grow(struct vm_area_struct *vma, pgoff_t end)
{
	return true;
}

static inline unsigned int *secretmem_seals(struct file *file)
{
	return NULL;
}

static inline bool secretmem_flush_writers(struct address_space *mapping)
{
	return false;
}

static inline struct vm_area_struct *
secretmem_find_futex(struct mm_struct *mm, unsigned long address, bool write)
{
	return NULL;
}

static inline bool page_maybe_secretmem(struct page *page)
{
	return false;
}

static inline bool freed_memory_may_be_secret(void)
{
	return false;
}

static inline bool page_is_secretmem(struct page *page)
{
	return false;
}

static inline bool user_range_maybe_secretmem(unsigned long start,
					      unsigned long len)
{
	return false;
}

#endif /* CONFIG_SECRETMEM */

#endif /* _LINUX_SECRETMEM_H */
