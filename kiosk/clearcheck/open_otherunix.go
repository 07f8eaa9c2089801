//go:build unix && !linux

package main

// noAccessTime has no counterpart here.
const noAccessTime = 0
