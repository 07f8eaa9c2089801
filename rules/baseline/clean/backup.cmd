@echo off
rem Copies the studies of today to the archive.
robocopy D:\Studies \\archive\studies /E /XO /R:2
powershell -NoProfile -Command "Get-ChildItem D:\Studies | Measure-Object"
