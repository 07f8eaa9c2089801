package clearance

import (
	"bytes"
	"crypto/ecdsa"
	"testing"
	"time"
)

func TestATrustFileComesBackAsItWasSigned(t *testing.T) {
	r := newRig(t, false)
	index := uint64(12)
	other, err := GenerateKeys("kiosk-2", false, exampleTime)
	if err != nil {
		t.Fatal(err)
	}
	r.setTrust(t, func(trust *Trust) {
		trust.Stations = append(trust.Stations, other.Public())
		trust.Stations[0].RevokedFromLog = &index
		trust.Revoked = [][16]byte{{9}, {1}}
		trust.MinRules = map[string]uint64{"b": 2, "a": 1}
		trust.LogKeys, trust.Witnesses = []string{"z+1+AA", "a+1+AA"}, []string{"w+1+AA"}
	})
	got := r.trust
	k, found := got.station(r.keys.Public().KeyID())
	if !found || k.Issuer != "kiosk-1" || *k.RevokedFromLog != 12 || !k.PQ.Equal(r.keys.pq.PublicKey()) || !k.NotAfter.Equal(r.keys.Public().NotAfter) {
		t.Errorf("station came back as %+v", k)
	}
	if got.Version != 7 || got.Demo || !got.QRWithout || len(got.Stations) != 2 || got.Revoked[0] != [16]byte{1} || got.MinRules["b"] != 2 ||
		got.LogKeys[0] != "a+1+AA" || len(got.Witnesses) != 1 || len(got.Roots) != 3 || got.Threshold != 2 {
		t.Errorf("trust file came back as %+v", got)
	}
}

func TestATrustFileIsNotSignedWithoutWhatItNeeds(t *testing.T) {
	r := newRig(t, false)
	all := r.roots
	stranger, err := GenerateRoot()
	if err != nil {
		t.Fatal(err)
	}
	for name, row := range map[string]struct {
		change func(*Trust)
		roots  []*ecdsa.PrivateKey
	}{
		"no signature":           {nil, nil},
		"too few signatures":     {nil, all[:1]},
		"one root twice":         {nil, []*ecdsa.PrivateKey{all[0], all[0]}},
		"a stranger's help":      {nil, []*ecdsa.PrivateKey{all[0], stranger}},
		"no version":             {func(t *Trust) { t.Version = 0 }, all},
		"no time":                {func(t *Trust) { t.Issued = time.Time{} }, all},
		"no threshold":           {func(t *Trust) { t.Threshold = 0 }, all},
		"a threshold too high":   {func(t *Trust) { t.Threshold = 4 }, all},
		"no roots":               {func(t *Trust) { t.Roots = nil }, all},
		"a root listed twice":    {func(t *Trust) { t.Roots = append(t.Roots, t.Roots[0]) }, all},
		"a station twice":        {func(t *Trust) { t.Stations = append(t.Stations, t.Stations[0]) }, all},
		"a revocation twice":     {func(t *Trust) { t.Revoked = [][16]byte{{1}, {1}} }, all},
		"a station of no life":   {func(t *Trust) { t.Stations[0].NotAfter = t.Stations[0].NotBefore }, all},
		"an empty station":       {func(t *Trust) { t.Stations = append(t.Stations, StationKey{}) }, all},
		"a log key of two words": {func(t *Trust) { t.LogKeys = []string{"a b"} }, all},
	} {
		contents := r.contents()
		if row.change != nil {
			row.change(contents)
		}
		if data, err := SignTrust(contents, row.roots...); err == nil || data != nil {
			t.Errorf("%s: it was signed", name)
		}
	}
}

func TestT12_EveryChangedByteOfATrustFileIsRejected(t *testing.T) {
	r := newRig(t, false)
	data := r.setTrust(t, func(trust *Trust) {
		trust.Revoked, trust.MinRules, trust.LogKeys = [][16]byte{{1}, {2}}, map[string]uint64{"baseline": 1}, []string{"log+1+AA"}
	})
	tried := 0
	try := func(what string, i int, changed []byte) {
		tried++
		if _, err := ParseTrust(changed); err == nil {
			t.Fatalf("%s at %d of %d was taken", what, i, len(data))
		}
	}
	for i := range data {
		changed := bytes.Clone(data)
		for _, c := range changes(data[i]) {
			changed[i] = c
			try("change", i, changed)
		}
		try("cut", i, data[:i])
	}
	try("byte added", len(data), append(bytes.Clone(data), 0))
	t.Logf("%d changed trust files of %d bytes rejected", tried, len(data))
}

func TestOnlyWhoTheRootsBeforeSignedTakesTheirPlace(t *testing.T) {
	r := newRig(t, false)
	old := r.trust
	issue := func(change func(*Trust), roots ...*ecdsa.PrivateKey) *Trust {
		contents := r.contents()
		contents.Version++
		contents.Issued = contents.Issued.Add(time.Hour)
		change(contents)
		data, err := SignTrust(contents, roots...)
		if err != nil {
			t.Fatal(err)
		}
		trust, err := ParseTrust(data)
		if err != nil {
			t.Fatal(err)
		}
		return trust
	}
	nothing := func(*Trust) {}
	fresh, err := GenerateRoot()
	if err != nil {
		t.Fatal(err)
	}
	change := func(t *Trust) { t.Roots, t.Threshold = []*ecdsa.PublicKey{&fresh.PublicKey}, 1 }
	for _, row := range []struct {
		name string
		next *Trust
		want bool
	}{
		{"the next version", issue(nothing, r.roots[0], r.roots[1]), true},
		{"new roots that two of the old ones signed", issue(change, fresh, r.roots[0], r.roots[2]), true},
		{"new roots that one of the old ones signed", issue(change, fresh, r.roots[0]), false},
		{"new roots that signed for themselves", issue(change, fresh), false},
		{"the same version", issue(func(t *Trust) { t.Version-- }, r.roots...), false},
		{"an older version", issue(func(t *Trust) { t.Version = 1 }, r.roots...), false},
		{"an earlier time", issue(func(t *Trust) { t.Issued = t.Issued.Add(-2 * time.Hour) }, r.roots...), false},
		{"a demonstration", issue(func(t *Trust) { t.Demo = true }, r.roots...), false},
		{"nothing", nil, false},
		{"what was never signed", r.contents(), false},
	} {
		if err := row.next.Succeeds(old); (err == nil) != row.want {
			t.Errorf("%s: %v", row.name, err)
		}
	}
	if issue(nothing, r.roots...).Succeeds(nil) == nil || issue(nothing, r.roots...).Succeeds(&Trust{}) == nil {
		t.Error("a file succeeds nothing")
	}
}

func TestTheDemonstrationTrustFileChecksItsStation(t *testing.T) {
	r := newRig(t, true)
	data, err := DemoTrust(r.keys, 3, exampleTime.Add(time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	trust, err := ParseTrust(data)
	if err != nil {
		t.Fatal(err)
	}
	v := r.question(r.token(t, nil))
	v.Trust, v.AllowDemo = trust, true
	if got := Verify(v); !trust.Demo || trust.Version != 3 || got.Reason != Valid {
		t.Errorf("%v: %s", got.Reason, got.Text)
	}
}
