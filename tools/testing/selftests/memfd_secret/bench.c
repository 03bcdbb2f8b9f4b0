// SPDX-License-Identifier: GPL-2.0
/*
 * What secret memory costs, compared with memfd_create(2) and locked anonymous
 * memory.
 *
 * The kinds take turns in each round, so that noise affects all of them alike;
 * figures are medians over the rounds. Standard output is CSV: case, kind,
 * bytes, threads, metric, value, unit.
 *
 * $SHORT, if set: little memory and few rounds, only to see that everything
 * works. Large pages of the direct map that were split for secret memory stay
 * split until the next boot.
 *
 * Exit status: 0; 1 if something failed; 4 without memfd_secret(2).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clock.h"
#include "secretmem.h"

#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))

#define KIB		1024UL
#define MIB		(1024 * KIB)
#define GIB		(1024 * MIB)
#define MAX_PAGES	(256 * MIB / (4 * KIB))
#define STATUS_SKIPPED	4
/* Stop a case after this time, but not before one full round. */
#define MAX_SECONDS	10

enum { SECRET, MEMFD, ANON, KINDS };

static const struct kind {
	const char *name;
	int (*create)(off_t size);	/* NULL: anonymous */
} kinds[KINDS] = {
	[SECRET]	= { "secret", secret_file },
	[MEMFD]		= { "memfd", plain_file },
	[ANON]		= { "anon" },
};

/*
 * How memory is touched, which is in one file or half in each of two. Memory
 * that the previous round has freed is given back first, unless it may be
 * reused.
 */
static const struct test {
	const char *name;
	int threads;
	int files;
	bool random;
	bool reused;
} tests[] = {
	{ .name = "steady",	.threads = 1, .files = 1 },
	{ .name = "reused",	.threads = 1, .files = 1, .reused = true },
	{ .name = "random",	.threads = 1, .files = 1, .random = true },
	{ .name = "one_file",	.threads = 2, .files = 1 },
	{ .name = "two_files",	.threads = 2, .files = 2 },
};

static const struct {
	size_t bytes;
	int rounds;
} sizes[] = {
	{ 64 * KIB, 65 },
	{ MIB, 33 },
	{ 16 * MIB, 9 },
	{ 64 * MIB, 7 },
	{ 256 * MIB, 3 },
};

/* One value of a sample, and which quantile of it over the rounds. */
struct metric {
	const char *name, *unit;
	int value;
	double quantile;
};

enum { TOUCH, FREE, TOUCH_CALLS, FREE_CALLS, VALUES };

static const struct metric test_metrics[] = {
	{ "touch", "ns/page", TOUCH, 0.5 },
	{ "free", "ns/page", FREE, 0.5 },
	{ "touch_calls", "calls", TOUCH_CALLS, 0.5 },
	{ "free_calls", "calls", FREE_CALLS, 0.5 },
};

static const struct metric distribution[] = {
	{ "p50", "ns", 0, 0.5 },
	{ "p99", "ns", 0, 0.99 },
	{ "max", "ns", 0, 1 },
};

static const struct metric chase_metric = { "step", "ns", 0, 0.5 };

static bool is_short;
static size_t page_size;
static int cpus;
/* The pages of a test in the order in which they are touched. */
static unsigned int order[MAX_PAGES];

/*
 * Small helpers
 */

static void __attribute__((noreturn)) die(const char *what)
{
	fprintf(stderr, "bench: %s: %s\n", what, strerror(errno));
	exit(1);
}

static size_t full_or_short(size_t full_size, size_t short_size)
{
	return is_short ? short_size : full_size;
}

static void emit(const char *name, const char *kind, size_t size, int threads,
		 const char *metric, double value, const char *unit)
{
	printf("%s,%s,%zu,%d,%s,%.1f,%s\n", name, kind, size, threads, metric,
	       value, unit);
	fflush(stdout);
}

static void pin_to(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu % cpus, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		die("sched_setaffinity");
}

static unsigned int random_below(unsigned int n)
{
	static unsigned int x = 2463534242;

	x ^= x << 13;
	x ^= x >> 17;
	x ^= x << 5;
	return x % n;
}

static void set_order(size_t pages, bool random)
{
	unsigned int tmp;
	size_t i, j;

	for (i = 0; i < pages; i++)
		order[i] = i;
	for (i = pages; random && i > 1; i--) {
		j = random_below(i);
		tmp = order[i - 1];
		order[i - 1] = order[j];
		order[j] = tmp;
	}
}

/*
 * The sum of the numbers after the colon in all lines with @text; -1 if none.
 */
static long sum_of_lines(const char *path, const char *text)
{
	FILE *file = fopen(path, "re");
	char *line = NULL, *p, *end;
	size_t size = 0;
	long sum = -1;

	if (!file)
		die(path);
	while (getline(&line, &size, file) > 0) {
		p = strstr(line, text) ? strchr(line, ':') : NULL;
		if (!p)
			continue;
		if (sum < 0)
			sum = 0;
		for (p++; strtol(p, &end, 10), end != p; p = end)
			sum += strtol(p, NULL, 10);
	}
	free(line);
	fclose(file);
	return sum;
}

static size_t available(void)
{
	return sum_of_lines("/proc/meminfo", "MemAvailable:") * KIB;
}

/* Function call interrupts of all CPUs so far. */
static long cross_calls(void)
{
	long calls = sum_of_lines("/proc/interrupts", "Function call");
	long flushes = sum_of_lines("/proc/interrupts", "TLB shootdown");

	return (calls > 0 ? calls : 0) + (flushes > 0 ? flushes : 0);
}

/* Including pages in per-CPU lists, which MemFree does not count. */
static long free_kb(void)
{
	/* Reading stat_refresh folds the per-CPU counters. */
	sum_of_lines("/proc/sys/vm/stat_refresh", "");
	return sum_of_lines("/proc/meminfo", "MemFree:") +
	       sum_of_lines("/proc/zoneinfo", " count:") *
	       (long)(page_size / KIB);
}

static char *map_anonymous(size_t size)
{
	char *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		die("mmap");
	/*
	 * Use small pages, as the other kinds do. EINVAL: kernel without THP.
	 */
	if (madvise(p, size, MADV_NOHUGEPAGE) && errno != EINVAL)
		die("madvise");
	return p;
}

/*
 * Memory of one kind
 */

struct area {
	int fd;
	char *p;
	size_t size;
};

static struct area open_area(const struct kind *kind, size_t size)
{
	struct area area = { .fd = -1, .size = size };

	if (!kind->create) {
		area.p = map_anonymous(size);
		if (mlock2(area.p, size, MLOCK_ONFAULT))
			die("mlock2");
		return area;
	}
	area.fd = kind->create(size);
	if (area.fd < 0)
		die(kind->name);
	area.p = map_shared(area.fd, size);
	if (area.p == MAP_FAILED)
		die(kind->name);
	return area;
}

static void touch_page(const struct area *area, size_t page)
{
	__atomic_store_n(area->p + page * page_size, 1, __ATOMIC_RELAXED);
}

static void close_area(const struct area *area)
{
	if (munmap(area->p, area->size))
		die("munmap");
	if (area->fd >= 0)
		close(area->fd);
}

/*
 * The state some time after memory was freed: one block of secret memory is
 * kept.
 */
static void settle(int kind)
{
	FILE *file = fopen("/proc/sys/vm/drop_caches", "we");
	struct area area;

	if (!file || fputs("2", file) < 0 || fclose(file))
		die("drop_caches");
	area = open_area(&kinds[kind], page_size);
	touch_page(&area, 0);
	close_area(&area);
}

/*
 * Rounds
 */

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* Sorts the values. */
static double quantile(double *values, int n, double q)
{
	qsort(values, n, sizeof(*values), compare);
	return values[(int)((n - 1) * q)];
}

static double *new_samples(int rounds)
{
	size_t size = rounds * KINDS * VALUES * sizeof(double);
	double *samples = malloc(size);

	if (!samples)
		die("malloc");
	/* Fault its pages in before anything is measured. */
	memset(samples, 1, size);
	return samples;
}

/* Take samples of each kind in turn, @max times, and print their metrics. */
static void take_turns(const char *name, size_t size, int threads, int max,
		       void (*take)(int kind, const void *arg, double *values),
		       const void *arg, const struct metric *metrics, int nr_metrics)
{
	double *samples = new_samples(max), values[VALUES] = { 0 };
	double end = now_ns() + MAX_SECONDS * 1e9;
	int kind, i, n;

	for (n = 0; n < max && (!n || now_ns() < end); n++) {
		for (kind = 0; kind < KINDS; kind++) {
			take(kind, arg, values);
			for (i = 0; i < VALUES; i++)
				samples[(kind * VALUES + i) * max + n] =
					values[i];
		}
	}
	for (kind = 0; kind < KINDS; kind++) {
		for (i = 0; i < nr_metrics; i++) {
			int first = (kind * VALUES + metrics[i].value) * max;

			emit(name, kinds[kind].name, size, threads,
			     metrics[i].name,
			     quantile(samples + first, n, metrics[i].quantile),
			     metrics[i].unit);
		}
	}
	free(samples);
}

/*
 * Touch and free, in one or two threads
 */

struct job {
	struct area area;
	size_t first, end;	/* of order[] */
	bool frees;		/* the area, which both may touch */
	int cpu;
	int threads;
	double touch[2], free[2];	/* from, to */
	long calls[3];		/* before, between, after; of CPU 0's job only */
};

static int arrived;

/* No thread sleeps here: waking it would take an interrupt of another CPU. */
static void meet(int threads)
{
	int n = __atomic_fetch_add(&arrived, 1, __ATOMIC_SEQ_CST);
	int all = n - n % threads + threads;

	while (__atomic_load_n(&arrived, __ATOMIC_SEQ_CST) < all)
		sched_yield();
}

static void count_calls(struct job *job, int when)
{
	meet(job->threads);
	if (!job->cpu)
		job->calls[when] = cross_calls();
	meet(job->threads);
}

static void *run_job(void *arg)
{
	struct job *job = arg;
	size_t i;

	pin_to(job->cpu);
	count_calls(job, 0);
	job->touch[0] = now_ns();
	for (i = job->first; i < job->end; i++)
		touch_page(&job->area, order[i]);
	job->touch[1] = now_ns();
	count_calls(job, 1);
	job->free[0] = now_ns();
	if (job->frees)
		close_area(&job->area);
	job->free[1] = now_ns();
	count_calls(job, 2);
	return NULL;
}

static void run_jobs(struct job *jobs, int threads)
{
	pthread_t thread;

	arrived = 0;
	if (threads > 1) {
		errno = pthread_create(&thread, NULL, run_job, &jobs[1]);
		if (errno)
			die("pthread_create");
	}
	run_job(&jobs[0]);
	if (threads > 1)
		pthread_join(thread, NULL);
}

struct run {
	const struct test *test;
	size_t size;
};

static void run_test(int kind, const void *arg, double *values)
{
	const struct run *run = arg;
	const struct test *test = run->test;
	size_t all = run->size / page_size, pages = all / test->threads;
	struct job jobs[2] = {
		{ .end = pages, .frees = true, .threads = test->threads },
		{ .end = pages, .frees = true, .threads = test->threads,
		  .cpu = 1 },
	};
	struct job *last = &jobs[test->threads - 1];

	if (!test->reused)
		settle(kind);
	jobs[0].area = open_area(&kinds[kind], run->size / test->files);
	if (test->files > 1) {
		jobs[1].area = open_area(&kinds[kind], run->size / test->files);
	} else if (test->threads > 1) {
		jobs[1].area = jobs[0].area;
		jobs[1].first = pages;
		jobs[1].end = all;
		jobs[1].frees = false;
	}
	run_jobs(jobs, test->threads);

	/* Roughly from when both had begun until the last one ended. */
	values[TOUCH] = ((last->touch[1] > jobs[0].touch[1] ? last->touch[1] :
			  jobs[0].touch[1]) - jobs[0].touch[0]) / all;
	values[FREE] = ((test->files > 1 && last->free[1] > jobs[0].free[1] ?
			 last->free[1] : jobs[0].free[1]) -
			jobs[0].free[0]) / all;
	values[TOUCH_CALLS] = jobs[0].calls[1] - jobs[0].calls[0];
	values[FREE_CALLS] = jobs[0].calls[2] - jobs[0].calls[1];
}

static void bench_tests(void)
{
	size_t i, t;

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		size_t size = sizes[i].bytes;

		if (size > full_or_short(available() / 2, MIB)) {
			fprintf(stderr, "bench: left out: %zu bytes\n", size);
			continue;
		}
		for (t = 0; t < ARRAY_SIZE(tests); t++) {
			const struct test *test = &tests[t];
			struct run run = { test, size };

			set_order(size / page_size / test->files, test->random);
			take_turns(test->name, size, test->threads,
				   full_or_short(sizes[i].rounds, 3),
				   run_test, &run, test_metrics,
				   ARRAY_SIZE(test_metrics));
		}
	}
}

/*
 * A file of one page, and the latency of each touch
 */

static void small_file(int kind, const void *arg, double *values)
{
	double start = now_ns();
	struct area area = open_area(&kinds[kind], page_size);

	touch_page(&area, 0);
	close_area(&area);
	values[0] = now_ns() - start;
}

static void bench_small(void)
{
	take_turns("small", page_size, 1, full_or_short(1001, 3), small_file,
		   NULL, distribution, ARRAY_SIZE(distribution));
}

struct growing {
	struct area area;
	size_t touched;
};

static void touch_next(int kind, const void *arg, double *values)
{
	struct growing *growing = (struct growing *)arg + kind;
	double start = now_ns();

	touch_page(&growing->area, growing->touched);
	values[0] = now_ns() - start;
	growing->touched++;
}

static void bench_latency(void)
{
	size_t size = full_or_short(64 * MIB, MIB);
	struct growing growing[KINDS] = { 0 };
	int kind;

	for (kind = 0; kind < KINDS; kind++)
		growing[kind].area = open_area(&kinds[kind], size);
	take_turns("latency", size, 1, size / page_size, touch_next, growing,
		   distribution, ARRAY_SIZE(distribution));
	for (kind = 0; kind < KINDS; kind++)
		close_area(&growing[kind].area);
}

/*
 * The first memory of each kind since boot, and what becomes of the direct map
 */

static const char * const map_sizes[] = {
	"DirectMap4k", "DirectMap2M", "DirectMap4M", "DirectMap1G",
};

struct memory {
	long free_kb;
	long mapped_kb[ARRAY_SIZE(map_sizes)];	/* -1: not known here */
};

static struct memory look_at_memory(void)
{
	struct memory memory = { .free_kb = free_kb() };
	size_t i;

	for (i = 0; i < ARRAY_SIZE(map_sizes); i++)
		memory.mapped_kb[i] = sum_of_lines("/proc/meminfo",
						   map_sizes[i]);
	return memory;
}

/*
 * How the direct map has changed, by size of its pages, and how much memory has
 * not come back after a while.
 */
static void emit_growth(const char *name, const char *kind, size_t size,
			const struct memory *before)
{
	struct memory now = look_at_memory();
	size_t i;

	for (i = 0; i < 30 && now.free_kb < before->free_kb; i++) {
		usleep(100000);
		now = look_at_memory();
	}
	for (i = 0; i < ARRAY_SIZE(map_sizes); i++)
		if (now.mapped_kb[i] >= 0)
			emit(name, kind, size, 1, map_sizes[i],
			     now.mapped_kb[i] - before->mapped_kb[i], "kB");
	emit(name, kind, size, 1, "kept", before->free_kb - now.free_kb, "kB");
}

static void bench_first(void)
{
	struct run run = { &tests[0], full_or_short(64 * MIB, MIB) };
	struct memory before;
	int kind;

	take_turns("first", page_size, 1, 1, small_file, NULL, distribution, 1);
	set_order(run.size / page_size, false);
	for (kind = 0; kind < KINDS; kind++) {
		double values[VALUES];
		size_t i;

		before = look_at_memory();
		run_test(kind, &run, values);
		for (i = 0; i < ARRAY_SIZE(test_metrics); i++)
			emit("first", kinds[kind].name, run.size, 1,
			     test_metrics[i].name, values[i],
			     test_metrics[i].unit);
		emit_growth("first", kinds[kind].name, run.size, &before);
	}
}

/*
 * A bystander, which follows pointers through ordinary memory
 */

#define CHASE_STEP 256UL

struct chase {
	char *start;
	size_t size;
};

static struct chase start_chase(void)
{
	size_t size = full_or_short(512 * MIB, 8 * MIB), there = available();
	struct chase chase;
	size_t i;

	/*
	 * Round down, so that kernels and boots with slightly different memory
	 * agree.
	 */
	if (size > there / 4 * 3)
		size = there / 4 * 3 / (64 * MIB) * (64 * MIB);
	if (!size)
		size = MIB;
	chase.size = size;
	chase.start = map_anonymous(size);
	for (i = 0; i < size; i += CHASE_STEP)
		*(char **)(chase.start + i) = chase.start + i;
	/* Sattolo's shuffle: a single cycle through all of it. */
	for (i = size / CHASE_STEP - 1; i; i--) {
		char **a = (char **)(chase.start + i * CHASE_STEP);
		char **b = (char **)(chase.start +
				     random_below(i) * CHASE_STEP);
		char *next = *a;

		*a = *b;
		*b = next;
	}
	return chase;
}

/* Nanoseconds per step. */
static double follow(const struct chase *chase)
{
	double begin = now_ns(), end = begin;
	char *p = chase->start;
	long steps = 0;
	int i;

	while (end < begin + full_or_short(1000, 10) * 1e6) {
		for (i = 0; i < 4096; i++)
			p = __atomic_load_n((char **)p, __ATOMIC_RELAXED);
		steps += i;
		end = now_ns();
	}
	return (end - begin) / steps;
}

static bool stop;

static void *disturb(void *arg)
{
	struct area area;
	size_t i;

	pin_to(1);
	while (!__atomic_load_n(&stop, __ATOMIC_SEQ_CST)) {
		area = open_area(arg, MIB);
		for (i = 0; i < MIB / page_size; i++)
			touch_page(&area, i);
		close_area(&area);
	}
	return NULL;
}

/* Follow pointers while another CPU touches and frees memory of that kind. */
static void follow_beside(int kind, const void *arg, double *values)
{
	pthread_t thread;

	stop = false;
	errno = pthread_create(&thread, NULL, disturb, (void *)&kinds[kind]);
	if (errno)
		die("pthread_create");
	values[0] = follow(arg);
	__atomic_store_n(&stop, true, __ATOMIC_SEQ_CST);
	pthread_join(thread, NULL);
}

static void bench_bystander(const char *name)
{
	struct chase chase = start_chase();

	emit(name, "none", chase.size, 1, chase_metric.name, follow(&chase),
	     chase_metric.unit);
	munmap(chase.start, chase.size);
}

static void bench_beside(void)
{
	struct chase chase = start_chase();

	take_turns("beside", chase.size, 2, 3, follow_beside, &chase,
		   &chase_metric, 1);
	munmap(chase.start, chase.size);
}

/*
 * The host may allocate a guest's memory only when it is first used, and
 * whichever kind comes first would pay for that. On a large machine a part is
 * enough.
 */
static void warm_up(void)
{
	size_t size = available() / 8 * 7;
	int status;
	pid_t pid;

	if (size > GIB)
		size = GIB;
	pid = fork();
	if (pid < 0)
		die("fork");
	if (!pid) {
		memset(map_anonymous(size), 1, size);
		_exit(0);
	}
	if (waitpid(pid, &status, 0) != pid || status)
		die("memory to begin with");
}

static void say_where(void)
{
	int fd = memfd_secret(0), err = errno;
	struct utsname uts;

	if (fd < 0) {
		perror("bench: memfd_secret(2), which needs secretmem.enable=1");
		exit(err == ENOSYS ? STATUS_SKIPPED : 1);
	}
	close(fd);
	uname(&uts);
	printf("# Linux %s %s, %d CPUs, %ld MiB\n", uts.release, uts.machine,
	       cpus, sum_of_lines("/proc/meminfo", "MemTotal:") / 1024);
}

int main(void)
{
	struct memory before;

	page_size = sysconf(_SC_PAGESIZE);
	cpus = sysconf(_SC_NPROCESSORS_ONLN);
	is_short = getenv("SHORT");
	say_where();
	/*
	 * Newer kernels apply the limit to root as well, and send SIGBUS beyond
	 * it.
	 */
	if (limit_locked(RLIM_INFINITY))
		die("setrlimit");
	pin_to(0);
	warm_up();
	before = look_at_memory();
	bench_bystander("before");
	bench_first();
	bench_small();
	bench_latency();
	bench_tests();
	bench_beside();
	bench_bystander("after");
	emit_growth("whole", "all", 0, &before);
	return ferror(stdout) ? 1 : 0;
}
