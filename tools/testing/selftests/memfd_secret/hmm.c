// SPDX-License-Identifier: GPL-2.0
/*
 * A device that mirrors a process's page tables, as GPUs and network adapters
 * do, gets no secret page. The device is that of TEST_HMM, which copies from
 * and to the pages it finds. The races have $RACES / 8 rounds.
 */
#define _GNU_SOURCE
#include "threads.h"

#include <linux/types.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#define PAGES 4

/* As in lib/test_hmm_uapi.h. */
struct hmm_dmirror_cmd {
	__u64 addr;
	__u64 ptr;
	__u64 npages;
	__u64 cpages;
	__u64 faults;
};

#define HMM_DMIRROR_READ	_IOWR('H', 0x00, struct hmm_dmirror_cmd)
#define HMM_DMIRROR_WRITE	_IOWR('H', 0x01, struct hmm_dmirror_cmd)
#define HMM_DMIRROR_MIGRATE	_IOWR('H', 0x02, struct hmm_dmirror_cmd)
/* The first is its number in kernels that know a command to move pages back. */
#define HMM_DMIRROR_SNAPSHOT	_IOWR('H', 0x04, struct hmm_dmirror_cmd)
#define HMM_DMIRROR_SNAPSHOT_3	_IOWR('H', 0x03, struct hmm_dmirror_cmd)

#define PROT_OF_NOTHING		0xff
#define PROT_OF_WRITABLE	0x02

enum { SECRET = 1, PLAIN, DEVICE };

/* No device node is created for it: make one. -1 if there is no such device. */
static int open_device(void)
{
	FILE *file = fopen("/proc/devices", "re");
	char line[128], path[] = "/tmp/hmmXXXXXX";
	unsigned int major = 0;
	int fd = -1;

	while (file && fgets(line, sizeof(line), file))
		if (strstr(line, " HMM_DMIRROR"))
			major = atoi(line);
	if (file)
		fclose(file);
	if (!major || !mkdtemp(path))
		return -1;
	strcat(strcpy(line, path), "/device");
	if (!mknod(line, S_IFCHR | 0600, makedev(major, 0)))
		fd = open(line, O_RDWR | O_CLOEXEC);
	unlink(line);
	rmdir(path);
	return fd;
}

/*
 * Secret and ordinary pages, and the buffer that the device copies from and to.
 */
FIXTURE(mirror) {
	int device;
	size_t size;
	char *secret;
	char *plain;
	char *buffer;
};

FIXTURE_VARIANT(mirror) {
	bool touched;
	bool written;
	bool read_only;		/* the mapping */
};

FIXTURE_VARIANT_ADD(mirror, untouched) { };
FIXTURE_VARIANT_ADD(mirror, read) { .touched = true };
FIXTURE_VARIANT_ADD(mirror, written) { .touched = true, .written = true };
FIXTURE_VARIANT_ADD(mirror, read_only) {
	.touched = true, .written = true, .read_only = true,
};

FIXTURE_SETUP(mirror)
{
	size_t i;

	self->size = PAGES * page_size;
	self->secret = map_secret(self->size);
	self->plain = map_plain(self->size);
	self->buffer = map_plain(3 * self->size);
	ASSERT_NE(MAP_FAILED, (void *)self->secret);
	ASSERT_NE(MAP_FAILED, (void *)self->plain);
	ASSERT_NE(MAP_FAILED, (void *)self->buffer);

	fill(self->plain, self->size, PLAIN);
	fill(self->buffer, 3 * self->size, DEVICE);
	if (variant->written)
		fill(self->secret, self->size, SECRET);
	for (i = 0; variant->touched && i < self->size; i += page_size)
		ASSERT_EQ(0, probe_read(self->secret + i));
	if (variant->read_only)
		ASSERT_EQ(0, mprotect(self->secret, self->size, PROT_READ));
	self->device = open_device();
}

FIXTURE_TEARDOWN(mirror)
{
	EXPECT_TRUE(is_filled(self->secret, self->size, SECRET) ||
		    is_zero(self->secret, self->size));
	close(self->device);
}

static int device_do(int device, unsigned long command, const void *p,
		     size_t size, void *buffer)
{
	struct hmm_dmirror_cmd cmd = {
		.addr = (uintptr_t)p,
		.ptr = (uintptr_t)buffer,
		.npages = size / page_size,
	};

	return ioctl(device, command, &cmd);
}

static int device_find(int device, const void *p, size_t size, void *buffer)
{
	int ret = device_do(device, HMM_DMIRROR_SNAPSHOT, p, size, buffer);

	if (ret && errno == EINVAL)
		ret = device_do(device, HMM_DMIRROR_SNAPSHOT_3, p, size, buffer);
	return ret;
}

static bool all_bytes_are(const char *p, size_t n, unsigned char c)
{
	size_t i;

	for (i = 0; i < n && (unsigned char)p[i] == c; i++)
		;
	return i == n;
}

TEST_F(mirror, device_finds_no_page)
{
	if (self->device < 0)
		SKIP(return, "kernel without TEST_HMM");
	EXPECT_EQ(0, device_find(self->device, self->secret, self->size,
				 self->buffer));
	EXPECT_TRUE(all_bytes_are(self->buffer, PAGES, PROT_OF_NOTHING));

	EXPECT_EQ(0, device_find(self->device, self->plain, self->size,
				 self->buffer));
	EXPECT_TRUE(all_bytes_are(self->buffer, PAGES, PROT_OF_WRITABLE));
}

TEST_F(mirror, device_reads_nothing)
{
	if (self->device < 0)
		SKIP(return, "kernel without TEST_HMM");
	EXPECT_EQ(-1, device_do(self->device, HMM_DMIRROR_READ, self->secret,
				self->size, self->buffer));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_TRUE(is_filled(self->buffer, self->size, DEVICE));
	EXPECT_EQ(variant->touched ? PAGES : 0,
		  resident_pages(self->secret, self->size));

	EXPECT_EQ(0, device_do(self->device, HMM_DMIRROR_READ, self->plain,
			       self->size, self->buffer));
	EXPECT_TRUE(is_filled(self->buffer, self->size, PLAIN));
}

TEST_F(mirror, device_writes_nothing)
{
	if (self->device < 0)
		SKIP(return, "kernel without TEST_HMM");
	EXPECT_EQ(-1, device_do(self->device, HMM_DMIRROR_WRITE, self->secret,
				self->size, self->buffer));
	EXPECT_EQ(EFAULT, errno);

	EXPECT_EQ(0, device_do(self->device, HMM_DMIRROR_WRITE, self->plain,
			       self->size, self->buffer));
	EXPECT_TRUE(is_filled(self->plain, self->size, DEVICE));
}

TEST_F(mirror, pages_do_not_move_to_the_device)
{
	unsigned long long frame[PAGES];
	int i;

	if (self->device < 0)
		SKIP(return, "kernel without TEST_HMM");
	for (i = 0; i < PAGES; i++)
		frame[i] = page_frame(self->secret + i * page_size);
	EXPECT_EQ(-1, device_do(self->device, HMM_DMIRROR_MIGRATE, self->secret,
				self->size, self->buffer));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_TRUE(is_filled(self->buffer, self->size, DEVICE));
	for (i = 0; i < PAGES; i++)
		EXPECT_EQ(frame[i], page_frame(self->secret + i * page_size));

	EXPECT_EQ(0, device_do(self->device, HMM_DMIRROR_MIGRATE, self->plain,
			       self->size, self->buffer));
	EXPECT_TRUE(is_filled(self->buffer, self->size, PLAIN));
	EXPECT_EQ(0, page_frame(self->plain));
	/* Reading it brings it back. */
	EXPECT_TRUE(is_filled(self->plain, self->size, PLAIN));
}

/* Move the secret pages between ordinary ones, to make one range. */
static char *surround(char *secret, size_t size)
{
	char *p = map_plain(3 * size);

	if (p == MAP_FAILED ||
	    mremap(secret, size, size, MREMAP_MAYMOVE | MREMAP_FIXED,
		   p + size) == MAP_FAILED)
		return MAP_FAILED;
	fill(p, size, PLAIN);
	fill(p + 2 * size, size, PLAIN);
	return p;
}

TEST_F(mirror, device_finds_ordinary_pages_around_them)
{
	char *p = surround(self->secret, self->size);

	ASSERT_NE(MAP_FAILED, (void *)p);
	self->secret = p + self->size;
	if (self->device < 0)
		SKIP(return, "kernel without TEST_HMM");
	EXPECT_EQ(0, device_find(self->device, p, 3 * self->size,
				 self->buffer));
	EXPECT_TRUE(all_bytes_are(self->buffer, PAGES, PROT_OF_WRITABLE));
	EXPECT_TRUE(all_bytes_are(self->buffer + PAGES, PAGES,
				  PROT_OF_NOTHING));
	EXPECT_TRUE(all_bytes_are(self->buffer + 2 * PAGES, PAGES,
				  PROT_OF_WRITABLE));
}

TEST_F(mirror, device_reads_no_range_with_one_of_them)
{
	char *p = surround(self->secret, self->size);

	ASSERT_NE(MAP_FAILED, (void *)p);
	self->secret = p + self->size;
	if (self->device < 0)
		SKIP(return, "kernel without TEST_HMM");
	EXPECT_EQ(-1, device_do(self->device, HMM_DMIRROR_READ, p,
				3 * self->size, self->buffer));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_TRUE(is_filled(self->buffer, 3 * self->size, DEVICE));
	EXPECT_EQ(0, device_do(self->device, HMM_DMIRROR_READ, p, self->size,
			       self->buffer));
	EXPECT_TRUE(is_filled(self->buffer, self->size, PLAIN));
}

TEST_F(mirror, device_writes_no_range_with_one_of_them)
{
	char *p = surround(self->secret, self->size);

	ASSERT_NE(MAP_FAILED, (void *)p);
	self->secret = p + self->size;
	if (self->device < 0)
		SKIP(return, "kernel without TEST_HMM");
	EXPECT_EQ(-1, device_do(self->device, HMM_DMIRROR_WRITE, p,
				3 * self->size, self->buffer));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_TRUE(is_filled(p, self->size, PLAIN));
	EXPECT_TRUE(is_filled(p + 2 * self->size, self->size, PLAIN));
}

TEST_F(mirror, move_of_ordinary_pages_ends_before_them)
{
	char *p = surround(self->secret, self->size);
	unsigned long long frame;

	ASSERT_NE(MAP_FAILED, (void *)p);
	self->secret = p + self->size;
	if (self->device < 0)
		SKIP(return, "kernel without TEST_HMM");
	frame = page_frame(self->secret);
	EXPECT_EQ(-1, device_do(self->device, HMM_DMIRROR_MIGRATE, p,
				3 * self->size, self->buffer));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_TRUE(is_filled(self->buffer, 3 * self->size, DEVICE));
	EXPECT_EQ(frame, page_frame(self->secret));
	EXPECT_EQ(0, page_frame(p));
	EXPECT_TRUE(is_filled(p, self->size, PLAIN));
	EXPECT_TRUE(is_filled(p + 2 * self->size, self->size, PLAIN));
}

TEST_F(mirror, device_forgets_a_page_where_there_is_a_secret_one_now)
{
	char *p = self->plain;

	if (self->device < 0)
		SKIP(return, "kernel without TEST_HMM");
	EXPECT_EQ(0, device_do(self->device, HMM_DMIRROR_READ, p, self->size,
			       self->buffer));
	EXPECT_TRUE(is_filled(self->buffer, self->size, PLAIN));
	ASSERT_EQ(p, mremap(self->secret, self->size, self->size,
			    MREMAP_MAYMOVE | MREMAP_FIXED, p));
	self->secret = p;
	fill(self->buffer, self->size, DEVICE);
	EXPECT_EQ(-1, device_do(self->device, HMM_DMIRROR_READ, p, self->size,
				self->buffer));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_TRUE(is_filled(self->buffer, self->size, DEVICE));
}

/*
 * While the pages under an address change from ordinary to secret and back.
 */

#define SECRET_BYTE 'S'
#define PLAIN_BYTE 'p'

struct window {
	int device;
	char *p;
	long read;
};

static void *device_reader(void *arg)
{
	struct window *window = arg;
	char *buffer = map_plain(page_size);

	while (!stopped()) {
		if (device_do(window->device, HMM_DMIRROR_READ, window->p,
			      page_size, buffer)) {
			/* The other thread needs mmap_lock as well. */
			usleep(1);
			continue;
		}
		window->read++;
		if (memchr(buffer, SECRET_BYTE, page_size))
			complain();
	}
	return NULL;
}

/* The mmap() unmaps the previous page, which leaves its file with that. */
static bool fill_window(char *p, int fd, int flags, char c)
{
	if (mmap(p, page_size, PROT_READ | PROT_WRITE, flags | MAP_FIXED, fd,
		 0) != p)
		return false;
	close(fd);
	memset(p, c, page_size);
	return true;
}

TEST(device_reads_no_page_that_is_becoming_secret)
{
	struct window window = {
		.device = open_device(), .p = map_plain(page_size),
	};
	pthread_t reader;
	long n;

	if (window.device < 0)
		SKIP(return, "kernel without TEST_HMM");
	ASSERT_NE(MAP_FAILED, (void *)window.p);
	ASSERT_EQ(0, pthread_create(&reader, NULL, device_reader, &window));
	for (n = 0; n < races() / 8 && !wrong; n++) {
		ASSERT_TRUE(fill_window(window.p, secret_file(page_size),
					MAP_SHARED, SECRET_BYTE));
		ASSERT_TRUE(fill_window(window.p, -1,
					MAP_PRIVATE | MAP_ANONYMOUS,
					PLAIN_BYTE));
	}
	stop = true;
	pthread_join(reader, NULL);
	EXPECT_EQ(0, wrong);
	EXPECT_LT(0, window.read) {
		TH_LOG("nothing was read, not even ordinary memory");
	}
}

TEST_HARNESS_MAIN
