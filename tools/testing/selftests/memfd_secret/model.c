// SPDX-License-Identifier: GPL-2.0
/*
 * Random calls on a file, each followed by a comparison with a model in
 * ordinary memory: size, contents, which pages exist and which were touched,
 * seals, and the file's charge.
 *
 * The same calls on a memfd have to agree with the model as well, which shows
 * that the model is right.
 *
 * $STEPS is how many calls there are, default 3000; $SECONDS is how long it
 * goes on beyond that, default 0; $SEED selects the calls. A failure prints the
 * seed to repeat it.
 */
#define _GNU_SOURCE
#include "testing.h"

#include <linux/falloc.h>
#include <sys/stat.h>
#include <time.h>

#undef TEST_TIMEOUT_DEFAULT
#define TEST_TIMEOUT_DEFAULT 7200

#define PAGES	24
#define WINDOWS	3

/* The state a file should have. */
struct model {
	size_t size;
	unsigned char *data;
	bool there[PAGES];
	bool touched[PAGES];
	int seals;
	size_t charged;
};

/* A mapping of some pages; a child inherits it. */
struct window {
	char *mem;
	size_t first;
	size_t pages;
	bool writable;
};

static struct model model;
static struct window windows[WINDOWS];
static int fd;
static bool secret;
static unsigned long long state;
static long step;

static unsigned int random_below(unsigned int n)
{
	/* The generator of Numerical Recipes. */
	state = state * 6364136223846793005ULL + 1442695040888963407ULL;
	return (state >> 33) % n;
}

static size_t max_size(void)
{
	return PAGES * page_size;
}

static size_t pages_of(size_t size)
{
	return (size + page_size - 1) / page_size;
}

/* The ends of pages are more likely than offsets in between. */
static size_t random_offset(void)
{
	size_t offset = random_below(PAGES) * page_size;

	switch (random_below(4)) {
	case 0:
		return offset + random_below(page_size);
	case 1:
		return offset + 1;
	case 2:
		return offset + page_size - 1;
	default:
		return offset;
	}
}

/* A range of at least one byte. */
static void random_range(size_t *start, size_t *end)
{
	size_t a = random_offset(), b = random_offset();

	*start = a < b ? a : b;
	*end = a < b ? b : a + 1;
}

static bool said(bool right, const char *what)
{
	if (!right) {
		printf("# step %ld: %s\n", step, what);
		fflush(stdout);
	}
	return right;
}

/*
 * Is @result, with errno, what was expected? An expected error of 0 means
 * success.
 */
static bool as_expected(int result, int expected_errno, const char *what)
{
	if (!expected_errno)
		return said(!result, what);
	return said(result == -1 && errno == expected_errno, what);
}

/*
 * What calls do to the model
 */

static void model_zero(size_t start, size_t end)
{
	memset(model.data + start, 0, end - start);
}

static void model_lose(size_t first, size_t end)
{
	size_t i;

	for (i = first; i < end; i++) {
		model.there[i] = false;
		model.touched[i] = false;
		model_zero(i * page_size, (i + 1) * page_size);
	}
}

static void model_charge(size_t end)
{
	if (end > model.charged)
		model.charged = end;
}

/* The charge does not fall below the mapped part. */
static void model_lower_charge(size_t end)
{
	size_t w;

	for (w = 0; w < WINDOWS; w++)
		if (windows[w].mem && windows[w].first + windows[w].pages > end)
			end = windows[w].first + windows[w].pages;
	if (end < model.charged)
		model.charged = end;
}

static void model_cut(size_t size)
{
	if (size <= model.size) {
		model_lose(pages_of(size), PAGES);
		model_lower_charge(pages_of(size));
	}
	model_zero(size, max_size());
	model.size = size;
}

static void model_allocate(size_t start, size_t end, bool keep_size)
{
	size_t i;

	for (i = start / page_size; i < pages_of(end); i++) {
		/* A memfd treats a page that is allocated again as used. */
		if (model.there[i] && !secret)
			model.touched[i] = true;
		model.there[i] = true;
	}
	model_charge(pages_of(end));
	if (!keep_size && end > model.size)
		model.size = end;
}

static void model_punch(size_t start, size_t end)
{
	model_zero(start, end);
	if (pages_of(start) < end / page_size)
		model_lose(pages_of(start), end / page_size);
}

static bool write_sealed(void)
{
	return model.seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE);
}

static bool may_have_size(size_t size)
{
	return !(size < model.size && (model.seals & F_SEAL_SHRINK)) &&
	       !(size > model.size && (model.seals & F_SEAL_GROW));
}

/* fallocate() beyond the end is refused even if it keeps the size. */
static bool may_allocate(size_t end)
{
	return end <= model.size || !(model.seals & F_SEAL_GROW);
}

static void model_touch(size_t page)
{
	model.there[page] = true;
	model.touched[page] = true;
}

/*
 * Calls
 */

static bool set_size(void)
{
	size_t size = random_offset();
	bool may = may_have_size(size);

	if (may)
		model_cut(size);
	return as_expected(ftruncate(fd, size), may ? 0 : EPERM, "ftruncate");
}

static bool allocate(void)
{
	bool keep_size = random_below(2), may;
	size_t start, end;

	random_range(&start, &end);
	may = may_allocate(end);
	if (may)
		model_allocate(start, end, keep_size);
	return as_expected(fallocate(fd, keep_size ? FALLOC_FL_KEEP_SIZE : 0,
				     start, end - start),
			   may ? 0 : EPERM, "fallocate");
}

static bool punch(void)
{
	bool may = !write_sealed();
	size_t start, end;

	random_range(&start, &end);
	if (may)
		model_punch(start, end);
	return as_expected(fallocate(fd, FALLOC_FL_PUNCH_HOLE |
				     FALLOC_FL_KEEP_SIZE, start, end - start),
			   may ? 0 : EPERM, "punch");
}

static bool zero_range(void)
{
	bool keep_size = random_below(2), may;
	size_t start, end;

	/* Not supported by a memfd. */
	if (!secret)
		return true;
	random_range(&start, &end);
	may = !write_sealed() && may_allocate(end);
	if (may) {
		model_punch(start, end);
		model_allocate(start, end, keep_size);
	}
	return as_expected(fallocate(fd, FALLOC_FL_ZERO_RANGE |
				     (keep_size ? FALLOC_FL_KEEP_SIZE : 0),
				     start, end - start),
			   may ? 0 : EPERM, "zero range");
}

/*
 * Away from all windows: those of a memfd can be extended by merging with a
 * mapping next to them, and then the seals are not checked.
 */
static int error_of_mapping_to_write(void)
{
	char *room = mmap(NULL, 3 * page_size, PROT_NONE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	void *p = mmap(room + page_size, page_size, PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_FIXED, fd, 0);
	int err = p == MAP_FAILED ? errno : 0;

	munmap(room, 3 * page_size);
	return err;
}

static struct window *random_window(void)
{
	return &windows[random_below(WINDOWS)];
}

static bool map_window(void)
{
	struct window *window = random_window();

	if (window->mem)
		munmap(window->mem, window->pages * page_size);
	window->first = random_below(PAGES);
	window->pages = 1 + random_below(PAGES - window->first);
	window->writable = !write_sealed();
	if (!window->writable &&
	    !said(error_of_mapping_to_write() == EPERM,
		  "mmap of a sealed file"))
		return false;
	window->mem = mmap(NULL, window->pages * page_size,
			   PROT_READ | (window->writable ? PROT_WRITE : 0),
			   MAP_SHARED, fd, window->first * page_size);
	if (said(window->mem != MAP_FAILED, "mmap")) {
		model_charge(window->first + window->pages);
		return true;
	}
	window->mem = NULL;
	return false;
}

static bool unmap_window(void)
{
	struct window *window = random_window();
	size_t left = random_below(window->pages + 1);

	if (!window->mem)
		return true;
	/* Unmap from the end. */
	if (munmap(window->mem + left * page_size,
		   (window->pages - left + !window->pages) * page_size) &&
	    left < window->pages)
		return said(false, "munmap");
	window->pages = left;
	if (!left)
		window->mem = NULL;
	return true;
}

static bool remap_window(void)
{
	struct window *window = random_window();
	size_t pages = 1 + random_below(PAGES - window->first), i;
	char *mem;

	if (!window->mem)
		return true;
	mem = mremap(window->mem, window->pages * page_size, pages * page_size,
		     MREMAP_MAYMOVE);
	if (!said(mem != MAP_FAILED, "mremap"))
		return false;
	/* The part by which a locked mapping grows is populated. */
	for (i = window->first + window->pages;
	     secret && i < window->first + pages && i * page_size < model.size; i++)
		model_touch(i);
	window->mem = mem;
	window->pages = pages;
	model_charge(window->first + pages);
	return true;
}

static bool toggle_protection(void)
{
	struct window *window = random_window();
	size_t from = random_below(window->pages + 1);
	size_t len = (window->pages - from) * page_size;
	char *mem = window->mem + from * page_size;

	if (!window->mem || !len)
		return true;
	return said(!mprotect(mem, len, PROT_READ), "mprotect") &&
	       as_expected(mprotect(mem, len, PROT_READ | PROT_WRITE),
			   window->writable ? 0 : EACCES, "mprotect to write");
}

static bool remove_by_madvise(void)
{
	struct window *window = random_window();
	int refusal = 0;
	size_t from, n;

	if (!window->mem)
		return true;
	from = random_below(window->pages);
	n = 1 + random_below(window->pages - from);
	if (!window->writable)
		refusal = EACCES;
	else if (write_sealed())
		refusal = EPERM;
	else
		model_punch((window->first + from) * page_size,
			    (window->first + from + n) * page_size);
	return as_expected(madvise(window->mem + from * page_size,
				   n * page_size, MADV_REMOVE),
			   refusal, "MADV_REMOVE");
}

static bool read_page(struct window *window, size_t page)
{
	size_t offset = (window->first + page) * page_size;
	char *p = window->mem + page * page_size;

	if (offset >= model.size)
		return said(probe_read(p) == SIGBUS, "no SIGBUS for a read");
	if (!said(!probe_read(p), "signal"))
		return false;
	model_touch(window->first + page);
	return said(!memcmp(p, model.data + offset, page_size), "contents");
}

/* Write to one page of a window. */
static bool write_page(struct window *window, size_t page)
{
	size_t index = window->first + page, start = random_below(page_size);
	char *p = window->mem + page * page_size;
	size_t end = (index + 1) * page_size, offset = index * page_size, i;
	int sig;

	if (!window->writable) {
		/* An emulator may read before it writes. */
		sig = probe_write(p, 1);
		return said(sig == SIGSEGV ||
			    (sig == SIGBUS && offset >= model.size),
			    "no signal for a write") && read_page(window, page);
	}
	if (offset >= model.size)
		return said(probe_write(p, 1) == SIGBUS &&
			    probe_read(p) == SIGBUS, "no SIGBUS for a write");
	if (end > model.size)
		end = model.size;
	if (!said(!probe_read(p), "signal"))
		return false;
	model_touch(index);
	/* Not beyond the end of the file: a memfd keeps such bytes. */
	for (i = offset + start; i < end; i += 1 + random_below(64)) {
		model.data[i] = random_below(256);
		p[i - offset] = model.data[i];
	}
	return true;
}

static bool use_window(void)
{
	bool (*use)(struct window *window, size_t page) =
		random_below(2) ? write_page : read_page;
	struct window *window = random_window();
	size_t from, n;

	if (!window->mem)
		return map_window();
	from = random_below(window->pages);
	for (n = 1 + random_below(4); n && from < window->pages; n--, from++)
		if (!use(window, from))
			return false;
	return true;
}

/* A child has the windows as well, with its own page tables. */
static bool use_windows_elsewhere(void)
{
	struct window *window = random_window();
	size_t page, offset;
	pid_t pid;

	if (!window->mem)
		return true;
	page = random_below(window->pages);
	offset = (window->first + page) * page_size;
	pid = fork();
	if (!pid)
		_exit(!(offset < model.size ?
			write_page(window, page) && read_page(window, page) :
			write_page(window, page)));
	if (!said(!wait_status(pid), "another process"))
		return false;
	/* What it has written must be visible here. */
	if (offset < model.size) {
		model_touch(window->first + page);
		memcpy(model.data + offset, window->mem + page * page_size,
		       page_size);
	}
	return true;
}

/*
 * Seals cannot be removed, so sometimes there is a new file
 */

static bool add_seals(void)
{
	int seals = 1 << random_below(5), refusal = 0;
	size_t w;

	/* Most files should have few. */
	if (random_below(4))
		return true;
	if (seals == F_SEAL_WRITE && !(model.seals & F_SEAL_WRITE))
		for (w = 0; w < WINDOWS; w++)
			if (windows[w].mem && windows[w].writable)
				refusal = EBUSY;
	if (model.seals & F_SEAL_SEAL)
		refusal = EPERM;
	if (!refusal)
		model.seals |= seals;
	return as_expected(fcntl(fd, F_ADD_SEALS, seals), refusal, "seal");
}

static bool new_file(void)
{
	size_t w;

	for (w = 0; w < WINDOWS; w++) {
		if (windows[w].mem)
			munmap(windows[w].mem, windows[w].pages * page_size);
		windows[w].mem = NULL;
		windows[w].pages = 0;
	}
	close(fd);
	fd = secret ? memfd_secret(0) : memfd_create("model", MFD_ALLOW_SEALING);
	model_lose(0, PAGES);
	model.size = 0;
	model.seals = 0;
	model.charged = 0;
	return said(fd >= 0, "new file");
}

static bool sometimes_new_file(void)
{
	return random_below(8) ? true : new_file();
}

/*
 * Comparison
 */

static off_t model_seek(size_t offset, int whence)
{
	bool data = whence == SEEK_DATA;
	size_t page;

	if (offset >= model.size)
		return -1;
	for (page = offset / page_size; page < pages_of(model.size); page++) {
		if (model.touched[page] == data)
			return page * page_size > offset ? page * page_size :
							   offset;
	}
	return data ? -1 : (off_t)model.size;
}

static bool compare_seek(size_t offset, int whence)
{
	off_t position = lseek(fd, offset, whence);
	off_t expected = model_seek(offset, whence);

	if (position != expected)
		printf("# %#zx: %#llx instead of %#llx, size %#zx\n", offset,
		       (long long)position, (long long)expected, model.size);
	return said(position == expected,
		    whence == SEEK_DATA ? "SEEK_DATA" : "SEEK_HOLE");
}

static bool compare_windows(void)
{
	size_t w, i, offset;

	for (w = 0; w < WINDOWS; w++) {
		struct window *window = &windows[w];
		unsigned char vec[PAGES];

		if (!window->mem)
			continue;
		if (mincore(window->mem, window->pages * page_size, vec))
			return said(false, "mincore");
		for (i = 0; i < window->pages; i++) {
			offset = (window->first + i) * page_size;
			if (offset >= model.size)
				continue;
			if (!said((vec[i] & 1) == model.touched[window->first + i],
				  "mincore's answer"))
				return false;
			if (model.touched[window->first + i] &&
			    !said(!memcmp(window->mem + i * page_size,
					  model.data + offset, page_size),
				  "contents of a window"))
				return false;
		}
	}
	return true;
}

static bool compare_charge(void)
{
	char path[64];

	if (!secret)
		return true;
	sprintf(path, "/proc/self/fdinfo/%d", fd);
	return said(read_field(path, "charged") * 1024 ==
		    (long)(model.charged * page_size), "charge");
}

static bool compare(void)
{
	size_t offset = random_offset(), there = 0, i;
	struct stat st;

	for (i = 0; i < PAGES; i++)
		there += model.there[i];
	return said(!fstat(fd, &st), "fstat") &&
	       said(st.st_size == (off_t)model.size, "size") &&
	       said(st.st_blocks * 512 == (off_t)(there * page_size),
		    "blocks") &&
	       said(fcntl(fd, F_GET_SEALS) == model.seals, "seals") &&
	       compare_charge() &&
	       compare_seek(offset, SEEK_DATA) &&
	       compare_seek(offset, SEEK_HOLE) &&
	       compare_windows();
}

static bool (* const calls[])(void) = {
	set_size, allocate, punch, zero_range, map_window, unmap_window,
	remap_window, toggle_protection, remove_by_madvise, use_window,
	use_window, use_window, use_windows_elsewhere, add_seals,
	sometimes_new_file,
};

static long number(const char *name, long otherwise)
{
	const char *text = getenv(name);

	return text ? atol(text) : otherwise;
}

static bool agrees_with_the_model(void)
{
	long seed = number("SEED", time(NULL) ^ getpid());
	long steps = number("STEPS", 3000);
	time_t end = time(NULL) + number("SECONDS", 0);
	bool right;

	state = seed;
	model.data = calloc(PAGES + 1, page_size);
	fd = -1;
	right = new_file();
	for (step = 0; right && (step < steps || time(NULL) < end); step++) {
		right = calls[random_below(ARRAY_SIZE(calls))]();
		right = right && compare();
	}
	printf("# %ld steps\n", step);
	if (!right)
		printf("# the same again: SEED=%ld\n", seed);
	fflush(stdout);
	return right;
}

TEST(memfd_agrees_with_the_model)
{
	EXPECT_TRUE(agrees_with_the_model());
}

TEST(secret_file_agrees_with_the_model)
{
	secret = true;
	EXPECT_TRUE(agrees_with_the_model());
}

TEST_HARNESS_MAIN
