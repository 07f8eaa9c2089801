/*
   PDF and RTF documents that start something, without macros.
*/

rule Rtf_Equation_Object
{
    meta:
        description = "A document with an equation made for an old editor that runs whatever stands in it."
        author = "Pratique"
        reference = "https://nvd.nist.gov/vuln/detail/CVE-2017-11882"
        severity = "block"
    strings:
        $data = "\\objdata" nocase
        $name = "4571756174696f6e2e33" nocase
        $class = "02ce020000000000c000000000000046" nocase
        $plain = "\\objclass Equation.3" nocase
    condition:
        filesize < 32MB and uint32be(0) == 0x7B5C7274 and $data and any of ($name, $class, $plain)
}

rule Rtf_Object_Loads_By_Itself
{
    meta:
        description = "A document with an object that loads as soon as the document is opened, from the network or from its own text."
        author = "Pratique"
        reference = "https://nvd.nist.gov/vuln/detail/CVE-2017-0199"
        severity = "block"
    strings:
        $update = "\\objupdate" nocase
        $autlink = "\\objautlink" nocase
        $data = "\\objdata" nocase
        $moniker = "e0c9ea79f9bace118c8200aa004ba90b" nocase
        $link = "d0cf11e0a1b11ae1" nocase
    condition:
        filesize < 32MB and uint32be(0) == 0x7B5C7274 and $data and ($update or $autlink) and ($moniker or $link)
}

rule Rtf_Carries_Program
{
    meta:
        description = "A document with a program written out as text."
        author = "Pratique"
        reference = "https://attack.mitre.org/techniques/T1027/009/"
        severity = "block"
    strings:
        $data = "\\objdata" nocase
        $stub = "546869732070726f6772616d2063616e6e6f742062652072756e" nocase
    condition:
        filesize < 64MB and uint32be(0) == 0x7B5C7274 and $data and $stub
}

rule Pdf_Starts_Program
{
    meta:
        description = "A PDF document that starts a program."
        author = "Pratique"
        reference = "https://attack.mitre.org/techniques/T1204/002/"
        severity = "block"
    strings:
        $pdf = "%PDF-"
        $launch = /\/S\s{0,4}\/Launch[\s\/>]/
        $what = /\((\\\(|[^)]){0,200}(cmd|powershell|mshta|wscript|\.exe|\.bat|\.hta|\.js|\.vbs|\.lnk)/ nocase
    condition:
        (uint32be(0) == 0x25504446 or filesize < 4MB and $pdf in (0..1024)) and filesize < 64MB and $launch and $what
}

rule Pdf_Script_Runs_By_Itself
{
    meta:
        description = "A PDF document with a script that runs when it is opened and unpacks or attacks something."
        author = "Pratique"
        reference = "https://attack.mitre.org/techniques/T1203/"
        severity = "block"
    strings:
        $pdf = "%PDF-"
        $open = /\/(OpenAction|AA)[\s\/<]/
        $script = /\/(JavaScript|JS)[\s\/(<]/
        $bad1 = "unescape(" nocase
        $bad2 = "Collab.collectEmailInfo"
        $bad3 = "util.printf("
        $bad4 = "media.newPlayer("
        $bad5 = /eval\s{0,2}\(/
        $bad6 = "exportDataObject"
    condition:
        (uint32be(0) == 0x25504446 or filesize < 4MB and $pdf in (0..1024)) and filesize < 64MB and $open and $script and any of ($bad*)
}

rule Pdf_Opens_Attachment
{
    meta:
        description = "A PDF document that opens a file hidden inside it."
        author = "Pratique"
        reference = "https://attack.mitre.org/techniques/T1204/002/"
        severity = "block"
    strings:
        $pdf = "%PDF-"
        $embedded = /\/EmbeddedFiles?[\s\/<]/
        $export = /exportDataObject\s{0,2}\([^)]{0,200}nLaunch/
    condition:
        (uint32be(0) == 0x25504446 or filesize < 4MB and $pdf in (0..1024)) and filesize < 64MB and $embedded and $export
}
