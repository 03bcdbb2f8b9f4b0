// SPDX-License-Identifier: GPL-2.0
/*
 * Seals of secret files
 *
 * They mean what fcntl(2) says of memfds, and mm/memfd.c adds them, with i_rwsem held.
 * Under the same lock they are looked at where the file is cut, extended or punched.
 * mmap() looks at them without it, once it has counted the mapping as one that may
 * write: either the count is seen by whoever seals the file, or the seal is seen here.
 */

#include <linux/fcntl.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/secretmem.h>

#include <asm/tlbflush.h>

#include "secretmem_internal.h"

/* For secretmem_seals(), which describes it. */
unsigned int *__secretmem_seals(struct file *file)
{
	return &SECRETMEM_I(file_inode(file))->seals;
}

/* For secretmem_flush_writers(), which describes it. */
void __secretmem_flush_writers(void)
{
	flush_tlb_all();
}

/**
 * secretmem_seals_permit_size() - may a file have this size?
 * @inode: of the file; the caller holds i_rwsem
 * @size:  in bytes
 *
 * Context: any.
 *
 * Return: 0, or -EPERM if a seal forbids to make it larger or smaller.
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
 * secretmem_seals_permit_zeroing() - may contents of a file be taken away?
 * @inode: of the file; the caller holds i_rwsem
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
 * secretmem_seals_permit_mapping() - may an area map a file?
 * @inode: of the file
 * @vma:   to be the area
 *
 * Context: any.
 *
 * Return: 0, or -EPERM if the file is sealed against writing and the area is to write.
 */
int secretmem_seals_permit_mapping(struct inode *inode,
				   struct vm_area_struct *vma)
{
	return seal_check_write(READ_ONCE(SECRETMEM_I(inode)->seals), vma);
}
