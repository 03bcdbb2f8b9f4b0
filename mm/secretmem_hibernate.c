// SPDX-License-Identifier: GPL-2.0
/*
 * Makers of secret files, and hibernation
 *
 * A hibernation image must not contain secrets. By default, the machine does
 * not hibernate while there is a secret page, and the log names the processes
 * that made the files. With secretmem.hibernate=wipe the machine does
 * hibernate, and the secrets are lost: when user space is frozen, each file
 * with pages is wiped and marked. Access to such a file raises SIGBUS until its
 * size is set to 0.
 *
 * Only pages matter, not files, whatever the policy is. There are three checks
 * for pages: before hibernation begins, when user space is frozen, and when no
 * other task or CPU runs. The last one is needed because kernel threads that
 * use the address space of a process are not frozen: one of them can add a page
 * to a file that had none and therefore was not marked.
 *
 * Frozen tasks keep the locks they hold. A user task is frozen when it returns
 * to user space, or while it sleeps in a place that has declared itself
 * freezable. Network file systems do so with locks held, and reclaim can enter
 * them, so a task can be frozen in any memory allocation. fallocate() of a
 * secret file holds i_rwsem over allocations. Wiping therefore only tries to
 * take i_rwsem. The other locks it takes are never held over an allocation:
 * i_mmap_rwsem, the locks of pages that are in a file, and spinlocks.
 */

#define pr_fmt(fmt) "secretmem: " fmt

#include <linux/fs.h>
#include <linux/kernel.h>
#include <linux/list.h>
#include <linux/list_sort.h>
#include <linux/moduleparam.h>
#include <linux/page-flags.h>
#include <linux/pagemap.h>
#include <linux/pagevec.h>
#include <linux/pid.h>
#include <linux/proc_fs.h>
#include <linux/sched.h>
#include <linux/secretmem.h>
#include <linux/seq_file.h>
#include <linux/spinlock.h>
#include <linux/string.h>

#include "secretmem_internal.h"
#include "secretmem_pool.h"

/* All parameters of secret memory have the prefix of mm/secretmem.c. */
#undef MODULE_PARAM_PREFIX
#define MODULE_PARAM_PREFIX "secretmem."

enum hibernation_policy { REFUSE, WIPE };

static const char * const hibernation_policies[] = {
	[REFUSE]	= "refuse",
	[WIPE]		= "wipe",
};

static enum hibernation_policy hibernation_policy = REFUSE;

/* Name at most this many processes in the log. */
#define MAX_NAMED	8

/* All secret files, from their creation until the inode is destroyed. */
static LIST_HEAD(secretmem_files);
static DEFINE_SPINLOCK(secretmem_files_lock);

/*
 * Policy
 */

static int set_policy(const char *value, const struct kernel_param *param)
{
	int policy = sysfs_match_string(hibernation_policies, value);

	if (policy < 0)
		return policy;
	WRITE_ONCE(hibernation_policy, policy);
	return 0;
}

static int show_policy(char *text, const struct kernel_param *param)
{
	return sprintf(text, "%s\n",
		       hibernation_policies[READ_ONCE(hibernation_policy)]);
}

static const struct kernel_param_ops hibernation_policy_ops = {
	.set	= set_policy,
	.get	= show_policy,
};

module_param_cb(hibernate, &hibernation_policy_ops, NULL, 0644);
MODULE_PARM_DESC(hibernate, "Hibernation with secret memory: refuse (default), or wipe it");

/*
 * Makers
 */

/**
 * secretmem_add_file() - record the maker of a new secret file
 * @inode: the inode of the file
 *
 * Context: process context of the maker; takes spinlocks.
 */
void secretmem_add_file(struct inode *inode)
{
	struct secretmem_inode *info = SECRETMEM_I(inode);

	/*
	 * Name the process, not the thread. The group leader cannot change now:
	 * only exec() replaces it, after all other threads are gone.
	 */
	get_task_comm(info->maker_name, current->group_leader);
	info->maker = get_pid(task_tgid(current));

	spin_lock(&secretmem_files_lock);
	list_add_tail(&info->files, &secretmem_files);
	spin_unlock(&secretmem_files_lock);
}

/**
 * secretmem_forget_file() - take a secret file off the list of all files
 * @inode: the inode of the file, which is about to be destroyed
 *
 * Context: any; takes a spinlock.
 */
void secretmem_forget_file(struct inode *inode)
{
	struct secretmem_inode *info = SECRETMEM_I(inode);

	spin_lock(&secretmem_files_lock);
	list_del_init(&info->files);
	spin_unlock(&secretmem_files_lock);
	put_pid(info->maker);
}

/**
 * secretmem_show_maker() - print the "maker" line of /proc/PID/fdinfo
 * @m:     the seq_file of the fdinfo file
 * @inode: the inode of the secret file
 *
 * The PID is that of the PID namespace of this /proc mount. If the process is
 * not visible there, its PID is 0 and its name is not printed: a container must
 * not learn which process outside has made a file for it.
 *
 * Context: may sleep.
 */
void secretmem_show_maker(struct seq_file *m, struct inode *inode)
{
	struct secretmem_inode *info = SECRETMEM_I(inode);
	pid_t pid = pid_nr_ns(info->maker,
			      proc_pid_ns(file_inode(m->file)->i_sb));

	seq_printf(m, "maker:\t%d", pid);
	if (pid)
		seq_printf(m, " %*pE", (int)strlen(info->maker_name),
			   info->maker_name);
	seq_putc(m, '\n');
}

/* A process, and the number of pages in all files it has made. */
struct maker {
	unsigned long pages;
	pid_t pid;			/* in the initial namespace */
	char name[TASK_COMM_LEN];
};

/* The makers with the most pages, and totals for all others. */
struct makers {
	struct maker largest[MAX_NAMED];	/* in descending order */
	unsigned int others;
	unsigned long others_pages;
};

static void rank_maker(struct makers *makers, struct maker maker)
{
	int i;

	/* Insertion sort: a larger maker takes the place of a smaller one. */
	for (i = 0; i < MAX_NAMED; i++)
		if (maker.pages > makers->largest[i].pages)
			swap(maker, makers->largest[i]);
	if (maker.pages) {
		makers->others++;
		makers->others_pages += maker.pages;
	}
}

static int by_maker(void *unused, const struct list_head *a,
		    const struct list_head *b)
{
	const struct secretmem_inode *x, *y;

	x = list_entry(a, struct secretmem_inode, files);
	y = list_entry(b, struct secretmem_inode, files);
	return (unsigned long)x->maker > (unsigned long)y->maker;
}

/*
 * Sorts the list of files by maker, so that the files of one process are
 * adjacent and their pages can be added up.
 */
static void find_makers(struct makers *makers)
{
	struct secretmem_inode *info;
	struct maker maker = { };
	struct pid *last = NULL;

	spin_lock(&secretmem_files_lock);
	list_sort(NULL, &secretmem_files, by_maker);
	list_for_each_entry(info, &secretmem_files, files) {
		if (info->maker != last) {
			rank_maker(makers, maker);
			last = info->maker;
			maker.pages = 0;
			maker.pid = pid_nr(last);
			strscpy(maker.name, info->maker_name, TASK_COMM_LEN);
		}
		maker.pages += READ_ONCE(info->vfs_inode.i_mapping->nrpages);
	}
	spin_unlock(&secretmem_files_lock);
	rank_maker(makers, maker);
}

static void log_makers(void)
{
	struct makers makers = { };
	struct maker *maker;

	find_makers(&makers);
	pr_err("Secret memory in use, not creating or restoring an image\n");
	for (maker = makers.largest;
	     maker < makers.largest + MAX_NAMED && maker->pages; maker++)
		pr_err("%lu kB made by PID %d, %*pE\n",
		       maker->pages << (PAGE_SHIFT - 10), maker->pid,
		       (int)strlen(maker->name), maker->name);
	if (makers.others)
		pr_err("%lu kB made by %u others\n",
		       makers.others_pages << (PAGE_SHIFT - 10), makers.others);
	if (secretmem_pool_has_lost())
		pr_err("Some of it has failed and remains until the next boot\n");
}

/*
 * Wiping
 */

/*
 * Returns the next file with pages after @file, or the first one if @file is
 * NULL, with a reference. Drops the reference to @file, which kept it in the
 * list. The list is not sorted while it is walked: that is done only by tasks
 * that try to hibernate, and all of them but the current one are frozen.
 */
static struct inode *next_used_file(struct inode *file)
{
	struct secretmem_inode *info = NULL;
	struct inode *found = NULL;

	if (file)
		info = SECRETMEM_I(file);
	spin_lock(&secretmem_files_lock);
	info = list_prepare_entry(info, &secretmem_files, files);
	list_for_each_entry_continue(info, &secretmem_files, files) {
		if (!READ_ONCE(info->vfs_inode.i_mapping->nrpages))
			continue;
		found = igrab(&info->vfs_inode);
		if (found)
			break;
	}
	spin_unlock(&secretmem_files_lock);
	iput(file);
	return found;
}

static bool has_failed_page(struct inode *inode)
{
	pgoff_t index = 0;
	struct pagevec pvec;
	bool failed = false;
	unsigned int i;

	pagevec_init(&pvec);
	while (!failed && pagevec_lookup(&pvec, inode->i_mapping, &index)) {
		for (i = 0; i < pagevec_count(&pvec); i++)
			failed |= PageHWPoison(pvec.pages[i]);
		pagevec_release(&pvec);
		cond_resched();
	}
	return failed;
}

/*
 * Memory that has failed cannot be wiped and keeps the machine from
 * hibernating. Then there is no point in wiping the other files.
 */
static bool all_can_be_wiped(void)
{
	struct inode *inode = NULL;

	while ((inode = next_used_file(inode))) {
		if (has_failed_page(inode)) {
			pr_err("Secret memory has failed and cannot be wiped\n");
			iput(inode);
			return false;
		}
	}
	return true;
}

static void wipe_files(void)
{
	struct inode *inode = NULL;
	unsigned int nr = 0;

	while ((inode = next_used_file(inode))) {
		/*
		 * A frozen task may hold i_rwsem and not continue before the
		 * machine resumes, see the top of this file.
		 */
		if (!inode_trylock(inode)) {
			iput(inode);
			break;
		}
		secretmem_wipe(inode);
		inode_unlock(inode);
		nr++;
	}
	pr_notice("%u files wiped before hibernation\n", nr);
}

/*
 * For hibernation
 */

/**
 * secretmem_hinders_hibernation() - does secret memory prevent hibernation?
 *
 * Context: any.
 *
 * Return: true if hibernation is certain to fail because of secret memory:
 * there is a secret page and the policy is to refuse, or there is a lost page,
 * which cannot be wiped.
 */
bool secretmem_hinders_hibernation(void)
{
	if (READ_ONCE(hibernation_policy) == WIPE)
		return secretmem_pool_has_lost();
	return secretmem_active();
}

/**
 * secretmem_explain_refusal() - log who made the files that prevent hibernation
 *
 * To be called when hibernation was refused as not available. Logs nothing if
 * secret memory was not the reason.
 *
 * Context: any except interrupts; takes a spinlock.
 */
void secretmem_explain_refusal(void)
{
	if (secretmem_hinders_hibernation())
		log_makers();
}

/**
 * secretmem_prepare_image() - make sure that an image will contain no secrets
 *
 * Wipes all secret files if that is the policy, and gives back the memory that
 * the pool keeps unmapped without using it. To be called when user space is
 * frozen, except for the caller.
 *
 * Context: may sleep; does not wait for a lock that a frozen task may hold.
 *
 * Return: 0, or -EBUSY if there are still secret pages.
 */
int secretmem_prepare_image(void)
{
	if (secretmem_active() && READ_ONCE(hibernation_policy) == WIPE &&
	    all_can_be_wiped())
		wipe_files();
	secretmem_drain();
	if (!secretmem_active())
		return 0;
	log_makers();
	return -EBUSY;
}

/**
 * secretmem_forbids_image() - last check before creating or restoring an image
 *
 * An image must not contain a page that is off the direct map, and must not be
 * restored over one. That may also be a free page of the pool; then the log
 * names no maker.
 *
 * Context: no other task or CPU runs, and interrupts are off.
 *
 * Return: true if there is such a page.
 */
bool secretmem_forbids_image(void)
{
	if (!secretmem_unmapped())
		return false;
	log_makers();
	return true;
}
