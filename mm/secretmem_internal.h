/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the parts of secret files share: mm/secretmem.c has the files and their faults,
 * mm/secretmem_size.c all that adds or removes pages otherwise, mm/secretmem_seals.c
 * what of that can be forbidden, mm/secretmem_limit.c what they are charged.
 */
#ifndef _MM_SECRETMEM_INTERNAL_H
#define _MM_SECRETMEM_INTERNAL_H

#include <linux/fs.h>
#include <linux/mempolicy.h>
#include <linux/spinlock.h>
#include <linux/types.h>

struct kstat;
struct path;
struct user_struct;
struct vm_area_struct;

/* One secret file. */
struct secretmem_inode {
	struct user_struct *user;	/* who made the file, and is charged */
	spinlock_t charge_lock;		/* held where charged changes */
	unsigned long charged;		/* pages, from the first of the file on */
	unsigned int seals;		/* F_SEAL_...; i_rwsem is held where they change */
	struct shared_policy policy;	/* which nodes the pages come from */
	struct inode vfs_inode;
};

static inline struct secretmem_inode *SECRETMEM_I(struct inode *inode)
{
	return container_of(inode, struct secretmem_inode, vfs_inode);
}

struct page *secretmem_add_page(struct address_space *mapping, pgoff_t index);

bool secretmem_beyond_end(struct inode *inode, pgoff_t index);
void secretmem_remove_page(struct page *page);
void secretmem_empty(struct address_space *mapping);
void secretmem_set_size(struct inode *inode, loff_t size);
long secretmem_fallocate(struct file *file, int mode, loff_t offset, loff_t len);
loff_t secretmem_llseek(struct file *file, loff_t offset, int whence);

int secretmem_seals_permit_size(struct inode *inode, loff_t size);
int secretmem_seals_permit_zeroing(struct inode *inode);
int secretmem_seals_permit_mapping(struct inode *inode,
				   struct vm_area_struct *vma);

bool secretmem_may_charge(struct inode *inode, pgoff_t end);
bool secretmem_charge(struct inode *inode, pgoff_t end);
void secretmem_charge_anyway(struct inode *inode, pgoff_t end);
void secretmem_lower_charge(struct inode *inode, pgoff_t end);

#endif /* _MM_SECRETMEM_INTERNAL_H */
