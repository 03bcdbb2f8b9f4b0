// SPDX-License-Identifier: GPL-2.0
/*
 * Who made secret files, and what becomes of them when the machine is to hibernate
 *
 * No secret may get into an image of memory. By default the machine does not hibernate
 * while there is a secret page, and the log says who made the files. With
 * secretmem.hibernate=wipe it does, and the secrets are lost: when user space is
 * frozen, each file with pages is wiped and marked. Whoever touches such a file gets
 * SIGBUS until it is cut to nothing.
 *
 * What counts are the pages, whatever the policy is. They are looked for before
 * anything is done, when user space is frozen, and when nothing else runs any more:
 * threads of the kernel with the address space of a program are not frozen, and may add
 * one to a file that had none and was not marked.
 *
 * Frozen tasks keep what they have locked. User space is frozen on its way out of the
 * kernel, or asleep where it said that it need not be waited for. No lock is held there,
 * but for network file systems, which reclaim can also lead to, and so any allocation. Of
 * the locks that it takes to wipe a file only i_rwsem is held while memory is allocated,
 * by fallocate(); so it is not waited for. The others are i_mmap_rwsem, those of pages that
 * are in a file, and spinlocks.
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

/* The parameters of the whole have one name. */
#undef MODULE_PARAM_PREFIX
#define MODULE_PARAM_PREFIX "secretmem."

enum hibernation_policy { REFUSE, WIPE };

static const char * const hibernation_policies[] = {
	[REFUSE]	= "refuse",
	[WIPE]		= "wipe",
};

static enum hibernation_policy hibernation_policy = REFUSE;

/* How many processes a refusal names. */
#define MAX_NAMED	8

/* From creation until the inode is destroyed. */
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
 * secretmem_add_file() - note who makes a new file
 * @inode: of the file
 *
 * Context: that of the process that makes it; takes spinlocks.
 */
void secretmem_add_file(struct inode *inode)
{
	struct secretmem_inode *info = SECRETMEM_I(inode);

	/* Of the process, not of the thread; it can not change while one is here. */
	get_task_comm(info->maker_name, current->group_leader);
	info->maker = get_pid(task_tgid(current));

	spin_lock(&secretmem_files_lock);
	list_add_tail(&info->files, &secretmem_files);
	spin_unlock(&secretmem_files_lock);
}

/**
 * secretmem_forget_file() - a file is about to be gone
 * @inode: of the file, which nobody has any more
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
 * secretmem_show_maker() - print the line that fdinfo has of who made a file
 * @m:     where to, a file of /proc
 * @inode: of the secret file
 *
 * The PID is that of the namespace which this /proc shows. A process that it does not
 * show is 0 and has no name: who made a file that came from outside of a container is
 * no business of those inside.
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

/* A process, and what all its files have. */
struct maker {
	unsigned long pages;
	pid_t pid;			/* in the initial namespace */
	char name[TASK_COMM_LEN];
};

/* Those with most pages, the largest first, and how many more there are. */
struct makers {
	struct maker largest[MAX_NAMED];
	unsigned int others;
	unsigned long others_pages;
};

static void rank_maker(struct makers *makers, struct maker maker)
{
	int i;

	/* Whoever is larger takes the place, and the next one has to find another. */
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

/* Sorts the list, so that files of one process are neighbours. */
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
	pr_err("There is secret memory: no image is made or restored\n");
	for (maker = makers.largest;
	     maker < makers.largest + MAX_NAMED && maker->pages; maker++)
		pr_err("%lu kB made by PID %d, %*pE\n",
		       maker->pages << (PAGE_SHIFT - 10), maker->pid,
		       (int)strlen(maker->name), maker->name);
	if (makers.others)
		pr_err("%lu kB made by %u others\n",
		       makers.others_pages << (PAGE_SHIFT - 10), makers.others);
	if (secretmem_pool_has_lost())
		pr_err("Some has failed, and stays until the next boot\n");
}

/*
 * Wiping
 */

/*
 * The next file with pages, or the first behind no @file, with a reference. That to
 * @file, which keeps its place in the list, is put. While this is used nobody sorts the
 * list: only this task does so, as those who want to hibernate are frozen.
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

/* Memory that has failed can not be wiped, and to lose the rest would be in vain. */
static bool all_can_be_wiped(void)
{
	struct inode *inode = NULL;

	while ((inode = next_used_file(inode))) {
		if (has_failed_page(inode)) {
			pr_err("Memory of a secret has failed and can not be wiped\n");
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
		/* Somebody allocates, and may do so for ever: see the top. */
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
 * secretmem_hinders_hibernation() - is there secret memory that stays?
 *
 * Context: any.
 *
 * Return: true if it would be in vain to begin with hibernation.
 */
bool secretmem_hinders_hibernation(void)
{
	if (READ_ONCE(hibernation_policy) == WIPE)
		return secretmem_pool_has_lost();
	return secretmem_active();
}

/**
 * secretmem_explain_refusal() - let the log say who made what hinders hibernation
 *
 * For those who have just been told that hibernation is not available. Says nothing if
 * that is not for secret memory.
 *
 * Context: any but an interrupt; takes a spinlock.
 */
void secretmem_explain_refusal(void)
{
	if (secretmem_hinders_hibernation())
		log_makers();
}

/**
 * secretmem_prepare_image() - see that there is no secret before an image is made
 *
 * Wipes secret files, if that is the policy, and gives all memory back that is off the
 * direct map and not in use. User space is frozen, but for the caller.
 *
 * Context: may sleep; takes no lock that a frozen task may hold.
 *
 * Return: 0, or -EBUSY if there still are secret pages.
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
 * secretmem_forbids_image() - the last word before an image is made or restored
 *
 * No image may have a page that is off the direct map, and none may be restored over one.
 *
 * Context: nothing else runs any more, interrupts are off.
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
