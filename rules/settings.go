package rules

import (
	"fmt"
	"strings"

	"pratique/scanner/report"
)

// Setting is one kind of content that a policy decides about in plain words, such as "programs". What a setting decides is
// decided by nothing else in the policy: its types do not go into allow_types, and its findings not into [severity].
type Setting uint8

// The settings, in the order in which reasons name them.
const (
	NoSetting Setting = iota
	Executables
	Scripts
	Macros
	Encrypted
	Archives
	DiskImages
	Shortcuts
	Viewers
	Autorun
	settingEnd
)

// Stance is what a policy says to a setting, strictest first, so that the zero value refuses.
type Stance uint8

// The stances.
const (
	Refuse        Stance = iota // the medium is not cleared
	CouldNotCheck               // nobody can see it, and the verdict says so: for encrypted content
	Warn                        // shown to the person; the medium may be cleared
	Allow                       // recorded
	stanceEnd
)

var stanceWords = [stanceEnd]string{"refuse", "could not check", "warn", "allow"}

// String returns the word that policies use.
func (s Stance) String() string {
	if s < stanceEnd {
		return stanceWords[s]
	}
	return stanceWords[Refuse]
}

// severities are what a stance makes of a setting's findings. CouldNotCheck leaves them as proposed: the outcome of the
// item bars the clearance.
var severities = map[Stance]report.Severity{Refuse: report.Block, Warn: report.Warn, Allow: report.Inform}

// settings is the one table of what each setting decides. Findings that say that something hides or attacks
// ("disguised-program", "shortcut-command") belong to none: they block under every policy that does not lower them by name.
// An archive has no finding of its own, so a person cannot be warned of it. Encrypted content can be refused or be what it
// is, unchecked; nothing clears it.
var settings = [settingEnd]struct {
	key     string   // in a policy
	people  string   // in "… are not allowed for class …"
	stances []Stance // that it can have
	rules   []string // findings that it decides, as CHECK/RULE
	types   []string // media types that it decides
}{
	NoSetting: {},
	Executables: {"executables", "Programs", []Stance{Refuse, Warn, Allow},
		[]string{"structure/executable", "structure/executable-name", "structure/root-program", "structure/self-extracting"},
		[]string{"application/vnd.microsoft.portable-executable", "application/x-elf", "application/x-executable",
			"application/x-sharedlib", "application/x-object", "application/x-coredump", "application/x-mach-binary",
			"application/vnd.android.dex", "application/vnd.android.package-archive", "application/x-java-applet",
			"application/java-archive", "application/wasm", "application/x-ms-installer", "application/x-installshield",
			"application/vnd.ms-htmlhelp", "application/x-rpm", "application/vnd.debian.binary-package",
			"application/x-chrome-extension", "application/x-shockwave-flash", "application/x-bytecode.python"}},
	Scripts: {"scripts", "Scripts", []Stance{Refuse, Warn, Allow},
		[]string{"structure/script", "structure/root-script", "structure/double-extension-text", "structure/svg-script"},
		[]string{"text/x-shellscript", "text/x-msdos-batch", "text/vbscript", "text/javascript", "text/x-wsf", "application/hta",
			"text/x-powershell", "text/x-lua", "text/x-perl", "text/x-php", "text/x-python", "text/x-ruby", "text/x-tcl"}},
	Macros: {"macros", "Documents with macros", []Stance{Refuse, Warn, Allow},
		[]string{"structure/macro"}, nil},
	Encrypted: {"encrypted", "Encrypted files and volumes", []Stance{Refuse, CouldNotCheck},
		[]string{"structure/encrypted-content", "volume/encrypted"}, nil},
	Archives: {"archives", "Archives", []Stance{Refuse, Allow}, nil,
		[]string{"application/zip", "application/vnd.rar", "application/x-7z-compressed", "application/vnd.ms-cab-compressed",
			"application/gzip", "application/x-tar", "application/x-xz", "application/x-bzip2", "application/zstd",
			"application/lzip", "application/zlib", "application/x-archive", "application/x-cpio", "application/x-xar",
			"application/warc"}},
	DiskImages: {"disk_images", "Disk images", []Stance{Refuse, Warn, Allow},
		[]string{"structure/disk-image"},
		[]string{"application/x-iso9660-image", "application/x-vhd", "application/x-vhdx", "application/x-vmdk",
			"application/x-qemu-disk"}},
	Shortcuts: {"shortcuts", "Shortcuts", []Stance{Refuse, Warn, Allow},
		[]string{"structure/shortcut", "structure/root-shortcut"}, []string{"application/x-ms-shortcut"}},
	Viewers: {"viewers", "Programs on a medium of images (viewers)", []Stance{Refuse, Warn, Allow},
		[]string{"structure/viewer"}, nil},
	Autorun: {"autorun", "Media that start a program by themselves (autorun.inf)", []Stance{Refuse, Warn, Allow},
		[]string{"structure/autorun"}, nil},
}

// String returns the key that policies use.
func (s Setting) String() string {
	if s > NoSetting && s < settingEnd {
		return settings[s].key
	}
	return "none"
}

// Refusal is the sentence that tells a person which setting refused.
func (s Setting) Refusal(class string) string {
	if s > NoSetting && s < settingEnd {
		return fmt.Sprintf("%s are not allowed for class %q.", settings[s].people, class)
	}
	return fmt.Sprintf("Something is not allowed for class %q.", class)
}

// Settings lists all of them.
func Settings() []Setting {
	var out []Setting
	for s := NoSetting + 1; s < settingEnd; s++ {
		out = append(out, s)
	}
	return out
}

// SettingOf is the setting that decides about a finding, NoSetting if there is none.
func SettingOf(f report.Finding) Setting { return settingOfRule(keyOf(f)) }

func settingOfRule(key string) Setting { return byRule[key] }

// SettingOfType is the setting that decides about a media type, NoSetting if there is none. Parameters do not count.
func SettingOfType(mediaType string) Setting { return byType[bare(mediaType)] }

// byRule and byType are the table from the other side: a medium can have half a million findings.
var byRule, byType = func() (map[string]Setting, map[string]Setting) {
	rules, types := map[string]Setting{}, map[string]Setting{}
	for s := range settings {
		for _, rule := range settings[s].rules {
			rules[rule] = Setting(s)
		}
		for _, kind := range settings[s].types {
			types[kind] = Setting(s)
		}
	}
	return rules, types
}()

// bare is a media type without its parameters, such as "; charset=utf-8".
func bare(mediaType string) string {
	mediaType, _, _ = strings.Cut(mediaType, ";")
	return strings.TrimSpace(mediaType)
}

// Stances are the settings as a file gives them, one word each; empty says nothing.
type Stances struct {
	Executables string `toml:"executables"`
	Scripts     string `toml:"scripts"`
	Macros      string `toml:"macros"`
	Encrypted   string `toml:"encrypted"`
	Archives    string `toml:"archives"`
	DiskImages  string `toml:"disk_images"`
	Shortcuts   string `toml:"shortcuts"`
	Viewers     string `toml:"viewers"`
	Autorun     string `toml:"autorun"`
}

func (s *Stances) words() [settingEnd]string {
	return [settingEnd]string{Executables: s.Executables, Scripts: s.Scripts, Macros: s.Macros, Encrypted: s.Encrypted,
		Archives: s.Archives, DiskImages: s.DiskImages, Shortcuts: s.Shortcuts, Viewers: s.Viewers, Autorun: s.Autorun}
}

// parseStance reads the word for one setting.
func parseStance(s Setting, word string) (Stance, error) {
	var known []string
	for _, stance := range settings[s].stances {
		if stance.String() == word {
			return stance, nil
		}
		known = append(known, fmt.Sprintf("%q", stance))
	}
	return Refuse, fmt.Errorf("%s = %q: want %s", s, word, strings.Join(known, " or "))
}
