/*
   What spreads between Linux computers, medical devices and network storage among them.
*/

rule Linux_Script_Fetches_And_Runs
{
    meta:
        description = "A shell script that fetches programs from a bare address and runs them where anybody can write."
        author = "Pratique"
        reference = "https://attack.mitre.org/techniques/T1105/"
        severity = "block"
    strings:
        $fetch = /(wget|curl|tftp|ftpget)\s[^\r\n]{0,120}(\d{1,3}\.){3}\d{1,3}/
        $place = /(cd\s{1,4}|-O\s?|-o\s?)\/(tmp|var\/tmp|var\/run|dev\/shm)/
        $right = /chmod\s{1,4}(\+x|0?7[0-7]{2})\s/
    condition:
        uint32(0) != 0 and filesize < 256KB and $fetch and $place and $right
}

rule Linux_Dropper_For_Many_Machines
{
    meta:
        description = "A shell script that tries programs for many kinds of machine, as worms for devices do."
        author = "Pratique"
        reference = "https://attack.mitre.org/techniques/T1105/"
        severity = "block"
    strings:
        $get = /(wget|curl|tftp|ftpget|busybox)\s/
        $right = /chmod\s{1,4}(\+x|0?7[0-7]{2})\s/
        $m1 = /[.\/](mips|mipsel|mpsl)\b/
        $m2 = /[.\/]arm[567]\b/
        $m3 = /[.\/](sh4|spc|sparc|ppc|m68k)\b/
        $m4 = /[.\/](x86|x86_64|i[56]86)\b/
    condition:
        uint32(0) != 0 and filesize < 256KB and $get and $right and 3 of ($m*)
}

rule Linux_Device_Worm
{
    meta:
        description = "A program that breaks into devices over the network with factory passwords."
        author = "Pratique"
        reference = "https://attack.mitre.org/techniques/T1498/"
        severity = "block"
    strings:
        $dog = "/dev/watchdog"
        $dog2 = "/dev/misc/watchdog"
        $net = "/proc/net/tcp"
        $box = "/bin/busybox"
        $user1 = "xc3511"
        $user2 = "vizxv"
        $user3 = "7ujMko0"
        $user4 = "anko"
        $user5 = "Zte521"
    condition:
        uint32(0) == 0x464C457F and filesize < 8MB and (all of ($dog*) and ($net or $box) or 2 of ($user*) and $box)
}

rule Miner_Of_Electronic_Money
{
    meta:
        description = "A program or script that makes electronic money with somebody else's computer."
        author = "Pratique"
        reference = "https://attack.mitre.org/techniques/T1496/"
        severity = "block"
    strings:
        $pool1 = "stratum+tcp://" ascii wide nocase
        $pool2 = "stratum+ssl://" ascii wide nocase
        $a = "xmrig" ascii wide nocase
        $b = "donate-level" ascii wide nocase
        $c = "cryptonight" ascii wide nocase
        $d = "randomx" ascii wide nocase
        $e = "nicehash" ascii wide nocase
    condition:
        uint32(0) != 0 and (filesize < 4MB or uint16(0) == 0x5A4D or uint32(0) == 0x464C457F) and filesize < 32MB and any of ($pool*) and any of ($a, $b, $c, $d, $e)
}

rule Linux_Shell_Calls_Home
{
    meta:
        description = "A command that hands a computer over to somebody on the network."
        author = "Pratique"
        reference = "https://attack.mitre.org/techniques/T1059/004/"
        severity = "block"
    strings:
        $a = /bash\s{1,4}-i\s{0,4}[>&12]{1,4}\s{0,4}\/dev\/(tcp|udp)\//
        $b = /\bnc(at|\.traditional)?\s{1,4}(-[a-z]{1,6}\s{1,4}){0,4}-[a-z]{0,4}e\s{1,4}\/bin\/(ba)?sh\s{1,4}[a-z0-9$]/
        $c = /\bnc(at)?\s[^\r\n]{7,60}\s-e\s{1,4}\/bin\/(ba)?sh/
        $d = /mkfifo\s[^\r\n]{1,80}\|\s{0,4}\/bin\/(ba)?sh\s{1,4}-i\s[^\r\n]{1,40}\|\s{0,4}nc\s/
        $py1 = /os\.dup2\(\s?[a-z]{1,12}\.fileno\(\)\s?,\s?[012]\s?\)/
        $py2 = /(pty\.spawn|subprocess\.(call|Popen|run))\(\s?\[?["']\/bin\/(ba)?sh["']/
    condition:
        uint32(0) != 0 and filesize < 1MB and ($a or $b or $c or $d or $py1 and $py2)
}

rule Linux_Script_Hides_In_Every_Program
{
    meta:
        description = "A shell script that has every program load something of its own."
        author = "Pratique"
        reference = "https://attack.mitre.org/techniques/T1574/006/"
        severity = "block"
    strings:
        $a = /(echo|printf|tee)\s[^\r\n]{0,160}\.so[^\r\n]{0,40}\s{0,4}(>{1,2}|\|\s?tee(\s-a)?)\s{0,4}\/etc\/ld\.so\.preload/
    condition:
        uint32(0) != 0 and filesize < 1MB and $a
}

rule Linux_Script_Plants_Itself
{
    meta:
        description = "A shell script that has the computer fetch and run something again and again."
        author = "Pratique"
        reference = "https://attack.mitre.org/techniques/T1053/003/"
        severity = "block"
    strings:
        $job = /\*\s{1,4}[^\r\n]{0,80}(curl|wget)\s[^\r\n]{0,160}\|\s{0,4}(ba|da|z)?sh\b/
        $where = /(crontab\s{1,4}-|cron\.d\/|\/var\/spool\/cron)/
    condition:
        uint32(0) != 0 and filesize < 1MB and $job and $where
}
