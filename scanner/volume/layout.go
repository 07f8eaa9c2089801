package volume

import "pratique/scanner/report"

// Candidate is a range that looks like a volume, or that must be one for the layout to make sense.
type Candidate struct {
	ID         int // index in Layout.Volumes; volumes are numbered in order of their start
	Start      int64
	Bytes      int64
	FileSystem string // "fat12", "fat16", "fat32", "exfat", "ntfs", "ext2", "ext3", "ext4", "iso9660", "udf": there is a reader; any other name is refused by name
	What       string // "GPT partition 2", "whole device", …
}

// Layout is how the medium is divided. Regions are disjoint, in order, and cover every byte of it. Volumes may overlap
// each other: a finding says so, and each is read.
type Layout struct {
	SectorSize int
	Regions    []report.Region
	Volumes    []Candidate
	Found      []report.Finding // about the medium: Check is report.CheckMedium
	// Areas are ranges outside every volume whose bytes must be scanned as items: boot code, gaps that are not zero.
	// Region.Class is RegionData for each.
	Areas []Entry
}
