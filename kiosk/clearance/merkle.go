package clearance

import (
	"crypto/sha256"

	"golang.org/x/mod/sumdb/tlog"
)

// merkle computes the root of an RFC 6962 tree (section 2.1) in memory that grows with the logarithm of its leaves. The
// hashes of leaves and nodes are those of package tlog, and so are the proofs.
type merkle struct {
	count uint64
	peaks []tlog.Hash // roots of the full subtrees so far, largest first: one for each bit of count
}

func (m *merkle) add(leaf []byte) { m.addHash(tlog.RecordHash(leaf)) }

func (m *merkle) addHash(h tlog.Hash) {
	for n := m.count; n&1 == 1; n >>= 1 {
		last := len(m.peaks) - 1
		h = tlog.NodeHash(m.peaks[last], h)
		m.peaks = m.peaks[:last]
	}
	m.peaks = append(m.peaks, h)
	m.count++
}

func (m *merkle) root() tlog.Hash {
	if m.count == 0 {
		return sha256.Sum256(nil)
	}
	last := len(m.peaks) - 1
	h := m.peaks[last]
	for i := last - 1; i >= 0; i-- {
		h = tlog.NodeHash(m.peaks[i], h)
	}
	return h
}
