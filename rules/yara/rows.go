package yara

// #include <stdlib.h>
// #include <yara.h>
import "C"

import (
	"runtime"
	"slices"
	"unsafe"

	libyara "github.com/hillu/go-yara/v4"
)

// libyara looks for the strings of all rules at once, with an automaton that it steps through byte by byte (libyara/scanner.c
// and libyara/ahocorasick.c). A state has a slot for each byte that leads on towards some string, and one for its failure
// link: the state in which to try the same byte when none does. Such tables are small, and slow: in pictures and in all that
// is packed, which is what large files hold, every third byte takes a failure link, the processor cannot guess which, and a
// wrong guess costs as much as three bytes.
//
// So the states that content is in nearly all the time, those nearest to the root, get complete rows here: a transition for
// every byte, to where the failure links would have led. libyara walks through these tables as it does through its own, and
// is after every byte in the state that stands for the one it would have been in. Measured on rules for 1,400 kinds of
// malware, that takes half the time on noise, and two thirds on text and programs. The tests compare all states of the two
// automata, byte by byte.

const (
	// rowSlots is what a state with a complete row takes: its failure link and 256 transitions.
	rowSlots = 1 + 256
	// maxRows is how many states get one: two megabytes, enough for every state of one byte and most of two in public rule
	// sets. Twice as many were no faster.
	maxRows = 2048
	// A transition is the state that it leads to, above slotBits bits with the byte that it is for, and one. In the slot of a
	// failure link these bits are zero, as in one that is not used.
	slotBits = C.YR_AC_SLOT_OFFSET_BITS
	slotMask = 1<<slotBits - 1
	// maxSlots is what the numbers of states, which are places in the table, can go up to.
	maxSlots = 1 << (32 - slotBits)
)

// automaton is libyara's, or one that libyara takes for its own. A state is the slot of its failure link; the root is 0.
type automaton struct {
	next    []uint32 // transitions and failure links
	matches []uint32 // by state: where in libyara's pool its matches are
}

// automatonOf is the automaton that libyara made of rules, in its memory. Of the two tables the second may be longer.
func automatonOf(lib *libyara.Rules) automaton {
	arena := cRules(lib).arena
	next, matches := arena.buffers[C.YR_AC_TRANSITION_TABLE], arena.buffers[C.YR_AC_STATE_MATCHES_TABLE]
	n := min(next.used, matches.used) / C.sizeof_uint32_t
	return automaton{unsafe.Slice((*uint32)(unsafe.Pointer(next.data)), n), unsafe.Slice((*uint32)(unsafe.Pointer(matches.data)), n)}
}

// cRules is what go-yara keeps: nothing but libyara's pointer, as compiled.go makes sure.
func cRules(lib *libyara.Rules) *C.YR_RULES { return *(**C.YR_RULES)(unsafe.Pointer(lib)) }

// quicken gives compiled rules an automaton with complete rows. Where that is not possible they keep libyara's: slower, and
// the same. It is for rules that were just compiled or loaded, once, and takes a millisecond or two.
func quicken(lib *libyara.Rules) {
	if lib == nil {
		return
	}
	old := automatonOf(lib)
	near, aside, ok := old.choose()
	if !ok {
		return
	}
	n := len(old.next) + rowSlots*(len(near)+len(aside))
	memory := C.calloc(C.size_t(2*n), C.sizeof_uint32_t)
	if memory == nil {
		return
	}
	both := unsafe.Slice((*uint32)(memory), 2*n)
	old.complete(near, aside, automaton{both[:n], both[n:]})
	c := cRules(lib)
	c.ac_transition_table, c.ac_match_table = (*C.YR_AC_TRANSITION)(&both[0]), (*C.uint32_t)(&both[n])
	runtime.AddCleanup(lib, func(memory unsafe.Pointer) { C.free(memory) }, memory)
}

// choose returns the states nearest to the root, in that order, which get complete rows, and those that are not among them
// but lie between the root's transitions, where the root's own row will be. It fails if the automaton is not as libyara makes
// it, or too large.
func (a automaton) choose() (near, aside []uint32, ok bool) {
	if len(a.next) < rowSlots {
		return nil, nil, false
	}
	for _, slot := range a.next {
		if int(slot>>slotBits)+rowSlots > len(a.next) {
			return nil, nil, false
		}
	}
	listed := make([]bool, len(a.next))
	listed[0] = true
	for state, i := uint32(0), 0; ; i++ {
		for code := uint32(1); code < rowSlots && len(near) < maxRows; code++ {
			slot := a.next[state+code]
			child := slot >> slotBits
			if slot&slotMask != code || listed[child] {
				continue
			}
			if !listed[a.next[child]>>slotBits] { // a failure link leads nearer to the root
				return nil, nil, false
			}
			listed[child] = true
			near = append(near, child)
		}
		if i == len(near) {
			break
		}
		state = near[i]
	}
	for _, slot := range a.next {
		if state := slot >> slotBits; state < rowSlots && !listed[state] {
			listed[state] = true
			aside = append(aside, state)
		}
	}
	return near, aside, len(a.next)+rowSlots*(len(near)+len(aside)) <= maxSlots
}

// complete writes into empty tables the automaton that does as a does: with complete rows for the root and the states near
// it, and with those aside in other places.
func (a automaton) complete(near, aside []uint32, into automaton) {
	states := slices.Concat([]uint32{0}, near, aside)
	place := make([]uint32, len(a.next)) // of each state, in the new tables
	for state := range place {
		place[state] = uint32(state)
	}
	for i, state := range states[1:] {
		place[state] = uint32(len(a.next) + rowSlots*i)
	}
	for i, slot := range a.next {
		into.next[i] = place[slot>>slotBits]<<slotBits | slot&slotMask
	}
	copy(into.matches, a.matches)
	for i, state := range states {
		row, failure := into.next[place[state]:][:rowSlots], place[a.next[state]>>slotBits]
		switch {
		case state == 0:
			for code := range row { // what begins no string leads back to the root
				row[code] = uint32(code)
			}
		case i <= len(near):
			copy(row, into.next[failure:][:rowSlots]) // which is complete, being nearer
		}
		row[0] = failure << slotBits
		for code := uint32(1); code < rowSlots; code++ {
			if slot := a.next[state+code]; slot&slotMask == code {
				row[code] = place[slot>>slotBits]<<slotBits | code
			}
		}
		if matches := a.matches[state]; matches != 0 { // else the page stays the kernel's one page of zeros
			into.matches[place[state]] = matches
		}
	}
}
