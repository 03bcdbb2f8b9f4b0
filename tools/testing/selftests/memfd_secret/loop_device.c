// SPDX-License-Identifier: GPL-2.0
/*
 * A loop device over a secret file reads nothing of it and changes nothing, and
 * does not keep others from using the file. A memfd below such a device is the
 * control.
 */
#define _GNU_SOURCE
#include "named_file.h"

#include <linux/fs.h>
#include <linux/loop.h>
#include <sys/ioctl.h>

/* A loop device over @fd, -1 if there are none. It ends with its descriptor. */
static int loop_device(int fd, __u32 flags)
{
	struct loop_config config = {
		.fd = fd,
		.info.lo_flags = LO_FLAGS_AUTOCLEAR | flags,
	};
	int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC), loop;
	char path[32];

	if (control < 0)
		return -1;
	sprintf(path, "/dev/loop%d", ioctl(control, LOOP_CTL_GET_FREE));
	close(control);
	loop = open(path, O_RDWR | O_CLOEXEC);
	if (loop >= 0 && ioctl(loop, LOOP_CONFIGURE, &config)) {
		close(loop);
		return -1;
	}
	return loop;
}

TEST_F(file, loop_device_reads_nothing)
{
	int loop = loop_device(self->secret.fd, 0);
	int plain = loop_device(self->plain.fd, 0);
	char *p;

	if (loop < 0 || plain < 0)
		SKIP(return, "kernel without BLK_DEV_LOOP");
	EXPECT_EQ(-1, pread(loop, self->buf, self->size, 0));
	EXPECT_EQ(EIO, errno);
	EXPECT_EQ(-1, pread(open_again(loop, O_RDONLY | O_DIRECT), self->buf,
			    self->size, 0));
	EXPECT_EQ(EIO, errno);
	p = mmap(NULL, self->size, PROT_READ, MAP_PRIVATE, loop, 0);
	ASSERT_NE(MAP_FAILED, (void *)p);
	EXPECT_EQ(SIGBUS, probe_read(p));
	EXPECT_TRUE(is_filled(self->buf, self->size, BUFFER));

	EXPECT_EQ(self->size, pread(plain, self->buf, self->size, 0));
	EXPECT_TRUE(is_filled(self->buf, self->size, PLAIN));
}

/*
 * With direct I/O a loop device has no page cache, if the file below supports
 * that.
 */
TEST_F(file, loop_device_with_direct_io_reads_nothing)
{
	int loop = loop_device(self->secret.fd, LO_FLAGS_DIRECT_IO);
	struct loop_info64 info;

	if (loop < 0)
		SKIP(return, "kernel without BLK_DEV_LOOP");
	ASSERT_EQ(0, ioctl(loop, LOOP_GET_STATUS64, &info));
	EXPECT_EQ(0, info.lo_flags & LO_FLAGS_DIRECT_IO);
	EXPECT_EQ(-1, ioctl(loop, LOOP_SET_DIRECT_IO, 1));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, pread(open_again(loop, O_RDONLY | O_DIRECT), self->buf,
			    self->size, 0));
	EXPECT_EQ(EIO, errno);
	EXPECT_TRUE(is_filled(self->buf, self->size, BUFFER));
}

static bool write_to_disk(int disk, const void *p, size_t size)
{
	return pwrite(disk, p, size, 0) == (ssize_t)size && !fsync(disk);
}

TEST_F(file, loop_device_changes_nothing)
{
	int loop = loop_device(self->secret.fd, 0);
	int plain = loop_device(self->plain.fd, 0);
	__u64 range[] = { 0, page_size };
	int writable = 0;

	if (loop < 0 || plain < 0)
		SKIP(return, "kernel without BLK_DEV_LOOP");
	EXPECT_EQ(-1, pwrite(loop, self->buf, self->size, 0));
	EXPECT_EQ(EPERM, errno);
	EXPECT_EQ(-1, ioctl(loop, BLKDISCARD, range));
	EXPECT_EQ(-1, ioctl(loop, BLKZEROOUT, range));

	EXPECT_EQ(0, ioctl(loop, BLKROSET, &writable));
	EXPECT_FALSE(write_to_disk(loop, self->buf, self->size));
	EXPECT_EQ(-1, ioctl(loop, BLKDISCARD, range));
	EXPECT_EQ(-1, ioctl(loop, BLKZEROOUT, range));

	EXPECT_TRUE(write_to_disk(plain, self->buf, self->size));
	EXPECT_TRUE(is_filled(self->plain.mem, self->size, BUFFER));
}

/* A loop device changes the GFP mask of the file below it. */
TEST_F(file, loop_device_does_not_hinder_its_use)
{
	int fd = secret_file(self->size), loop = loop_device(fd, 0);
	char *p = map_shared(fd, self->size);

	if (loop < 0)
		SKIP(return, "kernel without BLK_DEV_LOOP");
	ASSERT_NE(MAP_FAILED, (void *)p);
	fill(p, page_size, BUFFER);
	EXPECT_EQ(0, ioctl(loop, LOOP_CLR_FD));
	close(loop);
	EXPECT_EQ(0, probe_read(p + page_size));
	EXPECT_TRUE(is_filled(p, page_size, BUFFER));
}

TEST_HARNESS_MAIN
