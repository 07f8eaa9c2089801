// See doc.go. The calls are made raw: the C library has no functions for them, and Debian 12's headers know only the oldest.

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "early.h"

// The same on every architecture (asm-generic/unistd.h).
enum { CREATE_RULESET = 444, ADD_RULE = 445, RESTRICT_SELF = 446 };

enum {
	VERSION = 1,           // LANDLOCK_CREATE_RULESET_VERSION
	LOG_SAME_EXEC_OFF = 1, // LANDLOCK_RESTRICT_SELF_LOG_SAME_EXEC_OFF, from version 7
	FIRST_RIGHTS = 0x1FFF, // the file-system rights of version 1
	FIELDS = 3,            // files, network, scopes
	PATH_BENEATH = 1,      // LANDLOCK_RULE_PATH_BENEATH
	WRITE_FILE = 1 << 1,
	READ_FILE = 1 << 2,
	READ_DIR = 1 << 3,
	IOCTL_DEV = 1 << 15    // from version 5; before, whoever may open a device may give it orders
};

static int status;

int pratique_landlock_status(void) { return status; }

// widest finds all rights of one kind: the kernel refuses a mask with a right that it does not know (EINVAL), and a kind
// that it does not know (E2BIG). It returns 0 or an error number.
static int widest(int field, uint64_t *rights) {
	for (uint64_t mask = UINT64_MAX; mask != 0; mask >>= 1) {
		uint64_t only[FIELDS] = {0};
		only[field] = mask;
		long fd = syscall(CREATE_RULESET, only, sizeof only, 0);
		if (fd >= 0) {
			close((int)fd);
			*rights = mask;
			return 0;
		}
		if (errno != EINVAL && errno != E2BIG)
			return errno;
	}
	return 0;
}

// allow makes an exception for a path and what is beneath it. A path that is not there needs none.
static int allow(int ruleset, const char *path, uint64_t rights) {
	struct {
		uint64_t allowed;
		int32_t parent;
	} __attribute__((packed)) rule = {rights, open(path, O_PATH | O_CLOEXEC)};
	if (rule.parent < 0)
		return errno == ENOENT ? 0 : errno;
	int err = syscall(ADD_RULE, ruleset, PATH_BENEATH, &rule, 0) == 0 ? 0 : errno;
	close(rule.parent);
	return err;
}

// allow_usb lets libusb look at the tree of devices and open the one that it was told.
static int allow_usb(int ruleset, uint64_t known, const char *bus, const char *address) {
	char node[sizeof "/dev/bus/usb/000/000"];
	char *bus_end, *address_end;
	unsigned long b = strtoul(bus, &bus_end, 10), a = strtoul(address, &address_end, 10);
	if (*bus_end != '\0' || *address_end != '\0' || b == 0 || b > 999 || a == 0 || a > 127)
		return EINVAL;
	snprintf(node, sizeof node, "/dev/bus/usb/%03lu/%03lu", b, a);
	int err = allow(ruleset, "/sys", READ_FILE | READ_DIR);
	if (err == 0)
		err = allow(ruleset, "/run/udev", READ_FILE | READ_DIR);
	if (err == 0)
		err = allow(ruleset, "/dev/bus/usb", READ_DIR);
	if (err == 0)
		err = allow(ruleset, node, (READ_FILE | WRITE_FILE | IOCTL_DEV) & known);
	return err;
}

// confine restricts this thread. For the mode "usb" it makes the exceptions above.
static int confine(int argc, char **argv) {
	long version = syscall(CREATE_RULESET, NULL, 0, VERSION);
	if (version < 0)
		return errno;
	uint64_t rights[FIELDS] = {0};
	for (int field = 0; field < FIELDS; field++) {
		int err = widest(field, &rights[field]);
		if (err != 0)
			return err;
	}
	if ((rights[0] & FIRST_RIGHTS) != FIRST_RIGHTS)
		return EOPNOTSUPP;
	long ruleset = syscall(CREATE_RULESET, rights, sizeof rights, 0);
	if (ruleset < 0)
		return errno;
	int err = 0;
	if (strcmp(argv[1], "usb") == 0)
		err = argc < 4 ? EINVAL : allow_usb((int)ruleset, rights[0], argv[2], argv[3]);
	if (err == 0 && (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || syscall(RESTRICT_SELF, ruleset, version >= 7 ? LOG_SAME_EXEC_OFF : 0) != 0))
		err = errno;
	close((int)ruleset);
	return err;
}

// at_start runs before the Go runtime, on the only thread that there is.
__attribute__((constructor)) static void at_start(int argc, char **argv) {
	if (argc < 2 || argv[1] == NULL || argv[1][0] == '-' || argv[1][0] == '\0')
		return;
	int err = confine(argc, argv);
	status = err == 0 ? 1 : -err;
}
