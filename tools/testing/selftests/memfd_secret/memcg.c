// SPDX-License-Identifier: GPL-2.0
/*
 * Secret pages are charged to the memory cgroup of the task that touches them
 * first. Over the limit the kernel kills a task and logs it.
 */
#define _GNU_SOURCE
#include "cgroup.h"

#define MB (1024 * 1024L)
#define LIMIT (8 * MB)
/* Charges for other memory, or in advance. */
#define SLACK (2 * MB)

FIXTURE(group) {
	bool there;
	struct cgroup group;
	int fd;
};

static long read_number(const char *dir, const char *name)
{
	char path[96], text[32];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return read_text(path, text, sizeof(text)) ? -1 : atol(text);
}

FIXTURE_SETUP(group)
{
	char limit[32];

	sprintf(limit, "%ld", LIMIT);
	self->there = cgroup_create(&self->group) &&
		write_in(self->group.dir, "memory.max", limit);
	self->fd = secret_file(8 * LIMIT);
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(group)
{
	close(self->fd);
	cgroup_destroy(&self->group);
}

/* Touch @size bytes in a child that belongs to the group. */
static int touch_in_group(const char *dir, int fd, long size, bool by_kernel)
{
	pid_t pid = fork();
	long i;
	char *p;

	if (!pid) {
		p = map_shared(fd, size);
		if (p == MAP_FAILED || !write_in(dir, "cgroup.procs", "0"))
			_exit(1);
		for (i = 0; i < size; i += page_size) {
			if (by_kernel && !kernel_touch(p + i))
				_exit(2);
			fill(p + i, 64, 1);
		}
		_exit(0);
	}
	return wait_status(pid);
}

/* The charge may take a moment to be released. */
static long charge_after_a_while(const char *dir)
{
	long charge = -1;
	int i;

	for (i = 0; i < 50; i++) {
		charge = read_number(dir, "memory.current");
		if (charge < SLACK)
			break;
		usleep(100000);
	}
	return charge;
}

TEST_F(group, is_charged_as_long_as_the_file_lives)
{
	if (!self->there)
		SKIP(return, "kernel without MEMCG");
	EXPECT_GT(SLACK, read_number(self->group.dir, "memory.current"));
	EXPECT_EQ(0, touch_in_group(self->group.dir, self->fd, LIMIT / 2, false));
	EXPECT_LE(LIMIT / 2, read_number(self->group.dir, "memory.current"));
	EXPECT_GT(LIMIT / 2 + SLACK, read_number(self->group.dir, "memory.current"));
	close(self->fd);
	EXPECT_GT(SLACK, charge_after_a_while(self->group.dir));
}

TEST_F(group, is_not_charged_for_what_others_touched)
{
	char *p = map_shared(self->fd, LIMIT / 2);

	if (!self->there)
		SKIP(return, "kernel without MEMCG");
	ASSERT_NE(MAP_FAILED, (void *)p);
	fill(p, LIMIT / 2, 2);
	EXPECT_EQ(0, touch_in_group(self->group.dir, self->fd, LIMIT / 2, false));
	EXPECT_GT(SLACK, read_number(self->group.dir, "memory.current"));
}

TEST_F(group, is_killed_over_its_limit)
{
	char *p;

	if (!self->there)
		SKIP(return, "kernel without MEMCG");
	EXPECT_EQ(128 + SIGKILL,
		  touch_in_group(self->group.dir, self->fd, 4 * LIMIT, false));
	EXPECT_GE(LIMIT, read_number(self->group.dir, "memory.current"));

	/*
	 * The pages of the dead child are intact, and are freed with the file.
	 */
	p = map_shared(self->fd, LIMIT / 2);
	ASSERT_NE(MAP_FAILED, (void *)p);
	EXPECT_TRUE(is_filled(p, 64, 1));
	EXPECT_TRUE(is_filled(p + LIMIT / 2 - page_size, 64, 1));
	munmap(p, LIMIT / 2);
	close(self->fd);
	EXPECT_GT(SLACK, charge_after_a_while(self->group.dir));
}

TEST_F(group, gets_EFAULT_or_is_killed_in_a_system_call)
{
	int status;

	if (!self->there)
		SKIP(return, "kernel without MEMCG");
	status = touch_in_group(self->group.dir, self->fd, 4 * LIMIT, true);
	EXPECT_TRUE(status == 128 + SIGKILL || status == 2);
	EXPECT_GE(LIMIT, read_number(self->group.dir, "memory.current"));
	close(self->fd);
	EXPECT_GT(SLACK, charge_after_a_while(self->group.dir));

	self->fd = secret_file(LIMIT);
	EXPECT_EQ(0, touch_in_group(self->group.dir, self->fd, LIMIT / 2, true));
}

/* It is killed in the call itself, which then frees what it has allocated. */
TEST_F(group, is_killed_in_fallocate_and_keeps_nothing_of_it)
{
	char path[64];
	struct stat st;
	pid_t pid;

	if (!self->there)
		SKIP(return, "kernel without MEMCG");
	pid = fork();
	if (!pid)
		_exit(!write_in(self->group.dir, "cgroup.procs", "0") ? 1 :
		      fallocate(self->fd, 0, 0, 4 * LIMIT) ? 2 : 0);
	EXPECT_EQ(128 + SIGKILL, wait_status(pid));
	EXPECT_GT(SLACK, charge_after_a_while(self->group.dir));
	ASSERT_EQ(0, fstat(self->fd, &st));
	EXPECT_EQ(0, st.st_blocks);
	EXPECT_EQ(8 * LIMIT, st.st_size);
	sprintf(path, "/proc/self/fdinfo/%d", self->fd);
	EXPECT_EQ(0, read_field(path, "charged"));

	/* What fits is allocated, and charged to the group. */
	pid = fork();
	if (!pid)
		_exit(!write_in(self->group.dir, "cgroup.procs", "0") ? 1 :
		      fallocate(self->fd, 0, 0, LIMIT / 2) ? 2 : 0);
	EXPECT_EQ(0, wait_status(pid));
	EXPECT_LE(LIMIT / 2, read_number(self->group.dir, "memory.current"));
}

/* The page is unmapped again before the call fails, but it stays. */
TEST_F(group, keeps_the_charge_of_a_page_touched_during_fallocate)
{
	char path[64], *p;
	struct stat st;
	pid_t pid;

	if (!self->there)
		SKIP(return, "kernel without MEMCG");
	pid = fork();
	if (!pid)
		_exit(!write_in(self->group.dir, "cgroup.procs", "0") ? 1 :
		      fallocate(self->fd, 0, 0, 4 * LIMIT) ? 2 : 0);
	do {
		ASSERT_EQ(0, fstat(self->fd, &st));
	} while (st.st_blocks * 512 < 64 * (long)page_size && !has_ended(pid));
	p = mmap(NULL, page_size, PROT_READ | PROT_WRITE, MAP_SHARED, self->fd,
		 50 * page_size);
	ASSERT_NE(MAP_FAILED, (void *)p);
	p[0] = 1;
	munmap(p, page_size);
	EXPECT_EQ(128 + SIGKILL, wait_status(pid));
	ASSERT_EQ(0, fstat(self->fd, &st));
	EXPECT_EQ(page_size, st.st_blocks * 512);
	sprintf(path, "/proc/self/fdinfo/%d", self->fd);
	EXPECT_LE(51 * (long)page_size >> 10, read_field(path, "charged"));
}

TEST_HARNESS_MAIN
