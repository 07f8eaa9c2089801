package structure

import (
	"bytes"
	"path"
	"strings"
)

// maxShortcutBytes bounds what is read of a shortcut. Windows' own have some kilobytes; what is behind is an overlay.
const maxShortcutBytes = 1 << 20

// shortcutClass is {00021401-0000-0000-C000-000000000046}, which begins every shortcut behind its size.
const shortcutClass = "\x01\x14\x02\x00\x00\x00\x00\x00\xC0\x00\x00\x00\x00\x00\x00\x46"

// The flags of [MS-SHLLINK] 2.1.1 and of FileAttributes (2.1.2) that matter here.
const (
	hasIDList    = 0x01
	hasLinkInfo  = 0x02
	hasName      = 0x04
	hasRelative  = 0x08
	hasWorkDir   = 0x10
	hasArguments = 0x20
	hasIcon      = 0x40
	isUnicode    = 0x80

	attributeHidden = 0x02
)

// controlPanels are the classes of folders whose items are programs: showing such an item's icon loads it.
var controlPanels = []string{
	"\x20\x20\xEC\x21\xEA\x3A\x69\x10\xA2\xDD\x08\x00\x2B\x30\x30\x9D", // {21EC2020-3AEA-1069-A2DD-08002B30309D} Control Panel
	"\x68\x06\xEE\x26\x0A\xA0\xD7\x44\x93\x71\xBE\xB0\x64\xC9\x86\x83", // {26EE0668-A00A-44D7-9371-BEB064C98683} its categories
	"\x94\xE6\x99\x53\xE5\x6C\x6C\x4D\x8F\xCE\x1D\x88\x70\xFD\xCB\xA0", // {5399E694-6CE5-4D6C-8FCE-1D8870FDCBA0} its categories, too
	"\xEB\x4A\xA7\x82\xB4\xAE\x5C\x46\xA0\x14\xD0\x97\xEE\x34\x6D\x63", // {82A74AEB-AEB4-465C-A014-D097EE346D63} as a known folder
	"\x70\xA4\x7B\xED\x54\x8E\x5E\x46\x82\x5C\x99\x71\x20\x43\xE0\x1C", // {ED7BA470-8E54-465E-825C-99712043E01C} all tasks
}

// interpreters run what they are given. commands are those of them whose names mean nothing else in arguments.
var (
	interpreters = set("cmd powershell pwsh powershell_ise mshta rundll32 wscript cscript regsvr32 msiexec certutil bitsadmin forfiles " +
		"schtasks wmic msbuild installutil regasm regsvcs odbcconf pcalua conhost explorer hh control bash sh wsl python pythonw java javaw " +
		"node curl ftp ssh scp perl ruby php cmstp mavinject syncappvpublishingserver msdt wt start command")
	commands = set("cmd cmd.exe powershell powershell.exe pwsh pwsh.exe mshta mshta.exe rundll32 rundll32.exe wscript wscript.exe " +
		"cscript cscript.exe regsvr32 regsvr32.exe certutil certutil.exe bitsadmin bitsadmin.exe msiexec msiexec.exe comspec schtasks " +
		"forfiles conhost.exe explorer.exe javascript vbscript invoke-expression iex frombase64string")
)

// link is what a shortcut says, in small letters.
type link struct {
	targets      []string // where it leads, in every form in which it says so
	folders      []string // what it passes on the way
	arguments    string
	icons        []string
	attributes   uint32 // of the target, when the shortcut was made
	controlPanel bool
	damaged      bool
	overlay      int64 // where content begins behind the end, or 0
}

// shortcut judges a shortcut by where it leads. All the ways in which it can name its target are read, since which of them
// Windows believes depends on what it finds.
func (in *inspection) shortcut() {
	l := parseLink(in.head, in.size)
	in.found.add(shortcut)
	if l.damaged {
		in.found.add(shortcutDamaged)
	}
	if l.overlay > 0 {
		in.found.addAt(shortcutOverlay, l.overlay)
	}
	if l.controlPanel {
		in.found.add(shortcutControlPanel)
	}
	for _, p := range l.targets {
		base := path.Base(strings.ReplaceAll(p, `\`, "/"))
		base, _, _ = strings.Cut(base, ",") // an icon's or item's number
		base = strings.TrimRight(strings.Trim(base, `"`+blanks), ".")
		ext := strings.TrimPrefix(path.Ext(base), ".")
		stem := strings.TrimSuffix(base, "."+ext)
		switch {
		case interpreters[stem] && (ext == "exe" || ext == "com" || ext == ""), strings.Contains(p, "%comspec%"):
			in.found.add(shortcutCommand)
		case ext == "cpl":
			in.found.add(shortcutControlPanel)
		case programExtensions[ext] || scriptExtensions[ext]:
			in.found.add(shortcutProgram)
		}
	}
	for _, p := range append(l.targets, l.icons...) {
		if network(p) {
			in.found.add(networkPath)
		}
	}
	for _, p := range l.icons {
		if p, _, _ := strings.Cut(p, ","); strings.HasSuffix(strings.TrimRight(p, blanks), ".cpl") {
			in.found.add(shortcutControlPanel)
		}
	}
	for _, word := range strings.FieldsFunc(l.arguments, func(r rune) bool {
		return r <= ' ' || strings.ContainsRune(`"'/\()[]{}|&;,:%=^<>`, r)
	}) {
		if commands[word] {
			in.found.add(shortcutCommand)
		}
	}
	if l.hidden() {
		in.found.add(shortcutHidden)
	}
}

// hidden reports whether the target is hidden, or lies below something that a person does not see or does not open. A drive
// as a whole counts as hidden for Windows, so its attribute says nothing.
func (l *link) hidden() bool {
	drive := false
	for _, p := range append(l.targets, l.folders...) {
		p = strings.ReplaceAll(p, `\`, "/")
		drive = drive || len(p) <= 3 && len(p) >= 2 && p[1] == ':'
		for part := range strings.SplitSeq(p, "/") {
			switch {
			case part == "$recycle.bin", part == "recycler", part == "recycled", part == "system volume information":
				return true
			case part != "" && strings.Trim(part, blanks) == "", strings.HasPrefix(part, ".") && strings.Trim(part, ".") != "":
				return true
			}
		}
	}
	return l.attributes&attributeHidden != 0 && !drive
}

// parseLink reads a shortcut. [MS-SHLLINK] https://learn.microsoft.com/en-us/openspecs/windows_protocols/ms-shllink
func parseLink(b []byte, size int64) (l link) {
	const headerBytes = 76
	if len(b) < headerBytes || le.Uint32(b) != headerBytes || string(b[4:20]) != shortcutClass {
		return link{damaged: true}
	}
	b = b[:min(len(b), maxShortcutBytes)]
	for _, c := range controlPanels {
		l.controlPanel = l.controlPanel || bytes.Contains(b, []byte(c))
	}
	flags := le.Uint32(b[20:])
	l.attributes = le.Uint32(b[24:])
	at := headerBytes
	// take cuts n bytes off; what is not there makes the shortcut damaged.
	take := func(n int) []byte {
		if l.damaged || n < 0 || n > len(b)-at {
			l.damaged = true
			return nil
		}
		at += n
		return b[at-n : at]
	}
	if flags&hasIDList != 0 {
		if n := take(2); n != nil {
			l.idList(take(int(le.Uint16(n))))
		}
	}
	if flags&hasLinkInfo != 0 {
		if n := take(4); n != nil {
			length := int(min(le.Uint32(n), maxShortcutBytes+1))
			at -= 4
			l.linkInfo(take(length))
		}
	}
	for _, f := range []uint32{hasName, hasRelative, hasWorkDir, hasArguments, hasIcon} {
		if flags&f == 0 {
			continue
		}
		n := take(2)
		if n == nil {
			break
		}
		var s string
		if units := int(le.Uint16(n)); flags&isUnicode != 0 {
			s = wideText(take(2 * units))
		} else {
			s = strings.ToLower(string(take(units)))
		}
		switch f {
		case hasRelative:
			l.targets = append(l.targets, s)
		case hasWorkDir:
			l.folders = append(l.folders, s)
		case hasArguments:
			l.arguments = s
		case hasIcon:
			l.icons = append(l.icons, s)
		}
	}
	l.extra(b, &at, take)
	if !l.damaged && int64(at) < size {
		l.overlay = int64(at)
	}
	return l
}

// idList reads the target as a list of items of the shell's name space. [MS-SHLLINK] 2.2 leaves what is in an item to the
// shell; the names in it are found as runs of characters. The last item is the target, those before it are on the way.
func (l *link) idList(b []byte) {
	var last []string
	for len(b) >= 2 {
		n := int(le.Uint16(b))
		if n == 0 {
			break
		}
		if n < 2 || n > len(b) {
			l.damaged = true
			break
		}
		l.folders = append(l.folders, last...)
		last = append(runs(b[2:n]), wideRuns(b[2:n])...)
		b = b[n:]
	}
	l.targets = append(l.targets, last...)
}

// linkInfo reads the target as a path. [MS-SHLLINK] 2.3
func (l *link) linkInfo(b []byte) {
	if len(b) < 28 {
		l.damaged = true
		return
	}
	text := func(from []byte, at uint32, unicode bool) string {
		if at == 0 || int64(at) >= int64(len(from)) {
			return ""
		}
		if unicode {
			return wideText(from[at:])
		}
		s, _, _ := bytes.Cut(from[at:], []byte{0})
		return strings.ToLower(string(s))
	}
	header := le.Uint32(b[4:])
	base, suffix := text(b, le.Uint32(b[16:]), false), text(b, le.Uint32(b[24:]), false)
	l.path(base, suffix)
	if header >= 0x24 && len(b) >= 0x24 {
		l.path(text(b, le.Uint32(b[28:]), true), text(b, le.Uint32(b[32:]), true))
	}
	if at := le.Uint32(b[20:]); at != 0 && int64(at)+20 <= int64(len(b)) { // CommonNetworkRelativeLink, 2.3.2
		net := b[at:]
		share := text(net, le.Uint32(net[8:]), false)
		if le.Uint32(net[8:]) > 0x14 && len(net) >= 28 {
			l.path(text(net, le.Uint32(net[20:]), true), suffix)
		}
		l.path(share, suffix)
	}
}

// path adds a target that is stored in two parts.
func (l *link) path(base, suffix string) {
	if base != "" && suffix != "" && !strings.HasSuffix(base, `\`) {
		base += `\`
	}
	if base+suffix != "" {
		l.targets = append(l.targets, base+suffix)
	}
}

// extra reads the blocks at the end. [MS-SHLLINK] 2.5
func (l *link) extra(b []byte, at *int, take func(int) []byte) {
	for !l.damaged && len(b)-*at >= 4 {
		n := int(min(le.Uint32(b[*at:]), maxShortcutBytes+1))
		if n < 4 { // the terminal block
			*at += 4
			return
		}
		block := take(n)
		if len(block) < 8 {
			l.damaged = true
			return
		}
		body := block[8:]
		switch le.Uint32(block[4:]) {
		case 0xA0000001: // the target, with variables of the environment
			l.targets = append(l.targets, fixed(body)...)
		case 0xA0000007:
			l.icons = append(l.icons, fixed(body)...)
		case 0xA0000005: // a special folder; 3 is the control panel
			l.controlPanel = l.controlPanel || len(body) >= 4 && le.Uint32(body) == 3
		case 0xA000000C: // another list of items
			l.idList(body)
		case 0xA0000009: // properties: the target's path may be among them
			for _, s := range wideRuns(body) {
				if strings.ContainsAny(s, `\/`) {
					l.targets = append(l.targets, s)
				}
			}
		}
	}
}

// fixed reads 260 characters of a code page, then 260 of UTF-16.
func fixed(b []byte) []string {
	var out []string
	if narrow := b[:min(len(b), 260)]; len(narrow) > 0 {
		s, _, _ := bytes.Cut(narrow, []byte{0})
		out = append(out, strings.ToLower(string(s)))
	}
	if len(b) > 260 {
		out = append(out, wideText(b[260:]))
	}
	return out
}

// wideText is UTF-16 up to its end or a zero, in small letters.
func wideText(b []byte) string {
	var r []rune
	for i := 0; i+1 < len(b); i += 2 {
		u := le.Uint16(b[i:])
		if u == 0 {
			break
		}
		r = append(r, rune(u)) // surrogates become U+FFFD, which no check looks for
	}
	return strings.ToLower(string(r))
}

// shortestRun is the shortest piece of text that is taken for a name: "a.sh" has four.
const shortestRun = 4

// runs finds pieces of ASCII.
func runs(b []byte) []string {
	var out []string
	for piece := range bytes.FieldsFuncSeq(b, func(r rune) bool { return r < ' ' || r >= 0x7F }) {
		if len(piece) >= shortestRun {
			out = append(out, strings.ToLower(string(piece)))
		}
	}
	return out
}

// wideRuns finds pieces of UTF-16, at even and odd offsets.
func wideRuns(b []byte) []string {
	var out []string
	for _, b := range [][]byte{b, b[min(len(b), 1):]} {
		var run []rune
		for i := 0; ; i += 2 {
			if i+1 < len(b) {
				if u := le.Uint16(b[i:]); u >= ' ' && u != 0x7F && (u < 0x3000 || u >= 0x3040 && u < 0xD800) {
					run = append(run, rune(u))
					continue
				}
			}
			if len(run) >= shortestRun {
				out = append(out, strings.ToLower(string(run)))
			}
			run = run[:0]
			if i+1 >= len(b) {
				break
			}
		}
	}
	return out
}
