// SPDX-License-Identifier: GPL-2.0
/*
 * Secret files of all sizes come and go while the kernel takes free pages from
 * the pool and ordinary memory gets short. Each page is zero at first, and
 * keeps its contents as long as it exists.
 */
#define _GNU_SOURCE
#include <sys/resource.h>

#include "stress.h"

#define WORKERS		3
#define FILES		64
#define LARGE		(8 * MB)

enum { GOOD, BAD_CONTENTS, NOT_ZERO, NO_MEMORY };

struct file {
	char *mem;
	size_t size;
	unsigned int seed;
};

/* Mostly small, as keys are, and sometimes larger than a block of the pool. */
static size_t random_size(void)
{
	size_t max = rand() % 8 ? 16 * page_size : LARGE;

	return (1 + rand() % (max / page_size)) * page_size;
}

/* One word at each end of a page identifies its file. */
static bool page_has(const char *page, unsigned long word)
{
	const unsigned long *p = (const void *)page;

	return p[0] == word && p[page_size / sizeof(*p) - 1] == word;
}

static void mark_page(char *page, unsigned long word)
{
	unsigned long *p = (void *)page;

	p[0] = word;
	p[page_size / sizeof(*p) - 1] = word;
}

static int make_file(struct file *file)
{
	size_t i;

	file->size = random_size();
	file->seed = rand();
	file->mem = map_secret(file->size);
	if (file->mem == MAP_FAILED) {
		file->mem = NULL;
		return NO_MEMORY;
	}
	for (i = 0; i < file->size; i += page_size) {
		if (!is_zero(file->mem + i, page_size))
			return NOT_ZERO;
		mark_page(file->mem + i, file->seed + i);
	}
	return GOOD;
}

static int drop_file(struct file *file)
{
	size_t i;

	for (i = 0; i < file->size; i += page_size)
		if (!page_has(file->mem + i, file->seed + i))
			return BAD_CONTENTS;
	munmap(file->mem, file->size);
	file->mem = NULL;
	return GOOD;
}

static int use_secrets(int number, time_t end)
{
	static struct file files[FILES];
	struct file *file;
	int wrong = GOOD;

	srand(number);
	while (!wrong && now() < end) {
		file = &files[rand() % FILES];
		wrong = file->mem ? drop_file(file) : make_file(file);
	}
	for (file = files; file < files + FILES && !wrong; file++)
		if (file->mem)
			wrong = drop_file(file);
	return wrong;
}

/*
 * Free pages of the pool are given back, though most of its blocks are in use.
 */
static int shrink(int number, time_t end)
{
	while (now() < end) {
		if (write_text(give_back_path(), "2"))
			return NO_MEMORY;
		usleep(20000);
	}
	return GOOD;
}

/* Take ordinary memory until little is left, or too little. */
static void __attribute__((noreturn)) take_memory(void)
{
	long kb = read_field("/proc/meminfo", "MemAvailable") - (24 << 10), i;
	char *p;

	write_text("/proc/self/oom_score_adj", "1000");
	if (kb > 0) {
		p = map_plain(kb << 10);
		for (i = 0; i < kb << 10; i += page_size)
			p[i] = 1;
	}
	_exit(0);
}

static int use_memory(int number, time_t end)
{
	pid_t pid;

	while (now() < end) {
		pid = fork();
		if (!pid)
			take_memory();
		wait_status(pid);
		usleep(100000);
	}
	return GOOD;
}

/*
 * While a killed process's memory is still being freed, the OOM killer may pick
 * a worker as well. Restart workers that were killed.
 */
static int work_on(int (*work)(int number, time_t end), int number, time_t end)
{
	int status;
	pid_t pid;

	do {
		pid = fork();
		if (!pid)
			_exit(work(number, end));
		status = wait_status(pid);
	} while (status == 128 + SIGKILL);
	return status;
}

static pid_t start(int (*work)(int number, time_t end), int number, time_t end)
{
	pid_t pid = fork();

	if (!pid)
		_exit(work_on(work, number, end));
	return pid;
}

TEST(secrets_are_safe_while_blocks_come_and_go)
{
	time_t end = now() + seconds();
	pid_t pid[WORKERS + 2];
	size_t i;

	ASSERT_EQ(0, limit_locked(RLIM_INFINITY));
	for (i = 0; i < WORKERS; i++)
		pid[i] = start(use_secrets, i, end);
	pid[WORKERS] = start(shrink, 0, end);
	pid[WORKERS + 1] = start(use_memory, 0, end);
	for (i = 0; i < ARRAY_SIZE(pid); i++) {
		ASSERT_LT(0, pid[i]);
		EXPECT_EQ(GOOD, wait_status(pid[i]));
	}
	EXPECT_EQ(0, secret_kb());
	EXPECT_TRUE(give_spare_memory_back());
}

TEST_HARNESS_MAIN
