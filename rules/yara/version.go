package yara

// #include <yara.h>
import "C"

// Version is the version of libyara whose headers this program was built with.
func Version() string { return C.YR_VERSION }
