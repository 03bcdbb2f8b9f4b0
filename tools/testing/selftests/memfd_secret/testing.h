/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Helpers shared by the tests.
 */
#ifndef SELFTEST_TESTING_H
#define SELFTEST_TESTING_H

#include "../kselftest_harness.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <linux/capability.h>
#include <linux/futex.h>
#include <sys/klog.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "secretmem.h"

/* An emulated machine with a debug kernel needs more than 30 seconds. */
#undef TEST_TIMEOUT_DEFAULT
#define TEST_TIMEOUT_DEFAULT 300

#ifndef ARRAY_SIZE
#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))
#endif

/* What the kernel can read, with DEBUG_SECRETMEM: see mm/secretmem_debug.c. */
#define DIRECT_MAP "/sys/kernel/debug/secretmem/direct_map"

/* The counters of the pool. */
#define POOL_EVENTS "/sys/kernel/debug/secretmem_pool"

static size_t page_size;

/*
 * Access probes: touch one byte and report the signal that gives, 0 if none.
 * The handlers stay installed, so that several threads can probe at once; a
 * signal outside a probe has its usual effect.
 */
static __thread sigjmp_buf probe_env;
static __thread bool probing;

static inline void probe_handler(int sig)
{
	if (__atomic_load_n(&probing, __ATOMIC_SEQ_CST))
		siglongjmp(probe_env, sig);
	signal(sig, SIG_DFL);
}

static void __attribute__((constructor)) testing_init(void)
{
	struct sigaction action = { .sa_handler = probe_handler };

	page_size = sysconf(_SC_PAGESIZE);
	sigaction(SIGSEGV, &action, NULL);
	sigaction(SIGBUS, &action, NULL);
}

static inline int probe_read(const void *p)
{
	int sig = sigsetjmp(probe_env, 1);

	if (!sig) {
		__atomic_store_n(&probing, true, __ATOMIC_SEQ_CST);
		__atomic_load_n((const char *)p, __ATOMIC_SEQ_CST);
	}
	__atomic_store_n(&probing, false, __ATOMIC_SEQ_CST);
	return sig;
}

static inline int probe_write(void *p, char c)
{
	int sig = sigsetjmp(probe_env, 1);

	if (!sig) {
		__atomic_store_n(&probing, true, __ATOMIC_SEQ_CST);
		__atomic_store_n((char *)p, c, __ATOMIC_SEQ_CST);
	}
	__atomic_store_n(&probing, false, __ATOMIC_SEQ_CST);
	return sig;
}

/*
 * Let the kernel read from @p. Returns false where a direct access would have
 * raised a signal or invoked the OOM killer.
 */
static inline bool kernel_touch(void *p)
{
	const struct timespec now = { };
	const int unlikely_value = 0x7eadbeef;

	return !syscall(SYS_futex, p, FUTEX_WAIT_PRIVATE, unlikely_value, &now,
			NULL, 0) || errno != EFAULT;
}

/*
 * Contents that differ from any other and from those of other seeds. They are
 * computed, so that the only copy in memory is the one that a test made.
 */
static inline unsigned char pattern(unsigned int seed, size_t i)
{
	unsigned int x = (seed + 1) * 0x9e3779b1u + i * 0x85ebca6bu;

	x ^= x >> 15;
	x *= 0xc2b2ae35u;
	return x >> 24;
}

static inline void fill(void *p, size_t n, unsigned int seed)
{
	unsigned char *c = p;
	size_t i;

	for (i = 0; i < n; i++)
		c[i] = pattern(seed, i);
}

static inline bool is_filled(const void *p, size_t n, unsigned int seed)
{
	const unsigned char *c = p;
	size_t i;

	for (i = 0; i < n && c[i] == pattern(seed, i); i++)
		;
	return i == n;
}

static inline bool is_zero(const void *p, size_t n)
{
	const unsigned char *c = p;
	size_t i;

	for (i = 0; i < n && !c[i]; i++)
		;
	return i == n;
}

/* Ordinary memory: the control in tests of what secret memory refuses. */
static inline void *map_plain(size_t size)
{
	return mmap(NULL, size, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

/* A secret mapping of @size bytes whose descriptor is closed. */
static inline void *map_secret(size_t size)
{
	int fd = secret_file(size);
	void *p;

	if (fd < 0)
		return MAP_FAILED;
	p = map_shared(fd, size);
	close(fd);
	return p;
}

/* How many pages of the range are resident, by mincore(); -1 on error. */
static inline int resident_pages(void *p, size_t size)
{
	size_t i, n = size / page_size;
	unsigned char vec[n];
	int resident = 0;

	if (mincore(p, size, vec))
		return -1;
	for (i = 0; i < n; i++)
		resident += vec[i] & 1;
	return resident;
}

/* Exit status of @pid, or 128 plus the signal that ended it. */
static inline int wait_status(pid_t pid)
{
	int status;

	if (waitpid(pid, &status, 0) != pid)
		return -1;
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) :
				     WEXITSTATUS(status);
}

static inline bool has_ended(pid_t pid)
{
	siginfo_t info = { .si_pid = 0 };

	return waitid(P_PID, pid, &info, WEXITED | WNOHANG | WNOWAIT) ||
	       info.si_pid == pid;
}

static inline int write_text(const char *path, const char *text)
{
	ssize_t len = strlen(text);
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return -1;
	n = write(fd, text, len);
	close(fd);
	return n == len ? 0 : -1;
}

static inline int read_text(const char *path, char *text, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return -1;
	n = read(fd, text, size - 1);
	close(fd);
	if (n < 0)
		return -1;
	text[n] = '\0';
	return 0;
}

/*
 * The number after "@field:" in a file like /proc/meminfo; -1 if not present.
 */
static inline long read_field(const char *path, const char *field)
{
	FILE *file = fopen(path, "re");
	size_t len = strlen(field);
	char line[256];
	long value = -1;

	if (!file)
		return -1;
	while (value < 0 && fgets(line, sizeof(line), file))
		if (!strncmp(line, field, len) && line[len] == ':')
			value = atol(line + len + 1);
	fclose(file);
	return value;
}

/*
 * Let the lists of free pages that each CPU has stay short. MemFree does not
 * include them, and newer kernels let them grow to some MiB.
 */
static inline void limit_percpu_lists(void)
{
	write_text("/proc/sys/vm/percpu_pagelist_high_fraction", "10000");
}

/*
 * The kB of free memory, as soon as they exceed @kb, or after five seconds: the
 * memory of a file may be freed some time after the file is closed.
 */
static inline long free_kb_above(long kb)
{
	long now = read_field("/proc/meminfo", "MemFree");
	int i;

	for (i = 0; i < 50 && now <= kb; i++) {
		usleep(100000);
		now = read_field("/proc/meminfo", "MemFree");
	}
	return now;
}

/* kB in secret files. */
static inline long secret_kb(void)
{
	return read_field("/proc/meminfo", "SecretMem");
}

/* kB that the pool keeps unmapped for the next secret page. */
static inline long spare_kb(void)
{
	return read_field("/proc/meminfo", "SecretMemFree");
}

/*
 * A write to this file makes the kernel give back what the pool keeps for the
 * next secret page. Without DEBUG_SECRETMEM there is only drop_caches, which
 * does not give back pages of blocks in use.
 */
#define GIVE_BACK "/sys/kernel/debug/secretmem/give_back"

static inline const char *give_back_path(void)
{
	return access(GIVE_BACK, W_OK) ? "/proc/sys/vm/drop_caches" : GIVE_BACK;
}

static inline bool give_spare_memory_back(void)
{
	int i;

	/*
	 * Write at least once: pages on their way back are no longer counted.
	 */
	for (i = 0; i < 50; i++) {
		if (write_text(give_back_path(), "2"))
			return false;
		if (!spare_kb())
			return true;
		usleep(20000);
	}
	return false;
}

static inline long locked_kb(void)
{
	return read_field("/proc/self/status", "VmLck");
}

/* Is @flag, two letters, in the VmFlags of the mapping at @p? */
static inline bool vma_has_flag(const void *p, const char *flag)
{
	unsigned long addr = (unsigned long)p, start, end;
	FILE *smaps = fopen("/proc/self/smaps", "re");
	bool inside = false, found = false;
	char line[512];

	if (!smaps)
		return false;
	while (fgets(line, sizeof(line), smaps)) {
		if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
			inside = start <= addr && addr < end;
		else if (inside && !strncmp(line, "VmFlags:", 8))
			found = strstr(line + 8, flag);
	}
	fclose(smaps);
	return found;
}

/* How many areas the @size bytes at @p span. */
static inline int areas(const char *p, size_t size)
{
	unsigned long from = (unsigned long)p, start, end;
	FILE *maps = fopen("/proc/self/maps", "re");
	char line[512];
	int n = 0;

	while (maps && fgets(line, sizeof(line), maps)) {
		if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
			n += start < from + size && from < end;
	}
	if (maps)
		fclose(maps);
	return n;
}

#define TRACING "/sys/kernel/debug/tracing/"

/* How many lines of the trace contain @text. */
static inline int traced(const char *text)
{
	FILE *trace = fopen(TRACING "trace", "re");
	char line[512];
	int lines = 0;

	while (trace && fgets(line, sizeof(line), trace)) {
		if (strstr(line, text))
			lines++;
	}
	if (trace)
		fclose(trace);
	return lines;
}

/* Page frame number of @p; 0 if not present, or without CAP_SYS_ADMIN. */
static inline unsigned long long page_frame(const void *p)
{
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	unsigned long long entry = 0;

	if (fd < 0)
		return 0;
	if (pread(fd, &entry, sizeof(entry),
		  (uintptr_t)p / page_size * sizeof(entry)) != sizeof(entry))
		entry = 0;
	close(fd);
	return entry >> 63 ? entry & ((1ULL << 55) - 1) : 0;
}

/* The flags of page frame @frame in /proc/kpageflags; false on error. */
static inline bool read_page_flags(unsigned long long frame,
				   unsigned long long *flags)
{
	int fd = open("/proc/kpageflags", O_RDONLY | O_CLOEXEC);
	bool ok = fd >= 0 && pread(fd, flags, sizeof(*flags),
				   frame * sizeof(*flags)) == sizeof(*flags);

	close(fd);
	return ok;
}

static inline bool frame_has_flag(unsigned long long frame, int flag)
{
	unsigned long long flags;

	return read_page_flags(frame, &flags) && flags >> flag & 1;
}

/*
 * How the direct map has page frame @frame: 'r' if the kernel can read it, '-' if
 * not, 0 without DEBUG_SECRETMEM.
 */
static inline char direct_map_state(unsigned long long frame)
{
	int fd = open(DIRECT_MAP, O_RDONLY | O_CLOEXEC);
	char state = 0;

	if (fd < 0)
		return 0;
	if (pread(fd, &state, 1, frame) != 1)
		state = 0;
	close(fd);
	return state;
}

/* Does this kernel remove free pages from the direct map, like secret ones? */
static inline bool frees_unmap(void)
{
	char line[4096];

	return !read_text("/proc/cmdline", line, sizeof(line)) &&
	       (strstr(line, "debug_pagealloc=on") ||
		strstr(line, "debug_pagealloc=1"));
}

/* All that the kernel log still has, or NULL. */
static inline const char *read_kernel_log(void)
{
	enum { SYSLOG_ACTION_READ_ALL = 3 };
	static char log[1 << 20];

	return klogctl(SYSLOG_ACTION_READ_ALL, log, sizeof(log) - 1) > 0 ? log :
									   NULL;
}

/* The address of a kernel symbol; 0 if it does not exist, or if not root. */
static inline unsigned long symbol_address(const char *name)
{
	FILE *f = fopen("/proc/kallsyms", "re");
	unsigned long address, found = 0;
	char line[256], symbol[128];

	while (f && !found && fgets(line, sizeof(line), f))
		if (sscanf(line, "%lx %*c %127s", &address, symbol) == 2 &&
		    !strcmp(symbol, name))
			found = address;
	if (f)
		fclose(f);
	return found;
}

/* The kernel log, from now on; -1 on error. */
static inline int open_log(void)
{
	int fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);

	if (fd >= 0 && lseek(fd, 0, SEEK_END) < 0) {
		close(fd);
		return -1;
	}
	return fd;
}

/* Copy the text of the next log record to @text; false if there is none yet. */
static inline bool next_record(int log, char *text, size_t size)
{
	char record[8192], *start;
	ssize_t n;

	do {
		n = read(log, record, sizeof(record) - 1);
	} while (n < 0 && errno == EPIPE);
	if (n <= 0)
		return false;
	record[n] = '\0';
	record[strcspn(record, "\n")] = '\0';
	start = strchr(record, ';');
	snprintf(text, size, "%s", start ? start + 1 : record);
	return true;
}

/* Drop one capability permanently. */
static inline int drop_capability(int cap)
{
	struct __user_cap_header_struct header = {
		.version = _LINUX_CAPABILITY_VERSION_3,
	};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];

	if (syscall(SYS_capget, &header, data))
		return -1;
	data[CAP_TO_INDEX(cap)].effective &= ~CAP_TO_MASK(cap);
	data[CAP_TO_INDEX(cap)].permitted &= ~CAP_TO_MASK(cap);
	return syscall(SYS_capset, &header, data);
}

#endif /* SELFTEST_TESTING_H */
