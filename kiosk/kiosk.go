// Package kiosk runs sessions: one medium each, from the first byte to a verdict and, if it is cleared, a signed clearance.
//
// It holds the straight line of the program and the order in which things become durable:
//
//	attached   log entry, before a byte is read
//	scan       in processes of their own (package worker); it does not know what the medium is for
//	decided    log entry with verdict for one class, counts and the digest of all items
//	issuing    log entry that is the clearance's own leaf; only for cleared
//	token      written to the state, then "issued" in the log
//	removed    log entry; nothing is issued after it
//
// State.Screen takes these steps in a line, for one class that is known from the start. A Station takes them for several
// ports at once, as media come and go and people ask: machine.go is the whole of what follows on what, as a pure function.
// There a scan is decided for the station's own class when it ends, and once more for each other class that somebody asks
// for, when they do: the log has one "decided" for each, all over the same scan, and a clearance needs that of its own class.
//
// What a crash leaves is repaired at the next start (see repair.go): a session that never ended is aborted, an issuing
// entry without a token is abandoned, and nothing is issued late.
//
// The package trusts its state folder and the rule pack. It does not trust the medium, nor the processes that read it:
// what they say arrives through a bounded codec, and everything but a complete and consistent report refuses.
package kiosk
