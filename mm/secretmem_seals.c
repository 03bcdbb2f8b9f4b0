// SPDX-License-Identifier: GPL-2.0
/*
 * Seals of secret files
 *
 * Seals have the meaning that fcntl(2) describes for memfds. mm/memfd.c adds
 * them with i_rwsem held, and cutting, extending and punching the file check
 * them under the same lock. ->mmap checks them without the lock. By then,
 * mmap_region() has counted the mapping in i_mmap_writable if it can be
 * writable. So either the task that seals the file sees the count, or ->mmap
 * sees the seal.
 */

#include <linux/fcntl.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/secretmem.h>

#include <asm/tlbflush.h>

#include "secretmem_internal.h"

/* The part of secretmem_seals() for secret files, see there. */
unsigned int *__secretmem_seals(struct file *file)
{
	return &SECRETMEM_I(file_inode(file))->seals;
}

/* The part of secretmem_flush_writers() for secret files, see there. */
void __secretmem_flush_writers(void)
{
	flush_tlb_all();
}

/**
 * secretmem_seals_permit_size() - do the seals of a file permit a new size?
 * @inode: the inode of the file; the caller holds its i_rwsem
 * @size:  the new size in bytes
 *
 * Context: any.
 *
 * Return: 0, or -EPERM if a seal forbids extending or cutting the file.
 */
int secretmem_seals_permit_size(struct inode *inode, loff_t size)
{
	unsigned int seals = SECRETMEM_I(inode)->seals;
	loff_t old = i_size_read(inode);

	if ((size < old && (seals & F_SEAL_SHRINK)) ||
	    (size > old && (seals & F_SEAL_GROW)))
		return -EPERM;
	return 0;
}

/**
 * secretmem_seals_permit_zeroing() - do the seals of a file permit zeroing it?
 * @inode: the inode of the file; the caller holds its i_rwsem
 *
 * Context: any.
 *
 * Return: 0, or -EPERM if the file is sealed against writing.
 */
int secretmem_seals_permit_zeroing(struct inode *inode)
{
	return is_write_sealed(SECRETMEM_I(inode)->seals) ? -EPERM : 0;
}

/**
 * secretmem_seals_permit_mapping() - do the seals of a file permit a mapping?
 * @inode: the inode of the file
 * @vma:   the area that is going to map it
 *
 * Read-only areas are always permitted. mprotect() cannot make one writable if
 * the file is sealed against writing: do_mmap() has removed VM_MAYWRITE then.
 *
 * Context: any.
 *
 * Return: 0, or -EPERM if the file is sealed against writing and @vma is
 * writable.
 */
int secretmem_seals_permit_mapping(struct inode *inode,
				   struct vm_area_struct *vma)
{
	return seal_check_write(READ_ONCE(SECRETMEM_I(inode)->seals), vma);
}
