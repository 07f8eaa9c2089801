/*
   What takes passwords, keys and money away, found by what it must name to do that. Each rule asks for several signs and for a way
   out, because browsers and password managers name the same files.
*/

rule Program_Takes_Browser_Passwords
{
    meta:
        description = "A program or script that collects passwords from browsers and sends them away."
        author = "Pratique"
        reference = "https://attack.mitre.org/techniques/T1555/003/"
        severity = "block"
    strings:
        $store1 = "Login Data" ascii wide
        $store2 = "logins.json" ascii wide
        $store3 = "key4.db" ascii wide
        $store4 = /os_crypt["'\]\[.\s]{1,8}encrypted_key/ ascii wide
        $store5 = "Web Data" ascii wide
        $sql1 = /password_value\s{0,4}(,|FROM)/ ascii wide nocase
        $crypt = "CryptUnprotectData" ascii wide
        $out1 = "api.telegram.org/bot" ascii wide nocase
        $out2 = /discord(app)?\.com\/api\/webhooks/ ascii wide nocase
        $out3 = "smtp.gmail.com" ascii wide nocase
        $out4 = "api.ipify.org" ascii wide nocase
    condition:
        uint32(0) != 0 and (filesize < 4MB or uint16(0) == 0x5A4D or uint32(0) == 0x464C457F) and filesize < 64MB and 3 of ($store*, $sql*, $crypt) and any of ($out*)
}

rule Program_Takes_Wallets
{
    meta:
        description = "A program or script that collects electronic money and sends it away."
        author = "Pratique"
        reference = "https://attack.mitre.org/techniques/T1005/"
        severity = "block"
    strings:
        $a = "wallet.dat" ascii wide nocase
        $b = "Electrum\\wallets" ascii wide nocase
        $c = "exodus.wallet" ascii wide nocase
        $d = "nkbihfbeogaeaoehlefnkodbefgpgknn" ascii wide
        $e = "Ethereum\\keystore" ascii wide nocase
        $f = "atomic\\Local Storage" ascii wide nocase
    condition:
        uint32(0) != 0 and (filesize < 4MB or uint16(0) == 0x5A4D or uint32(0) == 0x464C457F) and filesize < 64MB and 3 of them
}

rule Script_Takes_Wireless_Passwords
{
    meta:
        description = "A command that shows the passwords of wireless networks."
        author = "Pratique"
        reference = "https://attack.mitre.org/techniques/T1555/"
        severity = "block"
    strings:
        $a = /netsh(\.exe)?["']?\s{1,4}wlan\s{1,4}(show|export)\s{1,4}profiles?\s[^\r\n]{0,120}key\s{0,4}=\s{0,4}clear/ ascii wide nocase
    condition:
        uint32(0) != 0 and (filesize < 4MB or uint16(0) == 0x5A4D or uint32(0) == 0x464C457F) and filesize < 16MB and $a
}

rule Script_Saves_Password_Database
{
    meta:
        description = "A command that copies the database of passwords of Windows."
        author = "Pratique"
        reference = "https://attack.mitre.org/techniques/T1003/002/"
        severity = "block"
    strings:
        $a = /reg(\.exe)?["']?\s{1,4}(save|export)\s{1,4}["']?(hklm|hkey_local_machine)\\(sam|security)\s/ ascii wide nocase
        $b = /ntdsutil(\.exe)?["']?\s[^\r\n]{0,80}ifm[^\r\n]{0,40}create\s{1,4}full/ ascii wide nocase
    condition:
        uint32(0) != 0 and (filesize < 4MB or uint16(0) == 0x5A4D or uint32(0) == 0x464C457F) and filesize < 16MB and any of them
}

rule Script_Copies_Password_Memory
{
    meta:
        description = "A command that copies the memory in which Windows keeps passwords."
        author = "Pratique"
        reference = "https://attack.mitre.org/techniques/T1003/001/"
        severity = "block"
    strings:
        $a = /comsvcs(\.dll)?["']?[,\s]{1,4}(MiniDump|#\+?24)/ ascii wide nocase
        $b = /procdump(64)?(\.exe)?["']?\s[^\r\n]{0,60}lsass/ ascii wide nocase
    condition:
        uint32(0) != 0 and (filesize < 4MB or uint16(0) == 0x5A4D or uint32(0) == 0x464C457F) and filesize < 16MB and any of them
}

rule Tool_Takes_Windows_Passwords
{
    meta:
        description = "A tool that reads passwords out of the memory of Windows."
        author = "Pratique"
        reference = "https://attack.mitre.org/techniques/T1003/001/"
        severity = "block"
    strings:
        $a = "sekurlsa::logonpasswords" ascii wide nocase
        $b = "lsadump::sam" ascii wide nocase
        $c = "lsadump::dcsync" ascii wide nocase
        $d = "kerberos::golden" ascii wide nocase
        $e = "privilege::debug" ascii wide nocase
        $f = "gentilkiwi" ascii wide nocase
    condition:
        uint32(0) != 0 and (filesize < 4MB or uint16(0) == 0x5A4D or uint32(0) == 0x464C457F) and filesize < 64MB and 2 of them
}
