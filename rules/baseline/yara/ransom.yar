/*
   Notes that ransomware leaves. They are harmless, but the stick was in a computer that is not. A note says what happened, that
   nobody else can help, how to pay and whom to write to; a newspaper's article about one has no reason to say all of it to you.
*/

rule Ransom_Note
{
    meta:
        description = "A note that ransomware leaves behind. The computer that wrote it needs help."
        author = "Pratique"
        reference = "https://attack.mitre.org/techniques/T1486/"
        severity = "block"
    strings:
        $done = /(all\s)?(of\s)?your\s([a-z]{2,12},?\s){0,5}(files|data|documents|network|servers)\s?[^\r\n.]{0,60}\s(encrypted|locked|stolen)/ nocase
        $only = /(do\snot|don't|never)\s(try\sto\s)?(rename|modify|delete|decrypt|recover|restore|contact\sthe\spolice|use\sthird)/ nocase
        $pay1 = /(bitcoins?|monero|\bbtc\b|\bxmr\b)/ nocase
        $pay2 = /(decryptor|decryption\s(tool|key|software)|private\skey)/ nocase
        $who1 = /[a-z2-7]{16,56}\.onion/ nocase
        $who2 = /@(onionmail|tutanota|tuta|protonmail|proton|cock|airmail|firemail|mailfence)\.[a-z]{2,4}/ nocase
        $who3 = /(your|personal)\s(personal\s)?(id|key|identifier)\s?[:=]/ nocase
        $who4 = /tor\sbrowser/ nocase
    condition:
        uint32(0) != 0 and filesize < 128KB and $done and $only and any of ($pay*) and any of ($who*)
}

rule Ransom_Note_In_Utf16
{
    meta:
        description = "A note that ransomware leaves behind. The computer that wrote it needs help."
        author = "Pratique"
        reference = "https://attack.mitre.org/techniques/T1486/"
        severity = "block"
    strings:
        $done = /(all\s)?(of\s)?your\s([a-z]{2,12},?\s){0,5}(files|data|documents|network|servers)\s?[^\r\n.]{0,60}\s(encrypted|locked|stolen)/ nocase wide
        $only = /(do\snot|don't|never)\s(try\sto\s)?(rename|modify|delete|decrypt|recover|restore|contact\sthe\spolice|use\sthird)/ nocase wide
        $pay1 = /(bitcoins?|monero|\bbtc\b|\bxmr\b)/ nocase wide
        $pay2 = /(decryptor|decryption\s(tool|key|software)|private\skey)/ nocase wide
        $who1 = /[a-z2-7]{16,56}\.onion/ nocase wide
        $who2 = /@(onionmail|tutanota|tuta|protonmail|proton|cock|airmail|firemail|mailfence)\.[a-z]{2,4}/ nocase wide
        $who3 = /(your|personal)\s(personal\s)?(id|key|identifier)\s?[:=]/ nocase wide
        $who4 = /tor\sbrowser/ nocase wide
    condition:
        uint32(0) != 0 and filesize < 256KB and uint16(0) == 0xFEFF and $done and $only and any of ($pay*) and any of ($who*)
}
