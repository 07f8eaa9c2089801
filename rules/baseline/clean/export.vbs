' Counts the files of a folder and writes the number into a table.
Set fs = CreateObject("Scripting.FileSystemObject")
Set folder = fs.GetFolder("D:\Studies")
WScript.Echo folder.Files.Count
