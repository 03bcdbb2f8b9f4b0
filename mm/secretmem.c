// SPDX-License-Identifier: GPL-2.0
/*
 * memfd_secret(2): memory that only the holders of a file descriptor can read
 *
 * Secret files belong to a pseudo file system of their own, and their contents
 * exist only in the page cache. The pages come from mm/secretmem_pool.c and
 * have no kernel mapping, so the contents can be reached through user mappings
 * alone. There is no ->readpage, ->write_iter or ->access here,
 * get_user_pages() refuses both the areas and the pages, and code that gets at
 * a page in any other way finds no kernel mapping to read it through.
 *
 * The pages are never put on an LRU list. Reclaim, compaction, migration and
 * memory offlining find pages there, and therefore leave secret pages alone.
 *
 * Lock order:
 *
 *	inode->i_rwsem			ftruncate(), fallocate(), lseek()
 *	mm->mmap_lock			page fault, mmap(); not nested with i_rwsem
 *	  page lock
 *	    i_mmap_rwsem
 *	      secretmem_inode::charge_lock
 *	    i_pages lock
 *	secretmem_files_lock		inode->i_lock inside
 *	secretmem_pool::lock		innermost
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
#include <linux/mempolicy.h>
#include <linux/mm.h>
#include <linux/mman.h>
#include <linux/mmap_lock.h>
#include <linux/mmu_context.h>
#include <linux/moduleparam.h>
#include <linux/mount.h>
#include <linux/page-flags.h>
#include <linux/pagemap.h>
#include <linux/preempt.h>
#include <linux/pseudo_fs.h>
#include <linux/sched/user.h>
#include <linux/secretmem.h>
#include <linux/seq_file.h>
#include <linux/set_memory.h>
#include <linux/slab.h>
#include <linux/syscalls.h>

#include "internal.h"
#include "secretmem_internal.h"
#include "secretmem_pool.h"

static struct kmem_cache *secretmem_inode_cache __ro_after_init;
static struct vfsmount *secretmem_mnt __ro_after_init;

static bool secretmem_enable;
module_param_named(enable, secretmem_enable, bool, 0444);
MODULE_PARM_DESC(enable, "Enable memfd_secret(2) and secret memory (default: off)");

/*
 * Enabled once at boot if secretmem.enable=1 is set and pages can be unmapped;
 * never disabled again.
 */
DEFINE_STATIC_KEY_FALSE(secretmem_key);

/**
 * secretmem_enabled() - is secret memory enabled?
 *
 * Context: any, after the kernel command line has been parsed.
 *
 * Return: true if it was enabled on the command line and was not found to be
 * impossible so far.
 */
bool secretmem_enabled(void)
{
	return READ_ONCE(secretmem_enable);
}

/**
 * secretmem_disable() - disable secret memory at boot
 * @reason: for the log; printed if secretmem.enable=1 was given
 *
 * To be called if pages would not be secret. No file can be created afterwards,
 * and none must have been created before.
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

/**
 * secretmem_add_page() - add a new page to a secret file
 * @mapping: the address space of the file
 * @index:   the index of the page in the file
 *
 * Context: may sleep.
 *
 * Return: the page, zeroed and locked, with a reference for the caller; or
 * ERR_PTR(-EEXIST) if the file already has a page at @index, or
 * ERR_PTR(-ENOMEM) if there is no memory or the memory cgroup's limit is
 * reached.
 */
struct page *secretmem_add_page(struct address_space *mapping, pgoff_t index)
{
	struct secretmem_inode *info = SECRETMEM_I(mapping->host);
	gfp_t gfp = mapping_gfp_mask(mapping);
	struct mempolicy *policy;
	struct page *page;
	LIST_HEAD(unused);
	int err;

	policy = mpol_shared_policy_lookup(&info->policy, index);
	page = secretmem_pool_get(gfp, policy, index);
	mpol_cond_put(policy);
	if (!page)
		return ERR_PTR(-ENOMEM);

	/*
	 * lock_page(), not __SetPageLocked(): memory_failure() may have found
	 * the page by its pfn, and locked it.
	 */
	lock_page(page);
	err = add_to_page_cache_locked(page, mapping, index, gfp);
	if (err)
		goto err_put;

	/*
	 * Always dirty: the page cache holds the only copy, so even a page that
	 * was only read must not be dropped as clean.
	 */
	SetPageDirty(page);
	/*
	 * Add the page before secretmem_out_of_reach() reads i_size and wiped.
	 * Pairs with smp_mb() in secretmem_set_size() and secretmem_wipe().
	 */
	smp_mb();
	return page;

err_put:
	unlock_page(page);
	list_add(&page->lru, &unused);
	secretmem_pool_put(&unused);
	return ERR_PTR(err);
}

/* Migration copies through the direct map, which secret pages do not have. */
static int secretmem_migratepage(struct address_space *mapping,
				 struct page *newpage, struct page *page,
				 enum migrate_mode mode)
{
	return -EBUSY;
}

/*
 * No ->freepage: mm/secretmem_size.c removes pages in batches and gives them to
 * the pool. A page that any other code removed from the page cache would stay
 * unmapped and leak.
 */
const struct address_space_operations secretmem_aops = {
	.set_page_dirty	= __set_page_dirty_no_writeback,
	.migratepage	= secretmem_migratepage,
};

/*
 * Mappings
 */

static vm_fault_t secretmem_fault(struct vm_fault *vmf)
{
	struct address_space *mapping = vmf->vma->vm_file->f_mapping;
	struct inode *inode = mapping->host;
	struct page *page;
	bool added;

	do {
		if (secretmem_out_of_reach(inode, vmf->pgoff))
			return VM_FAULT_SIGBUS;
		page = find_lock_page(mapping, vmf->pgoff);
		added = !page;
		if (added)
			page = secretmem_add_page(mapping, vmf->pgoff);
	} while (page == ERR_PTR(-EEXIST));

	if (IS_ERR(page))
		return vmf_error(PTR_ERR(page));

	/* The file may have been cut or wiped, see mm/secretmem_size.c. */
	if (secretmem_out_of_reach(inode, vmf->pgoff)) {
		if (added) {
			secretmem_remove_page(page);
		} else {
			unlock_page(page);
			put_page(page);
		}
		return VM_FAULT_SIGBUS;
	}

	if (added)
		secretmem_charge_anyway(inode, vmf->pgoff + 1);
	if (!PageUptodate(page))
		SetPageUptodate(page);
	vmf->page = page;
	return VM_FAULT_LOCKED;
}

#ifdef CONFIG_NUMA
static int secretmem_set_policy(struct vm_area_struct *vma,
				struct mempolicy *policy)
{
	struct secretmem_inode *info = SECRETMEM_I(file_inode(vma->vm_file));

	return mpol_set_shared_policy(&info->policy, vma, policy);
}

static struct mempolicy *secretmem_get_policy(struct vm_area_struct *vma,
					      unsigned long addr)
{
	struct secretmem_inode *info = SECRETMEM_I(file_inode(vma->vm_file));

	return mpol_shared_policy_lookup(&info->policy,
					 linear_page_index(vma, addr));
}
#endif

/* No ->access: ptrace would use it to read what get_user_pages() refuses. */
const struct vm_operations_struct secretmem_vm_ops = {
	.fault		= secretmem_fault,
#ifdef CONFIG_NUMA
	.set_policy	= secretmem_set_policy,
	.get_policy	= secretmem_get_policy,
#endif
};
EXPORT_SYMBOL_GPL(secretmem_vm_ops);

/**
 * secretmem_find_futex() - find the secret area that contains a shared futex
 * @mm:      the mm of the current process; the caller holds its mmap_lock
 * @address: the address of the futex
 * @write:   is the caller going to write to the futex?
 *
 * Context: any.
 *
 * Return: the area. NULL if there is no secret area at @address, if its
 * protection does not permit the access, or if the page is beyond the end of
 * the file or the file was wiped.
 */
struct vm_area_struct *secretmem_find_futex(struct mm_struct *mm,
					    unsigned long address, bool write)
{
	unsigned long access = write ? VM_WRITE : VM_READ | VM_WRITE;
	struct vm_area_struct *vma = find_vma(mm, address);

	if (!vma || vma->vm_start > address || !vma_is_secretmem(vma))
		return NULL;
	if (!(vma->vm_flags & access) ||
	    !arch_vma_access_permitted(vma, write, false, false))
		return NULL;
	if (secretmem_out_of_reach(file_inode(vma->vm_file),
				   linear_page_index(vma, address)))
		return NULL;
	return vma;
}

/* Slow path of user_range_maybe_secretmem(), see there. */
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
	struct inode *inode = file_inode(file);
	int err;

	/* A private copy of a secret would be an ordinary anonymous page. */
	if (!(vma->vm_flags & VM_SHARED))
		return -EINVAL;

	err = secretmem_seals_permit_mapping(inode, vma);
	if (err)
		return err;

	if (mlock_future_check(vma->vm_mm, vma->vm_flags | VM_LOCKED, len) ||
	    !secretmem_charge(inode, vma->vm_pgoff + vma_pages(vma)))
		return -EAGAIN;

	/*
	 * mmap() merges a new area with an existing one before it calls ->mmap,
	 * if their flags are equal. A new area never has VM_DONTDUMP at that
	 * point, so it cannot be merged with a secret area and escape the
	 * checks above.
	 */
	vma->vm_flags |= VM_LOCKED | VM_DONTDUMP;
	vma->vm_ops = &secretmem_vm_ops;
	return 0;
}

/* Returns the number of locked pages that are mapped from @start to @end. */
static unsigned long locked_pages(struct mm_struct *mm, unsigned long start,
				  unsigned long end)
{
	struct vm_area_struct *vma = find_vma(mm, start);
	unsigned long nr = 0;

	for (; vma && vma->vm_start < end; vma = vma->vm_next)
		if (vma->vm_flags & VM_LOCKED)
			nr += (min(end, vma->vm_end) -
			       max(start, vma->vm_start)) >> PAGE_SHIFT;
	return nr;
}

/*
 * MAP_FIXED unmaps what is in the range before ->mmap can refuse the mapping.
 * If ->mmap is going to refuse it because of a limit, fail here, where the old
 * mapping is still in place.
 */
static unsigned long secretmem_get_unmapped_area(struct file *file,
						 unsigned long addr,
						 unsigned long len,
						 unsigned long pgoff,
						 unsigned long flags)
{
	struct mm_struct *mm = current->mm;
	unsigned long replaced;

	if ((flags & MAP_FIXED) && find_vma_intersection(mm, addr, addr + len)) {
		replaced = locked_pages(mm, addr, addr + len) << PAGE_SHIFT;
		if (mlock_future_check(mm, VM_LOCKED, len - replaced) ||
		    !secretmem_may_charge(file_inode(file),
					  pgoff + (len >> PAGE_SHIFT)))
			return -EAGAIN;
	}
	return mm->get_unmapped_area(file, addr, len, pgoff, flags);
}

/*
 * Files
 */

/*
 * Called when the last descriptor and the last mapping are gone, so that nobody
 * can read the file any more. Do not wait for the inode to be evicted: an
 * inotify watch is enough to keep it.
 */
static int secretmem_release(struct inode *inode, struct file *file)
{
	secretmem_empty(inode->i_mapping);
	secretmem_lower_charge(inode, 0);
	return 0;
}

static void secretmem_show_fdinfo(struct seq_file *m, struct file *file)
{
	struct secretmem_inode *info = SECRETMEM_I(file_inode(file));
	u64 resident = READ_ONCE(file->f_mapping->nrpages);
	u64 charged = READ_ONCE(info->charged);

	seq_printf(m, "resident:\t%llu kB\n"
		      "charged:\t%llu kB\n"
		      "wiped:\t%d\n",
		   resident << (PAGE_SHIFT - 10), charged << (PAGE_SHIFT - 10),
		   READ_ONCE(info->wiped));
	secretmem_show_maker(m, &info->vfs_inode);
}

static const struct file_operations secretmem_fops = {
	.llseek			= secretmem_llseek,
	.mmap			= secretmem_mmap,
	.get_unmapped_area	= secretmem_get_unmapped_area,
	/* There is nothing to write back, so fsync() and msync() succeed. */
	.fsync			= noop_fsync,
	.fallocate		= secretmem_fallocate,
	.release		= secretmem_release,
	.show_fdinfo		= secretmem_show_fdinfo,
};

static int secretmem_setattr(struct dentry *dentry, struct iattr *iattr)
{
	struct inode *inode = d_inode(dentry);
	int err;

	err = setattr_prepare(dentry, iattr);
	if (err)
		return err;

	if (iattr->ia_valid & ATTR_SIZE) {
		err = secretmem_seals_permit_size(inode, iattr->ia_size);
		if (err)
			return err;
		secretmem_set_size(inode, iattr->ia_size);
	}
	setattr_copy(inode, iattr);
	return 0;
}

/* st_blocks counts the resident pages, as it does for a memfd. */
static int secretmem_getattr(const struct path *path, struct kstat *stat,
			     u32 mask, unsigned int flags)
{
	struct inode *inode = d_inode(path->dentry);

	generic_fillattr(inode, stat);
	stat->blocks = READ_ONCE(inode->i_mapping->nrpages) << (PAGE_SHIFT - 9);
	return 0;
}

static const struct inode_operations secretmem_iops = {
	.setattr	= secretmem_setattr,
	.getattr	= secretmem_getattr,
};

static struct file *secretmem_file_create(void)
{
	struct inode *inode;
	struct file *file;

	/*
	 * Not new_inode(): keep the inode off sb->s_inodes, so that
	 * drop_caches, sync and similar walks never visit the file.
	 */
	inode = new_inode_pseudo(secretmem_mnt->mnt_sb);
	if (!inode)
		return ERR_PTR(-ENOMEM);

	SECRETMEM_I(inode)->user = get_uid(current_user());
	secretmem_add_file(inode);
	inode->i_ino = get_next_ino();
	inode_init_owner(inode, NULL, S_IFREG | 0600);
	inode->i_atime = current_time(inode);
	inode->i_mtime = inode->i_atime;
	inode->i_ctime = inode->i_atime;
	inode->i_op = &secretmem_iops;
	inode->i_mapping->a_ops = &secretmem_aops;
	/*
	 * Not movable: secret pages never migrate. Not highmem: only lowmem is
	 * guaranteed to have a single kernel mapping, the direct map.
	 */
	mapping_set_gfp_mask(inode->i_mapping, GFP_USER);
	mapping_set_unevictable(inode->i_mapping);
	/*
	 * Leave i_fop at no_open_fops, so that the file cannot be opened again
	 * through /proc/PID/fd.
	 */

	file = alloc_file_pseudo(inode, secretmem_mnt, "secretmem",
				 O_RDWR | O_LARGEFILE, &secretmem_fops);
	if (IS_ERR(file)) {
		iput(inode);
		return file;
	}
	/* For lseek(); read() and write() fail without such operations. */
	file->f_mode |= FMODE_LSEEK;
	return file;
}

SYSCALL_DEFINE1(memfd_secret, unsigned int, flags)
{
	struct file *file;
	int fd;

	/*
	 * Before SYSTEM_RUNNING, freed parts of the kernel image still have a
	 * second mapping. A usermode helper can call this as early as that.
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
	if (!info)
		return NULL;
	info->user = NULL;
	info->charged = 0;
	info->seals = 0;
	info->wiped = false;
	info->maker = NULL;
	mpol_shared_policy_init(&info->policy, NULL);
	return &info->vfs_inode;
}

static void secretmem_destroy_inode(struct inode *inode)
{
	struct secretmem_inode *info = SECRETMEM_I(inode);

	secretmem_forget_file(inode);
	mpol_free_shared_policy(&info->policy);
	free_uid(info->user);
}

/* Called after an RCU grace period, which page_maybe_secretmem() relies on. */
static void secretmem_free_inode(struct inode *inode)
{
	kmem_cache_free(secretmem_inode_cache, SECRETMEM_I(inode));
}

static const struct super_operations secretmem_super_ops = {
	.alloc_inode	= secretmem_alloc_inode,
	.destroy_inode	= secretmem_destroy_inode,
	.free_inode	= secretmem_free_inode,
	.statfs		= simple_statfs,
};

static int secretmem_init_fs_context(struct fs_context *fc)
{
	struct pseudo_fs_context *ctx = init_pseudo(fc, SECRETMEM_MAGIC);

	if (!ctx)
		return -ENOMEM;
	ctx->ops = &secretmem_super_ops;
	/* PROT_EXEC fails: EPERM from mmap(), EACCES from mprotect(). */
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

	spin_lock_init(&info->charge_lock);
	INIT_LIST_HEAD(&info->files);
	inode_init_once(&info->vfs_inode);
}

static int __init secretmem_init(void)
{
	int err;

	if (secretmem_enable && !can_set_direct_map())
		secretmem_disable(IS_ENABLED(CONFIG_ARM64) ?
				  "pages cannot be unmapped without rodata=full" :
				  "pages cannot be unmapped on this machine");
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
	pr_info("enabled, in blocks of 2 MiB\n");
	return 0;

err_disable:
	secretmem_disable("no memory");
	return err;
}
fs_initcall(secretmem_init);
