// SPDX-License-Identifier: GPL-2.0
/*
 * Threads read and write a file while others cut, extend and punch it, and
 * while files with other contents come and go: each word read from the file is
 * zero or was written to the file.
 *
 * $RACES is how often the file changes.
 */
#define _GNU_SOURCE
#include "testing.h"
#include "threads.h"

#include <linux/falloc.h>

#define PAGES	8
#define WORDS	(PAGES * page_size / sizeof(unsigned int))
#define OURS	0x600d0000u
#define OTHERS	0xbad00000u

static unsigned int *mem;
static int fd;
static unsigned long words_seen, words_lost;
static unsigned int stray;

static unsigned int word(unsigned int kind, size_t i)
{
	return kind | (i & 0xffff);
}

/* Read and write one word after the other, and skip those beyond the end. */
static void *use_file(void *unused)
{
	unsigned int seed = (unsigned long)&seed;
	unsigned long seen = 0, lost = 0;
	unsigned int value;
	size_t i;

	while (!stopped()) {
		i = rand_r(&seed) % WORDS;
		if (sigsetjmp(probe_env, 1)) {
			lost++;
			continue;
		}
		__atomic_store_n(&probing, true, __ATOMIC_SEQ_CST);
		value = __atomic_load_n(&mem[i], __ATOMIC_SEQ_CST);
		__atomic_store_n(&mem[i], word(OURS, i), __ATOMIC_SEQ_CST);
		__atomic_store_n(&probing, false, __ATOMIC_SEQ_CST);
		seen++;
		if (value && value != word(OURS, i)) {
			__atomic_store_n(&stray, value, __ATOMIC_SEQ_CST);
			complain();
		}
	}
	__atomic_add_fetch(&words_seen, seen, __ATOMIC_SEQ_CST);
	__atomic_add_fetch(&words_lost, lost, __ATOMIC_SEQ_CST);
	return NULL;
}

/*
 * Use pages that belonged to the file a moment ago, or will belong to it next.
 */
static void *use_other_files(void *unused)
{
	while (!stopped()) {
		unsigned int *other = map_secret(PAGES * page_size);
		size_t i;

		if (other == MAP_FAILED)
			continue;
		for (i = 0; i < WORDS; i++) {
			if (other[i]) {
				__atomic_store_n(&stray, other[i],
						 __ATOMIC_SEQ_CST);
				complain();
			}
			other[i] = word(OTHERS, i);
		}
		for (i = 0; i < WORDS; i++)
			if (other[i] != word(OTHERS, i))
				complain();
		munmap(other, PAGES * page_size);
	}
	return NULL;
}

/*
 * Unmap the file and map it again at the same place. Meanwhile another CPU may
 * still write to pages that are being cut.
 */
static void *remap_file(void *unused)
{
	while (!stopped())
		if (mmap(mem, PAGES * page_size, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_FIXED, fd, 0) != mem)
			complain();
	return NULL;
}

static void change_file(unsigned int *seed)
{
	/*
	 * Whole words: half a word would be neither zero nor what was written.
	 */
	off_t start = rand_r(seed) % WORDS * sizeof(*mem);
	off_t len = (1 + rand_r(seed) % (WORDS - start / sizeof(*mem))) *
		    sizeof(*mem);

	switch (rand_r(seed) % 5) {
	case 0:
		if (ftruncate(fd, start))
			complain();
		break;
	case 1:
		if (fallocate(fd, FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE,
			      start, len))
			complain();
		break;
	case 2:
		if (fallocate(fd, 0, start, len))
			complain();
		break;
	case 3:
		start -= start % page_size;
		if (madvise((char *)mem + start, PAGES * page_size - start,
			    MADV_REMOVE))
			complain();
		break;
	default:
		if (ftruncate(fd, PAGES * page_size))
			complain();
	}
}

static void *(* const does[])(void *unused) = {
	use_file, use_file, use_other_files, remap_file,
};

TEST(words_are_zero_or_the_files_own)
{
	unsigned int seed = 1;
	pthread_t threads[ARRAY_SIZE(does)];
	long before = secret_kb(), i, n = races();
	size_t t;

	fd = secret_file(PAGES * page_size);
	mem = map_shared(fd, PAGES * page_size);
	ASSERT_NE(MAP_FAILED, (void *)mem);
	for (t = 0; t < ARRAY_SIZE(threads); t++)
		ASSERT_EQ(0, pthread_create(&threads[t], NULL, does[t], NULL));
	for (i = 0; i < n; i++)
		change_file(&seed);
	__atomic_store_n(&stop, true, __ATOMIC_SEQ_CST);
	for (t = 0; t < ARRAY_SIZE(threads); t++)
		pthread_join(threads[t], NULL);
	EXPECT_EQ(0, stray);
	EXPECT_EQ(0, wrong);
	TH_LOG("%lu words seen, %lu behind the end, %ld changes", words_seen,
	       words_lost, n);
	EXPECT_LT(0, words_seen);
	EXPECT_LT(0, words_lost);

	/* No page is left in the file, whichever thread added the last one. */
	ASSERT_EQ(0, ftruncate(fd, 0));
	EXPECT_EQ(before, secret_kb());
}

/* The same with processes, which have page tables of their own. */
TEST(page_that_is_cut_is_unmapped_from_every_process)
{
	long i, n = races();
	pid_t pid;

	fd = secret_file(page_size);
	mem = map_shared(fd, page_size);
	ASSERT_NE(MAP_FAILED, (void *)mem);
	pid = fork();
	if (!pid) {
		for (;;)
			probe_write(mem, 1);
	}
	for (i = 0; i < n; i++) {
		ASSERT_EQ(0, ftruncate(fd, 0));
		/*
		 * If the other process could still write to the page, it could
		 * not be clean.
		 */
		EXPECT_EQ(SIGBUS, probe_read(mem));
		EXPECT_EQ(0, resident_pages(mem, page_size));
		ASSERT_EQ(0, ftruncate(fd, page_size));
	}
	kill(pid, SIGKILL);
	EXPECT_EQ(128 + SIGKILL, wait_status(pid));
}

TEST_HARNESS_MAIN
