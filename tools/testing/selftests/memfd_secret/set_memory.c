// SPDX-License-Identifier: GPL-2.0
/*
 * Secret pages come and go while others change attributes of kernel mappings.
 * Socket filters do that: the kernel compiles each into fresh memory, which
 * becomes read-only, on x86 and arm64 in the direct map as well. When that
 * memory is freed its pages leave the direct map for a moment, and come back as
 * ordinary ones.
 *
 * Each test uses $RACES / 2 secret pages, with a default of 5000 for $RACES.
 * Filters are loaded for as long as that takes.
 */
#define _GNU_SOURCE
#include "threads.h"

#include <linux/filter.h>
#include <sys/socket.h>

#define JIT_ENABLE	"/proc/sys/net/core/bpf_jit_enable"
#define OPTMEM_MAX	"/proc/sys/net/core/optmem_max"

/* The number of instructions of a filter; four of them are its function. */
#define FILTER_MIN 4
#define FILTER_MAX 4000

/* The number of pages of small and of large files. */
#define FEW 64
#define MANY 512

#define CHUNK 65536

static void check(bool right)
{
	if (!right)
		complain();
}

/*
 * Filters
 */

/*
 * Attach a filter of @n instructions for the datagrams that @sock receives. It
 * accepts those of @length bytes, if each instruction works.
 */
static int attach_filter(int sock, unsigned int n, unsigned int length)
{
	struct sock_filter code[FILTER_MAX] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_LEN, 0),
	};
	struct sock_fprog program = { n, code };
	unsigned int i, sum = length;

	for (i = 1; i < n - 3; i++) {
		code[i].code = BPF_ALU | BPF_ADD | BPF_K;
		code[i].k = i;
		sum += i;
	}
	code[n - 3] = (struct sock_filter)
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, sum, 0, 1);
	code[n - 2] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, ~0u);
	code[n - 1] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, 0);
	return setsockopt(sock, SOL_SOCKET, SO_ATTACH_FILTER, &program,
			  sizeof(program));
}

static int detach_filter(int sock)
{
	int unused = 0;

	return setsockopt(sock, SOL_SOCKET, SO_DETACH_FILTER, &unused,
			  sizeof(unused));
}

/* Does a datagram of @length bytes arrive? */
static bool arrives(const int *sv, size_t length)
{
	char datagram[256] = "";

	return send(sv[0], datagram, length, 0) == (ssize_t)length &&
	       recv(sv[1], datagram, length, MSG_DONTWAIT) == (ssize_t)length;
}

static long loaded;

static void *filter_loader(void *unused)
{
	unsigned int seed = 1, length;
	int sv[2];

	check(!socketpair(AF_UNIX, SOCK_DGRAM, 0, sv));
	do {
		length = 2 + rand_r(&seed) % 200;
		check(!attach_filter(sv[1], FILTER_MIN + rand_r(&seed) %
				     (FILTER_MAX + 1 - FILTER_MIN), length));
		check(arrives(sv, length));
		check(!arrives(sv, length - 1));
		check(!arrives(sv, length + 1));
		loaded++;
		/*
		 * The next filter replaces this one, or this one is detached.
		 */
		if (rand_r(&seed) % 2)
			continue;
		check(!detach_filter(sv[1]));
		check(arrives(sv, length + 1));
	} while (!stopped());
	close(sv[0]);
	close(sv[1]);
	return NULL;
}

/* The lines of /proc/vmallocinfo about memory of compiled filters. */
static int compiled_filters(void)
{
	FILE *areas = fopen("/proc/vmallocinfo", "re");
	char line[512];
	int n = 0;

	while (areas && fgets(line, sizeof(line), areas))
		n += !!strstr(line, "bpf_jit");
	if (areas)
		fclose(areas);
	return n;
}

/* Are filters compiled, not interpreted? */
static bool compiler_works(void)
{
	int sv[2], n = 0, tries;

	if (socketpair(AF_UNIX, SOCK_DGRAM, 0, sv))
		return false;
	if (!attach_filter(sv[1], FILTER_MAX, 1))
		/*
		 * A line can be missed if the kernel frees an area before it
		 * meanwhile.
		 */
		for (tries = 0; tries < 20 && !n; tries++)
			n = compiled_filters();
	close(sv[0]);
	close(sv[1]);
	return n;
}

/*
 * Secret files
 */

static void use_secret_file(unsigned int pages, unsigned int seed)
{
	int populate = seed % 2 ? MAP_POPULATE : 0;
	const size_t size = pages * page_size;
	int fd = secret_file(size);
	char *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		       MAP_SHARED | populate, fd, 0);
	size_t i;

	check(p != MAP_FAILED);
	if (p == MAP_FAILED)
		return;
	/* Unless populated, each page is added by a write fault of its own. */
	for (i = 0; i < size && !populate; i += page_size)
		check(!probe_write(p + i, 0));
	check(is_zero(p, size));
	fill(p, size, seed);
	check(is_filled(p, size, seed));
	munmap(p, size);
	close(fd);
}

static void use_small_files(void)
{
	unsigned int n;
	long used;

	for (n = 0, used = 0; used < races() / 2 && !wrong; n++) {
		use_secret_file(1 + n * 37 % FEW, n);
		used += 1 + n * 37 % FEW;
	}
}

static void *use_large_files(void *first)
{
	unsigned int seed = (long)first;
	long used;

	for (used = 0; used < races() / 2 && !wrong; used += MANY)
		use_secret_file(MANY, seed++);
	return NULL;
}

static void use_large_files_twice(void)
{
	pthread_t other;

	check(!pthread_create(&other, NULL, use_large_files, (void *)1000));
	use_large_files(NULL);
	pthread_join(other, NULL);
}

/*
 * Other memory
 */

static bool is_all(const char *p, char c, size_t n)
{
	return *p == c && !memcmp(p, p + 1, n - 1);
}

/*
 * Use half of the free memory, which the kernel clears through the direct map.
 */
static bool ordinary_memory_is_good(void)
{
	size_t i, n = read_field("/proc/meminfo", "MemAvailable") * 512;
	bool good = true;
	char *p;

	n -= n % page_size;
	p = mmap(NULL, n, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (p == MAP_FAILED)
		return false;
	for (i = 0; i < n; i += page_size) {
		good &= is_all(p + i, 0, page_size);
		memset(p + i, i / page_size, page_size);
	}
	for (i = 0; i < n; i += page_size)
		good &= is_all(p + i, i / page_size, page_size);
	munmap(p, n);
	return good;
}

/* Can the kernel store @n bytes, written to @in and read from @out? */
static bool kernel_keeps(int in, int out, size_t n)
{
	static char buf[CHUNK];
	size_t i;

	for (i = 0; i < n; i += CHUNK) {
		memset(buf, i / CHUNK, CHUNK);
		if (write(in, buf, CHUNK) != CHUNK)
			return false;
	}
	lseek(out, 0, SEEK_SET);
	for (i = 0; i < n; i += CHUNK)
		if (read(out, buf, CHUNK) != CHUNK ||
		    !is_all(buf, i / CHUNK, CHUNK))
			return false;
	return true;
}

/* Like secret pages, socket buffers are never in highmem. */
static bool socket_memory_is_good(void)
{
	const int size = 16 << 20, room = 2 * size;
	bool good;
	int sv[2];

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, sv))
		return false;
	good = !setsockopt(sv[0], SOL_SOCKET, SO_SNDBUFFORCE, &room,
			   sizeof(room)) &&
	       kernel_keeps(sv[0], sv[1], size);
	close(sv[0]);
	close(sv[1]);
	return good;
}

static bool file_memory_is_good(void)
{
	int fd = memfd_create("ordinary", 0);
	bool good = kernel_keeps(fd, fd, 16 << 20);

	close(fd);
	return good;
}

/* Is there any page frame that is reported as unreadable? */
static bool any_is_unreadable(void)
{
	int fd = open(DIRECT_MAP, O_RDONLY | O_CLOEXEC);
	static char buf[CHUNK];
	bool any = false;
	ssize_t n;

	while (fd >= 0 && !any && (n = read(fd, buf, sizeof(buf))) > 0)
		any = memchr(buf, '-', n) || memchr(buf, '?', n);
	if (fd >= 0)
		close(fd);
	return any;
}

/*
 * The memory of filters returns to the direct map some time after it is freed.
 */
static bool all_is_readable_soon(void)
{
	int tries = 0;

	while (!give_spare_memory_back() || any_is_unreadable()) {
		if (++tries == 10)
			return false;
		usleep(500000);
	}
	return true;
}

/*
 * All of these at once
 */

FIXTURE(filters) {
	bool available;
	char enable[16];
	char optmem[16];
};

FIXTURE_SETUP(filters)
{
	self->available = !access(JIT_ENABLE, W_OK);
	if (!self->available)
		return;
	EXPECT_EQ(0, read_text(JIT_ENABLE, self->enable, sizeof(self->enable)));
	EXPECT_EQ(0, read_text(OPTMEM_MAX, self->optmem, sizeof(self->optmem)));
	EXPECT_EQ(0, write_text(JIT_ENABLE, "1"));
	/*
	 * The default limit for socket options is less than the largest filter.
	 */
	EXPECT_EQ(0, write_text(OPTMEM_MAX, "1000000"));
}

FIXTURE_TEARDOWN(filters)
{
	if (!self->available)
		return;
	EXPECT_EQ(0, write_text(JIT_ENABLE, self->enable));
	EXPECT_EQ(0, write_text(OPTMEM_MAX, self->optmem));
}

static void beside_filters(struct __test_metadata *_metadata,
			   void (*use_secrets)(void))
{
	pthread_t loader;

	EXPECT_TRUE(compiler_works());
	ASSERT_EQ(0, pthread_create(&loader, NULL, filter_loader, NULL));
	use_secrets();
	stop = true;
	pthread_join(loader, NULL);
	EXPECT_EQ(0, wrong);
	EXPECT_LT(0, loaded);
}

TEST_F(filters, load_while_secret_pages_come_and_go)
{
	if (!self->available)
		SKIP(return, "needs root, and a kernel with BPF_JIT");
	beside_filters(_metadata, use_small_files);
}

TEST_F(filters, load_while_two_threads_take_secret_pages)
{
	if (!self->available)
		SKIP(return, "needs root, and a kernel with BPF_JIT");
	beside_filters(_metadata, use_large_files_twice);
}

TEST_F(filters, leave_the_direct_map_intact)
{
	if (!self->available)
		SKIP(return, "needs root, and a kernel with BPF_JIT");
	beside_filters(_metadata, use_small_files);
	EXPECT_TRUE(ordinary_memory_is_good());
	EXPECT_TRUE(socket_memory_is_good());
	EXPECT_TRUE(file_memory_is_good());
	EXPECT_TRUE(frees_unmap() || all_is_readable_soon());
}

TEST_HARNESS_MAIN
