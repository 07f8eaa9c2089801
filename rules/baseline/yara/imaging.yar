/*
   Programs and scripts inside pictures and studies. A viewer shows the picture; something else starts the program.
*/

rule Program_Before_Dicom
{
    meta:
        description = "A medical image that is a Windows program, too."
        author = "Pratique"
        reference = "https://nvd.nist.gov/vuln/detail/CVE-2019-11687"
        severity = "block"
    condition:
        uint16(0) == 0x5A4D and uint32(128) == 0x4D434944
}

rule Linux_Program_Before_Dicom
{
    meta:
        description = "A medical image that is a Linux program, too."
        author = "Pratique"
        reference = "https://nvd.nist.gov/vuln/detail/CVE-2019-11687"
        severity = "block"
    condition:
        uint32(0) == 0x464C457F and uint32(128) == 0x4D434944
}

rule Script_Before_Dicom
{
    meta:
        description = "A medical image that is a script or page, too."
        author = "Pratique"
        reference = "https://nvd.nist.gov/vuln/detail/CVE-2019-11687"
        severity = "block"
    strings:
        $php = "<?php" nocase
        $script = "<script" nocase
        $batch = "@echo off" nocase
    condition:
        uint32(128) == 0x4D434944 and (uint16(0) == 0x2123 or for any of them : ($ in (0..127)))
}

rule Program_In_Dicom
{
    meta:
        description = "A medical image that carries a Windows program inside."
        author = "Pratique"
        reference = "https://attack.mitre.org/techniques/T1027/009/"
        severity = "block"
    strings:
        $stub = "This program cannot be run in DOS mode"
        $must = "This program must be run under Win32"
    condition:
        uint32(128) == 0x4D434944 and (
        for any i in (1..#stub) : ( @stub[i] > 0x4E and uint16(@stub[i] - 0x4E) == 0x5A4D )
        or for any i in (1..#must) : ( @must[i] > 0x50 and uint16(@must[i] - 0x50) == 0x5A4D ) )
}

rule Program_In_Picture
{
    meta:
        description = "A picture that carries a Windows program inside."
        author = "Pratique"
        reference = "https://attack.mitre.org/techniques/T1027/003/"
        severity = "block"
    strings:
        $stub = "This program cannot be run in DOS mode"
        $must = "This program must be run under Win32"
    condition:
        filesize < 64MB and
        (uint32be(0) == 0xFFD8FFE0 or uint32be(0) == 0xFFD8FFE1 or uint32be(0) == 0x89504E47 or uint32be(0) == 0x47494638) and (
        for any i in (1..#stub) : ( @stub[i] > 0x4E and uint16(@stub[i] - 0x4E) == 0x5A4D )
        or for any i in (1..#must) : ( @must[i] > 0x50 and uint16(@must[i] - 0x50) == 0x5A4D ) )
}

rule Web_Shell_In_Picture
{
    meta:
        description = "A picture with a web server's script inside, for breaking into servers."
        author = "Pratique"
        reference = "https://attack.mitre.org/techniques/T1505/003/"
        severity = "block"
    strings:
        $php = /<\?(php|=)\s{0,8}[^\x00]{0,200}(eval|assert|system|passthru|shell_exec|base64_decode)\s{0,4}\(/ nocase
    condition:
        filesize < 64MB and
        (uint32be(0) == 0xFFD8FFE0 or uint32be(0) == 0xFFD8FFE1 or uint32be(0) == 0x89504E47 or uint32be(0) == 0x47494638) and $php
}
