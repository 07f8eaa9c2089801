/*
   Scripts for breaking into web servers. On a stick for equipment they have no business at all.
*/

rule Php_Web_Shell
{
    meta:
        description = "A script that runs on a web server whatever somebody sends to it."
        author = "Pratique"
        reference = "https://attack.mitre.org/techniques/T1505/003/"
        severity = "block"
    strings:
        $php = /<\?(php|=)/ nocase
        $run = /(eval|assert|system|passthru|shell_exec|popen|proc_open|exec)\s{0,4}\(\s{0,4}(@|base64_decode\s{0,4}\(\s{0,4}|stripslashes\s{0,4}\(\s{0,4}){0,3}\$_(GET|POST|REQUEST|COOKIE|SERVER)/ nocase
        $call = /\$_(GET|POST|REQUEST|COOKIE)\s?\[[^\]]{1,40}\]\s?\(\s?\$_(GET|POST|REQUEST|COOKIE)/ nocase
    condition:
        uint32(0) != 0 and filesize < 4MB and $php and ($run or $call)
}

rule Php_Unpacks_Hidden_Code
{
    meta:
        description = "A web server's script that unpacks its own code and runs it, so that nobody can read it."
        author = "Pratique"
        reference = "https://attack.mitre.org/techniques/T1027/"
        severity = "block"
    strings:
        $php = /<\?(php|=)/ nocase
        $run = /(eval|assert)\s{0,4}\(\s{0,4}(gzinflate|gzuncompress|str_rot13|base64_decode|strrev)\s{0,4}\(\s{0,4}(gzinflate|gzuncompress|str_rot13|base64_decode|strrev|["'][a-z0-9+\/=]{60})/ nocase
    condition:
        uint32(0) != 0 and filesize < 4MB and $php and $run
}

rule Aspx_Web_Shell
{
    meta:
        description = "A script that runs on a Windows web server whatever somebody sends to it."
        author = "Pratique"
        reference = "https://attack.mitre.org/techniques/T1505/003/"
        severity = "block"
    strings:
        $page = /<%@\s{0,4}(Page|WebHandler)\s/ nocase
        $eval = /eval\s?\(\s?Request[.\[(][^\r\n]{1,60}["']unsafe["']/ nocase
        $process = /(Process\.Start|ProcessStartInfo)\s?\(/ nocase
        $cmd = "cmd.exe" nocase
        $request = /Request(\.(Form|QueryString|Item|Params))?\s?[\[(.]/ nocase
    condition:
        uint32(0) != 0 and filesize < 1MB and ($page and $process and $cmd and $request or $eval)
}

rule Asp_Web_Shell
{
    meta:
        description = "A script that runs on an old Windows web server whatever somebody sends to it."
        author = "Pratique"
        reference = "https://attack.mitre.org/techniques/T1505/003/"
        severity = "block"
    strings:
        $a = /<%[^%]{0,100}(eval|execute|executeglobal)[\s(]{1,4}\(?request[\s(.]/ nocase
    condition:
        uint32(0) != 0 and filesize < 1MB and $a
}

rule Jsp_Web_Shell
{
    meta:
        description = "A script that runs on a Java web server whatever somebody sends to it."
        author = "Pratique"
        reference = "https://attack.mitre.org/techniques/T1505/003/"
        severity = "block"
    strings:
        $page = "<%"
        $run = /Runtime\.getRuntime\(\)\s?\.\s?exec\s?\(/
        $builder = "new ProcessBuilder("
        $load = /defineClass\s?\(/
        $request = /request\s?\.\s?get(Parameter|Header|Reader)\s?\(/
    condition:
        uint32(0) != 0 and filesize < 1MB and $page and ($run or $builder or $load) and $request
}
