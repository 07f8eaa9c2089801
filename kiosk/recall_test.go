package kiosk

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"flag"
	"fmt"
	mathrand "math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"pratique/kiosk/audit"
	"pratique/kiosk/clearance"
	"pratique/rules"
	"pratique/scanner/report"
)

var recallItems = flag.Int("recall-items", 100_000, "items of past clearances in the test of a recall's speed; make bench does 10,000,000")

// past enters a session of n items that was cleared, as a scan leaves it. The hashes follow from the session's number.
func past(t testing.TB, s *State, number uint64, n int) [16]byte {
	t.Helper()
	ctx := t.Context()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	se := &session{state: s, want: Screening{Pack: pack(t)}, medium: &Medium{Kind: "image", Units: []Unit{{Bytes: 1 << 20}}},
		decisions: map[string]Decision{}, end: func(bool) {}}
	_, err := rand.Read(se.id[:])
	check(err)
	se.spool, err = s.newSpool()
	check(err)
	defer se.spool.Close()
	check(se.append(ctx, audit.Attached{Source: audit.Image, Bytes: 1 << 20, SectorSize: 512}))
	items := s.log.NewItems(se.id, s.names)
	random := mathrand.NewChaCha8(seed(number))
	for i := range n {
		it := report.Item{Path: fmt.Sprintf("IMAGES/SERIES%04d/IM%06d", i/500, i), Kind: report.File, Size: 524_288, Type: "application/dicom", Outcome: report.Clean}
		random.Read(it.SHA256[:])
		check(items.Add(ctx, it))
	}
	se.itemsDigest, se.rows, err = items.Close(ctx)
	check(err)
	se.manifest = clearance.NewSpooledManifest(se.id, se.spool)
	check(se.manifest.Add(0, report.File, "A", 1, [32]byte{1}))
	check(se.manifest.AddVolume(0))
	se.content, err = se.manifest.Seal()
	check(err)
	se.report = report.Report{Complete: true, Bytes: 1 << 20, Volumes: []report.Volume{{Outcome: report.Clean}}}
	d, err := se.decide(ctx, "general")
	check(err)
	if d.Verdict != Cleared {
		t.Fatalf("%+v", d)
	}
	_, err = se.issue(ctx, "general", "person:p")
	check(err)
	return se.id
}

func seed(number uint64) (out [32]byte) {
	binary.BigEndian.PutUint64(out[:], number)
	return out
}

// A recall is for the day on which something terrible is known: it must not take until the next.
func TestRecallOfManyItemsIsQuick(t *testing.T) {
	s := openState(t, t.TempDir())
	const perSession, hashes = 10_000, 10_000
	sessions := max(*recallItems/perSession, 1)
	var last [16]byte
	for i := range sessions {
		last = past(t, s, uint64(i), perSession)
	}
	var known [32]byte
	mathrand.NewChaCha8(seed(uint64(sessions - 1))).Read(known[:])
	var list strings.Builder
	others := mathrand.NewChaCha8([32]byte{0xFF})
	for range hashes - 1 {
		var sum [32]byte
		others.Read(sum[:])
		list.WriteString(hex.EncodeToString(sum[:]) + "\n")
	}
	list.WriteString(hex.EncodeToString(known[:]) + "\n")
	now := pack(t)
	now.Lists = append(now.Lists, []byte(list.String()))
	began, busy := time.Now(), cpu(t)
	found, err := s.recall(t.Context(), now, pack(t))
	took := time.Since(began)
	busy = cpu(t) - busy
	if err != nil || len(found) != 1 || found[0].ID != last || found[0].Items != 1 {
		t.Fatalf("%+v %v", found, err)
	}
	if perItem := busy / time.Duration(sessions*perSession); perItem > 3*time.Microsecond {
		t.Errorf("%d items took %v of the processors' time", sessions*perSession, busy)
	}
	if *recallItems >= 1_000_000 {
		fmt.Printf("bench recall-seconds-%dm %.2f\n", sessions*perSession/1_000_000, took.Seconds())
		fmt.Printf("bench recall-cpu-seconds-%dm %.2f\n", sessions*perSession/1_000_000, busy.Seconds())
		info, err := os.Stat(s.path(audit.FileName))
		if err != nil {
			t.Fatal(err)
		}
		perItem := float64(info.Size()) / float64(sessions*perSession)
		fmt.Printf("bench log-bytes-per-item-%dm %.0f\n", sessions*perSession/1_000_000, perItem)
		// Each item is read once, so time grows as their number does; above the memory's size the disk's rate is what counts.
		fmt.Printf("bench recall-seconds-100m-extrapolated-from-%dm %.1f\n", sessions*perSession/1_000_000, took.Seconds()*100e6/float64(sessions*perSession))
		fmt.Printf("bench recall-seconds-100m-extrapolated-disk-of-500-mb-per-second %.1f\n", perItem*100e6/500e6)
	}
}

// cpu is the processor time of this process until now: on a machine that does other things too, it says more than the clock.
func cpu(t testing.TB) time.Duration {
	t.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func TestHashesComeBackAsTheyWereEntered(t *testing.T) {
	s := openState(t, t.TempDir())
	id := past(t, s, 7, 40_000) // more than two queries of them
	random, seen := mathrand.NewChaCha8(seed(7)), map[[32]byte]bool{}
	for range 40_000 {
		var sum [32]byte
		random.Read(sum[:])
		seen[sum] = true
	}
	n := 0
	err := s.log.Hashes(t.Context(), id, func(sums []byte) error {
		for ; len(sums) > 0; sums = sums[32:] {
			if !seen[[32]byte(sums)] {
				return fmt.Errorf("hash %d is none that was entered", n)
			}
			n++
		}
		return nil
	})
	if err != nil || n != 40_000 {
		t.Fatalf("%d hashes: %v", n, err)
	}
	types, err := s.log.Types(t.Context(), id)
	if err != nil || len(types) != 1 || types["application/dicom"] != 40_000 {
		t.Fatalf("%v %v", types, err)
	}
}

func TestRecallLooksAtIssuedClearancesOnly(t *testing.T) {
	s := openState(t, t.TempDir())
	if found, err := s.recall(t.Context(), rules.Pack{}, rules.Pack{}); err != nil || len(found) != 0 {
		t.Fatalf("%v %v", found, err)
	}
	if listed, err := s.Cleared(t.Context(), Window{}); err != nil || len(listed) != 0 {
		t.Fatalf("%v %v", listed, err)
	}
}

// What a site's root holders are asked to take back is what devices would still take, and no more than a file can name.
func TestARevocationNamesWhatStillHolds(t *testing.T) {
	x := newTeam(t)
	now := time.Now()
	recall := func(n int, station string, expires time.Duration) Recall {
		return Recall{ID: audit.ID{0: byte(n), 1: byte(n >> 8), 15: 1}, Station: station, Issued: now.Add(time.Duration(n) * time.Second), Expires: now.Add(expires), Cause: causeHash}
	}
	list := []Recall{recall(1, "kiosk-1", time.Hour), recall(2, "kiosk-1", -time.Hour), recall(3, x.s.Key().Issuer, time.Hour)}
	if missing, err := x.s.Unrevoked(list); err != nil || len(missing) != 0 {
		t.Errorf("a station without a site: %v %v", missing, err)
	}
	x.enrol()
	if missing, err := x.s.Unrevoked(list); err != nil || len(missing) != 1 || missing[0].ID != list[0].ID {
		t.Errorf("%+v %v", missing, err)
	}
	rev, left := x.s.RevocationOf(list, "recall", nil)
	if left != 0 || len(rev.IDs) != 2 || rev.IDs[0] != list[0].ID.String() || !rev.Since.Equal(list[0].Issued) || rev.Version != 1 {
		t.Errorf("%+v, %d left", rev, left)
	}
	var many []Recall
	for n := range clearance.MaxRevoked + 7 {
		many = append(many, recall(n, "kiosk-1", time.Hour))
	}
	if rev, left := x.s.RevocationOf(many, "recall", nil); left != 7 || len(rev.IDs) != clearance.MaxRevoked || rev.IDs[0] != many[7].ID.String() {
		t.Errorf("%d ids, %d left", len(rev.IDs), left)
	}
	if rev, _ := x.s.RevocationOf(nil, "recall", nil); rev.IDs == nil {
		t.Error("no list at all")
	}
}
