// SPDX-License-Identifier: GPL-2.0
/*
 * Each CPU has a window, a kernel mapping through which it wipes secret pages.
 * Meanwhile, code on another CPU that can read any kernel address, and survives
 * faults, may load the page that is being wiped into its own TLB. Through that
 * it must not see later contents of the page: neither the next secret, nor
 * ordinary memory.
 *
 * A process on CPU 1 tries that all the time, with a BPF program, while this
 * one creates and frees secrets on CPU 0. A process switch on CPU 1 flushes its
 * TLB. Boot with pti=off, as otherwise each system call does the same.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "testing.h"
#include "bpf.h"

#define VMALLOCINFO	"/proc/vmallocinfo"
#define KPTR_RESTRICT	"/proc/sys/kernel/kptr_restrict"
/* The CPUs that may run unbound work items. */
#define WORK_CPUS	"/sys/devices/virtual/workqueue/cpumask"

/* How often the program reads memory in each system call. */
#define LOOKS		16

/* How often to do something, and how often at most until it was seen. */
#define ROUNDS		25
#define LARGE_ROUNDS	12
#define MAX_TRIES	20000

#define BLOCK_PAGES	512	/* at most */

/* An address that the program reads, and the result. */
struct look {
	__u64 address;
	__s64 error;
	__u64 word;
};

/* The last word of a page of a freed secret, and of memory in use. */
enum { OLD, KEPT, NR_WORDS };

static __u64 words[NR_WORDS];

struct sights {
	unsigned long reads;
	unsigned long good;		/* those that did not fault */
	unsigned long saw[NR_WORDS];
};

/* Shared by the two processes, in addition to the looks. */
struct shared {
	unsigned long calls;		/* that the reader has made */
	unsigned long sweep;		/* pages to go through, or 0 */
	struct sights sights;
};

FIXTURE(window) {
	const char *missing;		/* why it cannot be tried */
	unsigned long address;		/* of CPU 0 */
	unsigned long pages;
	int program;			/* attached */
	struct look *look;
	struct shared *shared;
	pid_t reader;
	char kptr_restrict[16];
	struct sights before;
};

/*
 * The reader
 */

static bool run_on_cpu(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	return !sched_setaffinity(0, sizeof(set), &set);
}

/* A BPF array of one element, which processes can map. */
static int create_array(size_t size)
{
	union bpf_attr attr = {
		.map_type = BPF_MAP_TYPE_ARRAY,
		.key_size = 4,
		.value_size = size,
		.max_entries = 1,
		.map_flags = BPF_F_MMAPABLE,
	};

	return bpf(BPF_MAP_CREATE, &attr);
}

#define CALL_OF_READER SYS_getppid

/* Do all the looks in one system call, and in no other. */
static int load_looks(int map)
{
	enum { HEAD = 4, EACH = 6, TAIL = 2 };
	const struct bpf_insn head[HEAD] = {
		LOAD(BPF_REG_2, BPF_REG_1, 8),
		JUMP_UNLESS(BPF_REG_2, CALL_OF_READER, 2 + LOOKS * EACH),
		MOVE_VALUE(BPF_REG_6, map),
		UPPER_HALF(),
	};
	const struct bpf_insn tail[TAIL] = {
		MOVE_NUMBER(BPF_REG_0, 0),
		EXIT(),
	};
	struct bpf_insn all[HEAD + LOOKS * EACH + TAIL];
	int i;

	memcpy(all, head, sizeof(head));
	for (i = 0; i < LOOKS; i++) {
		const int at = i * sizeof(struct look);
		const struct bpf_insn each[EACH] = {
			MOVE(BPF_REG_1, BPF_REG_6),
			ADD_NUMBER(BPF_REG_1, at + offsetof(struct look, word)),
			MOVE_NUMBER(BPF_REG_2, sizeof(__u64)),
			LOAD(BPF_REG_3, BPF_REG_6, at + offsetof(struct look, address)),
			CALL(probe_read_kernel),
			STORE(BPF_REG_6, at + offsetof(struct look, error), BPF_REG_0),
		};

		memcpy(all + HEAD + i * EACH, each, sizeof(each));
	}
	memcpy(all + HEAD + LOOKS * EACH, tail, sizeof(tail));
	return load_program(BPF_PROG_TYPE_RAW_TRACEPOINT, all, ARRAY_SIZE(all));
}

static void count(unsigned long *counter)
{
	__atomic_add_fetch(counter, 1, __ATOMIC_SEQ_CST);
}

static unsigned long counted(const unsigned long *counter)
{
	return __atomic_load_n(counter, __ATOMIC_SEQ_CST);
}

static void count_sights(const struct look *look, struct sights *sights)
{
	int i, word;

	for (i = 0; i < LOOKS; i++, look++) {
		count(&sights->reads);
		if (look->error)
			continue;
		for (word = 0; word < NR_WORDS; word++)
			if (look->word == words[word])
				count(&sights->saw[word]);
		count(&sights->good);
	}
}

/* The last word of a page of the window. */
static unsigned long last_word(unsigned long window, unsigned long page)
{
	return window + (page + 1) * page_size - sizeof(__u64);
}

static void look_at(struct look *look, unsigned long address)
{
	int i;

	for (i = 0; i < LOOKS; i++)
		__atomic_store_n(&look[i].address, address, __ATOMIC_SEQ_CST);
}

/* Look at LOOKS pages of the window: @first and each @step'th after it. */
static void look_at_pages(struct look *look, unsigned long window,
			  unsigned long first, unsigned long step)
{
	int i;

	for (i = 0; i < LOOKS; i++)
		__atomic_store_n(&look[i].address,
				 last_word(window, first + i * step),
				 __ATOMIC_SEQ_CST);
}

/*
 * Never returns. In a process of its own, so that CPU 1 need not flush its TLB
 * when this process unmaps something.
 */
static void read_window(struct look *look, unsigned long window,
			struct shared *shared)
{
	unsigned long page = 0, sweep;
	int i;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (!run_on_cpu(1))
		_exit(1);
	for (;;) {
		sweep = counted(&shared->sweep);
		for (i = 0; sweep && i < LOOKS; i++, page++)
			look[i].address = last_word(window, page % sweep);
		syscall(CALL_OF_READER);
		count_sights(look, &shared->sights);
		count(&shared->calls);
	}
}

/*
 * Wait until each look was done from beginning to end. Sleep, so that the host
 * of an emulated machine runs the other CPU.
 */
static void wait_for_reader(const struct shared *shared)
{
	unsigned long calls = counted(&shared->calls) + 2;

	while ((long)(counted(&shared->calls) - calls) < 0)
		usleep(10);
}

/*
 * Where the window is
 */

/*
 * The windows are in one area, or in one each; that of CPU 0 is the first. The
 * last page of an area is a guard page, which is never mapped.
 */
static bool find_window(unsigned long *window, unsigned long *pages,
			unsigned long *limit)
{
	FILE *f = fopen(VMALLOCINFO, "re");
	unsigned long start, end, size, all = 0;
	char line[512];

	*window = -1UL;
	*limit = 0;
	while (f && fgets(line, sizeof(line), f)) {
		if (!strstr(line, " secretmem_") ||
		    sscanf(line, "0x%lx-0x%lx %lu", &start, &end, &size) != 3)
			continue;
		all += size / page_size - 1;
		*limit = end - page_size;
		if (start < *window)
			*window = start;
	}
	if (f)
		fclose(f);
	*pages = all / sysconf(_SC_NPROCESSORS_CONF);
	if (*pages > BLOCK_PAGES)
		*pages = BLOCK_PAGES;
	return *pages >= LOOKS;
}

/* Do all looks give this error or this word? */
static bool all_looks_give(const struct look *look, long error,
			   const char *word)
{
	int i;

	for (i = 0; i < LOOKS; i++)
		if (look[i].error != error ||
		    (!error && memcmp(&look[i].word, word, sizeof(__u64))))
			return false;
	return true;
}

FIXTURE_SETUP(window)
{
	unsigned long limit;
	char version[256];
	int map, word;

	ASSERT_EQ(0, limit_locked(RLIM_INFINITY));
	map = create_array(LOOKS * sizeof(struct look));
	if (map < 0 && errno == ENOSYS)
		self->missing = "kernel without BPF_SYSCALL";
	else if (sysconf(_SC_NPROCESSORS_ONLN) < 2)
		self->missing = "only one CPU";
	if (self->missing)
		return;
	ASSERT_LE(0, map);
	ASSERT_EQ(0, secret_kb());
	ASSERT_TRUE(give_spare_memory_back());

	ASSERT_EQ(0, read_text(KPTR_RESTRICT, self->kptr_restrict,
			       sizeof(self->kptr_restrict)));
	ASSERT_EQ(0, write_text(KPTR_RESTRICT, "1"));
	ASSERT_TRUE(find_window(&self->address, &self->pages, &limit));

	/*
	 * Other words for each test, which so does not see those that another
	 * one left.
	 */
	for (word = 0; word < NR_WORDS; word++)
		fill(&words[word], sizeof(__u64), getpid() * NR_WORDS + word);

	self->look = map_shared(map, page_size);
	ASSERT_NE(MAP_FAILED, (void *)self->look);
	self->program = load_looks(map);
	ASSERT_LE(0, self->program);
	ASSERT_LE(0, attach_to_system_calls(self->program));
	self->shared = mmap(NULL, page_size, PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, (void *)self->shared);
	ASSERT_TRUE(run_on_cpu(0));

	look_at(self->look, symbol_address("linux_banner"));
	self->reader = fork();
	ASSERT_LE(0, self->reader);
	if (!self->reader)
		read_window(self->look, self->address, self->shared);

	/* The reader reads what is readable, and survives what is not. */
	wait_for_reader(self->shared);
	ASSERT_EQ(0, read_text("/proc/version", version, sizeof(version)));
	ASSERT_TRUE(all_looks_give(self->look, 0, version));
	look_at(self->look, limit);
	wait_for_reader(self->shared);
	ASSERT_TRUE(all_looks_give(self->look, -EFAULT, NULL));

	look_at(self->look, last_word(self->address, 0));
	wait_for_reader(self->shared);
	self->before = self->shared->sights;
}

FIXTURE_TEARDOWN(window)
{
	if (self->reader > 0) {
		kill(self->reader, SIGKILL);
		waitpid(self->reader, NULL, 0);
	}
	if (*self->kptr_restrict)
		write_text(KPTR_RESTRICT, self->kptr_restrict);
}

/*
 * What the reader must not see
 */

static unsigned long seen(const struct _test_data_window *self, int word)
{
	return counted(&self->shared->sights.saw[word]) -
	       self->before.saw[word];
}

/* Reads that brought a page into the TLB of CPU 1, or found it there. */
static unsigned long good_reads(const struct shared *shared)
{
	return counted(&shared->sights.good);
}

static void judge(struct __test_metadata *_metadata,
		  const struct _test_data_window *self)
{
	const struct sights *now = &self->shared->sights;

	TH_LOG("%lu of %lu reads gave something: %lu what was wiped, %lu what was in use",
	       now->good - self->before.good, now->reads - self->before.reads,
	       seen(self, OLD), seen(self, KEPT));
	EXPECT_EQ(0, seen(self, KEPT));
}

static void write_words(char *p, long pages, int word)
{
	long page;

	for (page = 0; page < pages; page++)
		__atomic_store_n((__u64 *)last_word((unsigned long)p, page),
				 words[word], __ATOMIC_SEQ_CST);
}

static char *make_secret(long pages, int word)
{
	char *p = map_secret(pages * page_size);

	if (p != MAP_FAILED)
		write_words(p, pages, word);
	return p;
}

/*
 * Mark the pages as old before they are freed: while they are wiped they may be
 * seen.
 */
static void give_up(char *p, long pages)
{
	write_words(p, pages, OLD);
	munmap(p, pages * page_size);
}

/* The same; returns true if the reader has seen a page of it. */
static bool give_up_seen(const struct shared *shared, char *p, long pages)
{
	unsigned long before = good_reads(shared);

	give_up(p, pages);
	wait_for_reader(shared);
	return good_reads(shared) != before;
}

/*
 * Create and free secrets until the reader has seen one, which usually does not
 * take long. Returns the page frame of the last one's first page.
 */
static unsigned long long make_seen(struct __test_metadata *_metadata,
				    const struct shared *shared, long pages)
{
	unsigned long long frame;
	int tries;
	char *p;

	for (tries = 0; tries < MAX_TRIES; tries++) {
		p = make_secret(pages, OLD);
		ASSERT_NE(MAP_FAILED, (void *)p);
		frame = page_frame(p);
		if (give_up_seen(shared, p, pages))
			return frame;
	}
	ASSERT_LT(tries, MAX_TRIES) {
		TH_LOG("the reader does not see the window");
	}
	return 0;
}

static void keep_for_a_while(struct __test_metadata *_metadata,
			     const struct shared *shared, long pages)
{
	char *p = make_secret(pages, KEPT);

	ASSERT_NE(MAP_FAILED, (void *)p);
	wait_for_reader(shared);
	give_up(p, pages);
}

TEST_F(window, does_not_show_the_next_secret)
{
	int round;

	if (self->missing)
		SKIP(return, "%s", self->missing);
	for (round = 0; round < ROUNDS; round++) {
		make_seen(_metadata, self->shared, 1);
		keep_for_a_while(_metadata, self->shared, 1);
	}
	judge(_metadata, self);
}

static bool has_frame(const char *p, long pages, unsigned long long frame)
{
	long page;

	for (page = 0; page < pages; page++)
		if (page_frame(p + page * page_size) == frame)
			return true;
	return false;
}

/*
 * The next secret gets the same pages as the last one, as there are no others.
 * There are just enough that no new block is taken instead.
 */
static void use_again(struct __test_metadata *_metadata,
		      const struct _test_data_window *self, unsigned long pages)
{
	unsigned long step = pages / LOOKS;
	unsigned long long frame;
	int round, tries = 0, again = 0;
	char *p;
	bool saw;

	p = make_secret(pages, OLD);
	ASSERT_NE(MAP_FAILED, (void *)p);
	while (spare_kb())
		ASSERT_NE(MAP_FAILED, (void *)make_secret(1, OLD));

	for (round = 0; round < LARGE_ROUNDS; round += saw) {
		ASSERT_LT(tries++, MAX_TRIES);
		look_at_pages(self->look, self->address, tries % step, step);
		frame = page_frame(p);
		saw = give_up_seen(self->shared, p, pages);
		p = make_secret(pages, KEPT);
		ASSERT_NE(MAP_FAILED, (void *)p);
		again += saw && has_frame(p, pages, frame);
		wait_for_reader(self->shared);
	}
	TH_LOG("%d of %d secrets had the same pages as the one before", again,
	       round);
	EXPECT_LT(0, again);
	judge(_metadata, self);
}

TEST_F(window, does_not_show_pages_that_are_used_again)
{
	if (self->missing)
		SKIP(return, "%s", self->missing);
	use_again(_metadata, self, self->pages / 2);
}

/* As many pages as the window has: each is wiped in a page of its own. */
TEST_F(window, does_not_show_a_block_that_is_used_again)
{
	if (self->missing)
		SKIP(return, "%s", self->missing);
	use_again(_metadata, self, self->pages);
}

/*
 * Ordinary memory. Several pages are watched here, as allocating it takes a
 * while, in which other activity of CPU 1 replaces entries of its TLB.
 */

/*
 * Map ordinary kernel memory, and write the word to it, until @frame is among
 * it. It stays until the end of the test.
 */
static bool make_ordinary_of(unsigned long long frame)
{
	const size_t size = BLOCK_PAGES * page_size;
	bool found = false;
	int map, tries;
	char *p;

	for (tries = 0; tries < 16 && !found; tries++) {
		map = create_array(size);
		p = map < 0 ? MAP_FAILED : map_shared(map, size);
		close(map);
		if (p == MAP_FAILED)
			return false;
		write_words(p, BLOCK_PAGES, KEPT);
		found = has_frame(p, BLOCK_PAGES, frame);
	}
	return found;
}

/* Returns at once if the pages are on their way. */
static bool wait_for_pages_to_go(void)
{
	int i;

	for (i = 0; i < 20 && spare_kb(); i++)
		usleep(100);
	return give_spare_memory_back();
}

/* A block that is given back in one piece. */
TEST_F(window, does_not_show_memory_that_was_a_block_of_secrets)
{
	unsigned long long frame;
	int round, found = 0;

	if (self->missing)
		SKIP(return, "%s", self->missing);
	look_at_pages(self->look, self->address, 0, 1);
	for (round = 0; round < LARGE_ROUNDS; round++) {
		frame = make_seen(_metadata, self->shared, LOOKS);
		ASSERT_EQ(0, write_text("/proc/sys/vm/drop_caches", "2"));
		ASSERT_TRUE(wait_for_pages_to_go());
		found += make_ordinary_of(frame);
		wait_for_reader(self->shared);
	}
	TH_LOG("%d of %d blocks are in use again", found, round);
	EXPECT_LT(0, found);
	judge(_metadata, self);
}

/* A block that is given back in parts, each as soon as it is free. */
TEST_F(window, does_not_show_memory_that_was_a_secret_page)
{
	static char *secret[24];
	unsigned long long frame;
	int nr, tries = 0, saw = 0, found = 0;
	char cpus[256];

	if (self->missing)
		SKIP(return, "%s", self->missing);
	look_at_pages(self->look, self->address, 0, 1);
	/*
	 * Run deferred work on this CPU as well, so that its pages are freed
	 * here.
	 */
	ASSERT_EQ(0, read_text(WORK_CPUS, cpus, sizeof(cpus)));
	ASSERT_EQ(0, write_text(WORK_CPUS, "1"));
	do {
		ASSERT_LT(tries++, MAX_TRIES);
		for (nr = 0; nr < (int)ARRAY_SIZE(secret); nr++) {
			secret[nr] = make_secret(LOOKS, OLD);
			ASSERT_NE(MAP_FAILED, (void *)secret[nr]);
		}
		ASSERT_TRUE(give_spare_memory_back());
		while (nr-- && found < LARGE_ROUNDS) {
			frame = page_frame(secret[nr]);
			if (!give_up_seen(self->shared, secret[nr], LOOKS))
				continue;
			saw++;
			ASSERT_TRUE(wait_for_pages_to_go());
			found += make_ordinary_of(frame);
			wait_for_reader(self->shared);
		}
	} while (found < LARGE_ROUNDS);
	ASSERT_EQ(0, write_text(WORK_CPUS, cpus));
	TH_LOG("%d of %d files' pages are in use again", found, saw);
	judge(_metadata, self);
}

/*
 * Everything at once
 */

struct owner {
	pthread_t thread;
	unsigned int seed;
	bool failed;
};

#define OWNERS		2
#define FILES		4

/* Keep several files of random sizes, and replace the oldest by a new one. */
static void *own_files(void *arg)
{
	struct owner *owner = arg;
	char *p[FILES] = { };
	long pages[FILES], i, round;

	for (round = 0; round < 200 && !owner->failed; round++) {
		i = round % FILES;
		if (p[i])
			give_up(p[i], pages[i]);
		pages[i] = 1 + rand_r(&owner->seed) % (rand_r(&owner->seed) % 4 ? 16 : BLOCK_PAGES);
		p[i] = make_secret(pages[i], KEPT);
		if (p[i] == MAP_FAILED) {
			p[i] = NULL;
			owner->failed = true;
		}
	}
	for (i = 0; i < FILES; i++)
		if (p[i])
			give_up(p[i], pages[i]);
	return NULL;
}

TEST_F(window, shows_nothing_while_files_come_and_go)
{
	struct owner owner[OWNERS] = { };
	int i, rounds = 0;

	if (self->missing)
		SKIP(return, "%s", self->missing);
	__atomic_store_n(&self->shared->sweep, self->pages, __ATOMIC_SEQ_CST);
	do {
		for (i = 0; i < OWNERS; i++) {
			owner[i].seed = rounds * OWNERS + i;
			ASSERT_EQ(0, pthread_create(&owner[i].thread, NULL,
						    own_files, &owner[i]));
		}
		for (i = 0; i < OWNERS; i++) {
			pthread_join(owner[i].thread, NULL);
			ASSERT_FALSE(owner[i].failed);
		}
		ASSERT_LT(rounds++, MAX_TRIES);
	} while (!seen(self, OLD));
	judge(_metadata, self);
}

TEST_HARNESS_MAIN
