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

struct page;

#ifdef CONFIG_SECRETMEM

#include <linux/fs.h>
#include <linux/jump_label.h>
#include <linux/mm.h>

extern const struct address_space_operations secretmem_aops;
extern const struct vm_operations_struct secretmem_vm_ops;

DECLARE_STATIC_KEY_FALSE(secretmem_key);

bool secretmem_enabled(void);
void secretmem_disable(const char *reason);

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

#else /* !CONFIG_SECRETMEM */

struct vm_area_struct;

static inline bool secretmem_enabled(void)
{
	return false;
}

static inline void secretmem_disable(const char *reason)
{
}

static inline bool vma_is_secretmem(const struct vm_area_struct *vma)
{
	return false;
}

static inline bool page_maybe_secretmem(struct page *page)
{
	return false;
}

#endif /* CONFIG_SECRETMEM */

#endif /* _LINUX_SECRETMEM_H */
