/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A memory cgroup in a hierarchy of version 2 that is mounted for it.
 */
#ifndef SELFTEST_CGROUP_H
#define SELFTEST_CGROUP_H

#include <sys/mount.h>
#include <sys/stat.h>

#include "testing.h"

struct cgroup {
	char root[32];		/* where the hierarchy is mounted */
	char dir[40];		/* the group */
};

static inline bool write_in(const char *dir, const char *name, const char *text)
{
	char path[96];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return !write_text(path, text);
}

/* False if the kernel has no memory cgroups; to be destroyed in any case. */
static inline bool cgroup_create(struct cgroup *group)
{
	strcpy(group->root, "/tmp/cgroupXXXXXX");
	if (!mkdtemp(group->root))
		abort();
	sprintf(group->dir, "%s/group", group->root);
	return !mount("none", group->root, "cgroup2", 0, NULL) &&
		write_in(group->root, "cgroup.subtree_control", "+memory") &&
		!mkdir(group->dir, 0700);
}

static inline void cgroup_destroy(const struct cgroup *group)
{
	rmdir(group->dir);
	umount2(group->root, MNT_DETACH);
	rmdir(group->root);
}

#endif /* SELFTEST_CGROUP_H */
