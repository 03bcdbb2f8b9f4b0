# SPDX-License-Identifier: GPL-2.0
"""The parts of scripts/series, which says what all of this is about."""
