// libyara keeps at most a million matches of one string, drops the rest, and goes on as if nothing were missing: content
// that is filled with a million decoys is "clean" for every rule that asks where a string is. It tells its caller with
// CALLBACK_MSG_TOO_MANY_MATCHES, which go-yara v4.2.4 does not pass on and answers with "continue".
//
// So this file takes the place of libyara's yr_scanner_set_callback, which only stores its arguments (libyara/scanner.c):
// a program's own definition comes before a shared library's. The callback that go-yara sets is called for every other
// message; for this one the scan ends with an error, and the content is unscanned. A test fails if this is not linked.

#include <yara.h>

static YR_CALLBACK_FUNC next; // always go-yara's one function

static int callback(YR_SCAN_CONTEXT* context, int message, void* data, void* user)
{
	if (message == CALLBACK_MSG_TOO_MANY_MATCHES)
		return CALLBACK_ERROR;
	return __atomic_load_n(&next, __ATOMIC_ACQUIRE)(context, message, data, user);
}

void yr_scanner_set_callback(YR_SCANNER* scanner, YR_CALLBACK_FUNC function, void* user)
{
	__atomic_store_n(&next, function, __ATOMIC_RELEASE);
	scanner->callback = callback;
	scanner->user_data = user;
}
