/*
   Shortcuts, registry files and settings that start something, beyond the plain ones in worms.yar. All are small files, so each
   condition starts with what they begin with or with their size.
*/

rule Shortcut_Fetches_Program
{
    meta:
        description = "A shortcut that fetches something from the network and starts it."
        author = "Pratique"
        reference = "https://attack.mitre.org/techniques/T1204/002/"
        severity = "block"
    strings:
        $url = /https?:\/\/[a-z0-9]/ ascii wide nocase
        $curl = "curl" ascii wide nocase
        $bits = "bitsadmin" ascii wide nocase
        $cert = "certutil" ascii wide nocase
        $msi = "msiexec" ascii wide nocase
        $web = "Invoke-WebRequest" ascii wide nocase
    condition:
        uint32(0) == 0x0000004C and uint32(4) == 0x00021401 and uint32(12) == 0x000000C0 and filesize < 1MB and
        $url and ($curl or $bits or $cert or $msi or $web)
}

rule Shortcut_Carries_Script
{
    meta:
        description = "A shortcut with a script inside: opening it runs what is hidden behind it."
        author = "Pratique"
        reference = "https://attack.mitre.org/techniques/T1027/012/"
        severity = "block"
    strings:
        $script = /<script[\s>]/ nocase
        $active = "ActiveXObject" nocase
        $hta = "<hta:application" nocase
    condition:
        uint32(0) == 0x0000004C and uint32(4) == 0x00021401 and uint32(12) == 0x000000C0 and filesize < 32MB and ($script or $active or $hta)
}

rule Shortcut_Hides_Its_Command
{
    meta:
        description = "A shortcut whose command starts behind so many blanks that nobody sees it."
        author = "Pratique"
        reference = "https://attack.mitre.org/techniques/T1027/012/"
        severity = "block"
    strings:
        $blanks = /[!-~]\x00( \x00){60}/
        $lines = { 0A 00 0A 00 0A 00 0A 00 0A 00 0A 00 0A 00 0A 00 0A 00 0A 00 0A 00 0A 00 0A 00 0A 00 0A 00 0A 00 }
    condition:
        uint32(0) == 0x0000004C and uint32(4) == 0x00021401 and uint32(12) == 0x000000C0 and filesize < 1MB and any of them
}

rule Registry_File_Starts_Program
{
    meta:
        description = "A registry file that makes Windows start a program by itself."
        author = "Pratique"
        reference = "https://attack.mitre.org/techniques/T1547/001/"
        severity = "block"
    strings:
        $run = /\\CurrentVersion\\Run(Once)?\]/ ascii wide nocase
        $debugger = "Image File Execution Options" ascii wide nocase
        $winlogon = /\\CurrentVersion\\Winlogon\]/ ascii wide nocase
        $shell = /"(Shell|Userinit|Debugger)"\s{0,4}=/ ascii wide nocase
    condition:
        filesize < 256KB and (uint32(0) == 0x45474552 or uint32(0) == 0x646E6957 or uint32(0) == 0x0057FEFF) and
        ($run or ($debugger or $winlogon) and $shell)
}

rule Settings_Shortcut_Starts_Program
{
    meta:
        description = "A Windows settings shortcut that starts a command instead of showing settings."
        author = "Pratique"
        reference = "https://attack.mitre.org/techniques/T1204/002/"
        severity = "block"
    strings:
        $link = /<DeepLink>[^<]{0,200}(cmd|powershell|mshta|rundll32|wscript|cscript)(\.exe)?/ nocase
    condition:
        uint32(0) != 0 and filesize < 64KB and $link
}

rule Desktop_Entry_Fetches_Program
{
    meta:
        description = "A Linux desktop shortcut that fetches something from the network and runs it."
        author = "Pratique"
        reference = "https://attack.mitre.org/techniques/T1204/002/"
        severity = "block"
    strings:
        $exec = /\nExec=[^\r\n]{0,200}(curl|wget)\s[^\r\n]{0,200}\|\s{0,4}(ba|da|z)?sh/
        $code = /\nExec=[^\r\n]{0,200}base64\s{1,4}-d[^\r\n]{0,200}\|\s{0,4}(ba|da|z)?sh/
    condition:
        filesize < 64KB and uint32(0) == 0x7365445B and any of them
}

rule Disk_Image_Holds_Shortcut_And_Program
{
    meta:
        description = "A disk image with a shortcut beside a program or script: mail filters do not look into it."
        author = "Pratique"
        reference = "https://attack.mitre.org/techniques/T1553/005/"
        severity = "block"
    strings:
        $link = ".LNK;1"
        $link_wide = { 00 2E 00 (4C | 6C) 00 (4E | 6E) 00 (4B | 6B) 00 3B 00 31 }
        $dll = ".DLL;1"
        $exe = ".EXE;1"
        $bat = ".BAT;1"
        $cmd = ".CMD;1"
        $js = ".JS;1"
        $vbs = ".VBS;1"
        $ps1 = ".PS1;1"
        $hta = ".HTA;1"
    condition:
        uint32(0x8001) == 0x30304443 and ($link or $link_wide) and
        any of ($dll, $exe, $bat, $cmd, $js, $vbs, $ps1, $hta)
}
