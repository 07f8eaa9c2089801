// Package e2e tests a station against real USB stacks: it boots Debian's kernel in QEMU, plugs devices into it, and looks at
// what the kernel and the station make of them. Two kinds of device are plugged: QEMU's own, and software ones that lie
// (package usbdevice), which reach the guest over the usbredir protocol (package usbredir).
//
// One machine is booted for a whole run. Its state is saved once, and each case starts from that in a fraction of a second, so
// that no case sees another's. The first process of the guest is program agent; package wire is what it is told.
//
// The processor is emulated (TCG), which needs no rights and no special machine; it is also some twenty times slower than a
// real one, so times that are measured in the guest are upper bounds. Set PRATIQUE_E2E_ACCEL to run on real KVM.
//
// The harness trusts the guest: what runs there is ours but for the media. The cases are behind the build tag e2e, and with
// it nothing is skipped: without QEMU they fail.
package e2e
