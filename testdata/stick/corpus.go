package stick

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// Corpus is a tree of n files for comparing readers: names of 1 to 255 units in many scripts, capitals only and mixed,
// deep folders, empty files and sizes up to 256 KiB (most are small: 2,000 files have about 25 MB). All names are legal on
// FAT and exFAT, and no two of a folder are equal in capitals.
func Corpus(n int, seed uint64) []File {
	rng := rand.New(rand.NewPCG(seed, 0xC0F4))
	alphabets := [][]rune{
		[]rune("abcdefghijklmnopqrstuvwxyz0123456789-_ "),
		[]rune("ABCDEFGHIJKLMNOPQRSTUVWXYZ"),
		[]rune("äöüßéèçñøåÆŒłžş"),
		[]rune("абвгдежзийклмнопрстуфхцчшщъыьэюяАБВГ"),
		[]rune("αβγδεζηθικλμνξοπρστυφχψω"),
		[]rune("日本語漢字仮名交文検査画像結果報告書"),
		[]rune("ابتثجحخدذرزسشصضطظعغفقكلمنهوي"),
		[]rune("אבגדהוזחטיכלמנסעפצקרשת"),
		[]rune("😀🚀🏥🩻🧪💊🫀a1"),
		[]rune("semi;comma,plus+eq=[br](x)'q`~!@#$%^&{}"),
	}
	extensions := []string{"txt", "dcm", "pdf", "docx", "jpg", "TXT", "tar.gz", "日本", "x"}
	dirs := []string{"", "Flat", "Flat/second level", "Röntgen/Грудь/胸部", "DICOM/PAT00001/STUDY001"}
	deep := "deep"
	for i := range 24 {
		deep += fmt.Sprintf("/level %02d", i)
		if i%6 == 5 {
			dirs = append(dirs, deep)
		}
	}
	files := []File{{Path: "Empty folder", Dir: true}, {Path: "Flat/also empty", Dir: true}}
	taken := map[string]bool{}
	for i := 0; i < n; {
		alphabet := alphabets[rng.IntN(len(alphabets))]
		units := 1 + rng.IntN(24)
		switch rng.IntN(20) {
		case 0:
			units = 255
		case 1:
			units = 1 + rng.IntN(250)
		}
		tail := fmt.Sprintf("%d.%s", i, extensions[rng.IntN(len(extensions))])
		if rng.IntN(40) == 0 {
			tail = ""
		}
		var name []rune
		room := units - len(Units(tail))
		for room > 0 {
			r := alphabet[rng.IntN(len(alphabet))]
			if room -= len(Units(string(r))); room >= 0 {
				name = append(name, r)
			}
		}
		// A blank or dot at either end is legal on the medium, but the oracles cut it off.
		last := strings.Trim(string(name)+tail, " .")
		dir := dirs[rng.IntN(len(dirs))]
		if len(dirs) > 6 && i < n/2 {
			dir = dirs[i%2] // half of the files lie in two large folders
		}
		path := strings.TrimPrefix(dir+"/"+last, "/")
		if last == "" || taken[strings.ToUpper(path)] {
			continue
		}
		taken[strings.ToUpper(path)] = true
		size := 0
		switch k := rng.IntN(100); {
		case k < 10:
		case k < 70:
			size = rng.IntN(4 << 10)
		case k < 75:
			size = 4096 * (1 + rng.IntN(8)) // whole clusters
		case k < 95:
			size = rng.IntN(32 << 10)
		default:
			size = rng.IntN(256 << 10)
		}
		data := make([]byte, size)
		fillNoise(data, seed^uint64(i)<<32)
		files = append(files, File{Path: path, Data: data, Scatter: rng.IntN(8) == 0, Chained: rng.IntN(4) == 0})
		i++
	}
	return files
}
