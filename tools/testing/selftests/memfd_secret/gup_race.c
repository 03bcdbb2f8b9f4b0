// SPDX-License-Identifier: GPL-2.0
/*
 * Code that takes references to the pages at an address gets no secret one, at
 * whatever moment it does: the pages there change from ordinary to secret and
 * back all the time, $RACES / 20 times in each test, with a default of 5000 for
 * $RACES.
 *
 * What was taken is checked. While a page is known to be secret nothing must be
 * taken; while it is known to be ordinary all must be; and there must be enough
 * attempts in between.
 */
#define _GNU_SOURCE
#include "ring.h"
#include "threads.h"

#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/uio.h>

#define WINDOW 4
#define BLOCK_DEVICE "/dev/ram0"

/* The contents of pages: the two have no bit in common. */
#define PLAIN 0xf0
#define SECRET 0x0f

/* Fork a child every FORK_INTERVAL changes. */
#define FORK_INTERVAL 64
/* Go on for up to PATIENCE times as long, until everything has happened. */
#define PATIENCE 20

enum state { CHANGING, IS_PLAIN, IS_SECRET, MIXED, STATES };

/* The results of attempts, by the state of the pages at the time. */
struct tally {
	unsigned long taken[STATES];
	unsigned long refused[STATES];
	unsigned long attempts;
	unsigned long taken_by_child;
	unsigned long refused_to_child;
	int unexpected_errno;
};

/* Shared by processes as well as threads. */
static struct {
	/*
	 * For each page of the window: a count of changes times STATES, plus
	 * enum state.
	 */
	unsigned int state[WINDOW];
	struct tally tally;
} *shared;

/* Fixed addresses: the window itself, and one page elsewhere. */
static char *window, *aside;

static void add_one(unsigned long *count)
{
	__atomic_add_fetch(count, 1, __ATOMIC_SEQ_CST);
}

static bool has_secret(const void *buf, size_t size)
{
	const unsigned long *word = buf;
	unsigned long bits = 0, secret;
	size_t i;

	memset(&secret, SECRET, sizeof(secret));
	for (i = 0; i < size / sizeof(*word); i++)
		bits |= word[i];
	return bits & secret;
}

/*
 * Ways to take references to pages
 */

struct taker;

/**
 * struct way - how to get at the pages of somebody's mapping
 * @prepare: sets up the attempts; false if the kernel does not support it
 * @take:    tries to get the @size bytes at @from, and complains if any of them
 *           is secret. Returns how many it got; or -1 and errno; or 0 if it
 *           does not take pages of ordinary files either
 * @refusal: errno if it gets nothing
 * @one_page: only try one page: of several, it takes what it can, and copies the
 *           others through the mapping
 */
struct way {
	bool (*prepare)(struct taker *taker);
	ssize_t (*take)(struct taker *taker, char *from, size_t size);
	int refusal;
	bool one_page;
};

struct taker {
	const struct way *way;
	pthread_t thread;
	pid_t owner;		/* of the window */
	unsigned int seed;
	int file;		/* where to put the data, at @offset */
	off_t offset;
	int pipe[2];
	struct ring ring;
	char *buf;		/* as large as the window */
};

/* Check what was taken: @got bytes of it are in the taker's buffer. */
static void look(const struct taker *taker, ssize_t got)
{
	if (got > 0 && has_secret(taker->buf, got))
		complain();
}

static bool prepare_vmsplice(struct taker *taker)
{
	return !pipe2(taker->pipe, O_NONBLOCK);
}

static ssize_t take_by_vmsplice(struct taker *taker, char *from, size_t size)
{
	struct iovec iov = { from, size };
	ssize_t got = vmsplice(taker->pipe[1], &iov, 1, SPLICE_F_NONBLOCK), n;
	int err = errno;

	/* Let the pipe keep the pages for longer than they are mapped. */
	if (rand_r(&taker->seed) % 2)
		sched_yield();
	while ((n = read(taker->pipe[0], taker->buf, WINDOW * page_size)) > 0)
		look(taker, n);
	/* The kernel cannot read a secret page, even if it has a reference. */
	if (n < 0 && errno != EAGAIN)
		complain();
	errno = err;
	return got;
}

static bool prepare_disk(struct taker *taker)
{
	static int takers;

	taker->file = open(BLOCK_DEVICE, O_RDWR | O_DIRECT | O_CLOEXEC);
	taker->offset = takers++ * WINDOW * page_size;
	memset(taker->buf, PLAIN, WINDOW * page_size);
	return taker->file >= 0 &&
		pwrite(taker->file, taker->buf, WINDOW * page_size,
		       taker->offset) == WINDOW * page_size;
}

static ssize_t take_by_direct_write(struct taker *taker, char *from,
				    size_t size)
{
	ssize_t got = pwrite(taker->file, from, size, taker->offset);

	if (got > 0)
		look(taker, pread(taker->file, taker->buf, got, taker->offset));
	return got;
}

/* The thread that made a page secret checks whether it was written to. */
static ssize_t take_by_direct_read(struct taker *taker, char *from, size_t size)
{
	return pread(taker->file, from, size, taker->offset);
}

static bool prepare_io_uring(struct taker *taker)
{
	taker->file = memfd_create("taken", MFD_CLOEXEC);
	return taker->file >= 0 && ring_create(&taker->ring);
}

/*
 * A registered page stays the same, whatever is mapped at its address by now.
 */
static int write_registered(struct taker *taker, char *from, size_t size)
{
	const struct io_uring_sqe sqe = {
		.opcode = IORING_OP_WRITE_FIXED,
		.fd = taker->file,
		.addr = (uintptr_t)from,
		.len = size,
	};

	return ring_do(&taker->ring, &sqe);
}

static ssize_t take_by_io_uring(struct taker *taker, char *from, size_t size)
{
	struct iovec iov = { from, size };

	if (ring_register(taker->ring.fd, IORING_REGISTER_BUFFERS, &iov, 1))
		return errno == EOPNOTSUPP || errno == EINVAL ? 0 : -1;
	if (write_registered(taker, from, size) != (int)size)
		complain();
	look(taker, pread(taker->file, taker->buf, size, 0));
	if (ring_register(taker->ring.fd, IORING_UNREGISTER_BUFFERS, NULL, 0))
		complain();
	return size;
}

static bool prepare_readv(struct taker *taker)
{
	struct iovec iov = { taker->buf, 1 };

	return process_vm_readv(taker->owner, &iov, 1, &iov, 1, 0) == 1;
}

static ssize_t take_by_readv(struct taker *taker, char *from, size_t size)
{
	struct iovec local = { taker->buf, size }, remote = { from, size };
	ssize_t got = process_vm_readv(taker->owner, &local, 1, &remote, 1, 0);

	look(taker, got);
	return got;
}

static bool prepare_proc_mem(struct taker *taker)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/%d/mem", taker->owner);
	taker->file = open(path, O_RDONLY | O_CLOEXEC);
	return taker->file >= 0;
}

static ssize_t take_by_proc_mem(struct taker *taker, char *from, size_t size)
{
	ssize_t got = pread(taker->file, taker->buf, size, (unsigned long)from);

	look(taker, got);
	return got;
}

static const struct way vmsplice_way = {
	.prepare = prepare_vmsplice,
	.take = take_by_vmsplice,
	.refusal = EFAULT,
};

static const struct way direct_write_way = {
	.prepare = prepare_disk,
	.take = take_by_direct_write,
	.refusal = EFAULT,
	.one_page = true,
};

static const struct way direct_read_way = {
	.prepare = prepare_disk,
	.take = take_by_direct_read,
	.refusal = EFAULT,
	.one_page = true,
};

static const struct way io_uring_way = {
	.prepare = prepare_io_uring,
	.take = take_by_io_uring,
	.refusal = EFAULT,
};

static const struct way readv_way = {
	.prepare = prepare_readv,
	.take = take_by_readv,
	.refusal = EFAULT,
};

static const struct way proc_mem_way = {
	.prepare = prepare_proc_mem,
	.take = take_by_proc_mem,
	.refusal = EIO,
};

/*
 * Taking pages, all the time
 */

static bool prepare(struct taker *taker, const struct way *way, pid_t owner)
{
	taker->way = way;
	taker->owner = owner;
	taker->seed = getpid() + (uintptr_t)way;
	taker->file = -1;
	taker->buf = map_plain(WINDOW * page_size);
	return taker->buf != MAP_FAILED && way->prepare(taker);
}

/* The state of pages @first to @end, if it has been @before all the time. */
static enum state state_since(const unsigned int *before, int first, int end)
{
	unsigned int state;
	bool mixed = false;
	int i;

	for (i = first; i < end; i++) {
		state = __atomic_load_n(&shared->state[i], __ATOMIC_SEQ_CST);
		if (state != before[i] || state % STATES == CHANGING)
			return CHANGING;
		mixed |= state % STATES != before[first] % STATES;
	}
	return mixed ? MIXED : before[first] % STATES;
}

static void judge(const struct taker *taker, ssize_t got, size_t size,
		  enum state state)
{
	struct tally *tally = &shared->tally;

	add_one(&tally->attempts);
	if (!got && state != IS_SECRET)
		return;
	if (got >= 0) {
		add_one(&tally->taken[state]);
		if (state == IS_SECRET ||
		    (state == IS_PLAIN && got != (ssize_t)size))
			complain();
		return;
	}
	add_one(&tally->refused[state]);
	if (errno != taker->way->refusal) {
		tally->unexpected_errno = errno;
		complain();
	}
	if (state == IS_PLAIN)
		complain();
}

static void take_once(struct taker *taker)
{
	int first = rand_r(&taker->seed) % WINDOW;
	int most = taker->way->one_page ? 1 : WINDOW - first;
	int end = first + 1 + rand_r(&taker->seed) % most;
	size_t size = (end - first) * page_size;
	unsigned int before[WINDOW];
	ssize_t got;
	int i, err;

	for (i = first; i < end; i++)
		before[i] = __atomic_load_n(&shared->state[i],
					    __ATOMIC_SEQ_CST);
	got = taker->way->take(taker, window + first * page_size, size);
	err = errno;
	i = state_since(before, first, end);
	errno = err;
	judge(taker, got, size, i);
	/*
	 * The attempt held mmap_lock, which is needed to change the page as
	 * well.
	 */
	if (got < 0)
		usleep(1);
}

static void *take(void *taker)
{
	while (!stopped())
		take_once(taker);
	return NULL;
}

static void on_term(int sig)
{
	stop = true;
}

/* The same in another process, until it gets SIGTERM. */
static pid_t start_process(struct taker *taker)
{
	pid_t pid = fork();

	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		take(taker);
		_exit(!!wrong);
	}
	return pid;
}

/*
 * Changing pages
 */

struct slot {
	char *addr;
	bool is_secret;
	bool in_ramfs;		/* or anonymous memory */
	int ramfs;		/* a file for this page alone */
	int secret;		/* a descriptor, -1 if it is closed already */
	unsigned long long frame;
};

static struct slot slots[WINDOW];
static unsigned int changer_seed;
/* How often a page frame was at the same address before and after a change. */
static unsigned long same_frame;

static unsigned int choose(unsigned int n)
{
	return rand_r(&changer_seed) % n;
}

static void check(bool right)
{
	if (!right)
		complain();
}

static void set_state(const struct slot *slot, enum state state)
{
	unsigned int *where = &shared->state[slot - slots];

	__atomic_store_n(where, (*where / STATES + 1) * STATES + state,
			 __ATOMIC_SEQ_CST);
}

/* Keep the address from being reused while nothing is mapped there. */
static void reserve(char *addr)
{
	check(mmap(addr, page_size, PROT_NONE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == addr);
}

static void map_file(char *addr, int file)
{
	check(mmap(addr, page_size, PROT_READ | PROT_WRITE,
		   MAP_SHARED | MAP_FIXED, file, 0) == addr);
}

/* Ordinary pages are anonymous ones only. */
static bool no_ramfs;

static void make_plain(struct slot *slot)
{
	slot->in_ramfs = !no_ramfs && choose(2);
	if (slot->in_ramfs)
		map_file(slot->addr, slot->ramfs);
	else
		check(mmap(slot->addr, page_size, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) ==
		      slot->addr);
	memset(slot->addr, PLAIN, page_size);
	slot->is_secret = false;
}

/*
 * Free the page while it is mapped, and maybe taken, so that the next secret
 * page can be the same frame at the same address. Unlike other ordinary pages,
 * those of ramfs are not movable memory, and neither are those of secret files.
 */
static void leave_plain(struct slot *slot)
{
	if (slot->in_ramfs)
		check(!ftruncate(slot->ramfs, 0) &&
		      !ftruncate(slot->ramfs, page_size));
}

static void make_secret(struct slot *slot)
{
	slot->secret = secret_file(page_size);
	if (choose(2)) {
		map_file(slot->addr, slot->secret);
		memset(slot->addr, SECRET, page_size);
	} else {
		map_file(aside, slot->secret);
		memset(aside, SECRET, page_size);
		check(mremap(aside, page_size, page_size,
			     MREMAP_MAYMOVE | MREMAP_FIXED, slot->addr) ==
		      slot->addr);
		reserve(aside);
	}
	if (choose(2)) {
		close(slot->secret);
		slot->secret = -1;
	}
	slot->is_secret = true;
}

/* The file is emptied here, or by the next mmap() at this address. */
static void leave_secret(struct slot *slot)
{
	size_t i;

	for (i = 0; i < page_size; i++)
		check(slot->addr[i] == SECRET);

	switch (choose(5)) {
	case 0:
		check(!munmap(slot->addr, page_size));
		break;
	case 1:
		check(mremap(slot->addr, page_size, page_size,
			     MREMAP_MAYMOVE | MREMAP_FIXED, aside) == aside);
		reserve(aside);
		break;
	case 2:
		check(!mprotect(slot->addr, page_size, PROT_NONE));
		break;
	case 3:
		/* Refused for a locked mapping: nothing happens. */
		check(madvise(slot->addr, page_size, MADV_DONTNEED) == -1);
		break;
	}
}

static void change(struct slot *slot)
{
	unsigned long long frame;

	set_state(slot, CHANGING);
	if (slot->is_secret) {
		leave_secret(slot);
		make_plain(slot);
		close(slot->secret);
	} else {
		leave_plain(slot);
		make_secret(slot);
	}
	frame = page_frame(slot->addr);
	same_frame += frame && frame == slot->frame;
	slot->frame = frame;
	set_state(slot, slot->is_secret ? IS_SECRET : IS_PLAIN);
}

/*
 * A child inherits all pages as they are now. It may have the last reference to
 * one of them, and drop it while its parent's pages are being changed and
 * taken.
 */
static pid_t fork_taker(const struct way *way)
{
	struct tally *tally = &shared->tally;
	struct taker taker = { };
	pid_t pid = fork();
	struct slot *slot;
	ssize_t got;

	if (pid)
		return pid;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	wrong = 0;
	check(prepare(&taker, way, getpid()));
	for (slot = slots; !wrong && slot < slots + WINDOW; slot++) {
		got = way->take(&taker, slot->addr, page_size);
		if (slot->is_secret) {
			check(got == -1 && errno == way->refusal &&
			      *slot->addr == SECRET);
			tally->refused_to_child++;
		} else {
			/* A page in ramfs may have been truncated. */
			check(got > 0 || slot->in_ramfs);
			tally->taken_by_child += got > 0;
		}
	}
	_exit(!!wrong);
}

FIXTURE(no_secret_page) {
	struct taker taker[8];
	int nr;
	bool can_take;
	pid_t process, child;
};

FIXTURE_VARIANT(no_secret_page) {
	const struct way *ways[8];	/* NULL ends it */
	bool from_outside;		/* by another process */
};

FIXTURE_VARIANT_ADD(no_secret_page, by_vmsplice) {
	.ways = { &vmsplice_way },
};

FIXTURE_VARIANT_ADD(no_secret_page, by_direct_write) {
	.ways = { &direct_write_way },
};

FIXTURE_VARIANT_ADD(no_secret_page, by_direct_read) {
	.ways = { &direct_read_way },
};

FIXTURE_VARIANT_ADD(no_secret_page, by_io_uring) {
	.ways = { &io_uring_way },
};

FIXTURE_VARIANT_ADD(no_secret_page, by_process_vm_readv) {
	.ways = { &readv_way },
	.from_outside = true,
};

FIXTURE_VARIANT_ADD(no_secret_page, by_proc_mem) {
	.ways = { &proc_mem_way },
	.from_outside = true,
};

FIXTURE_VARIANT_ADD(no_secret_page, by_all_at_once) {
	.ways = { &vmsplice_way, &direct_write_way, &direct_read_way,
		  &io_uring_way, &readv_way, &proc_mem_way },
};

/* Make one file for each page, in a ramfs that ends with the last of them. */
static bool open_ramfs_files(void)
{
	char dir[] = "/tmp/pinXXXXXX", name[32];
	struct slot *slot;
	bool ok;

	if (!mkdtemp(dir))
		return false;
	ok = !mount("none", dir, "ramfs", 0, NULL);
	for (slot = slots; ok && slot < slots + WINDOW; slot++) {
		snprintf(name, sizeof(name), "%s/%td", dir, slot - slots);
		slot->ramfs = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
		ok = slot->ramfs >= 0 && !ftruncate(slot->ramfs, page_size);
	}
	umount2(dir, MNT_DETACH);
	rmdir(dir);
	return ok;
}

/* Later kernels register no pages of files, but those of shared memory. */
static bool ring_takes_ramfs(void)
{
	struct iovec iov = { map_shared(slots[0].ramfs, page_size), page_size };
	struct ring ring;
	bool takes;

	if (!ring_create(&ring))
		return false;
	takes = !ring_register(ring.fd, IORING_REGISTER_BUFFERS, &iov, 1);
	ring_destroy(&ring);
	munmap(iov.iov_base, page_size);
	return takes;
}

FIXTURE_SETUP(no_secret_page)
{
	int i;

	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	window = map_plain(WINDOW * page_size);
	aside = map_plain(page_size);
	ASSERT_NE(MAP_FAILED, (void *)shared);
	ASSERT_NE(MAP_FAILED, (void *)window);
	ASSERT_NE(MAP_FAILED, (void *)aside);
	ASSERT_TRUE(open_ramfs_files());
	for (i = 0; variant->ways[i]; i++)
		if (variant->ways[i] == &io_uring_way)
			no_ramfs = !ring_takes_ramfs();
	for (i = 0; i < WINDOW; i++) {
		slots[i].addr = window + i * page_size;
		slots[i].secret = -1;
		change(&slots[i]);
	}

	self->can_take = true;
	for (i = 0; variant->ways[i] && self->can_take; i++)
		self->can_take = prepare(&self->taker[i], variant->ways[i],
					 getpid());
	self->nr = i;
}

FIXTURE_TEARDOWN(no_secret_page)
{
}

static bool all_happened(void)
{
	const struct tally *tally = &shared->tally;

	return tally->taken[IS_PLAIN] && tally->refused[IS_SECRET] &&
		tally->taken[CHANGING] && tally->refused[CHANGING] &&
		tally->taken_by_child && tally->refused_to_child;
}

/* Wait for a few more attempts, some of them while nothing changes. */
static void linger(void)
{
	const unsigned long *attempts = &shared->tally.attempts;
	unsigned long enough = *attempts + choose(4);
	int tries;

	for (tries = 0; tries < 100 &&
	     __atomic_load_n(attempts, __ATOMIC_SEQ_CST) < enough; tries++)
		usleep(20);
}

TEST_F(no_secret_page, is_taken)
{
	const struct tally *tally = &shared->tally;
	long rounds = races() / 20, n;
	int i;

	if (!self->can_take)
		SKIP(return, "kernel without that way, or no " BLOCK_DEVICE);

	signal(SIGTERM, on_term);
	if (variant->from_outside)
		self->process = start_process(&self->taker[0]);
	for (i = 0; i < self->nr && !variant->from_outside; i++)
		ASSERT_EQ(0, pthread_create(&self->taker[i].thread, NULL, take,
					    &self->taker[i]));

	for (n = 0; !wrong && (n < rounds || (!all_happened() &&
					      n < rounds * PATIENCE)); n++) {
		change(&slots[choose(WINDOW)]);
		if (choose(2))
			linger();
		if (n % FORK_INTERVAL)
			continue;
		if (self->child)
			EXPECT_EQ(0, wait_status(self->child));
		self->child = fork_taker(variant->ways[choose(self->nr)]);
	}
	if (self->child)
		EXPECT_EQ(0, wait_status(self->child));

	stop = true;
	if (variant->from_outside) {
		kill(self->process, SIGTERM);
		EXPECT_EQ(0, wait_status(self->process));
	}
	for (i = 0; i < self->nr && !variant->from_outside; i++)
		pthread_join(self->taker[i].thread, NULL);

	EXPECT_EQ(0, wrong);
	EXPECT_EQ(0, tally->unexpected_errno);
	EXPECT_EQ(0, tally->taken[IS_SECRET]);
	EXPECT_EQ(0, tally->refused[IS_PLAIN]);
	EXPECT_NE(0, tally->taken[IS_PLAIN]);
	EXPECT_NE(0, tally->refused[IS_SECRET]);
	EXPECT_NE(0, tally->taken[CHANGING]);
	EXPECT_NE(0, tally->refused[CHANGING]);
	EXPECT_NE(0, tally->taken_by_child);
	EXPECT_NE(0, tally->refused_to_child);
	TH_LOG("%ld changes, %lu to the same frame; %lu attempts",
	       n, same_frame, tally->attempts);
	TH_LOG("taken: %lu ordinary, %lu changing, %lu by children",
	       tally->taken[IS_PLAIN], tally->taken[CHANGING],
	       tally->taken_by_child);
	TH_LOG("refused: %lu secret, %lu changing, %lu to children",
	       tally->refused[IS_SECRET], tally->refused[CHANGING],
	       tally->refused_to_child);
}

TEST_HARNESS_MAIN
