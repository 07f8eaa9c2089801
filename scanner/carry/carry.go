// Package carry is what scanworker and its supervisor agree on when one folder is carried off a medium: a rule pack that came
// on a stick. scanworker, in its jail, finds the folder and reads the files; the supervisor writes them into a staging folder of
// its own, from where they are verified as if they had come any other way.
//
// The supervisor sends one Job. scanworker answers with messages of package frame, one field set in each:
//
//	Ready     the jail is closed; no foreign byte was read before
//	Progress  at any time: so many bytes were read, of so many
//	File      the name and the size of what follows; not before the file before it is complete
//	Data      the next bytes of that file, at most MaxData
//	Done      the last message: so many files and bytes were sent, or a code says why there are none
//
// Neither side trusts the other. What a name may be (CheckName), how many files there are, and how large each and all of them
// may be are checked on both: by scanworker so that a medium is refused in words, by the Receiver because scanworker has read
// the medium and may be an enemy by then. A name is the one text that crosses: whoever is told why a medium is refused is told
// in the words of this package, which quote nothing.
//
// What is carried is only as good as the medium. That a pack is genuine, whole and newer is for package pack to find out,
// from the copy.
package carry

import (
	"errors"
	"fmt"
	"strings"
)

// Limits on what is carried.
const (
	// MaxFiles: "rulepack publish --carry" writes the chain of root files, of which a station follows 64, and five more. A team's
	// whole repository has two files for each publication.
	MaxFiles = 1_024
	// MaxFile is the largest pack that package pack takes.
	MaxFile = 1 << 30
	// MaxBytes has room for that pack and 64 KiB of signatures in every other file.
	MaxBytes = MaxFile + MaxFiles*(64<<10)
	// MaxDepth: a pack lies in targets/rules/.
	MaxDepth = 3
	// MaxName bounds a name and its folders, in bytes: a pack's file is called SHA256.NAME-VERSION.pack.
	MaxName = 255
	// MaxData bounds the bytes of one message, well below what package frame takes.
	MaxData = 128 << 10
	// maxFolder bounds the name of the folder that is looked for.
	maxFolder = 64
)

// Job says what to carry.
type Job struct {
	Size       int64  `cbor:"1,keyasint"` // of the medium, in bytes
	SectorSize int    `cbor:"2,keyasint"` // 512 to 4096; 0 where the source does not say
	Folder     string `cbor:"3,keyasint"` // that lies at the root of one volume
}

// Check refuses a job that cannot be done.
func (j *Job) Check() error {
	switch {
	case j.Size < 0 || j.SectorSize < 0:
		return fmt.Errorf("carry: a medium of %d bytes in sectors of %d", j.Size, j.SectorSize)
	case len(j.Folder) > maxFolder || CheckName(j.Folder) != nil || strings.Contains(j.Folder, "/"):
		return errors.New("carry: the folder's name is none")
	}
	return nil
}

// Message is what scanworker sends, one field set.
type Message struct {
	Ready    *Ready    `cbor:"1,keyasint,omitempty"`
	Progress *Progress `cbor:"2,keyasint,omitempty"`
	File     *File     `cbor:"3,keyasint,omitempty"`
	Data     []byte    `cbor:"4,keyasint,omitempty"`
	Done     *Done     `cbor:"5,keyasint,omitempty"`
}

// Ready says that the jail is closed.
type Ready struct {
	Layers []string `cbor:"1,keyasint"` // that are in force
}

// Progress is for people, and shows that something moves.
type Progress struct {
	Read  int64 `cbor:"1,keyasint"` // bytes of the medium so far
	Total int64 `cbor:"2,keyasint"` // and those of the files that are still to come, once they are known
}

// File begins a file.
type File struct {
	Name string `cbor:"1,keyasint"` // below the folder, as CheckName wants it
	Size int64  `cbor:"2,keyasint"`
}

// Done is the last message.
type Done struct {
	Refused Code  `cbor:"1,keyasint,omitempty"` // why nothing is to be used; the counts do not matter then
	Files   int   `cbor:"2,keyasint"`
	Bytes   int64 `cbor:"3,keyasint"`
}

// CheckName refuses every name that no file of a rule pack's repository has: at most MaxDepth parts of letters, digits, '.',
// '_' and '-', joined with '/', none of which begins with anything but a letter or a digit. So there is no absolute name, no
// "..", no device, no control character, and nothing that two systems would read differently but for the case of letters.
func CheckName(name string) error {
	if name == "" || len(name) > MaxName || strings.Count(name, "/") >= MaxDepth {
		return errName
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == "" || !isAlphanumeric(part[0]) {
			return errName
		}
		for _, c := range []byte(part) {
			if !isAlphanumeric(c) && c != '.' && c != '_' && c != '-' {
				return errName
			}
		}
	}
	return nil
}

var errName = errors.New("carry: a name that no file of a rule pack has")

func isAlphanumeric(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

// Code is why nothing is carried.
type Code string

// The codes. The list is closed; a word that is not in it is no message.
const (
	None      Code = "no-pack"
	Several   Code = "two-packs"
	Misnamed  Code = "pack-name"
	Strange   Code = "pack-strange"
	TooMany   Code = "pack-too-many"
	TooLarge  Code = "pack-too-large"
	Unread    Code = "pack-unread"
	Unchecked Code = "medium-unread"
)

var texts = map[Code]string{
	None:      "There is no rule pack on the medium: no volume has a folder %s with files in it.",
	Several:   "More than one volume of the medium has a folder %s, or one volume names it in more than one way: which is meant nobody can know.",
	Misnamed:  "The folder %s holds a name that no rule pack has, or a name twice. Empty the stick and let rulepack publish --carry fill it.",
	Strange:   "The folder %s holds something that is no plain file: a link, a device or the like.",
	TooMany:   "The folder %s holds too many files. Let rulepack publish --carry write what a station needs.",
	TooLarge:  "The folder %s holds more than a station takes for a rule pack.",
	Unread:    "The folder %s could not be read in full: it is damaged, or the medium is.",
	Unchecked: "The medium could not be read in full, so nobody knows what else is on it. Use a stick with one sound volume.",
}

// Refusal is what was learned of a medium from which nothing is taken. It is no failure of the kiosk.
type Refusal struct {
	Code string
	Text string // for people, in this program's own words
}

func (r *Refusal) Error() string { return r.Text }

// Refuse makes the Refusal of a code.
func (c Code) Refuse(folder string) *Refusal {
	return &Refusal{string(c), strings.ReplaceAll(texts[c], "%s", folder)}
}
