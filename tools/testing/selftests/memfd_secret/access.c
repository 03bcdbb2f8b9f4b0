// SPDX-License-Identifier: GPL-2.0
/*
 * Code that takes references to pages, instead of going through user space's
 * own mapping, gets none of a secret file. Ordinary memory is the control: what
 * is refused here must work there.
 */
#define _GNU_SOURCE
#include "ring.h"
#include "testing.h"

#include <arpa/inet.h>
#include <linux/futex.h>
#include <linux/if_alg.h>
#include <linux/mempolicy.h>
#include <net/if.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>

#define PAGES 4
#define KPF_LRU 5
#define KPF_MLOCKED 33

/*
 * Secret pages in every state that may matter to an access path, and an
 * ordinary mapping of the same size.
 */
FIXTURE(pages) {
	size_t size;
	char *secret;
	char *plain;
};

FIXTURE_VARIANT(pages) {
	bool written;
	bool read_only;		/* the mapping */
	bool settled;		/* no longer in a CPU's batch of new pages */
};

FIXTURE_VARIANT_ADD(pages, just_written) { .written = true };
FIXTURE_VARIANT_ADD(pages, just_read) { };
FIXTURE_VARIANT_ADD(pages, read_only) { .written = true, .read_only = true };
FIXTURE_VARIANT_ADD(pages, written) { .written = true, .settled = true };
FIXTURE_VARIANT_ADD(pages, read) { .settled = true };

static bool touch_pages(char *p, size_t size, bool write)
{
	size_t i;

	if (write)
		fill(p, size, 1);
	for (i = 0; i < size; i += page_size)
		if (probe_read(p + i))
			return false;
	return true;
}

FIXTURE_SETUP(pages)
{
	self->size = PAGES * page_size;
	self->plain = map_plain(self->size);
	ASSERT_NE(MAP_FAILED, (void *)self->plain);
	fill(self->plain, self->size, 2);

	self->secret = map_secret(self->size);
	ASSERT_NE(MAP_FAILED, (void *)self->secret);
	ASSERT_TRUE(touch_pages(self->secret, self->size, variant->written));
	if (variant->read_only)
		ASSERT_EQ(0, mprotect(self->secret, self->size, PROT_READ));
	if (variant->settled)
		write_text("/proc/sys/vm/compact_memory", "1");
}

FIXTURE_TEARDOWN(pages)
{
	EXPECT_TRUE(is_filled(self->secret, self->size, 1) ||
		    is_zero(self->secret, self->size));
}

TEST_F(pages, vmsplice_gives_nothing)
{
	struct iovec secret = { self->secret, self->size };
	struct iovec plain = { self->plain, self->size };
	struct iovec both[] = { plain, secret };
	int fds[2];

	ASSERT_EQ(0, pipe(fds));
	EXPECT_EQ(-1, vmsplice(fds[1], &secret, 1, 0));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(-1, vmsplice(fds[1], &secret, 1, SPLICE_F_GIFT));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(self->size, vmsplice(fds[1], &plain, 1, 0));
	EXPECT_EQ(self->size, vmsplice(fds[1], both, 2, 0));
}

TEST_F(pages, direct_write_to_a_disk_takes_nothing)
{
	int fd = open("/dev/ram0", O_RDWR | O_DIRECT);

	if (fd < 0)
		SKIP(return, "no /dev/ram0");
	EXPECT_EQ(self->size, pwrite(fd, self->plain, self->size, 0));
	EXPECT_EQ(-1, pwrite(fd, self->secret, self->size, 0));
	EXPECT_EQ(EFAULT, errno);
	memset(self->plain, 0, self->size);
	EXPECT_EQ(self->size, pread(fd, self->plain, self->size, 0));
	EXPECT_TRUE(is_filled(self->plain, self->size, 2));
}

TEST_F(pages, direct_read_from_a_disk_changes_nothing)
{
	int fd = open("/dev/ram0", O_RDWR | O_DIRECT);

	if (fd < 0)
		SKIP(return, "no /dev/ram0");
	ASSERT_EQ(self->size, pwrite(fd, self->plain, self->size, 0));
	EXPECT_EQ(-1, pread(fd, self->secret, self->size, 0));
	EXPECT_EQ(EFAULT, errno);
}

TEST_F(pages, io_uring_does_not_register_them)
{
	struct iovec secret = { self->secret, self->size };
	struct iovec plain = { self->plain, self->size };
	struct io_uring_params params = { };
	int fd = ring_descriptor(&params);

	if (fd < 0)
		SKIP(return, "kernel without IO_URING");
	EXPECT_EQ(-1, ring_register(fd, IORING_REGISTER_BUFFERS, &secret, 1));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(0, ring_register(fd, IORING_REGISTER_BUFFERS, &plain, 1));
}

TEST_F(pages, crypto_socket_does_not_take_them)
{
	struct sockaddr_alg alg = {
		.salg_family = AF_ALG, .salg_type = "hash",
		.salg_name = "sha256",
	};
	int fd = socket(AF_ALG, SOCK_SEQPACKET, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&alg, sizeof(alg)))
		SKIP(return, "kernel without CRYPTO_USER_API_HASH");
	fd = accept(fd, NULL, NULL);
	ASSERT_LE(0, fd);
	EXPECT_EQ(-1, send(fd, self->secret, self->size, MSG_MORE));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(self->size, send(fd, self->plain, self->size, 0));
}

/* A socket connected to itself by TCP, over the loopback device. */
static int loopback_connection(void)
{
	struct sockaddr_in addr = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	struct ifreq ifr = { .ifr_name = "lo", .ifr_flags = IFF_UP };
	int listener = socket(AF_INET, SOCK_STREAM, 0);
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	socklen_t len = sizeof(addr);

	ioctl(fd, SIOCSIFFLAGS, &ifr);
	if (bind(listener, (struct sockaddr *)&addr, len) ||
	    listen(listener, 1) ||
	    getsockname(listener, (struct sockaddr *)&addr, &len) ||
	    connect(fd, (struct sockaddr *)&addr, len) ||
	    accept(listener, NULL, NULL) < 0)
		return -1;
	return fd;
}

TEST_F(pages, zero_copy_send_does_not_take_them)
{
	int fd = loopback_connection(), one = 1;

	if (fd < 0)
		SKIP(return, "kernel without INET");
	ASSERT_EQ(0, setsockopt(fd, SOL_SOCKET, SO_ZEROCOPY, &one,
				sizeof(one)));
	EXPECT_EQ(-1, send(fd, self->secret, self->size, MSG_ZEROCOPY));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(self->size, send(fd, self->plain, self->size, MSG_ZEROCOPY));
}

static unsigned long long frames[PAGES];

static bool take_frames(const char *p)
{
	int i;

	for (i = 0; i < PAGES; i++) {
		frames[i] = page_frame(p + i * page_size);
		if (!frames[i])
			return false;
	}
	return true;
}

static int frames_moved(const char *p)
{
	int i, moved = 0;

	for (i = 0; i < PAGES; i++)
		moved += page_frame(p + i * page_size) != frames[i];
	return moved;
}

/* A node with memory other than that of @p; -1 if there is none. */
static int other_node(void *p)
{
	unsigned long nodes = 0;
	int node = -1, n;

	if (syscall(SYS_get_mempolicy, &node, NULL, 0, p,
		    MPOL_F_NODE | MPOL_F_ADDR))
		return -1;
	syscall(SYS_get_mempolicy, NULL, &nodes, sizeof(nodes) * 8, NULL,
		MPOL_F_MEMS_ALLOWED);
	for (n = 0; n < (int)sizeof(nodes) * 8; n++)
		if (n != node && nodes & 1UL << n)
			return n;
	return -1;
}

TEST_F(pages, move_pages_does_not_move_them)
{
	int node = other_node(self->plain), status[PAGES], i;
	void *secret[PAGES], *plain[PAGES];
	int nodes[PAGES];

	if (node < 0)
		SKIP(return, "only one node with memory");
	for (i = 0; i < PAGES; i++) {
		secret[i] = self->secret + i * page_size;
		plain[i] = self->plain + i * page_size;
		nodes[i] = node;
	}
	ASSERT_TRUE(take_frames(self->plain));
	EXPECT_EQ(0, syscall(SYS_move_pages, 0, PAGES, plain, nodes, status,
			     MPOL_MF_MOVE_ALL));
	EXPECT_LT(0, frames_moved(self->plain));

	/* To one node, then to the other: the pages are on one of the two. */
	ASSERT_TRUE(take_frames(self->secret));
	for (i = 0; i < PAGES; i++)
		nodes[i] = 0;
	syscall(SYS_move_pages, 0, PAGES, secret, nodes, status,
		MPOL_MF_MOVE_ALL);
	for (i = 0; i < PAGES; i++)
		nodes[i] = node ?: 1;
	syscall(SYS_move_pages, 0, PAGES, secret, nodes, status,
		MPOL_MF_MOVE_ALL);
	EXPECT_EQ(0, frames_moved(self->secret));
}

TEST_F(pages, mbind_does_not_move_them)
{
	int node = other_node(self->plain);
	unsigned long one, mask;

	if (node < 0)
		SKIP(return, "only one node with memory");
	ASSERT_TRUE(take_frames(self->plain));
	mask = 1UL << node;
	EXPECT_EQ(0, syscall(SYS_mbind, self->plain, self->size, MPOL_BIND,
			     &mask, sizeof(mask) * 8, MPOL_MF_MOVE_ALL));
	EXPECT_LT(0, frames_moved(self->plain));

	ASSERT_TRUE(take_frames(self->secret));
	for (one = 1; one <= 2; one++)
		syscall(SYS_mbind, self->secret, self->size, MPOL_BIND, &one,
			sizeof(one) * 8, MPOL_MF_MOVE_ALL);
	EXPECT_EQ(0, frames_moved(self->secret));
}

TEST_F(pages, compaction_and_reclaim_leave_them_alone)
{
	ASSERT_TRUE(take_frames(self->secret));
	if (write_text("/proc/sys/vm/compact_memory", "1"))
		SKIP(return, "kernel without COMPACTION");
	ASSERT_EQ(0, write_text("/proc/sys/vm/drop_caches", "3"));
	ASSERT_EQ(0, write_text("/proc/sys/vm/compact_memory", "1"));
	EXPECT_EQ(PAGES, resident_pages(self->secret, self->size));
	EXPECT_EQ(0, frames_moved(self->secret));
}

TEST_F(pages, are_on_no_LRU_list)
{
	unsigned long long flags;
	int i;

	if (access("/proc/kpageflags", R_OK))
		SKIP(return, "kernel without PROC_PAGE_MONITOR");
	write_text("/proc/sys/vm/compact_memory", "1");
	/* mlockall() must not put them there either. */
	ASSERT_EQ(0, mlockall(MCL_CURRENT));
	ASSERT_TRUE(take_frames(self->secret));
	for (i = 0; i < PAGES; i++) {
		ASSERT_TRUE(read_page_flags(frames[i], &flags));
		EXPECT_EQ(0, flags & 1ULL << KPF_LRU);
		EXPECT_EQ(0, flags & 1ULL << KPF_MLOCKED);
	}
	ASSERT_TRUE(take_frames(self->plain));
	ASSERT_TRUE(read_page_flags(frames[0], &flags));
	EXPECT_NE(0, flags & 1ULL << KPF_LRU);
	EXPECT_NE(0, flags & 1ULL << KPF_MLOCKED);
}

static void *wake_waiter(void *futex)
{
	/* Retry until the waiter sleeps. */
	while (syscall(SYS_futex, futex, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0)
	       != 1)
		usleep(1000);
	return NULL;
}

TEST(private_futex_works)
{
	pthread_t thread;
	int *futex = map_secret(page_size);

	ASSERT_NE(MAP_FAILED, (void *)futex);
	EXPECT_EQ(-1, syscall(SYS_futex, futex, FUTEX_WAIT_PRIVATE, 1, NULL,
			      NULL, 0));
	EXPECT_EQ(EAGAIN, errno);
	ASSERT_EQ(0, pthread_create(&thread, NULL, wake_waiter, futex));
	EXPECT_EQ(0, syscall(SYS_futex, futex, FUTEX_WAIT_PRIVATE, 0, NULL,
			     NULL, 0));
	pthread_join(thread, NULL);
}

/*
 * A child's copy of an area is not locked. If it could be made dumpable, it
 * could grow by merging with an area that is mapped next to it, which the file
 * would not notice.
 */
static bool grow(char *mem, int fd)
{
	char *next = mem + page_size;

	return !madvise(mem, page_size, MADV_DODUMP) &&
	       mmap(next, page_size, PROT_READ | PROT_WRITE,
		    MAP_SHARED | MAP_FIXED, fd, page_size) == next &&
	       areas(mem, 2 * page_size) == 2 && !vma_has_flag(mem, "lo") &&
	       vma_has_flag(mem, "dd") && vma_has_flag(next, "lo");
}

/* A stopped child that shares a secret page and has a copy of a plain one. */
FIXTURE(tracee) {
	pid_t pid;
	int fd;
	char *area;
	char *secret;
	char *plain;
	char buf[64];
	struct iovec local;
	struct iovec remote_secret;
	struct iovec remote_plain;
	int mem;
};

FIXTURE_VARIANT(tracee) {
	bool grown;		/* the page is one that the mapping grew by */
};

FIXTURE_VARIANT_ADD(tracee, with_a_copy) { };
FIXTURE_VARIANT_ADD(tracee, with_a_copy_that_grew) { .grown = true };

FIXTURE_SETUP(tracee)
{
	char path[32];
	int status;

	self->fd = secret_file(2 * page_size);
	self->area = map_shared(self->fd, 2 * page_size);
	self->plain = map_plain(page_size);
	ASSERT_NE(MAP_FAILED, (void *)self->area);
	ASSERT_NE(MAP_FAILED, (void *)self->plain);
	self->secret = self->area + (variant->grown ? page_size : 0);
	fill(self->secret, page_size, 1);
	fill(self->plain, page_size, 2);
	self->local = (struct iovec){ self->buf, sizeof(self->buf) };
	self->remote_secret = (struct iovec){ self->secret, sizeof(self->buf) };
	self->remote_plain = (struct iovec){ self->plain, sizeof(self->buf) };

	self->pid = fork();
	if (!self->pid) {
		if (variant->grown && !grow(self->area, self->fd))
			_exit(1);
		/* So that the child has the page in its page tables. */
		probe_read(self->secret);
		ptrace(PTRACE_TRACEME, 0, NULL, NULL);
		raise(SIGSTOP);
		_exit(0);
	}
	ASSERT_EQ(self->pid, waitpid(self->pid, &status, WUNTRACED));
	ASSERT_TRUE(WIFSTOPPED(status));
	sprintf(path, "/proc/%d/mem", self->pid);
	self->mem = open(path, O_RDWR);
	ASSERT_LE(0, self->mem);
}

FIXTURE_TEARDOWN(tracee)
{
	kill(self->pid, SIGKILL);
	wait_status(self->pid);
	EXPECT_TRUE(is_filled(self->secret, page_size, 1));
}

TEST_F(tracee, ptrace_does_not_peek)
{
	errno = 0;
	ptrace(PTRACE_PEEKDATA, self->pid, self->plain, NULL);
	EXPECT_EQ(0, errno);
	EXPECT_EQ(-1, ptrace(PTRACE_PEEKDATA, self->pid, self->secret, NULL));
	EXPECT_EQ(EIO, errno);
	errno = 0;
	EXPECT_EQ(-1, ptrace(PTRACE_PEEKTEXT, self->pid, self->secret, NULL));
	EXPECT_EQ(EIO, errno);
}

TEST_F(tracee, ptrace_does_not_poke)
{
	EXPECT_EQ(0, ptrace(PTRACE_POKEDATA, self->pid, self->plain, 1L));
	EXPECT_EQ(-1, ptrace(PTRACE_POKEDATA, self->pid, self->secret, 1L));
	EXPECT_EQ(EIO, errno);
}

TEST_F(tracee, proc_mem_does_not_read)
{
	EXPECT_EQ(sizeof(self->buf), pread(self->mem, self->buf,
					   sizeof(self->buf),
					   (unsigned long)self->plain));
	EXPECT_TRUE(is_filled(self->buf, sizeof(self->buf), 2));
	EXPECT_EQ(-1, pread(self->mem, self->buf, sizeof(self->buf),
			    (unsigned long)self->secret));
	EXPECT_EQ(EIO, errno);
	EXPECT_TRUE(is_filled(self->buf, sizeof(self->buf), 2));
}

TEST_F(tracee, proc_mem_does_not_write)
{
	EXPECT_EQ(sizeof(self->buf), pwrite(self->mem, self->buf,
					    sizeof(self->buf),
					    (unsigned long)self->plain));
	EXPECT_EQ(-1, pwrite(self->mem, self->buf, sizeof(self->buf),
			     (unsigned long)self->secret));
	EXPECT_EQ(EIO, errno);
}

TEST_F(tracee, own_proc_mem_does_not_read_or_write)
{
	int mem = open("/proc/self/mem", O_RDWR);

	ASSERT_LE(0, mem);
	EXPECT_EQ(sizeof(self->buf), pread(mem, self->buf, sizeof(self->buf),
					   (unsigned long)self->plain));
	EXPECT_EQ(-1, pread(mem, self->buf, sizeof(self->buf),
			    (unsigned long)self->secret));
	EXPECT_EQ(EIO, errno);
	EXPECT_EQ(-1, pwrite(mem, self->buf, sizeof(self->buf),
			     (unsigned long)self->secret));
	EXPECT_EQ(EIO, errno);
}

TEST_F(tracee, process_vm_readv_does_not_read)
{
	EXPECT_EQ(sizeof(self->buf),
		  process_vm_readv(self->pid, &self->local, 1,
				   &self->remote_plain, 1, 0));
	EXPECT_TRUE(is_filled(self->buf, sizeof(self->buf), 2));
	EXPECT_EQ(-1, process_vm_readv(self->pid, &self->local, 1,
				       &self->remote_secret, 1, 0));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_TRUE(is_filled(self->buf, sizeof(self->buf), 2));
}

TEST_F(tracee, process_vm_writev_does_not_write)
{
	EXPECT_EQ(sizeof(self->buf),
		  process_vm_writev(self->pid, &self->local, 1,
				    &self->remote_plain, 1, 0));
	EXPECT_EQ(-1, process_vm_writev(self->pid, &self->local, 1,
					&self->remote_secret, 1, 0));
	EXPECT_EQ(EFAULT, errno);
}

/* How often the first 64 bytes of a pattern are in a file. */
static int count_in_file(const char *path, unsigned int seed)
{
	int fd = open(path, O_RDONLY), found = 0, n;
	unsigned char *map;
	struct stat st;
	off_t i;

	if (fd < 0 || fstat(fd, &st))
		return -1;
	map = mmap(NULL, st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (map == MAP_FAILED)
		return -1;
	for (i = 0; i + 64 <= st.st_size; i++) {
		for (n = 0; n < 64 && map[i + n] == pattern(seed, n); n++)
			;
		found += n == 64;
	}
	return found;
}

/*
 * Crash a child that has asked for all its memory to be dumped. If @mem is not
 * NULL, the child grows it first.
 */
static int dump_core(const char *dir, char *mem, int fd)
{
	const struct rlimit unlimited = { RLIM_INFINITY, RLIM_INFINITY };
	char name[64];
	pid_t pid = fork();

	if (!pid) {
		snprintf(name, sizeof(name), "%s/core", dir);
		if (write_text("/proc/sys/kernel/core_pattern", name) ||
		    write_text("/proc/sys/kernel/core_uses_pid", "0") ||
		    write_text("/proc/self/coredump_filter", "0x1ff") ||
		    setrlimit(RLIMIT_CORE, &unlimited) ||
		    (mem && !grow(mem, fd)))
			_exit(1);
		signal(SIGABRT, SIG_DFL);
		abort();
	}
	return wait_status(pid);
}

FIXTURE(core) {
	int fd;
	char *secret;
	char dir[32];
	char path[64];
	char saved[160];
};

FIXTURE_VARIANT(core) {
	int advice;
	bool grown;
};

FIXTURE_VARIANT_ADD(core, dump_by_default) { .advice = MADV_NORMAL };
FIXTURE_VARIANT_ADD(core, dump_after_DODUMP) { .advice = MADV_DODUMP };
FIXTURE_VARIANT_ADD(core, dump_after_it_grew) { .grown = true };

FIXTURE_SETUP(core)
{
	char *plain;

	strcpy(self->dir, "/tmp/secretXXXXXX");
	ASSERT_NE(NULL, mkdtemp(self->dir));
	sprintf(self->path, "%s/core", self->dir);
	ASSERT_EQ(0, read_text("/proc/sys/kernel/core_pattern", self->saved,
			       sizeof(self->saved)));

	self->fd = secret_file(2 * page_size);
	self->secret = map_shared(self->fd, 2 * page_size);
	ASSERT_NE(MAP_FAILED, (void *)self->secret);
	fill(self->secret, page_size, 1);
	fill(self->secret + page_size, page_size, 1);
	plain = map_shared(plain_file(page_size), page_size);
	ASSERT_NE(MAP_FAILED, (void *)plain);
	fill(plain, page_size, 2);
}

FIXTURE_TEARDOWN(core)
{
	write_text("/proc/sys/kernel/core_pattern", self->saved);
	unlink(self->path);
	rmdir(self->dir);
	EXPECT_TRUE(is_filled(self->secret, page_size, 1));
	EXPECT_TRUE(is_filled(self->secret + page_size, page_size, 1));
}

TEST_F(core, contains_no_secret)
{
	madvise(self->secret, 2 * page_size, variant->advice);
	EXPECT_EQ(128 + SIGABRT,
		  dump_core(self->dir, variant->grown ? self->secret : NULL,
			    self->fd));
	EXPECT_EQ(1, count_in_file(self->path, 2)) {
		TH_LOG("the control: ordinary memory in the core");
	}
	EXPECT_EQ(0, count_in_file(self->path, 1));
}

TEST_HARNESS_MAIN
