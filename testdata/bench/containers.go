package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"pratique/testdata/stick"
)

const (
	packedStickName = "packed"
	packedMB        = 120 // of files, before they are packed
	packedFiles     = 60  // in one archive
	// packedPlain is every how manieth file lies on the stick as it is.
	packedPlain = 10
)

// containers measures what unpacking costs, on a stick of archives of a hospital's files: zip, tar.gz, and zips in a zip.
//
//   - container-cost: screening that stick against screening one with the same bytes made unrecognisable, so that nothing is
//     opened.
//   - clamscan-ratio: the time of clamscan on the same files in a folder, against ours. Both unpack, and both look for the
//     same payloads by their hashes and find each.
func containers(dir string, rounds int, screen []string) error {
	payload := []byte("A file that both look for, by its hash. It is harmless.\r\n")
	archives, payloads, err := packedStick(payload)
	if err != nil {
		return err
	}
	closed := slices.Clone(archives)
	for i := range closed {
		b := bytes.Clone(closed[i].Data)
		for j := range b {
			b[j] ^= 0x5A
		}
		closed[i].Data = b
	}
	for name, files := range map[string][]stick.File{"packed": archives, "closed": closed} {
		if err := stick.CreateStick(dir, name, files); err != nil {
			return err
		}
	}
	list, database := filepath.Join(dir, "payload.txt"), filepath.Join(dir, "payload.hsb")
	sum := sha256.Sum256(payload)
	if err := os.WriteFile(list, fmt.Appendf(nil, "%x\n", sum), 0o600); err != nil {
		return err
	}
	if err := os.WriteFile(database, fmt.Appendf(nil, "%x:%d:Payload\n", sum, len(payload)), 0o600); err != nil {
		return err
	}
	ours := func(name string) []string {
		return append(slices.Clone(screen), "--json", "--blocklist", list, filepath.Join(dir, name+".img"))
	}
	// clamscan answers 1 when it finds something. Its limits are raised to ours, so that it does not pass over anything.
	theirs := []string{"sh", "-c", `clamscan -d "$1" -r --no-summary --infected --allmatch --max-filesize=2000M --max-scansize=2000M --max-recursion=24 --max-files=100000 "$2"; test $? -le 1`,
		"sh", database, filepath.Join(dir, "packed")}
	var open, shut, clam, peaks []float64
	for round := range rounds + 1 {
		o, err := measure(ours("packed"))
		if err != nil {
			return err
		}
		s, err := measure(ours("closed"))
		if err != nil {
			return err
		}
		c, err := measure(theirs)
		if err != nil {
			return err
		}
		if n := strings.Count(o.output, `"check":"blocklist"`) + strings.Count(o.output, `"check": "blocklist"`); n != payloads {
			return fmt.Errorf("%d of %d payloads were found", n, payloads)
		}
		if n := strings.Count(c.output, "Payload"); n == 0 {
			return fmt.Errorf("clamscan found nothing:\n%s", c.output)
		}
		if round > 0 {
			open, shut, clam, peaks = append(open, o.seconds), append(shut, s.seconds), append(clam, c.seconds), append(peaks, o.peak)
		}
	}
	fmt.Printf("bench container-seconds %.2f\n", median(open))
	fmt.Printf("bench container-cost %.2f\n", median(open)/median(shut))
	fmt.Printf("bench clamscan-seconds %.2f\n", median(clam))
	fmt.Printf("bench clamscan-ratio %.2f\n", median(clam)/median(open))
	fmt.Printf("bench container-peak-mb %.0f\n", slices.Max(peaks))
	for _, name := range []string{"packed", "closed"} {
		if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
			return err
		}
		if err := os.Remove(filepath.Join(dir, name+".img")); err != nil {
			return err
		}
	}
	return nil
}

// packedStick packs the files of a hospital's stick. Every third archive has the payload in it.
func packedStick(payload []byte) (out []stick.File, payloads int, err error) {
	mix := stick.Mixes()[0]
	files := stick.HospitalFiles(mix, packedMB<<20, 3, nil)
	for i := 0; len(files) > 0; i++ {
		n := min(packedFiles, len(files))
		part := slices.Clone(files[:n])
		files = files[n:]
		if i%packedPlain == 0 {
			out = append(out, part...)
			continue
		}
		if i%3 == 0 {
			part = append(part, stick.File{Path: "payload.bin", Data: payload})
			payloads++
		}
		f := stick.File{Path: fmt.Sprintf("Archives/%03d.%s", i, [3]string{"zip", "tgz", "nested.zip"}[i%3])}
		switch i % 3 {
		case 1:
			f.Data, err = packTar(part)
		case 2:
			f.Data, err = packZip(part)
			if err == nil {
				f.Data, err = packZip([]stick.File{{Path: "inner.zip", Data: f.Data}})
			}
		default:
			f.Data, err = packZip(part)
		}
		if err != nil {
			return nil, 0, err
		}
		f.Size = int64(len(f.Data))
		out = append(out, f)
	}
	return out, payloads, nil
}

func packZip(files []stick.File) ([]byte, error) {
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for i := range files {
		w, err := z.Create(files[i].Path)
		if err == nil {
			_, err = io.Copy(w, files[i].Content())
		}
		if err != nil {
			return nil, err
		}
	}
	err := z.Close()
	return b.Bytes(), err
}

func packTar(files []stick.File) ([]byte, error) {
	var b bytes.Buffer
	g := gzip.NewWriter(&b)
	t := tar.NewWriter(g)
	for i := range files {
		err := t.WriteHeader(&tar.Header{Name: files[i].Path, Size: files[i].Length(), Mode: 0o644})
		if err == nil {
			_, err = io.Copy(t, files[i].Content())
		}
		if err != nil {
			return nil, err
		}
	}
	if err := t.Close(); err != nil {
		return nil, err
	}
	err := g.Close()
	return b.Bytes(), err
}
