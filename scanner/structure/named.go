package structure

import (
	"bytes"
	"path"
	"strings"

	"pratique/scanner/report"
)

// maxINI bounds what is read of the small texts that Windows acts on. Nobody writes a megabyte of them but to hide a line,
// so a larger one blocks.
const maxINI = 1 << 20

// maxValue bounds a key or value: eight times the longest path of old Windows.
const maxValue = 2048

// named looks into the kinds of file that Windows acts on because of their name.
func (in *inspection) named() {
	if in.kind == report.Stream {
		return
	}
	switch {
	case in.name.base == "autorun.inf", in.looksLikeAutorun():
		in.autorun()
	case in.name.base == "desktop.ini":
		in.desktop()
	}
	switch in.name.ext {
	case "url", "website":
		in.link()
	case "scf":
		in.found.add(shortcut)
		in.icons()
	case "library-ms", "searchconnector-ms", "search-ms":
		in.found.add(shortcut)
		in.library()
	}
	if in.is.forms.has(lnk) || in.name.ext == "lnk" {
		in.shortcut()
	}
}

// pairs calls yield with each key and value of an INI file, in small letters and trimmed. Windows takes any line with a
// '=' in it, so comments, sections and binary rubbish between them do not matter, and a worm of 2008 lived from that.
func (in *inspection) pairs(yield func(key, value string)) {
	if in.size > maxINI {
		in.found.add(checkFailed)
	}
	text := in.head[:min(len(in.head), maxINI)]
	switch {
	case bytes.HasPrefix(text, []byte("\xFF\xFE")):
		text = narrowAll(text[2:], 0)
	case bytes.HasPrefix(text, []byte("\xFE\xFF")):
		text = narrowAll(text[2:], 1)
	case bytes.IndexByte(text, 0) >= 0:
		text = bytes.ReplaceAll(text, []byte{0}, nil) // UTF-16 without its mark, or rubbish
	}
	for line := range bytes.FieldsFuncSeq(text, func(r rune) bool { return r == '\n' || r == '\r' }) {
		if key, value, ok := bytes.Cut(line, []byte("=")); ok {
			yield(trimmed(key), trimmed(value))
		}
	}
}

// trimmed is a key or value in small letters, without what stands around it, however much that is.
func trimmed(b []byte) string {
	b = bytes.TrimFunc(b, func(r rune) bool { return r <= ' ' || r == '\uFEFF' || r == '\u00A0' })
	return strings.ToLower(string(b[:min(len(b), maxValue)]))
}

func narrowAll(b []byte, low int) []byte {
	out := make([]byte, 0, len(b)/2)
	for i := 0; i+1 < len(b); i += 2 {
		out = append(out, b[i+low])
	}
	return out
}

// autorun judges the file that computers read when a medium is plugged in.
// https://learn.microsoft.com/en-us/windows/win32/shell/autorun-cmds
func (in *inspection) autorun() {
	runs := false
	in.pairs(func(key, value string) {
		// A key of the shell is shell\verb\command; blanks and tabs may stand anywhere in front.
		if key == "open" || key == "shellexecute" || strings.HasPrefix(key, "shell") && strings.HasSuffix(key, "command") {
			runs = runs || value != ""
		}
	})
	switch {
	case runs && in.name.depth == 0 && in.name.base == "autorun.inf":
		in.found.add(autorun)
	case runs:
		in.found.add(autorunElsewhere)
	case in.name.base == "autorun.inf":
		in.found.add(autorunIcon)
	}
	in.icons()
}

// looksLikeAutorun finds one under another name: it may still have this one as its short name, which no path shows.
func (in *inspection) looksLikeAutorun() bool {
	start := words(in.head[:min(len(in.head), 256)])
	return bytes.HasPrefix(bytes.TrimLeft(start, " \t\r\n"), []byte("[autorun"))
}

// recycler is the class of the recycle bin, the only one that Windows itself puts on a medium.
const recycler = "{645ff040-5081-101b-9f08-00aa002f954e}"

// desktop judges what gives a folder its looks. With a class, Explorer opens something else than the folder.
// https://learn.microsoft.com/en-us/windows/win32/shell/how-to-customize-folders-with-desktop-ini
func (in *inspection) desktop() {
	bin := false
	if len(in.name.dirs) > 0 {
		top := in.name.dirs[0]
		bin = top == "$recycle.bin" || top == "recycler" || top == "recycled"
	}
	in.pairs(func(key, value string) {
		switch {
		case key != "clsid" && key != "clsid2" && key != "uiclsid" || value == "":
		case bin && value == recycler:
			in.found.add(folderRecycle)
		default:
			in.found.add(folderClass)
		}
	})
	in.icons()
}

// icons finds values that lead to another computer: Explorer fetches an icon as soon as it shows the folder.
func (in *inspection) icons() {
	in.pairs(func(_, value string) {
		if network(value) {
			in.found.add(networkPath)
		}
	})
}

// link judges an Internet shortcut.
func (in *inspection) link() {
	target := false
	in.pairs(func(key, value string) {
		if network(value) {
			in.found.add(networkPath)
		}
		if key != "url" && key != "baseurl" {
			return
		}
		target = true
		file := strings.TrimRight(strings.ReplaceAll(value, `\`, "/"), "/. ")
		ext := strings.TrimPrefix(path.Ext(file), ".")
		switch {
		case strings.HasPrefix(value, "http:"), strings.HasPrefix(value, "https:"), strings.HasPrefix(value, "mailto:"):
			in.found.add(webLink)
		case programExtensions[ext] || scriptExtensions[ext] || ext == "lnk":
			in.found.add(shortcutProgram)
		default:
			in.found.add(shortcut)
		}
		if remoteSearch(value) {
			in.found.add(networkPath)
		}
	})
	if !target {
		in.found.add(shortcut)
	}
}

// library judges the XML of a library or search, which Explorer opens like a folder.
// https://learn.microsoft.com/en-us/windows/win32/shell/library-schema-entry
func (in *inspection) library() {
	if in.size > maxINI {
		in.found.add(checkFailed)
	}
	text := in.head[:min(len(in.head), maxINI)]
	if bytes.HasPrefix(text, []byte("\xFF\xFE")) {
		text = narrowAll(text, 0)
	} else if bytes.HasPrefix(text, []byte("\xFE\xFF")) {
		text = narrowAll(text, 1)
	}
	text = lower(text)
	for _, tag := range []string{"<url", "<iconreference", "<imagelink", "<path", "location"} {
		for rest := text; ; {
			i := bytes.Index(rest, []byte(tag))
			if i < 0 {
				break
			}
			rest = rest[i+len(tag):]
			value := rest[:min(len(rest), maxValue)]
			if j := bytes.IndexByte(value, '>'); j >= 0 && tag != "location" {
				value = value[j+1:]
			}
			if j := bytes.IndexByte(value, '<'); j >= 0 {
				value = value[:j]
			}
			v := strings.TrimLeft(string(value), ": \t\r\n=\"")
			if network(v) || strings.HasPrefix(v, "http:") || strings.HasPrefix(v, "https:") || remoteSearch(v) {
				in.found.add(networkPath)
			}
		}
	}
}

var unescaped = strings.NewReplacer("%5c", `\`, "%2f", "/", "%3a", ":")

// remoteSearch finds a search of another computer in a link: search-ms:…crumb=location:\\host.
func remoteSearch(value string) bool {
	v := unescaped.Replace(value)
	return (strings.HasPrefix(v, "search-ms:") || strings.HasPrefix(v, "search:")) && (strings.Contains(v, `\\`) || strings.Contains(v, "://"))
}

// network reports whether a path in small letters leads to another computer. Windows signs in there by itself.
// https://learn.microsoft.com/en-us/dotnet/standard/io/file-path-formats
func network(value string) bool {
	v := strings.ReplaceAll(strings.TrimLeft(value, " \t\"'@,"), "/", `\`)
	if rest, ok := strings.CutPrefix(v, "file:"); ok {
		host := strings.TrimLeft(rest, `\`)
		switch slashes := len(rest) - len(host); {
		case slashes == 2 || slashes >= 4: // file://host/share, file:////host/share
			drive := len(host) > 1 && (host[1] == ':' || host[1] == '|')
			return !drive && !strings.HasPrefix(host, `localhost\`) && !strings.HasPrefix(host, `127.0.0.1\`)
		}
		return false
	}
	for _, prefix := range []string{"smb:", `\\?\unc\`, `\??\unc\`, `\\.\unc\`} {
		if strings.HasPrefix(v, prefix) {
			return true
		}
	}
	rest, ok := strings.CutPrefix(v, `\\`)
	return ok && rest != "" && rest[0] != '?' && rest[0] != '.' && rest[0] != '\\' && rest[0] != ' '
}
