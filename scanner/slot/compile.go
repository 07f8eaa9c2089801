package slot

import "fmt"

// A yaraworker that is started to compile instead of to scan reads SourceParts, as frames, from a sealed memfd, writes the
// compiled rules to another, and sends CompileAnswers: any number of Problems, then one Compiled. Without that last message,
// or with an exit code other than 0, there are no compiled rules, whatever the memfd holds.

const (
	// MaxSources is how many files of rules are compiled together; the largest public set has 1,040.
	MaxSources = 4_096
	// MaxSourceBytes bounds the text of all files together; the largest public set has 12 MiB. libyara needs about ten
	// times as much memory while it compiles.
	MaxSourceBytes = 64 << 20
	// MaxSourceName bounds a file's name as it appears in problems.
	MaxSourceName = 1_024
	// PartBytes is how much text one SourcePart carries, so that it stays below a frame's limit.
	PartBytes = 128 << 10
	// MaxProblems is how many problems are reported for one compilation; nobody reads more.
	MaxProblems = 100
)

// Source is one file of rules. Its name is shown in problems and is the namespace of its rules.
type Source struct {
	Name string
	Text []byte
}

// Problem is what the compiler says about one line of one file.
type Problem struct {
	File    string `cbor:"1,keyasint"`
	Line    int    `cbor:"2,keyasint"` // from 1; 0 where the problem is about the whole file
	Text    string `cbor:"3,keyasint"`
	Warning bool   `cbor:"4,keyasint"` // false: there are no compiled rules
}

// String returns the problem the way compilers write it.
func (p Problem) String() string {
	kind := "error"
	if p.Warning {
		kind = "warning"
	}
	if p.Line > 0 {
		return fmt.Sprintf("%s:%d: %s: %s", p.File, p.Line, kind, p.Text)
	}
	return fmt.Sprintf("%s: %s: %s", p.File, kind, p.Text)
}

// SourcePart is a piece of one file of rules. Pieces come in order; Last ends a file.
type SourcePart struct {
	Name string `cbor:"1,keyasint"`
	Text []byte `cbor:"2,keyasint"`
	Last bool   `cbor:"3,keyasint"`
}

// CompileAnswer is what a compiling yaraworker sends, one field set.
type CompileAnswer struct {
	Problem  *Problem  `cbor:"1,keyasint,omitempty"`
	Compiled *Compiled `cbor:"2,keyasint,omitempty"`
}

// Compiled is the last answer. Rules is 0 if the sources were rejected; a set without a rule is rejected too.
type Compiled struct {
	Rules int   `cbor:"1,keyasint"`
	Bytes int64 `cbor:"2,keyasint"` // of the compiled rules
}
