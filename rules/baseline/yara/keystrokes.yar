/*
   Scripts for sticks that pretend to be keyboards. On an ordinary stick they do nothing by themselves, but nobody carries them by
   accident.
*/

rule Keystroke_Script
{
    meta:
        description = "A script for a stick that pretends to be a keyboard and types commands."
        author = "Pratique"
        reference = "https://attack.mitre.org/techniques/T1200/"
        severity = "block"
    strings:
        $open = /(^|[\r\n])(GUI|WINDOWS|COMMAND)\s{1,2}(r|SPACE)\s{0,4}[\r\n]/
        $type = /[\r\n](STRING|STRINGLN|ALTSTRING)\s{1,2}[!-~]/
        $wait = /(^|[\r\n])(DELAY|DEFAULT_DELAY|DEFAULTDELAY)\s{1,2}\d{2,5}\s{0,4}[\r\n]/
    condition:
        uint32(0) != 0 and filesize < 256KB and all of them
}

rule Keystroke_Sketch
{
    meta:
        description = "A program for a small computer that pretends to be a keyboard and types commands."
        author = "Pratique"
        reference = "https://attack.mitre.org/techniques/T1200/"
        severity = "block"
    strings:
        $lib = /#include\s{0,4}["<](Keyboard|DigiKeyboard|HID-Project)\.h[">]/
        $key = /(KEY_LEFT_GUI|MOD_GUI_LEFT|MOD_GUI_RIGHT)/
        $type = /\.(print|println|write)\s{0,2}\([^\r\n]{0,12}"[^"\r\n]{0,60}(powershell|cmd|http|mshta)/ nocase
    condition:
        uint32(0) != 0 and filesize < 256KB and all of them
}

rule Keystroke_Device_Payload
{
    meta:
        description = "A payload for an attack device that takes the place of a stick."
        author = "Pratique"
        reference = "https://attack.mitre.org/techniques/T1200/"
        severity = "block"
    strings:
        $mode = /(^|[\r\n])ATTACKMODE\s[^\r\n]{0,60}(HID|STORAGE|RNDIS_ETHERNET|ECM_ETHERNET)/
        $type = /[\r\n](QUACK|Q)\s{1,2}(GUI|STRING|ENTER|DELAY|CTRL|ALT|STRINGLN)\b/
    condition:
        uint32(0) != 0 and filesize < 256KB and $mode and $type
}
