// Package kiosk runs a session: one medium, from the first byte to a verdict and, if it is cleared, a signed clearance.
//
// It holds the straight line of the program and the order in which things become durable:
//
//	attached   log entry, before a byte is read
//	scan       in processes of their own (package worker)
//	decided    log entry with verdict, counts and the digest of all items
//	issuing    log entry that is the clearance's own leaf; only for cleared
//	token      written to the state, then "issued" in the log
//
// What a crash leaves is repaired at the next start (see repair.go): a session that never ended is aborted, an issuing
// entry without a token is abandoned, and nothing is issued late.
//
// The package trusts its state folder and the rule pack. It does not trust the medium, nor the processes that read it:
// what they say arrives through a bounded codec, and everything but a complete and consistent report refuses.
package kiosk
