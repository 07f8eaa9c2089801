/*
   Programs that hide what they are. Packed programs are not bad by themselves: those rules warn, and the policy of each class
   says what programs may do there. Section names are looked for in the header only; no module is needed for that.
*/

rule Program_Packed_With_Upx
{
    meta:
        description = "A program packed with UPX: what it does cannot be seen from outside."
        author = "Pratique"
        reference = "https://attack.mitre.org/techniques/T1027/002/"
        severity = "warn"
    strings:
        $first = "UPX0\x00"
        $second = "UPX1\x00"
    condition:
        uint16(0) == 0x5A4D and uint32(uint32(0x3C)) == 0x00004550 and
        $first in (uint32(0x3C)..uint32(0x3C) + 2048) and $second in (uint32(0x3C)..uint32(0x3C) + 2048)
}

rule Program_Hides_That_It_Is_Packed
{
    meta:
        description = "A program packed with UPX whose traces were wiped."
        author = "Pratique"
        reference = "https://attack.mitre.org/techniques/T1027/002/"
        severity = "block"
    strings:
        $marker = { 55 50 58 21 0? 0? }
        $first = "UPX0\x00"
        $start = { 60 BE ?? ?? ?? 00 8D BE ?? ?? ?? FF }
    condition:
        uint16(0) == 0x5A4D and uint32(uint32(0x3C)) == 0x00004550 and filesize < 64MB and
        $marker in (0x200..0x1000) and $start and not $first in (uint32(0x3C)..uint32(0x3C) + 2048)
}

rule Program_Packed_By_Protector
{
    meta:
        description = "A program packed with a tool that keeps people from seeing what it does."
        author = "Pratique"
        reference = "https://attack.mitre.org/techniques/T1027/002/"
        severity = "warn"
    strings:
        $a = ".aspack\x00"
        $b = ".MPRESS1"
        $c = ".petite\x00"
        $d = ".vmp0\x00\x00\x00"
        $e = ".themida"
        $f = ".enigma1"
        $g = ".nsp0\x00\x00\x00"
        $h = "PEC2TO\x00"
        $i = ".winlice"
        $j = ".perplex"
        $k = "pebundle"
        $l = ".taz\x00\x00\x00\x00"
    condition:
        uint16(0) == 0x5A4D and uint32(uint32(0x3C)) == 0x00004550 and
        for any of them : ($ in (uint32(0x3C)..uint32(0x3C) + 2048))
}

rule Program_Rewrites_All_Of_Itself
{
    meta:
        description = "A program all of whose parts can be both written and run, as packers leave it."
        author = "Pratique"
        reference = "https://attack.mitre.org/techniques/T1027/002/"
        severity = "warn"
    condition:
        uint16(0) == 0x5A4D and uint32(uint32(0x3C)) == 0x00004550 and
        uint16(uint32(0x3C) + 6) > 1 and uint16(uint32(0x3C) + 6) < 32 and
        for all i in (0..uint16(uint32(0x3C) + 6) - 1) : (
        (uint32(uint32(0x3C) + 24 + uint16(uint32(0x3C) + 20) + 40 * i + 36) & 0xE0000000) == 0xE0000000 )
}

rule Linux_Program_Packed_With_Upx
{
    meta:
        description = "A Linux program packed with UPX: what it does cannot be seen from outside."
        author = "Pratique"
        reference = "https://attack.mitre.org/techniques/T1027/002/"
        severity = "warn"
    strings:
        $marker = { 55 50 58 21 }
    condition:
        uint32(0) == 0x464C457F and $marker in (0x40..0x400)
}

rule Program_Writes_Autorun
{
    meta:
        description = "A program that writes autorun files to drives: it spreads over sticks."
        author = "Pratique"
        reference = "https://attack.mitre.org/techniques/T1091/"
        severity = "block"
    strings:
        $name = "autorun.inf" ascii wide nocase
        $section = "[autorun]" ascii wide nocase
        $drive1 = "GetDriveType"
        $drive2 = "GetLogicalDrive"
        $copy = "CopyFile"
    condition:
        uint16(0) == 0x5A4D and uint32(uint32(0x3C)) == 0x00004550 and filesize < 16MB and $name and $section and any of ($drive*) and $copy
}

rule Program_Logs_Keys_And_Sends_Them
{
    meta:
        description = "A program that records what is typed and sends it away."
        author = "Pratique"
        reference = "https://attack.mitre.org/techniques/T1056/001/"
        severity = "block"
    strings:
        $key1 = "GetAsyncKeyState"
        $key2 = "SetWindowsHookEx"
        $key3 = "GetKeyboardState"
        $window = "GetForegroundWindow"
        $mark1 = "[ENTER]" ascii wide nocase
        $mark2 = "[BACKSPACE]" ascii wide nocase
        $mark3 = "[CAPSLOCK]" ascii wide nocase
        $send1 = "smtp." ascii wide nocase
        $send2 = "ftp://" ascii wide nocase
        $send3 = "api.telegram.org" ascii wide nocase
        $send4 = "/api/webhooks/" ascii wide nocase
    condition:
        uint16(0) == 0x5A4D and uint32(uint32(0x3C)) == 0x00004550 and filesize < 32MB and any of ($key*) and $window and 2 of ($mark*) and any of ($send*)
}

rule Program_Demands_Ransom
{
    meta:
        description = "A program that deletes backups and holds a ransom note."
        author = "Pratique"
        reference = "https://attack.mitre.org/techniques/T1486/"
        severity = "block"
    strings:
        $backup = /(vssadmin|shadowcopy|wbadmin)(\.exe)?\s{1,4}(delete|shadows)/ ascii wide nocase
        $note1 = /files\s(have\sbeen|are|were)\s(encrypted|locked)/ ascii wide nocase
        $note2 = /(decrypt|restore|recover)\s(all\s)?(of\s)?your\s(files|data)/ ascii wide nocase
        $pay = /(bitcoin|monero|\.onion)/ ascii wide nocase
    condition:
        uint16(0) == 0x5A4D and uint32(uint32(0x3C)) == 0x00004550 and filesize < 32MB and $backup and any of ($note*) and $pay
}

rule Program_Named_As_Document
{
    meta:
        description = "A program that stands in a file with the name of a document."
        author = "Pratique"
        reference = "https://attack.mitre.org/techniques/T1036/007/"
        severity = "block"
    condition:
        uint16(0) == 0x5A4D and uint32(uint32(0x3C)) == 0x00004550 and
        filename matches /\.(pdf|docx?|xlsx?|pptx?|jpe?g|png|txt|dcm|mp4|zip)[ _]{0,60}\.(exe|scr|com|pif)$/i
}
