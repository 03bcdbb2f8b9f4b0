/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Some secret pages of every past, and ordinary ones.
 */
#ifndef SELFTEST_MOVEMENT_PAGES_H
#define SELFTEST_MOVEMENT_PAGES_H

#include "movement.h"

FIXTURE(pages) {
	struct secrets secrets;
	char *plain;
	size_t nr;
	size_t size;
};

FIXTURE_SETUP(pages)
{
	self->nr = 64;
	self->size = self->nr * page_size;
	self->plain = map_plain(self->size);
	ASSERT_NE(MAP_FAILED, (void *)self->plain);
	fill_alike(self->plain, self->size, 1);
	make_secrets(_metadata, &self->secrets, 16);
	settle();
}

FIXTURE_TEARDOWN(pages)
{
	restore_settings();
	check_secrets(_metadata, &self->secrets);
}

#endif /* SELFTEST_MOVEMENT_PAGES_H */
