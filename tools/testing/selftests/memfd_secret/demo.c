// SPDX-License-Identifier: GPL-2.0
/*
 * Who can read secret memory? A table that compares memfd_create(2) and
 * memfd_secret(2), row by row. memfd_create() is the control: if a search
 * cannot find even that, not finding the secret proves nothing.
 *
 * Each column has two files. The rows that ask for memory by its address ask
 * for the "probe", one page. Some of them leave copies of it behind, so the
 * rows that search memory look for the many pages of the "bulk" instead.
 *
 * Exit status: 0 if every row is as promised, 1 otherwise.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include "host.h"
#include "kcore.h"
#include "ring.h"
#include "secretmem.h"

#define BULK_SIZE	(4 << 20)
#define BLOCK_DEVICE	"/dev/ram0"
#define RECORD_WORDS	(KCORE_RECORD_SIZE / sizeof(long))
#define CORE_PATTERN	"/proc/sys/kernel/core_pattern"

/*
 * The result of a row: one of these, or the negative error code of a refusal.
 */
#define HOLE		0
#define READ		1

enum { ORDINARY, SECRET, COLUMNS };

struct column {
	const char *name;
	int (*create)(void);
	int fd;			/* of the probe */
	char *probe;
	char *bulk;
};

static int create_ordinary(void)
{
	return memfd_create("demo", MFD_CLOEXEC | MFD_ALLOW_SEALING);
}

static int create_secret(void)
{
	return memfd_secret(O_CLOEXEC);
}

static struct column columns[COLUMNS] = {
	[ORDINARY]	= { .name = "memfd_create", .create = create_ordinary },
	[SECRET]	= { .name = "memfd_secret", .create = create_secret },
};

static struct kcore_search probes[COLUMNS];
static struct kcore_search bulks[COLUMNS];
static size_t page_size;
static int deviations;

static void __attribute__((noreturn)) die(const char *what)
{
	fprintf(stderr, "demo: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* Is the page at @addr a copy of the probe of @column? */
static int judge(const struct column *column, const void *addr)
{
	const struct kcore_search *probe = &probes[column - columns];

	return kcore_record_at(&probe->key, addr) ? READ : HOLE;
}

/* Judge what came through a pipe, after @written bytes were put into it. */
static int judge_pipe(const struct column *column, int pipefd[2],
		      ssize_t written)
{
	unsigned long record[RECORD_WORDS] = {};
	int ret = -errno;

	if (written > 0)
		ret = read(pipefd[0], record, sizeof(record)) < 0 ?
		      -errno : judge(column, record);
	close(pipefd[0]);
	close(pipefd[1]);
	return ret;
}

/*
 * The owner
 */

static int owner_reads(struct column *column)
{
	return judge(column, column->probe);
}

static int owner_writes(struct column *column)
{
	int pipefd[2];

	if (pipe(pipefd))
		return -errno;
	return judge_pipe(column, pipefd,
			  write(pipefd[1], column->probe, page_size));
}

/*
 * Another process, which runs as root and has no mapping of the file. It has
 * the descriptor, but uses it only in the rows about that.
 */

static int ask_stranger(struct column *column,
			int (*ask)(struct column *column, pid_t owner))
{
	pid_t owner = getpid(), stranger;
	int pipefd[2], ret;

	if (pipe(pipefd))
		die("pipe");
	stranger = fork();
	if (stranger < 0)
		die("fork");
	if (!stranger) {
		munmap(column->probe, page_size);
		ret = ask(column, owner);
		if (write(pipefd[1], &ret, sizeof(ret)) != sizeof(ret))
			_exit(1);
		_exit(0);
	}
	close(pipefd[1]);
	if (read(pipefd[0], &ret, sizeof(ret)) != sizeof(ret))
		ret = -ECHILD;
	close(pipefd[0]);
	waitpid(stranger, NULL, 0);
	return ret;
}

static int peek(struct column *column, pid_t owner)
{
	unsigned long record[RECORD_WORDS];
	int ret;

	if (ptrace(PTRACE_SEIZE, owner, 0, 0) ||
	    ptrace(PTRACE_INTERRUPT, owner, 0, 0) ||
	    waitpid(owner, NULL, __WALL) != owner)
		return -errno;
	errno = 0;
	for (size_t n = 0; !errno && n < RECORD_WORDS; n++)
		record[n] = ptrace(PTRACE_PEEKDATA, owner,
				   column->probe + n * sizeof(long), 0);
	ret = errno ? -errno : judge(column, record);
	ptrace(PTRACE_DETACH, owner, 0, 0);
	return ret;
}

static int by_ptrace(struct column *column)
{
	return ask_stranger(column, peek);
}

/* The file can be read, but not written to. */
static int read_sealed_file(struct column *column, pid_t owner)
{
	void *p;

	if (map_shared(column->fd, page_size) != MAP_FAILED || errno != EPERM)
		return -ENOTRECOVERABLE;
	p = mmap(NULL, page_size, PROT_READ, MAP_SHARED, column->fd, 0);
	return p == MAP_FAILED ? -errno : judge(column, p);
}

static int by_descriptor(struct column *column)
{
	if (fcntl(column->fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE))
		return -errno;
	return ask_stranger(column, read_sealed_file);
}

static int read_proc_mem(struct column *column, pid_t owner)
{
	unsigned long record[RECORD_WORDS];
	char path[32];
	int fd, ret;

	snprintf(path, sizeof(path), "/proc/%d/mem", owner);
	fd = open(path, O_RDONLY);
	if (fd < 0)
		return -errno;
	ret = pread(fd, record, sizeof(record), (uintptr_t)column->probe) < 0 ?
	      -errno : judge(column, record);
	close(fd);
	return ret;
}

static int by_proc_mem(struct column *column)
{
	return ask_stranger(column, read_proc_mem);
}

static int read_vm(struct column *column, pid_t owner)
{
	unsigned long record[RECORD_WORDS];
	struct iovec local = { record, sizeof(record) };
	struct iovec remote = { column->probe, sizeof(record) };

	if (process_vm_readv(owner, &local, 1, &remote, 1, 0) < 0)
		return -errno;
	return judge(column, record);
}

static int by_process_vm_readv(struct column *column)
{
	return ask_stranger(column, read_vm);
}

/*
 * Code that takes a reference to the page instead of copying it
 */

static int by_vmsplice(struct column *column)
{
	struct iovec iov = { column->probe, page_size };
	int pipefd[2];

	if (pipe(pipefd))
		return -errno;
	return judge_pipe(column, pipefd, vmsplice(pipefd[1], &iov, 1, 0));
}

static int by_direct_io(struct column *column)
{
	int fd = open(BLOCK_DEVICE, O_RDWR | O_DIRECT), ret;
	void *block;

	if (fd < 0)
		return -errno;
	block = aligned_alloc(page_size, page_size);
	if (!block)
		die("a block");
	if (pwrite(fd, column->probe, page_size, 0) < 0 ||
	    pread(fd, block, page_size, 0) < 0)
		ret = -errno;
	else
		ret = judge(column, block);
	free(block);
	close(fd);
	return ret;
}

/* Write a page at @from, which is fixed buffer 0 of @ring, to file @fd. */
static ssize_t write_fixed(struct ring *ring, int fd, const void *from)
{
	const struct io_uring_sqe sqe = {
		.opcode = IORING_OP_WRITE_FIXED,
		.fd = fd,
		.addr = (uintptr_t)from,
		.len = page_size,
	};
	int ret = ring_do(ring, &sqe);

	if (ret >= 0)
		return ret;
	errno = -ret;
	return -1;
}

static int by_io_uring(struct column *column)
{
	struct iovec iov = { column->probe, page_size };
	struct ring ring;
	int pipefd[2], ret;

	if (!ring_create(&ring))
		return -errno;
	if (ring_register(ring.fd, IORING_REGISTER_BUFFERS, &iov, 1) ||
	    pipe(pipefd))
		ret = -errno;
	else
		ret = judge_pipe(column, pipefd,
				 write_fixed(&ring, pipefd[1], column->probe));
	ring_destroy(&ring);
	return ret;
}

/*
 * A core dump, of a process that has asked for its memory to be in it
 */

static void write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_TRUNC);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		die(path);
	close(fd);
}

static void read_file(const char *path, char *buf, size_t size)
{
	int fd = open(path, O_RDONLY);
	ssize_t nr;

	if (fd < 0)
		die(path);
	nr = read(fd, buf, size - 1);
	if (nr < 0)
		die(path);
	buf[nr] = '\0';
	close(fd);
}

static void __attribute__((noreturn)) dump_core(struct column *column)
{
	struct rlimit unlimited = { RLIM_INFINITY, RLIM_INFINITY };

	for (int n = 0; n < COLUMNS; n++)
		munmap(columns[n].bulk, BULK_SIZE);
	madvise(column->probe, page_size, MADV_DODUMP);
	setrlimit(RLIMIT_CORE, &unlimited);
	abort();
}

static int judge_core(const struct column *column, const char *path)
{
	const struct kcore_search *probe = &probes[column - columns];
	int fd = open(path, O_RDONLY), ret;
	struct stat st;
	void *core;

	if (fd < 0 || fstat(fd, &st) || !st.st_size)
		return -ENODATA;
	core = mmap(NULL, st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (core == MAP_FAILED)
		die("core dump");
	ret = kcore_count_records(&probe->key, core, st.st_size) ? READ : HOLE;
	munmap(core, st.st_size);
	close(fd);
	return ret;
}

static int by_core_dump(struct column *column)
{
	char dir[] = "/tmp/demo.XXXXXX", path[32], pattern[256];
	pid_t child;
	int ret;

	if (!mkdtemp(dir))
		return -errno;
	snprintf(path, sizeof(path), "%s/core.%%p", dir);
	read_file(CORE_PATTERN, pattern, sizeof(pattern));
	write_file(CORE_PATTERN, path);
	child = fork();
	if (!child)
		dump_core(column);
	waitpid(child, NULL, 0);
	write_file(CORE_PATTERN, pattern);

	snprintf(path, sizeof(path), "%s/core.%d", dir, child);
	ret = judge_core(column, path);
	unlink(path);
	rmdir(dir);
	return ret;
}

/*
 * The table
 */

static void print_group(const char *who)
{
	printf("%s\n", who);
}

static void print_row(const char *what, const char *ordinary, const char *secret)
{
	printf("  %-38s %-22s %s\n", what, ordinary, secret);
}

static void deviate(const char *ordinary, const char *secret)
{
	print_row("  ^ NOT AS PROMISED, which is:", ordinary, secret);
	deviations++;
}

static void describe(char *text, size_t size, int result)
{
	if (result < 0)
		snprintf(text, size, "refused: %s", strerrorname_np(-result));
	else
		snprintf(text, size, "%s", result == READ ? "read" : "nothing");
}

static void ask(const char *what, int (*row)(struct column *column), int promised)
{
	char text[COLUMNS][32], promise[32];
	int ordinary = row(&columns[ORDINARY]);
	int secret = row(&columns[SECRET]);

	describe(text[ORDINARY], sizeof(text[ORDINARY]), ordinary);
	describe(text[SECRET], sizeof(text[SECRET]), secret);
	print_row(what, text[ORDINARY], text[SECRET]);
	if (ordinary != READ || secret != promised) {
		describe(promise, sizeof(promise), promised);
		deviate("read", promise);
	}
}

static void describe_pages(char *text, size_t size, long pages)
{
	if (pages < 0)
		snprintf(text, size, "not known");
	else
		snprintf(text, size, "%ld of %lu pages", pages,
			 bulks[ORDINARY].nr_pages);
}

/* A row that counts pages; @ok is whether the numbers are as promised. */
static void count(const char *what, long ordinary, long secret, bool ok,
		  const char *promised_ordinary, const char *promised_secret)
{
	char text[COLUMNS][32];

	describe_pages(text[ORDINARY], sizeof(text[ORDINARY]), ordinary);
	describe_pages(text[SECRET], sizeof(text[SECRET]), secret);
	print_row(what, text[ORDINARY], text[SECRET]);
	if (!ok)
		deviate(promised_ordinary, promised_secret);
}

/*
 * Searches of memory
 */

static void search_kernel(void)
{
	struct kcore_search *ordinary = &bulks[ORDINARY];
	struct kcore_search *secret = &bulks[SECRET];
	struct kcore_scan scan;
	unsigned long leaks;

	if (kcore_scan(bulks, COLUMNS, &scan)) {
		count("all its memory, by /proc/kcore", -1, -1, false,
		      "all pages", "none");
		printf("  The scan failed: %s\n", scan.error);
		return;
	}
	/* A copy without its page number is a leak like any other. */
	leaks = kcore_where_total(secret);
	if (leaks < secret->found)
		leaks = secret->found;
	count("all its memory, by /proc/kcore", ordinary->found, leaks,
	      ordinary->found == ordinary->nr_pages && !leaks,
	      "all pages", "none");
	for (int kind = 0; kind < KCORE_KINDS; kind++) {
		if (scan.bytes[kind])
			printf("    %-22s %8llu KiB  %-22lu %lu\n",
			       kcore_kind_name[kind], scan.bytes[kind] >> 10,
			       ordinary->where[kind], secret->where[kind]);
	}
	if (scan.hidden)
		printf("    %-22s %8llu KiB  not in /proc/kcore\n",
		       kcore_kind_name[KCORE_VMALLOC], scan.hidden >> 10);
}

/* Pages of the bulk that the host finds in RAM; -1 if that is unknown. */
static long pages_in_ram(const struct kcore_search *search)
{
	long records = host_search(&search->key);

	return records < 0 ? -1 : (records * KCORE_RECORD_SIZE + (long)page_size - 1) /
				  (long)page_size;
}

static void search_open(void)
{
	long nr_pages = bulks[ORDINARY].nr_pages;
	long ordinary = pages_in_ram(&bulks[ORDINARY]);
	long secret = pages_in_ram(&bulks[SECRET]);

	count("while the file is open", ordinary, secret,
	      ordinary >= nr_pages && secret >= nr_pages,
	      "all pages", "all: it is in RAM");
}

static void search_closed(void)
{
	long ordinary = pages_in_ram(&bulks[ORDINARY]);
	long secret = pages_in_ram(&bulks[SECRET]);

	count("after it is closed", ordinary, secret,
	      ordinary > 0 && !secret, "remains", "none");
}

static void *new_memory(struct column *column, size_t size, int *fd)
{
	void *addr;

	*fd = column->create();
	if (*fd < 0 || ftruncate(*fd, size))
		die(column->name);
	addr = map_shared(*fd, size);
	if (addr == MAP_FAILED)
		die(column->name);
	return addr;
}

static void create_columns(void)
{
	for (int n = 0; n < COLUMNS; n++) {
		struct column *column = &columns[n];
		int fd;

		if (kcore_search_init(&probes[n], 1) ||
		    kcore_search_init(&bulks[n], BULK_SIZE / page_size))
			die("random numbers");
		column->probe = new_memory(column, page_size, &column->fd);
		column->bulk = new_memory(column, BULK_SIZE, &fd);
		close(fd);
		kcore_fill(&probes[n], column->probe, 0, 1);
		kcore_fill(&bulks[n], column->bulk, 0, bulks[n].nr_pages);
	}
}

/* The mapping has the last reference to a file. */
static void close_bulks(void)
{
	for (int n = 0; n < COLUMNS; n++) {
		if (munmap(columns[n].bulk, BULK_SIZE))
			die("munmap");
	}
}

static void print_heading(void)
{
	struct utsname uts;

	uname(&uts);
	printf("Who can read it? Memory of memfd_create(2) and of memfd_secret(2)\n");
	printf("%s %s %s, %ld MiB of memory; %d MiB in %lu pages of each kind\n\n",
	       uts.sysname, uts.release, uts.machine,
	       meminfo_kb("MemTotal") >> 10, BULK_SIZE >> 20,
	       bulks[ORDINARY].nr_pages);
	print_row("", columns[ORDINARY].name, columns[SECRET].name);
}

static void print_table(bool host)
{
	print_group("Its owner");
	ask("reads it", owner_reads, READ);
	ask("hands it to write(2)", owner_writes, READ);

	print_group("A process that was given the descriptor, to read only");
	ask("maps it after F_SEAL_FUTURE_WRITE", by_descriptor, READ);

	print_group("Another process, as root");
	ask("ptrace(2)", by_ptrace, -EIO);
	ask("/proc/PID/mem", by_proc_mem, -EIO);
	ask("process_vm_readv(2)", by_process_vm_readv, -EFAULT);
	ask("core dump", by_core_dump, HOLE);

	print_group("Code that takes a reference to the page");
	ask("vmsplice(2) into a pipe", by_vmsplice, -EFAULT);
	ask("O_DIRECT write to " BLOCK_DEVICE, by_direct_io, -EFAULT);
	ask("io_uring fixed buffer", by_io_uring, -EFAULT);

	print_group("The kernel");
	search_kernel();

	print_group("The host, which dumps the guest's RAM from outside");
	if (host) {
		search_open();
		close_bulks();
		search_closed();
	} else {
		print_row("while the file is open", "not run", "not run");
		print_row("after it is closed", "not run", "not run");
	}
}

static int verdict(bool host, bool without_host)
{
	printf("\n");
	if (host)
		printf("Memory is memory: a secret is in RAM while its file is open, and a dump\n"
		       "from outside has it. Once the file is closed nothing of it is left.\n\n");
	if (deviations) {
		printf("FAILED, number of rows not as promised: %d\n", deviations);
		printf("If it is memfd_create that was not read, the row proves nothing.\n");
		return 1;
	}
	if (!host && !without_host) {
		printf("FAILED: RAM was not searched from outside, $CONTROL is not set.\n");
		return 1;
	}
	printf("As promised: all of them can read ordinary memory, and only the holders of its\n"
	       "descriptor or of a mapping can read secret memory%s.\n",
	       host ? "" : " (RAM was not searched from outside)");
	return 0;
}

int main(int argc, char **argv)
{
	bool without_host = argc == 2 && !strcmp(argv[1], "--no-host");
	bool host = host_is_there() && !without_host;
	int fd;

	if (argc > 1 && !without_host) {
		fprintf(stderr, "usage: %s [--no-host]\n", argv[0]);
		return 2;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	page_size = getpagesize();

	fd = memfd_secret(0);
	if (fd < 0) {
		fprintf(stderr, "demo: memfd_secret: %m\n"
			"Has this kernel the series, and secretmem.enable=1 on its command line?\n");
		return 1;
	}
	close(fd);

	create_columns();
	print_heading();
	print_table(host);
	return verdict(host, without_host);
}
