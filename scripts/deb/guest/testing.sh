# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# For the tests in here: a plan, and a line of TAP for each check. If a test ends early, its plan is
# not complete, and it has failed.
set -u
export LC_ALL=C

checks=0
failures=0
said=$(mktemp)

plan() {
	echo "1..$1"
	trap 'rm "$said"; [ $failures = 0 ]' EXIT
}

# check SENTENCE COMMAND...: passes if the command succeeds. What it prints is shown if not.
check() {
	checks=$((checks + 1))
	if "${@:2}" >"$said" 2>&1; then
		echo "ok $checks $1"
	else
		failures=$((failures + 1))
		echo "not ok $checks $1"
		sed 's/^/# /' "$said"
	fi
}

# is EXPECTED COMMAND...: the command prints that.
is() {
	local got

	got=$("${@:2}")
	[ "$got" = "$1" ] || {
		echo "expected '$1', got '$got'"
		false
	}
}

# has EXPECTED COMMAND...: the command prints a line with that, and may fail.
has() {
	local got

	got=$("${@:2}" 2>&1 | tr -d '\0')
	grep -qF -e "$1" <<<"$got" || {
		echo "expected '$1', got '$got'"
		false
	}
}

not() {
	! "$@"
}

# Waits for a command to succeed, for half a minute.
wait_for() {
	local tries

	for ((tries = 0; tries < 300; tries++)); do
		"$@" >/dev/null 2>&1 && return
		sleep 0.1
	done
	echo "not within 30 s: $*"
	return 1
}

# Prints the number of kB in a line of /proc/meminfo.
meminfo() {
	awk -v name="$1:" '$1 == name { print $2 }' /proc/meminfo
}

# Starts holder as a service of an ordinary user, which gets a key and holds it in secret memory or
# in a memfd. It may lock as much memory as the kernel permits by default.
start_holder() {
	systemd-run --quiet --collect --unit="holder-$1" --service-type=notify \
		--property=User=nobody --property=LimitMEMLOCK=64K \
		--property=StandardInput=file:/run/key \
		--property="StandardOutput=file:/run/key-of-$1" /job/holder "$1"
}

stop_holder() {
	systemctl stop "holder-$1"
}

pid_of() {
	systemctl show --property=MainPID --value "$1"
}

# Prints the address at which a process has mapped a file of that name.
address_of() {
	awk -v name="$2" 'index($6, name) { sub("-.*", "", $1); print $1; exit }' "/proc/$1/maps"
}

# Prints a page of a process, as root can see it.
read_page() {
	dd if="/proc/$1/mem" bs=4096 skip=$((16#$2 >> 12)) count=1 status=none
}

secret_lines() {
	journalctl --dmesg --boot --output=cat --quiet | grep '^secretmem: '
}

# Whether systemd offers hibernation: "yes", or "na" if the kernel does not.
can_hibernate() {
	busctl call org.freedesktop.login1 /org/freedesktop/login1 org.freedesktop.login1.Manager \
		CanHibernate
}

# A machine that hibernates is to restart once the image is written, and to resume then.
restart_after_image() {
	echo reboot >/sys/power/disk
	mkdir -p /run/systemd/sleep.conf.d
	printf '[Sleep]\nHibernateMode=reboot\n' >/run/systemd/sleep.conf.d/reboot.conf
}

# Asks the kernel to hibernate. To be used where it must refuse.
write_state() {
	echo disk >/sys/power/state
}
