/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Secret memory: pages that only the holders of a file descriptor can read
 *
 * For code that must tell secret pages, areas and address ranges from others.
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
 * vma_is_secretmem() - does an area map a secret file?
 * @vma: the area; the caller holds the mmap_lock of its mm
 *
 * Context: any.
 *
 * Return: true if @vma maps a secret file. Its pages must not be given to any
 * code that could read or write them without the mapping.
 */
static inline bool vma_is_secretmem(const struct vm_area_struct *vma)
{
	return vma->vm_ops == &secretmem_vm_ops;
}

/**
 * secretmem_may_grow() - may an area be extended to map more of its file?
 * @vma: an area of the current process; the caller holds mmap_lock for writing
 * @end: the index of the furthest page it is going to map, plus one
 *
 * If @vma maps a secret file, this charges the file up to @end to the user who
 * made it.
 *
 * Context: may sleep.
 *
 * Return: false if that would exceed RLIMIT_MEMLOCK. True if it is charged, or
 * if @vma maps something else.
 */
static inline bool secretmem_may_grow(struct vm_area_struct *vma, pgoff_t end)
{
	return !vma_is_secretmem(vma) || __secretmem_may_grow(vma, end);
}

/**
 * secretmem_seals() - find the seals of a secret file
 * @file: any file
 *
 * Context: any. To change the seals, hold i_rwsem of the inode.
 *
 * Return: a pointer to the seals, or NULL if @file is not a secret file.
 */
static inline unsigned int *secretmem_seals(struct file *file)
{
	if (file->f_mapping->a_ops != &secretmem_aops)
		return NULL;
	return __secretmem_seals(file);
}

/**
 * secretmem_flush_writers() - stop writes through stale TLB entries
 * @mapping: the address space of any file that has no writable mapping and will
 *           not get one
 *
 * munmap() first removes an area from its file, and later flushes the TLBs. In
 * between, another CPU can still write to the pages. If @mapping is that of a
 * secret file, flush all TLBs. That is enough, because the pages of a secret
 * file cannot be pinned.
 *
 * Context: may sleep.
 *
 * Return: true after the flush, false if @mapping is not that of a secret file.
 */
static inline bool secretmem_flush_writers(struct address_space *mapping)
{
	if (mapping->a_ops != &secretmem_aops)
		return false;
	__secretmem_flush_writers();
	return true;
}

/**
 * page_maybe_secretmem() - can a page belong to a secret file?
 * @page: a page found in a user page table, or its head page; the caller holds
 *        a reference
 *
 * For callers that have a page, but not the vma it was found in. The caller
 * must take the reference first, then see that the page table entry has not
 * changed, and then call this function. Before that, the page can belong to
 * anything.
 *
 * A page without a mapping may have been removed from its file just now. If
 * that was a secret file, the page is still unmapped and may not have been
 * wiped, so this function returns true for all pages without a mapping. The
 * inode of a mapping is freed after an RCU grace period, which cannot end in
 * the context required below.
 *
 * Context: interrupts off, or in an RCU read-side critical section.
 *
 * Return: false if @page is certainly not secret. True if it is or was secret,
 * or if this cannot be decided from the page; the caller must then check the
 * vma with vma_is_secretmem().
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
 * freed_memory_may_be_secret() - can reading freed memory fault?
 *
 * For code that reads memory through the direct map and only later finds out
 * whether the memory had been freed. Such code must not rely on the address
 * still being mapped. With debug_pagealloc it need not be either, which this
 * function does not check.
 *
 * Context: any.
 *
 * Return: true if freed memory can be part of a secret page by now.
 */
static inline bool freed_memory_may_be_secret(void)
{
	return static_branch_unlikely(&secretmem_key);
}

/**
 * page_is_secretmem() - does a page belong to a secret file?
 * @page: any page; the caller holds its lock, which keeps it in its file
 *
 * Context: any that can hold a page lock.
 *
 * Return: true if @page is in a secret file, and thus has no kernel mapping.
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
 * user_range_maybe_secretmem() - can an address range contain secret memory?
 * @start: the first address of the range in the current process
 * @len:   the length of the range in bytes
 *
 * For code that is about to expose user memory to others, for example in the
 * log.
 *
 * Context: any; only tries to take mmap_lock for reading.
 *
 * Return: false if there is certainly no secret memory in the range. True if
 * there is, or if this cannot be found out in the current context.
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
