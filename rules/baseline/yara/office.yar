/*
   Office documents whose macros start something. Macros lie packed in compound files; names stay readable in the part that Office
   keeps beside them (_VBA_PROJECT), so rules for documents look for both forms and rules for macro source for the text.
*/

rule Macro_Document_Starts_Program
{
    meta:
        description = "A document whose macro runs when it is opened and starts or fetches a program."
        author = "Pratique"
        reference = "https://attack.mitre.org/techniques/T1204/002/"
        severity = "block"
    strings:
        $project = "_VBA_PROJECT" wide
        $auto1 = /(Auto_?Open|Auto_?Exec|Auto_?Close)/ nocase
        $auto2 = /(Document|Workbook)_(Open|BeforeClose|Close)/ nocase
        $start1 = "WScript.Shell" nocase
        $start2 = "ShellExecute" nocase
        $start3 = "URLDownloadToFile" nocase
        $start4 = "powershell" nocase
        $start5 = "winmgmts" nocase
        $start6 = "MSXML2" nocase
        $start7 = "VirtualAlloc"
        $start8 = "CreateThread"
        $start9 = "cmd.exe" nocase
    condition:
        uint32(0) == 0xE011CFD0 and uint32(4) == 0xE11AB1A1 and filesize < 64MB and $project and any of ($auto*) and any of ($start*)
}

rule Macro_Source_Starts_Program
{
    meta:
        description = "A macro that runs when its document is opened and starts or fetches a program."
        author = "Pratique"
        reference = "https://attack.mitre.org/techniques/T1204/002/"
        severity = "block"
    strings:
        $vba = "Attribute VB_" nocase
        $sub = /Sub\s{1,4}(Auto_?Open|Auto_?Exec|Auto_?Close|Document_(Open|Close|New)|Workbook_(Open|BeforeClose|Activate))\s{0,4}\(/ nocase
        $start1 = /(CreateObject|GetObject)\s{0,4}\(\s{0,4}["'](WScript\.Shell|Shell\.Application|winmgmts:|MSXML2|Microsoft\.XMLHTTP)/ nocase
        $start2 = "URLDownloadToFile" nocase
        $start3 = /[\s=(]Shell[\s(]{1,4}[^\r\n]{1,100}(cmd|powershell|mshta|wscript|rundll32|regsvr32|\.exe)/ nocase
        $start4 = /Declare\s{1,4}(PtrSafe\s{1,4})?Function\s{1,4}(VirtualAlloc|CreateThread|RtlMoveMemory)/ nocase
    condition:
        uint32(0) != 0 and filesize < 4MB and $vba and $sub and any of ($start*)
}

rule Macro_Sheet_Starts_Program
{
    meta:
        description = "A spreadsheet of the old macro kind that starts or fetches a program."
        author = "Pratique"
        reference = "https://attack.mitre.org/techniques/T1059/"
        severity = "block"
    strings:
        $sheet = /<(xm:)?macrosheet[\s>]/
        $start = /(EXEC|CALL|REGISTER|FORMULA\.FILL)\(/
        $what = /(URLDownloadToFile|ShellExecute|powershell|mshta|regsvr32|rundll32|cmd)/ nocase
    condition:
        uint32(0) != 0 and (filesize < 4MB or uint16(0) == 0x5A4D or uint32(0) == 0x464C457F) and filesize < 16MB and $sheet and $start and $what
}

rule Document_Loads_Template_From_Network
{
    meta:
        description = "A document that fetches a template or object from the network when it is opened."
        author = "Pratique"
        reference = "https://attack.mitre.org/techniques/T1221/"
        severity = "block"
    strings:
        $kind = /relationships\/(attachedTemplate|oleObject|frame)["']/ nocase
        $mode = /TargetMode\s?=\s?["']External["']/ nocase
        $where = /Target\s?=\s?["'](mhtml:)?(https?:|file:\/\/\/?\\\\|\\\\|ms-msdt:)/ nocase
    condition:
        uint32(0) != 0 and filesize < 1MB and $kind and $mode and $where
}

rule Document_Field_Starts_Program
{
    meta:
        description = "A document with a field that starts a command when it is opened."
        author = "Pratique"
        reference = "https://attack.mitre.org/techniques/T1559/002/"
        severity = "block"
    strings:
        $dde = /DDE(AUTO)?["']?\s{1,8}["']?[^\r\n<]{0,60}(cmd(\.exe)?|powershell|mshta)["'\s\\]/ nocase ascii wide
    condition:
        uint32(0) != 0 and (filesize < 4MB or uint16(0) == 0x5A4D or uint32(0) == 0x464C457F) and filesize < 16MB and $dde
}

rule Table_Cell_Starts_Program
{
    meta:
        description = "A table whose cell starts a command when it is opened in a spreadsheet."
        author = "Pratique"
        reference = "https://owasp.org/www-community/attacks/CSV_Injection"
        severity = "block"
    strings:
        $cell = /[=+@-](cmd|powershell|mshta|rundll32|msexcel)(\.exe)?\|["']?[^\r\n,;]{0,80}["']?!/ nocase
    condition:
        uint32(0) != 0 and filesize < 4MB and $cell
}

rule Document_Carries_Program
{
    meta:
        description = "A document with a program or script inside that a double click starts."
        author = "Pratique"
        reference = "https://attack.mitre.org/techniques/T1204/002/"
        severity = "block"
    strings:
        $native = { 01 00 4F 00 6C 00 65 00 31 00 30 00 4E 00 61 00 74 00 69 00 76 00 65 00 }
        $name = /\.(exe|scr|pif|com|bat|cmd|vbs|vbe|js|jse|wsf|hta|lnk|ps1|jar|cpl)\x00/ nocase
    condition:
        uint32(0) == 0xE011CFD0 and uint32(4) == 0xE11AB1A1 and filesize < 64MB and $native and $name
}

rule Notebook_Embeds_Script
{
    meta:
        description = "A OneNote notebook with a script or program behind a picture."
        author = "Pratique"
        reference = "https://attack.mitre.org/techniques/T1566/001/"
        severity = "block"
    strings:
        $object = { E7 16 E3 BD 65 26 11 45 A4 C4 8D 4D 0B 7A 9E AC }
        $program = { E7 16 E3 BD 65 26 11 45 A4 C4 8D 4D 0B 7A 9E AC [20] 4D 5A }
        $shortcut = { E7 16 E3 BD 65 26 11 45 A4 C4 8D 4D 0B 7A 9E AC [20] 4C 00 00 00 01 14 02 00 }
        $shell = "WScript.Shell" nocase
        $power = "powershell" nocase
        $hta = "<hta:application" nocase
        $batch = "@echo off" nocase
    condition:
        filesize < 64MB and uint32(0) == 0x7B5C52E4 and uint32(4) == 0x4DA7D88C and
        $object and ($program or $shortcut or $shell or $power or $hta or $batch)
}
