/*
   Scripts that start, fetch or hide something. Text is found as written for computers of any language; where Windows also takes
   UTF-16, so do the rules. Repeats are bounded: an unbounded one costs minutes on a file made for that.
*/

rule Powershell_Runs_Encoded_Command
{
    meta:
        description = "A command that PowerShell is to decode and run, so that nobody can read it."
        author = "Pratique"
        reference = "https://attack.mitre.org/techniques/T1027/010/"
        severity = "block"
    strings:
        $a = /powershell(\.exe)?["']?\s[^\r\n]{0,200}-e(c|nc|ncodedcommand)?\s{1,4}["']?[a-z0-9+\/]{40}/ ascii wide nocase
        $b = /pwsh(\.exe)?["']?\s[^\r\n]{0,200}-e(c|nc|ncodedcommand)?\s{1,4}["']?[a-z0-9+\/]{40}/ ascii wide nocase
    condition:
        uint32(0) != 0 and filesize < 1MB and any of them
}

rule Powershell_Starts_Unseen
{
    meta:
        description = "A command that starts PowerShell in a window that nobody sees and around its safeguards."
        author = "Pratique"
        reference = "https://attack.mitre.org/techniques/T1564/003/"
        severity = "block"
    strings:
        $hidden = /powershell(\.exe)?["']?\s[^\r\n]{0,200}-w(in|indowstyle)?\s{1,4}["']?(hidden|h|1)\s/ ascii wide nocase
        $bypass = /-e(p|x|xec|xecutionpolicy)\s{1,4}["']?(bypass|unrestricted)/ ascii wide nocase
        $none = /-nop(rofile)?\s/ ascii wide nocase
    condition:
        uint32(0) != 0 and filesize < 1MB and $hidden and ($bypass or $none)
}

rule Powershell_Fetches_And_Runs
{
    meta:
        description = "A PowerShell script that fetches code from the network and runs it at once."
        author = "Pratique"
        reference = "https://attack.mitre.org/techniques/T1059/001/"
        severity = "block"
    strings:
        $client = "Net.WebClient" ascii wide nocase
        $request = "Invoke-WebRequest" ascii wide nocase
        $fetch = /\.Download(String|Data)\s{0,4}\(/ ascii wide nocase
        $run = "Invoke-Expression" ascii wide nocase
        $iex1 = /[|;&(]\s{0,4}iex[\s(]/ ascii wide nocase
        $iex2 = /[\r\n;({]iex[\s(]{1,3}\(?(new-object|iwr|irm|\[|\$[a-z]{1,20}\.Download)/ ascii wide nocase
        $load = "[Reflection.Assembly]::Load(" ascii wide nocase
    condition:
        uint32(0) != 0 and filesize < 1MB and ($client and $fetch or $request) and ($run or $iex1 or $iex2 or $load) and
        extension != ".md"
}

rule Powershell_Switches_Off_Protection
{
    meta:
        description = "A script that switches off the virus protection of Windows or its script scanner."
        author = "Pratique"
        reference = "https://attack.mitre.org/techniques/T1562/001/"
        severity = "block"
    strings:
        $off = /Set-MpPreference\s[^\r\n]{0,120}-Disable[a-z]{4,40}\s{1,4}(\$true|1)/ ascii wide nocase
        $exclude = /Add-MpPreference\s[^\r\n]{0,80}-Exclusion(Path|Extension|Process)\s/ ascii wide nocase
        $amsi = "amsiInitFailed" ascii wide nocase
        $utils = "System.Management.Automation.AmsiUtils" ascii wide nocase
    condition:
        uint32(0) != 0 and (filesize < 4MB or uint16(0) == 0x5A4D or uint32(0) == 0x464C457F) and filesize < 16MB and ($off or $exclude or $amsi and $utils)
}

rule Certutil_Fetches_Or_Decodes
{
    meta:
        description = "A command that misuses the certificate tool of Windows to fetch or decode a program."
        author = "Pratique"
        reference = "https://attack.mitre.org/techniques/T1105/"
        severity = "block"
    strings:
        $fetch = /certutil(\.exe)?["']?\s[^\r\n]{0,80}[-\/](urlcache|verifyctl)\s[^\r\n]{0,120}http/ ascii wide nocase
        $decode = /certutil(\.exe)?["']?\s{1,4}[-\/]decode(hex)?\s[^\r\n]{1,200}\.(exe|dll|bat|cmd|vbs|js|ps1|hta|scr)/ ascii wide nocase
    condition:
        uint32(0) != 0 and filesize < 1MB and any of them
}

rule Bitsadmin_Fetches_Program
{
    meta:
        description = "A command that has Windows fetch a program in the background."
        author = "Pratique"
        reference = "https://attack.mitre.org/techniques/T1197/"
        severity = "block"
    strings:
        $a = /bitsadmin(\.exe)?["']?\s{1,4}\/(transfer|addfile)\s[^\r\n]{0,200}http/ ascii wide nocase
        $b = /Start-BitsTransfer\s[^\r\n]{0,200}http[^\r\n]{0,200}\.(exe|dll|bat|cmd|vbs|js|ps1|hta|scr)/ ascii wide nocase
    condition:
        uint32(0) != 0 and filesize < 1MB and any of them
}

rule Mshta_Runs_Foreign_Script
{
    meta:
        description = "A command that has Windows run a script from the network or from the command itself."
        author = "Pratique"
        reference = "https://attack.mitre.org/techniques/T1218/005/"
        severity = "block"
    strings:
        $a = /mshta(\.exe)?["']?\s{1,4}["']?(https?:|javascript:|vbscript:|\\\\)/ ascii wide nocase
    condition:
        uint32(0) != 0 and filesize < 1MB and $a
}

rule Regsvr32_Loads_Foreign_Script
{
    meta:
        description = "A command that registers a script from elsewhere: the old way around application control."
        author = "Pratique"
        reference = "https://attack.mitre.org/techniques/T1218/010/"
        severity = "block"
    strings:
        $a = /regsvr32(\.exe)?["']?\s[^\r\n]{0,80}\/i:["']?(https?:|\\\\|[a-z0-9_.\\]{1,80}\.sct)/ ascii wide nocase
    condition:
        uint32(0) != 0 and filesize < 1MB and $a
}

rule Rundll32_Runs_Script
{
    meta:
        description = "A command that runs a script through a part of Windows that is there for something else."
        author = "Pratique"
        reference = "https://attack.mitre.org/techniques/T1218/011/"
        severity = "block"
    strings:
        $a = /rundll32(\.exe)?["']?\s{1,4}["']?(javascript:|vbscript:|[^\r\n]{0,60}mshtml[^\r\n]{0,20}RunHTMLApplication)/ ascii wide nocase
    condition:
        uint32(0) != 0 and filesize < 1MB and $a
}

rule Msiexec_Installs_From_Network
{
    meta:
        description = "A command that installs a program from the network without asking."
        author = "Pratique"
        reference = "https://attack.mitre.org/techniques/T1218/007/"
        severity = "block"
    strings:
        $a = /msiexec(\.exe)?["']?\s[^\r\n]{0,40}[-\/]i\s{0,4}["']?https?:[^\r\n]{0,200}\s[-\/]q/ ascii wide nocase
        $b = /msiexec(\.exe)?["']?\s[^\r\n]{0,40}[-\/]q[^\r\n]{0,40}[-\/]i\s{0,4}["']?https?:/ ascii wide nocase
    condition:
        uint32(0) != 0 and filesize < 1MB and any of them
}

rule Script_Fetches_And_Starts_Program
{
    meta:
        description = "A Windows script that fetches a file, writes it to disk and starts it."
        author = "Pratique"
        reference = "https://attack.mitre.org/techniques/T1059/005/"
        severity = "block"
    strings:
        $shell1 = "WScript.Shell" ascii wide nocase
        $shell2 = "Shell.Application" ascii wide nocase
        $http1 = "MSXML2.XMLHTTP" ascii wide nocase
        $http2 = "WinHttp.WinHttpRequest" ascii wide nocase
        $http3 = "Microsoft.XMLHTTP" ascii wide nocase
        $http4 = "MSXML2.ServerXMLHTTP" ascii wide nocase
        $stream = "ADODB.Stream" ascii wide nocase
    condition:
        uint32(0) != 0 and filesize < 1MB and any of ($shell*) and any of ($http*) and $stream
}

rule Script_Is_Encoded
{
    meta:
        description = "A script in the form that Windows runs and people cannot read."
        author = "Pratique"
        reference = "https://attack.mitre.org/techniques/T1027/013/"
        severity = "warn"
    strings:
        $head = { 23 40 7E 5E [6] 3D 3D }
        $tail = { 3D 3D 5E 23 7E 40 }
    condition:
        uint32(0) != 0 and filesize < 4MB and $head and $tail
}

rule Script_Spells_Its_Code_In_Numbers
{
    meta:
        description = "A script that puts its code together from numbers and runs it, so that nobody can read it."
        author = "Pratique"
        reference = "https://attack.mitre.org/techniques/T1027/010/"
        severity = "block"
    strings:
        $execute = /\b(Execute|ExecuteGlobal|Eval)[\s(]{1,4}/ nocase
        $vbs = /chrw?\s?\(\s?\d{2,3}\s?\)\s?&\s?chrw?\s?\(\s?\d{2,3}\s?\)\s?&\s?chrw?\s?\(/ nocase
        $js = /fromCharCode\s?\((\s?(0x)?[0-9a-f]{2,4}\s?,){24}/ nocase
        $object1 = "ActiveXObject" nocase
        $object2 = "WScript." nocase
        $object3 = "CreateObject" nocase
    condition:
        uint32(0) != 0 and filesize < 4MB and ($js and any of ($object*) or #vbs > 8 and $execute)
}

rule Hta_Starts_Program
{
    meta:
        description = "A page that Windows runs with all rights of the user, and that starts a program."
        author = "Pratique"
        reference = "https://attack.mitre.org/techniques/T1218/005/"
        severity = "block"
    strings:
        $hta = "<hta:application" nocase
        $script = /<script[\s>]/ nocase
        $shell = "WScript.Shell" nocase
        $app = "Shell.Application" nocase
        $wmi = "winmgmts:" nocase
        $start = /\.(Run|Exec|ShellExecute|Create)[\s(]/ nocase
    condition:
        uint32(0) != 0 and filesize < 2MB and ($hta and $script or extension == ".hta") and ($shell or $app or $wmi) and $start
}

rule Windows_Script_File_Starts_Program
{
    meta:
        description = "A Windows script file that starts a program."
        author = "Pratique"
        reference = "https://attack.mitre.org/techniques/T1059/005/"
        severity = "block"
    strings:
        $job = /<(job|package)[\s>]/ nocase
        $script = /<script\s{1,4}[^>]{0,60}language/ nocase
        $shell = "WScript.Shell" nocase
        $start = /\.(Run|Exec)[\s(]/ nocase
    condition:
        uint32(0) != 0 and filesize < 2MB and $job and $script and $shell and $start
}

rule Scriptlet_Starts_Program
{
    meta:
        description = "A script component or style sheet with a script that starts a program."
        author = "Pratique"
        reference = "https://attack.mitre.org/techniques/T1220/"
        severity = "block"
    strings:
        $component = /<(scriptlet|registration|ms:script|msxsl:script)[\s>]/ nocase
        $active = /(ActiveXObject|CreateObject)\s?\(\s?["']WScript\.Shell/ nocase
        $start = /\.(Run|Exec)[\s(]/ nocase
    condition:
        uint32(0) != 0 and filesize < 1MB and $component and $active and $start
}

rule Script_Destroys_Backups
{
    meta:
        description = "A command that deletes the copies from which Windows could restore files: what ransomware does first."
        author = "Pratique"
        reference = "https://attack.mitre.org/techniques/T1490/"
        severity = "block"
    strings:
        $a = /vssadmin(\.exe)?["']?\s{1,4}delete\s{1,4}shadows/ ascii wide nocase
        $b = /wmic(\.exe)?["']?\s{1,4}shadowcopy\s{1,4}(where\s[^\r\n]{1,60}\s)?delete/ ascii wide nocase
        $c = /wbadmin(\.exe)?["']?\s{1,4}delete\s{1,4}(catalog|systemstatebackup)/ ascii wide nocase
        $d = /bcdedit(\.exe)?["']?\s[^\r\n]{0,60}recoveryenabled["']?\s{1,4}no/ ascii wide nocase
        $e = /Win32_Shadowcopy[^\r\n]{0,120}\.?(Delete\(|Remove-)/ ascii wide nocase
    condition:
        uint32(0) != 0 and (filesize < 4MB or uint16(0) == 0x5A4D or uint32(0) == 0x464C457F) and filesize < 16MB and any of them
}

rule Script_Plants_Task
{
    meta:
        description = "A command that makes Windows start a script again and again."
        author = "Pratique"
        reference = "https://attack.mitre.org/techniques/T1053/005/"
        severity = "block"
    strings:
        $a = /schtasks(\.exe)?["']?\s[^\r\n]{0,200}\/tr\s{1,4}["'\\]{0,3}[^\r\n]{0,60}(powershell|mshta|wscript|cscript|regsvr32|rundll32)/ ascii wide nocase
    condition:
        uint32(0) != 0 and filesize < 1MB and $a
}

rule Script_Behind_Zeros
{
    meta:
        description = "A script behind zeros, where a person who looks at the file sees nothing."
        author = "Pratique"
        reference = "https://attack.mitre.org/techniques/T1027/"
        severity = "block"
    strings:
        $shell = "WScript.Shell" ascii wide nocase
        $power = "powershell" ascii wide nocase
        $hta = "<hta:application" ascii wide nocase
        $batch = "@echo off" ascii wide nocase
    condition:
        uint32(0) == 0 and filesize < 4MB and any of them
}

rule Page_Builds_Program_From_Its_Text
{
    meta:
        description = "A web page that carries a program or archive in its text and saves it by itself."
        author = "Pratique"
        reference = "https://attack.mitre.org/techniques/T1027/006/"
        severity = "block"
    strings:
        $blob = "new Blob(" nocase
        $save1 = "msSaveOrOpenBlob" nocase
        $save2 = "createObjectURL" nocase
        $decode = /(window\.)?atob\s?\(/ nocase
        $name = /["'][^"'\r\n]{1,80}\.(iso|img|vhd|exe|hta|js|lnk|wsf|vbs|zip)["']/ nocase
        $zip = /["'`]UEsDB[a-z0-9+\/]{40}/ nocase
        $exe = /["'`]TVqQ[a-z0-9+\/]{40}/ nocase
    condition:
        uint32(0) != 0 and filesize < 4MB and $blob and any of ($save*) and $decode and $name and ($zip or $exe)
}

rule Python_Runs_Hidden_Code
{
    meta:
        description = "A Python script that unpacks its own code and runs it, so that nobody can read it."
        author = "Pratique"
        reference = "https://attack.mitre.org/techniques/T1027/"
        severity = "block"
    strings:
        $a = /exec\s?\(\s?(__import__\(["'](zlib|marshal|base64)["']\)|zlib|marshal|base64)\.(decompress|loads|b64decode)\s?\(/
        $b = /exec\s?\(\s?compile\s?\(\s?(base64|zlib)\.(b64decode|decompress)\s?\(/
    condition:
        uint32(0) != 0 and filesize < 4MB and any of them
}
