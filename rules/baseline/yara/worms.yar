/*
   What spreads from stick to stick without an exploit. These look at small files only, and import no module, so that they
   cost a clean file next to nothing.
*/

rule Autorun_Starts_Program
{
    meta:
        description = "An autorun file that starts a program as soon as the medium is opened."
        author = "Pratique"
        reference = "https://learn.microsoft.com/en-us/windows/win32/shell/autorun-cmds"
        severity = "block"
    strings:
        $section = /\[\s{0,8}autorun(\.[a-z0-9]{1,12})?\s{0,8}\]/ nocase
        $open = /[\r\n]\s{0,8}(open|shellexecute)\s{0,8}=\s{0,8}[^\r\n;]{0,200}\.(exe|com|scr|pif|bat|cmd|vbs|vbe|js|jse|wsf|hta|lnk|dll|cpl|ps1)/ nocase
        $verb = /[\r\n]\s{0,8}shell\\[a-z0-9_]{1,32}\\command\s{0,8}=/ nocase
    condition:
        uint32(0) != 0 and filesize < 64KB and $section and ($open or $verb)
}

rule Shortcut_Starts_Interpreter
{
    meta:
        description = "A shortcut that starts a command interpreter: the usual way in from a stick."
        author = "Pratique"
        reference = "https://attack.mitre.org/techniques/T1204/002/"
        severity = "block"
    strings:
        $cmd = "cmd.exe" ascii wide nocase
        $powershell = "powershell" ascii wide nocase
        $wscript = "wscript" ascii wide nocase
        $cscript = "cscript" ascii wide nocase
        $mshta = "mshta" ascii wide nocase
        $rundll = "rundll32" ascii wide nocase
        $regsvr = "regsvr32" ascii wide nocase
    condition:
        uint32(0) == 0x0000004C and uint32(4) == 0x00021401 and uint32(12) == 0x000000C0 and filesize < 1MB and any of them
}

rule Script_Hides_Folders_And_Copies_Itself
{
    meta:
        description = "A script that hides the folders of the medium and copies itself in their place."
        author = "Pratique"
        reference = "https://attack.mitre.org/techniques/T1091/"
        severity = "block"
    strings:
        $hide = /attrib\s{1,4}(\+[shr]\s{1,4}){1,3}/ nocase
        $copy1 = "CopyFile" nocase
        $copy2 = /copy\s{1,4}(\/y\s{1,4})?"?%(~f)?0/ nocase
        $shell = "WScript.Shell" nocase
        $drive = /\.DriveType\s{0,4}=\s{0,4}1/ nocase
    condition:
        uint32(0) != 0 and filesize < 256KB and ($hide and any of ($copy*) or $shell and $drive and $copy1)
}

rule Script_Copies_Itself_To_Drives
{
    meta:
        description = "A script that copies itself to every drive that it finds."
        author = "Pratique"
        reference = "https://attack.mitre.org/techniques/T1091/"
        severity = "block"
    strings:
        $self = "ScriptFullName" nocase
        $drives = /\.Drives\b/ nocase
        $copy = /\.(CopyFile|Copy)[\s(]/ nocase
        $hide = /\.Attributes\s{0,4}=\s{0,4}\d/ nocase
    condition:
        uint32(0) != 0 and filesize < 256KB and $self and $drives and ($copy or $hide)
}

rule Script_Puts_Shortcuts_In_Place_Of_Folders
{
    meta:
        description = "A script that hides the folders of the medium and puts shortcuts in their place."
        author = "Pratique"
        reference = "https://attack.mitre.org/techniques/T1091/"
        severity = "block"
    strings:
        $shortcut = "CreateShortcut" nocase
        $target = "TargetPath" nocase
        $hide1 = /\.Attributes\s{0,4}=\s{0,4}(2|6|7|22|23|39)\b/ nocase
        $hide2 = /attrib\s{1,4}(\+[shr]\s{1,4}){1,3}/ nocase
        $folders = /\.(SubFolders|RootFolder|DriveType)\b/ nocase
    condition:
        uint32(0) != 0 and filesize < 256KB and $shortcut and $target and any of ($hide*) and $folders
}
