// See doc.go. The calls are made raw: the C library has no functions for them, and Debian 12's headers know only the oldest.

#define _GNU_SOURCE
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "early.h"

// The same on every architecture (asm-generic/unistd.h).
enum { CREATE_RULESET = 444, RESTRICT_SELF = 446 };

enum {
	VERSION = 1,           // LANDLOCK_CREATE_RULESET_VERSION
	LOG_SAME_EXEC_OFF = 1, // LANDLOCK_RESTRICT_SELF_LOG_SAME_EXEC_OFF, from version 7
	FIRST_RIGHTS = 0x1FFF, // the file-system rights of version 1
	FIELDS = 3             // files, network, scopes
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

static int confine(void) {
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
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || syscall(RESTRICT_SELF, ruleset, version >= 7 ? LOG_SAME_EXEC_OFF : 0) != 0)
		err = errno;
	close((int)ruleset);
	return err;
}

// at_start runs before the Go runtime, on the only thread that there is.
__attribute__((constructor)) static void at_start(int argc, char **argv) {
	if (argc < 2 || argv[1] == NULL || argv[1][0] == '-' || argv[1][0] == '\0')
		return;
	int err = confine();
	status = err == 0 ? 1 : -err;
}
