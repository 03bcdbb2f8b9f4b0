/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Requests of a guest to the host that runs it, over the port named in
 * $CONTROL:
 *
 *	search HEX		HEX is the complement of the bytes searched for
 *	found NUMBER		how often they are in the guest's RAM, which the
 *				host has dumped from outside
 *	error TEXT		the search failed
 */
#ifndef SELFTEST_HOST_H
#define SELFTEST_HOST_H

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kcore.h"

#define HOST_TIMEOUT_MS	120000

static inline bool host_is_there(void)
{
	return getenv("CONTROL");
}

/*
 * Read one line from the host into @line, without its newline; 0, or -1 and
 * errno.
 */
static inline int host_read_line(int fd, char *line, size_t size)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN };
	size_t len = 0;
	ssize_t nr;

	while (len + 1 < size) {
		nr = poll(&pfd, 1, HOST_TIMEOUT_MS);
		if (!nr)
			errno = ETIMEDOUT;
		if (nr <= 0)
			return -1;
		nr = read(fd, line + len, 1);
		if (!nr)
			errno = EPIPE;
		if (nr <= 0)
			return -1;
		if (line[len] == '\n') {
			line[len] = '\0';
			return 0;
		}
		len++;
	}
	errno = EMSGSIZE;
	return -1;
}

/*
 * How often @key is in the RAM of this guest; -1 if that is unknown, with the
 * reason on standard error.
 */
static inline long host_search(const struct kcore_key *key)
{
	const unsigned char *byte = (const void *)key->complement;
	char line[128], end;
	long count = -1;
	int fd;

	fd = open(getenv("CONTROL") ?: "", O_RDWR | O_CLOEXEC);
	if (fd < 0) {
		fprintf(stderr, "host: port '%s': %s\n",
			getenv("CONTROL") ?: "", strerror(errno));
		return -1;
	}

	strcpy(line, "search ");
	for (size_t n = 0; n < sizeof(key->complement); n++)
		sprintf(line + strlen(line), "%02x", byte[n]);
	strcat(line, "\n");

	if (write(fd, line, strlen(line)) != (ssize_t)strlen(line) ||
	    host_read_line(fd, line, sizeof(line)))
		fprintf(stderr, "host: no answer: %s\n", strerror(errno));
	else if (sscanf(line, "found %ld%c", &count, &end) != 1 || count < 0) {
		fprintf(stderr, "host: %s\n", line);
		count = -1;
	}
	close(fd);
	return count;
}

#endif /* SELFTEST_HOST_H */
