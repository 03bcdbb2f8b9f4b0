// SPDX-License-Identifier: GPL-2.0
/*
 * memfd_secret(2): memory that only the holders of a file descriptor can read
 *
 * A secret file lives in a pseudo file system of its own and in the page cache
 * only. Its pages come from mm/secretmem_pool.c without any kernel mapping, so
 * the contents are reached through user mappings alone: there is no ->readpage,
 * ->write_iter or ->access here, get_user_pages() refuses both the areas and
 * the pages, and whoever takes a page by another road finds no address to read.
 *
 * The pages are never put on an LRU list. Reclaim, compaction, migration and
 * memory offlining look for pages there, and so leave these alone.
 *
 * Lock order:
 *
 *	inode->i_rwsem			ftruncate()
 *	mm->mmap_lock			page fault
 *	  secretmem_inode::size_lock	written for a size change, read for a fault
 *	    page lock
 *	      i_pages lock
 */

#define pr_fmt(fmt) "secretmem: " fmt

#include <linux/export.h>
#include <linux/fcntl.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/init.h>
#include <linux/irqflags.h>
#include <linux/kernel.h>
#include <linux/list.h>
#include <linux/magic.h>
#include <linux/mm.h>
#include <linux/mmap_lock.h>
#include <linux/moduleparam.h>
#include <linux/mount.h>
#include <linux/pagemap.h>
#include <linux/pagevec.h>
#include <linux/preempt.h>
#include <linux/pseudo_fs.h>
#include <linux/rwsem.h>
#include <linux/secretmem.h>
#include <linux/seq_file.h>
#include <linux/set_memory.h>
#include <linux/slab.h>
#include <linux/syscalls.h>

#include "internal.h"
#include "secretmem_pool.h"

/* One secret file. */
struct secretmem_inode {
	/*
	 * Keeps the size of the file as it is from the moment a fault compares
	 * with it until the page is in the page cache, and locked. The page
	 * lock takes over from there, so that whoever makes the file smaller
	 * finds the page.
	 */
	struct rw_semaphore size_lock;
	struct inode vfs_inode;
};

static struct kmem_cache *secretmem_inode_cache __ro_after_init;
static struct vfsmount *secretmem_mnt __ro_after_init;

static bool secretmem_enable;
module_param_named(enable, secretmem_enable, bool, 0400);
MODULE_PARM_DESC(enable, "Enable memfd_secret(2) and secret memory (default: off)");

/* On from boot to the end if the feature was asked for and can be had. */
DEFINE_STATIC_KEY_FALSE(secretmem_key);

static struct secretmem_inode *SECRETMEM_I(struct inode *inode)
{
	return container_of(inode, struct secretmem_inode, vfs_inode);
}

/**
 * secretmem_enabled() - was secret memory asked for, and can it be had?
 *
 * Context: any, once the kernel command line has been parsed.
 *
 * Return: true if memfd_secret() works, or will once it is initialised.
 */
bool secretmem_enabled(void)
{
	return READ_ONCE(secretmem_enable);
}

/**
 * secretmem_disable() - give secret memory up, because it would not be secret
 * @reason: what stands in the way; goes to the log if the feature was asked for
 *
 * No file can be made any more. To be called at boot, while there is none.
 *
 * Context: any.
 */
void secretmem_disable(const char *reason)
{
	if (secretmem_enable)
		pr_err("disabled: %s\n", reason);
	WRITE_ONCE(secretmem_enable, false);
}

/*
 * Address space
 */

/*
 * Puts a new page into the page cache, locked and with a reference for the
 * caller. Fails with -EEXIST if somebody else's page is there already.
 */
static struct page *secretmem_add_page(struct address_space *mapping,
				       struct vm_fault *vmf)
{
	gfp_t gfp = mapping_gfp_mask(mapping);
	struct page *page;
	LIST_HEAD(unused);
	int err;

	page = secretmem_pool_get(gfp, vmf->vma, vmf->address);
	if (!page)
		return ERR_PTR(-ENOMEM);

	/* Not alone with it: memory_failure() takes any page, and its lock. */
	lock_page(page);
	err = add_to_page_cache_locked(page, mapping, vmf->pgoff, gfp);
	if (err)
		goto err_put;

	SetPageUptodate(page);
	/* There is no other copy: nobody may drop it, though it was only read. */
	SetPageDirty(page);
	return page;

err_put:
	unlock_page(page);
	list_add(&page->lru, &unused);
	secretmem_pool_put(&unused);
	return ERR_PTR(err);
}

/* Copying goes through the direct map, which is not there. */
static int secretmem_migratepage(struct address_space *mapping,
				 struct page *newpage, struct page *page,
				 enum migrate_mode mode)
{
	return -EBUSY;
}

/*
 * No ->freepage: pages leave a file together, in secretmem_empty(). One that is taken
 * from it by anybody else would never be used again.
 */
const struct address_space_operations secretmem_aops = {
	.set_page_dirty	= __set_page_dirty_no_writeback,
	.migratepage	= secretmem_migratepage,
};

/*
 * Mappings
 */

static bool secretmem_beyond_end(struct inode *inode, pgoff_t index)
{
	/* Unsigned: neither the rounding nor the size can overflow. */
	u64 size = i_size_read(inode);

	return index >= (size + PAGE_SIZE - 1) >> PAGE_SHIFT;
}

static vm_fault_t secretmem_fault(struct vm_fault *vmf)
{
	struct address_space *mapping = vmf->vma->vm_file->f_mapping;
	struct secretmem_inode *info = SECRETMEM_I(mapping->host);
	vm_fault_t ret = VM_FAULT_LOCKED;
	struct page *page;

	down_read(&info->size_lock);
	if (secretmem_beyond_end(mapping->host, vmf->pgoff)) {
		ret = VM_FAULT_SIGBUS;
		goto unlock;
	}

	do {
		page = find_lock_page(mapping, vmf->pgoff);
		if (!page)
			page = secretmem_add_page(mapping, vmf);
	} while (page == ERR_PTR(-EEXIST));

	if (IS_ERR(page))
		ret = vmf_error(PTR_ERR(page));
	else
		vmf->page = page;
unlock:
	up_read(&info->size_lock);
	return ret;
}

/* No ->access: it would be a way for ptrace to read what GUP refuses. */
const struct vm_operations_struct secretmem_vm_ops = {
	.fault = secretmem_fault,
};
EXPORT_SYMBOL_GPL(secretmem_vm_ops);

/* For user_range_maybe_secretmem(), which describes it. */
bool __user_range_maybe_secretmem(unsigned long start, unsigned long len)
{
	struct mm_struct *mm = current->mm;
	struct vm_area_struct *vma;
	bool found = false;

	if (!mm)
		return false;
	if (in_interrupt() || irqs_disabled() || !mmap_read_trylock(mm))
		return true;

	vma = find_vma(mm, start);
	for (; vma && vma->vm_start < start + len && !found; vma = vma->vm_next)
		found = vma_is_secretmem(vma);

	mmap_read_unlock(mm);
	return found;
}

static int secretmem_mmap(struct file *file, struct vm_area_struct *vma)
{
	unsigned long len = vma->vm_end - vma->vm_start;

	/* A private copy of a secret would be an ordinary anonymous page. */
	if (!(vma->vm_flags & VM_SHARED))
		return -EINVAL;

	if (mlock_future_check(vma->vm_mm, vma->vm_flags | VM_LOCKED, len))
		return -EAGAIN;

	vma->vm_flags |= VM_LOCKED | VM_DONTDUMP;
	vma->vm_ops = &secretmem_vm_ops;
	return 0;
}

/*
 * Files
 */

/* How many pages are given back together, at most. */
#define EMPTY_BATCH	512

/*
 * Takes the next pages out of their file, which is mapped nowhere, and adds them to a
 * list with a reference to each; @max of them or fewer. Returns how many.
 */
static unsigned int secretmem_remove_pages(struct address_space *mapping,
					   pgoff_t *index, unsigned int max,
					   struct list_head *pages)
{
	unsigned int nr = min_t(unsigned int, max, PAGEVEC_SIZE), i;
	struct pagevec pvec;

	pagevec_init(&pvec);
	pvec.nr = find_get_pages(mapping, index, nr, pvec.pages);
	for (i = 0; i < pagevec_count(&pvec); i++) {
		lock_page(pvec.pages[i]);
		ClearPageDirty(pvec.pages[i]);
	}
	delete_from_page_cache_batch(mapping, &pvec);
	for (i = 0; i < pagevec_count(&pvec); i++) {
		unlock_page(pvec.pages[i]);
		list_add_tail(&pvec.pages[i]->lru, pages);
	}
	return pagevec_count(&pvec);
}

static void secretmem_empty(struct address_space *mapping)
{
	unsigned int nr, batch = 0;
	pgoff_t index = 0;
	LIST_HEAD(pages);

	do {
		nr = secretmem_remove_pages(mapping, &index,
					    EMPTY_BATCH - batch, &pages);
		batch += nr;
		if (!nr || batch == EMPTY_BATCH) {
			secretmem_pool_put(&pages);
			batch = 0;
		}
	} while (nr);
}

/*
 * The last descriptor and the last mapping are gone, and with them whoever could
 * read the file. The inode may stay, an inotify watch is enough for that.
 */
static int secretmem_release(struct inode *inode, struct file *file)
{
	secretmem_empty(inode->i_mapping);
	return 0;
}

static void secretmem_show_fdinfo(struct seq_file *m, struct file *file)
{
	unsigned long pages = READ_ONCE(file->f_mapping->nrpages);

	seq_printf(m, "resident:\t%lu kB\n", pages << (PAGE_SHIFT - 10));
}

static const struct file_operations secretmem_fops = {
	.mmap		= secretmem_mmap,
	.release	= secretmem_release,
	.show_fdinfo	= secretmem_show_fdinfo,
};

/*
 * The size is set once, while the file is still empty. There are no pages then,
 * and none appear before size_lock is released. A call that comes too late leaves
 * the lock alone, as faults would have to wait behind it. i_rwsem is held, so the
 * size is what it was when asked for.
 */
static int secretmem_set_size(struct inode *inode, loff_t size)
{
	struct secretmem_inode *info = SECRETMEM_I(inode);

	if (inode->i_size)
		return -EINVAL;

	down_write(&info->size_lock);
	i_size_write(inode, size);
	up_write(&info->size_lock);
	return 0;
}

static int secretmem_setattr(struct dentry *dentry, struct iattr *iattr)
{
	struct inode *inode = d_inode(dentry);
	int err;

	err = setattr_prepare(dentry, iattr);
	if (err)
		return err;

	if (iattr->ia_valid & ATTR_SIZE) {
		err = secretmem_set_size(inode, iattr->ia_size);
		if (err)
			return err;
	}
	setattr_copy(inode, iattr);
	return 0;
}

static const struct inode_operations secretmem_iops = {
	.setattr = secretmem_setattr,
};

static struct file *secretmem_file_create(void)
{
	struct inode *inode;
	struct file *file;

	/* Not new_inode(): drop_caches would find the file and drop clean pages. */
	inode = new_inode_pseudo(secretmem_mnt->mnt_sb);
	if (!inode)
		return ERR_PTR(-ENOMEM);

	inode->i_ino = get_next_ino();
	inode_init_owner(inode, NULL, S_IFREG | 0600);
	inode->i_atime = current_time(inode);
	inode->i_mtime = inode->i_atime;
	inode->i_ctime = inode->i_atime;
	inode->i_op = &secretmem_iops;
	inode->i_mapping->a_ops = &secretmem_aops;
	/* Neither movable nor highmem: pages stay, and have one direct map. */
	mapping_set_gfp_mask(inode->i_mapping, GFP_USER);
	mapping_set_unevictable(inode->i_mapping);
	/* i_fop stays as it is, which refuses to open the file a second time. */

	file = alloc_file_pseudo(inode, secretmem_mnt, "secretmem",
				 O_RDWR | O_LARGEFILE, &secretmem_fops);
	if (IS_ERR(file))
		iput(inode);
	return file;
}

SYSCALL_DEFINE1(memfd_secret, unsigned int, flags)
{
	struct file *file;
	int fd;

	/*
	 * Until the system runs, parts of the kernel image are freed and lose
	 * their second mapping; a user mode helper can be here earlier.
	 */
	if (!secretmem_enabled() || system_state < SYSTEM_RUNNING)
		return -ENOSYS;
	if (flags & ~O_CLOEXEC)
		return -EINVAL;

	fd = get_unused_fd_flags(flags & O_CLOEXEC);
	if (fd < 0)
		return fd;

	file = secretmem_file_create();
	if (IS_ERR(file)) {
		put_unused_fd(fd);
		return PTR_ERR(file);
	}

	fd_install(fd, file);
	return fd;
}

/*
 * File system
 */

static struct inode *secretmem_alloc_inode(struct super_block *sb)
{
	struct secretmem_inode *info;

	info = kmem_cache_alloc(secretmem_inode_cache, GFP_KERNEL);
	return info ? &info->vfs_inode : NULL;
}

/* Called after a grace period, which page_maybe_secretmem() relies on. */
static void secretmem_free_inode(struct inode *inode)
{
	kmem_cache_free(secretmem_inode_cache, SECRETMEM_I(inode));
}

static const struct super_operations secretmem_super_ops = {
	.alloc_inode	= secretmem_alloc_inode,
	.free_inode	= secretmem_free_inode,
	.statfs		= simple_statfs,
};

static int secretmem_init_fs_context(struct fs_context *fc)
{
	struct pseudo_fs_context *ctx = init_pseudo(fc, SECRETMEM_MAGIC);

	if (!ctx)
		return -ENOMEM;
	ctx->ops = &secretmem_super_ops;
	/* No PROT_EXEC: EPERM at mmap(), EACCES at mprotect(). */
	fc->s_iflags |= SB_I_NOEXEC;
	return 0;
}

static struct file_system_type secretmem_fs_type = {
	.name			= "secretmem",
	.init_fs_context	= secretmem_init_fs_context,
	.kill_sb		= kill_anon_super,
};

static void secretmem_init_inode_once(void *object)
{
	struct secretmem_inode *info = object;

	init_rwsem(&info->size_lock);
	inode_init_once(&info->vfs_inode);
}

static int __init secretmem_init(void)
{
	int err;

	if (secretmem_enable && !can_set_direct_map())
		secretmem_disable(IS_ENABLED(CONFIG_ARM64) ?
				  "pages can not be unmapped without rodata=full" :
				  "pages can not be unmapped on this machine");
	if (!secretmem_enable)
		return 0;

	err = secretmem_pool_init();
	if (err)
		goto err_disable;

	secretmem_inode_cache =
		kmem_cache_create("secretmem_inode",
				  sizeof(struct secretmem_inode), 0,
				  SLAB_PANIC | SLAB_ACCOUNT,
				  secretmem_init_inode_once);
	secretmem_mnt = kern_mount(&secretmem_fs_type);
	err = PTR_ERR_OR_ZERO(secretmem_mnt);
	if (err)
		goto err_disable;

	static_branch_enable(&secretmem_key);
	return 0;

err_disable:
	secretmem_disable("no memory");
	return err;
}
fs_initcall(secretmem_init);
