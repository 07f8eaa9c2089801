// Package early closes Landlock around a program that has C in it, before the program's first Go instruction.
//
// Landlock restricts the thread that asks for it and the threads that this one starts. In a program without C the Go runtime
// can make all its threads ask (package sandbox does that). With C in the program it cannot, and by the time that main runs
// there are several. So a C constructor asks, while there is one thread: everything later, the runtime, libyara and the
// rules that it loads, is under Landlock from its start. The rules are those of package sandbox: every right that the
// kernel knows is handled, none is allowed.
//
// There is one exception, for "usbreader usb BUS ADDRESS": libusb has to open its device by name, after threads of its own
// have started. It may read /sys and /run/udev, list /dev/bus/usb, and open that one node, and nothing else. Once it is open
// the filter of package sandbox takes opening away altogether.
//
// It acts only if the program's first argument is a word, as in "yaraworker scan": the test binary of a package that imports
// it is not confined, unless it is started again as a worker. Where it did not act, or could not, Check says so, and
// sandbox.Enter refuses too, since it tries.
//
// It trusts the C library to pass the arguments to constructors, as glibc does. If one does not, Check refuses.
package early
