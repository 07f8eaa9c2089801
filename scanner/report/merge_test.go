package report

import (
	"reflect"
	"testing"
)

// unit is a report of one logical unit with something in every field.
func unit(volumes int) Report {
	r := Report{Complete: true, Bytes: 4096, SectorSize: 512, BytesRead: 100, Again: Again{5, 6, 7}, Deep: true, Layers: []string{"seccomp", "landlock"},
		Regions: []Region{{Bytes: 4096, Class: RegionVolume}}, Found: []VolumeFinding{{Volume: -1}, {Volume: 0}},
		NotClean: []Item{{Volume: -1, Path: "gap", Kind: Area}, {Volume: 0, Path: "a", Kind: File}}, Types: map[string]uint64{"text/plain": 2},
		Tally: Tally{1, 2, 3, 4, 5, 6, 7, 8, [outcomeEnd]uint64{1, 2, 3, 4, 5, 6, 7, 8}}, Digest: [32]byte{1}}
	for i := range volumes {
		r.Volumes = append(r.Volumes, Volume{ID: i, Outcome: Clean, FileSystem: "fat32"})
	}
	return r
}

func TestMergeCountsEverythingOnce(t *testing.T) {
	got := Merge(unit(2), unit(1), unit(3))
	if !got.Complete || !got.Deep || got.Bytes != 3*4096 || got.BytesRead != 300 || got.Again != (Again{5, 18, 21}) || len(got.Layers) != 2 || len(got.Regions) != 3 || got.Types["text/plain"] != 6 {
		t.Errorf("%+v", got)
	}
	for i, v := range got.Volumes {
		if v.ID != i {
			t.Errorf("volume %d has the id %d", i, v.ID)
		}
	}
	want := []int{-1, 0, -1, 2, -1, 3}
	for i := range want {
		if got.Found[i].Volume != want[i] || got.NotClean[i].Volume != want[i] {
			t.Errorf("finding %d is of volume %d, item of %d, want %d", i, got.Found[i].Volume, got.NotClean[i].Volume, want[i])
		}
	}
	if want := (Tally{3, 6, 9, 12, 15, 18, 21, 24, [outcomeEnd]uint64{3, 6, 9, 12, 15, 18, 21, 24}}); got.Tally != want {
		t.Errorf("tally %+v", got.Tally)
	}
	if one := unit(2); !reflect.DeepEqual(Merge(one), one) {
		t.Error("one report is not itself")
	}
	if a, b := Merge(unit(1), unit(2)), unit(1); !reflect.DeepEqual(b, unit(1)) || a.Digest == b.Digest {
		t.Error("the parts were changed, or the digest is that of one part")
	}
}

func TestT06_MergeIsAsGoodAsTheWorstUnit(t *testing.T) {
	for name, spoil := range map[string]func(*Report){
		"not complete":         func(r *Report) { r.Complete = false },
		"a shortfall":          func(r *Report) { r.Shortfalls = []Shortfall{{"worker-died", "x"}} },
		"more than one sector": func(r *Report) { r.Bytes = 4096 + 256 },
		"more volumes than there may be": func(r *Report) {
			r.Volumes = unit(MaxVolumes - 1).Volumes
		},
	} {
		for at := range 3 {
			units := []Report{unit(1), unit(1), unit(1)}
			spoil(&units[at])
			if got := Merge(units...); got.Complete {
				t.Errorf("%s in unit %d: complete", name, at)
			}
		}
	}
	worse := unit(1)
	worse.Bytes, worse.TooMany, worse.Deep, worse.Layers = -1, true, false, []string{"seccomp"}
	for _, units := range [][]Report{{worse, unit(1)}, {unit(1), worse}} {
		if got := Merge(units...); got.Bytes != -1 || !got.TooMany || got.Deep || len(got.Layers) != 1 {
			t.Errorf("%+v", got)
		}
	}
	if Merge().Complete {
		t.Error("nothing at all is complete")
	}
}
