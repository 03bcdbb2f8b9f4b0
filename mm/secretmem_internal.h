/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Shared by the source files that implement secret files:
 *
 *	mm/secretmem.c			the system call, files and page faults
 *	mm/secretmem_size.c		all else that adds or removes pages
 *	mm/secretmem_seals.c		file seals
 *	mm/secretmem_limit.c		charging files against RLIMIT_MEMLOCK
 *	mm/secretmem_hibernate.c	makers of files, and hibernation
 */
#ifndef _MM_SECRETMEM_INTERNAL_H
#define _MM_SECRETMEM_INTERNAL_H

#include <linux/fs.h>
#include <linux/list.h>
#include <linux/mempolicy.h>
#include <linux/sched.h>
#include <linux/spinlock.h>
#include <linux/types.h>

struct kstat;
struct path;
struct pid;
struct seq_file;
struct user_struct;
struct vm_area_struct;

/* One secret file. */
struct secretmem_inode {
	struct user_struct *user;	/* made the file, and is charged */
	spinlock_t charge_lock;		/* protects charged */
	unsigned long charged;		/* pages, from the start of the file */
	unsigned int seals;		/* F_SEAL_*; i_rwsem protects writes */
	struct shared_policy policy;	/* NUMA policy for the pages */
	bool wiped;			/* for hibernation; set under i_rwsem */
	struct list_head files;		/* entry in the list of all files */
	struct pid *maker;		/* process that made the file */
	char maker_name[TASK_COMM_LEN];	/* its name at that time */
	struct inode vfs_inode;
};

static inline struct secretmem_inode *SECRETMEM_I(struct inode *inode)
{
	return container_of(inode, struct secretmem_inode, vfs_inode);
}

struct page *secretmem_add_page(struct address_space *mapping, pgoff_t index);

bool secretmem_out_of_reach(struct inode *inode, pgoff_t index);
void secretmem_remove_page(struct page *page);
void secretmem_empty(struct address_space *mapping);
void secretmem_set_size(struct inode *inode, loff_t size);
void secretmem_wipe(struct inode *inode);
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

void secretmem_add_file(struct inode *inode);
void secretmem_forget_file(struct inode *inode);
void secretmem_show_maker(struct seq_file *m, struct inode *inode);

#endif /* _MM_SECRETMEM_INTERNAL_H */
