package structure

import (
	"bytes"
	"strings"
)

// textForms finds scripts and pages in content that is text.
func (v *view) textForms(label string) formSet {
	var s formSet
	switch label {
	case "text/html", "application/xhtml+xml":
		s |= 1 << html
	case "text/x-python", "text/x-perl", "text/x-ruby", "text/x-lua", "text/x-tcl", "text/x-php", "text/x-shellscript":
		s |= 1 << otherScript
	case "text/javascript":
		s |= 1 << jscript
	}
	text := words(v.head[:min(int64(len(v.head)), 2*textBytes+2)])
	if text == nil {
		return s
	}
	start := bytes.TrimLeft(text, " \t\r\n")
	guess := strings.HasPrefix(label, "text/") || strings.Contains(label, "xml") || label == anyType || label == zipType
	if !guess && s == 0 {
		return s // a binary or structured format
	}
	if bytes.HasPrefix(start, []byte("#@~^")) { // what Microsoft's script encoder writes
		s |= 1 << vbs
	}
	s |= spoken(text)
	for _, tag := range []string{"<!doctype html", "<html", "<script", "<iframe", "<body"} {
		if bytes.HasPrefix(start, []byte(tag)) {
			s |= 1 << html
		}
	}
	return s
}

// language is a script language that Windows runs, and how it is told from prose: any sure word, or enough of the likely.
type language struct {
	form   form
	sure   []string
	likely []string
	enough int
}

var languages = []language{
	{batch, []string{"\n@echo off", "\n@setlocal", "%~dp0"},
		[]string{"goto :eof", "setlocal enable", "cmd /c", "cmd.exe /c", "%comspec%", "%appdata%", "schtasks ", "reg add hk",
			"\nstart \"\"", "if not exist ", "if exist ", "echo off", "\nset /p "}, 3},
	{vbs, nil,
		[]string{"createobject(", "\ndim ", "\nset ", "wscript.", "on error resume next", "end sub", "end function",
			"\noption explicit", "execute(", "chr("}, 3},
	{jscript, []string{"new activexobject(", "wscript.createobject("},
		[]string{"wscript.", "activexobject", "function", "var ", ".run("}, 4},
	{wsf, []string{"<job>\n<script", "<job><script", "<job>\r\n<script", "<scriptlet>", "<scriptlet "},
		[]string{"<package>", "<job", "<script language=", "</job>"}, 3},
	{hta, []string{"<hta:application"}, nil, 0},
	{powershell, []string{"\n#requires -", "[cmdletbinding(", "powershell -enc", "powershell -e ", "new-object net.webclient",
		"new-object system.net.webclient"},
		[]string{"\nparam(", "\nparam (", "-executionpolicy", "invoke-expression", "invoke-webrequest", "new-object ", "write-host",
			"write-output", "$env:", "frombase64string", "add-type ", "get-childitem", "set-itemproperty", "start-process",
			"-windowstyle hidden", "foreach-object", "$psscriptroot", "iex "}, 3},
}

// needles finds all the words of all languages in one pass: most files are texts, and a search for each word by itself
// would cost more than everything else here.
type needles struct {
	words []string
	start [1 << 16]uint8 // by the first two bytes of a word: one more than its place in lists
	lists [][]int
}

var scriptWords = func() *needles {
	n := &needles{}
	for i := range languages {
		for _, w := range join(languages[i].sure, languages[i].likely) {
			key := int(w[0])<<8 | int(w[1])
			if n.start[key] == 0 {
				n.lists = append(n.lists, nil)
				n.start[key] = uint8(len(n.lists))
			}
			at := n.start[key] - 1
			n.lists[at] = append(n.lists[at], len(n.words))
			n.words = append(n.words, w)
		}
	}
	return n
}()

// maxWords is how many words a search can tell apart.
const maxWords = 128

// find returns which words the text holds. A line break in front of a word stands for the beginning of the text too.
func (n *needles) find(text []byte) (seen [maxWords]bool) {
	for i := -1; i+1 < len(text); i++ {
		first := byte('\n')
		if i >= 0 {
			first = text[i]
		}
		list := n.start[int(first)<<8|int(text[i+1])]
		if list == 0 {
			continue
		}
		for _, w := range n.lists[list-1] {
			if bytes.HasPrefix(text[i+1:], []byte(n.words[w][1:])) {
				seen[w] = true
			}
		}
	}
	return seen
}

// spoken are the languages of a text.
func spoken(text []byte) formSet {
	seen := scriptWords.find(text)
	var s formSet
	at := 0 // words are numbered in the order of the table
	for i := range languages {
		l := &languages[i]
		n := 0
		for range l.sure {
			if seen[at] {
				s |= 1 << l.form
			}
			at++
		}
		for range l.likely {
			if seen[at] {
				n++
			}
			at++
		}
		if l.enough > 0 && n >= l.enough {
			s |= 1 << l.form
		}
	}
	return s
}
