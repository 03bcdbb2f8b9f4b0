/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the parts of secret files share: mm/secretmem.c has the files and their faults,
 * mm/secretmem_size.c all that adds or removes pages otherwise, mm/secretmem_seals.c
 * what of that can be forbidden, mm/secretmem_limit.c what they are charged,
 * mm/secretmem_hibernate.c who made them.
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
	struct user_struct *user;	/* who made the file, and is charged */
	spinlock_t charge_lock;		/* held where charged changes */
	unsigned long charged;		/* pages, from the first of the file on */
	unsigned int seals;		/* F_SEAL_...; i_rwsem is held where they change */
	struct shared_policy policy;	/* which nodes the pages come from */
	bool wiped;			/* before hibernation; i_rwsem is held to write */
	struct list_head files;		/* all there are */
	struct pid *maker;		/* the process that made the file */
	char maker_name[TASK_COMM_LEN];	/* at that time */
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
