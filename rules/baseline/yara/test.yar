/*
   Two harmless test objects, so that anybody can see the kiosk refuse without handling malware.
*/

rule EICAR_Test_File
{
    meta:
        description = "This is the EICAR test file: harmless, and made to be found."
        author = "Pratique"
        reference = "https://www.eicar.org/download-anti-malware-testfile/"
        severity = "block"
    strings:
        // The standard text, in halves that no scanner takes for the test file itself.
        $head = "X5O!P%@AP[4\\PZX54(P^)7CC)7}$EICAR-STANDARD-"
        $tail = "ANTIVIRUS-TEST-FILE!$H+H*"
    condition:
        for any i in (1..#head) : ( $tail at @head[i] + !head[i] )
}

rule Pratique_Harmless_Sample
{
    meta:
        description = "This is the kiosk's own harmless rule sample."
        author = "Pratique"
        reference = "https://www.eicar.org/download-anti-malware-testfile/"
        severity = "block"
    strings:
        $marker = "PRATIQUE-HARMLESS-YARA-SAMPLE-7f3a" ascii wide
    condition:
        $marker
}
