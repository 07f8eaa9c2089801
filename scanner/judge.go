package scanner

import (
	"bytes"
	"cmp"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"slices"

	"pratique/rules/blocklist"
	"pratique/scanner/report"
)

// executable reports whether the content begins as a program whose structure YARA's modules read. Above the size of a
// slot they would see only a part of it.
func executable(head []byte) bool {
	if bytes.HasPrefix(head, []byte("MZ")) || bytes.HasPrefix(head, []byte("\x7fELF")) || bytes.HasPrefix(head, []byte("dex\n")) {
		return true
	}
	if len(head) < 4 {
		return false
	}
	switch binary.BigEndian.Uint32(head) {
	case 0xFEEDFACE, 0xFEEDFACF, 0xCEFAEDFE, 0xCFFAEDFE, // Mach-O, both byte orders
		0xCAFEBABE, 0xBEBAFECA, 0xCAFEBABF, 0xBFBAFECA: // Mach-O for several processors
		return true
	}
	return false
}

// lists are the blocklists of a scan and the hashes that they need.
type lists struct {
	all  []*blocklist.List
	weak [2]bool // MD5, SHA-1
}

func newLists(all []*blocklist.List) lists {
	l := lists{all: all}
	for _, list := range all {
		l.weak[0] = l.weak[0] || list.Count(blocklist.MD5) > 0
		l.weak[1] = l.weak[1] || list.Count(blocklist.SHA1) > 0
	}
	return l
}

// hasher computes SHA-256, and MD5 and SHA-1 where a list holds such hashes: MD5 alone costs more than the other two.
type hasher struct {
	lists  *lists
	sha256 hash.Hash
	weak   [2]hash.Hash
}

func (l *lists) hasher() *hasher {
	h := &hasher{lists: l, sha256: sha256.New()}
	for i, fresh := range []func() hash.Hash{md5.New, sha1.New} {
		if l.weak[i] {
			h.weak[i] = fresh()
		}
	}
	return h
}

func (h *hasher) reset() {
	h.sha256.Reset()
	for _, w := range h.weak {
		if w != nil {
			w.Reset()
		}
	}
}

func (h *hasher) write(p []byte) {
	h.sha256.Write(p)
	for _, w := range h.weak {
		if w != nil {
			w.Write(p)
		}
	}
}

// finish puts the SHA-256 into the item, and a finding if a list holds one of the hashes.
func (h *hasher) finish(it *report.Item) {
	h.sha256.Sum(it.SHA256[:0])
	sums := []struct {
		alg blocklist.Algorithm
		sum []byte
	}{{blocklist.SHA256, it.SHA256[:]}}
	for i, alg := range []blocklist.Algorithm{blocklist.MD5, blocklist.SHA1} {
		if h.weak[i] != nil {
			sums = append(sums, struct {
				alg blocklist.Algorithm
				sum []byte
			}{alg, h.weak[i].Sum(nil)})
		}
	}
	for _, s := range sums {
		if slices.ContainsFunc(h.lists.all, func(l *blocklist.List) bool { return l.Has(s.alg, s.sum) }) {
			it.Findings = append(it.Findings, report.Finding{Check: report.CheckBlocklist, Rule: "blocklist", Severity: report.Block,
				Offset: -1, Text: fmt.Sprintf("The content is on the blocklist of known harmful files (by its %v).", s.alg)})
		}
	}
}

// conclude makes what is known of an item fit together: findings cut to the worst ones, a path that can be sent, and an
// outcome that follows from both. scanned says that the content was read, hashed and matched in full. An outcome that was
// set before, by a reader that could not locate everything or by a limit, stays.
func conclude(it *report.Item, scanned bool) {
	slices.SortStableFunc(it.Findings, func(a, b report.Finding) int { return cmp.Compare(a.Severity, b.Severity) })
	it.Findings = it.Findings[:min(len(it.Findings), report.MaxPerItem)]
	if it.Path == "" {
		it.Path, it.Outcome = "?", report.Malformed
	}
	if len(it.Path) > report.MaxPathBytes {
		it.Path, it.Outcome = it.Path[:report.MaxPathBytes], report.Malformed
	}
	it.Size = max(it.Size, 0)
	switch {
	case it.Outcome != report.Unscanned || !scanned:
	case len(it.Findings) > 0:
		it.Outcome = report.Flagged
	default:
		it.Outcome = report.Clean
	}
}
