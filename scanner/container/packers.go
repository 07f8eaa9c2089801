package container

import (
	"bytes"
	"strings"
)

// Packers and protectors of programs, installers and compilers of scripts that nobody here unpacks, by the marks that they are
// publicly known for: the names that they give to sections, and the first instructions that they write in front of a program.
// Names are easy to change, so this tells of what is packed as its maker left it and proves nothing of the rest.

// packerSections are names of sections; a packer that gives none of its own is not here. Where two packers share a name, the
// name says both.
var packerSections = map[string]string{
	".aspack": "ASPack", ".adata": "ASPack", "ASPack": "ASPack", ".ASPack": "ASPack", ".asprote": "ASProtect",
	"MEW": "MEW", "PEPACK!!": "PEPack", ".petite": "Petite", "petite": "Petite", "PELOCKnt": "PELock", "PEBundle": "PEBundle",
	"pebundle": "PEBundle", "PECompac": "PECompact", "PEC2": "PECompact", "pec": "PECompact", "pec1": "PECompact", "pec2": "PECompact",
	"PEC2TO": "PECompact", "PEC2MO": "PECompact", ".Upack": "Upack", ".ByDwing": "Upack", "WWPACK": "WWPack", ".WWPACK": "WWPack", ".WWP32": "WWPack",
	"WWP32": "WWPack", ".yP": "Yoda", ".y0da": "Yoda", "yC": "Yoda", ".yC": "Yoda", "FSG!": "FSG", ".MPRESS1": "MPRESS", ".MPRESS2": "MPRESS",
	"nsp0": "NsPack", "nsp1": "NsPack", "nsp2": "NsPack", ".nsp0": "NsPack", ".nsp1": "NsPack", ".nsp2": "NsPack", "kkrunchy": "kkrunchy",
	".themida": "Themida", "Themida": "Themida", ".winlice": "WinLicense", "WinLicen": "WinLicense", ".vmp0": "VMProtect", ".vmp1": "VMProtect", ".vmp2": "VMProtect",
	".enigma1": "Enigma", ".enigma2": "Enigma", "MaskPE": "MaskPE", ".MaskPE": "MaskPE", ".neolite": "NeoLite", ".neolit": "NeoLite", ".RLPack": "RLPack",
	".shrink1": "Shrinker", ".shrink2": "Shrinker", ".shrink3": "Shrinker", ".spack": "Simple Pack", ".svkp": "SVKP", "tsuarch": "TSULoader", ".taz": "PEspin",
	".pespin": "PEspin", ".perplex": "Perplex", ".charmve": "PIN", "BitArts": "Crunch", "DAStub": "DAStub", ".ccg": "CCG", "ProCrypt": "ProCrypt", ".seau": "SeauSFX",
	".RPCrypt": "RPCrypt", "RCryptor": "RCryptor", ".boom": "Boomerang", "!EPack": "EPack", "EXEStealth": "EXE Stealth", "ExeS": "EXE Stealth", ".Xpack": "XPack",
	"BJFNT": "BJFnt", ".bjfnt": "BJFnt", "CODE-X": "CODE-X", "_winzip_": "WinZip Self-Extractor", ".exepack": "EXEpack", "Mpack": "Mpack", "VProtect": "VProtect", ".tpack": "tPack",
}

// packerStarts are first instructions; a question mark is any byte, as in the public lists of PEiD's kind. Only what no compiler
// writes is here.
var packerStarts = []struct{ name, code string }{
	{"ASPack", "\x60\xE8\x03\x00\x00\x00\xE9\xEB\x04\x5D\x45\x55\xC3\xE8\x01"},
	{"FSG", "\x87\x25????\x61\x94\x55\xA4\xB6\x80\xFF\x13"},
	{"FSG", "\xBE????\xAD\x93\xAD\x97\xAD\x56\x96\xB2\x80\xA4\xB6\x80\xFF\x13"},
	{"FSG", "\xBB\xD0\x01\x40\x00\xBF\x00\x10\x40\x00\xBE"},
	{"MEW", "\x33\xC0\xE9????\x00\x00\x00\x00"},
	{"Petite", "\xB8????\x68????\x64\xFF\x35\x00\x00\x00\x00\x64\x89\x25\x00\x00\x00\x00\x66\x9C\x60\x50"},
	{"PEspin", "\xEB\x01\x68\x60\xE8\x00\x00\x00\x00\x8B\x1C\x24\x83\xC3\x12"},
	{"PECompact", "\xB8????\x50\x64\xFF\x35\x00\x00\x00\x00\x64\x89\x25\x00\x00\x00\x00\x33\xC0\x89\x08"},
	{"Upack", "\xBE????\xAD\x50\xFF\x76?\xEB"},
	{"Upack", "\xBE????\xAD\x8B\xF8\x95"},
	{"WWPack", "\x53\x55\x8B\xE8\x33\xDB\xEB\x60"},
	{"Yoda", "\x60\xE8\x00\x00\x00\x00\x5D\x81\xED????\xB9????\x8D\xBD"},
	{"Yoda", "\x55\x8B\xEC\x53\x56\x57\x60\xE8\x00\x00\x00\x00\x5D\x81\xED"},
	{"UPX without its header", "\x60\xBE????\x8D\xBE????\x57"},
	{"UPX without its header", "\x53\x56\x57\x55\x48\x8D\x35????\x48\x8D\xBE????\x57"},
}

// packerWords are in what compilers of scripts and installers put into or behind a program. The first are only looked for in the
// data that the program does not need, so that a program that deals with them is none.
var packerWords = []struct{ name, word string }{
	{"AutoIt", "\xA3\x48\x4B\xBE\x98\x6C\x4A\xA9\x99\x4C\x53\x0A\x86\xD6\x48\x7D"},
	{"Inno Setup", "Inno Setup Setup Data ("}, {"Inno Setup", "idska32\x1A"}, {"Inno Setup", "zlb\x1A"},
	{"Wise", "WISE_MAIN"}, {"PyInstaller", "MEI\x0C\x0B\x0A\x0B\x0E"}, {"Setup Factory", "\xE0\xE1\xE2\xE3\xE4\xE5\xE6\xE7"},
	{"InstallShield", "ISSetupStream\x00"}, {"InstallShield", "InstallShield\x00"},
	{"AutoHotkey", ">AUTOHOTKEY SCRIPT<"}, {"Smart Install Maker", "Smart Install Maker v."}, {"InstallAware", "MzpInstallAware"},
}

// packerReach is how far an overlay is looked through for words at each of its ends.
const packerReach = 64 << 10

// packer is the name of what packed a program, or nothing.
func (p *program) packer(c *Content) string {
	for _, s := range p.sections {
		if name := packerSections[s.name]; name != "" {
			return name
		}
	}
	if len(p.sections) > 0 && p.entry >= 0 {
		start := c.piece(p.entry, min(40, c.Size-p.entry))
		for _, s := range packerStarts {
			if begins(start, s.code) && (!strings.HasPrefix(s.name, "UPX") || upxHeaderOf(c) == nil) {
				return s.name
			}
		}
	}
	places := []span{{p.end, p.end + packerReach}, {c.Size - packerReach, c.Size}}
	if p.signed.size() > 0 {
		places = append(places, span{p.signed.at - packerReach, p.signed.at})
	}
	for _, s := range places {
		s = span{max(s.at, p.end), min(s.end, c.Size)}
		if s.size() <= 0 {
			continue
		}
		b := c.piece(s.at, s.size())
		for _, w := range packerWords {
			if bytes.Contains(b, []byte(w.word)) {
				return w.name
			}
		}
	}
	return ""
}

// begins reports whether bytes begin with a code in which a question mark is any byte.
func begins(b []byte, code string) bool {
	if len(b) < len(code) {
		return false
	}
	for i := range len(code) {
		if code[i] != '?' && code[i] != b[i] {
			return false
		}
	}
	return true
}

func isPacker(c *Content) bool {
	p := readProgram(c)
	return p != nil && p.packer(c) != ""
}

func openPacker(c *Content, l *layer) error {
	p := readProgram(c)
	if p == nil {
		return errNot
	}
	name := p.packer(c)
	if name == "" {
		return errNot
	}
	f := packedContent()
	f.Text = "The program is packed with " + name + ", which this station cannot open, so nobody can see what is in it."
	l.note(f)
	return nil
}
