package main

import "syscall"

// noAccessTime is open(2)'s flag that leaves the time of access alone.
const noAccessTime = syscall.O_NOATIME
