// Program mksticks writes the sample sticks as sparse disk images, for the demonstration and for trying things by hand.
//
//	mksticks -out sticks                    all five samples
//	mksticks -out sticks clean infected     some of them
//	mksticks -out sticks -bench 500         bench.img with about 500 MB, and the same files below bench/
//
// It prints one line for each. It trusts its caller and writes only below the folder given.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"pratique/testdata/stick"
)

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "mksticks: error:", err)
		os.Exit(1)
	}
}

func run(args []string, out io.Writer) error {
	flags := flag.NewFlagSet("mksticks", flag.ContinueOnError)
	dir := flags.String("out", "", "folder to write to; made if it is not there")
	bench := flags.Int64("bench", 0, "write a bench stick of about so many megabytes, and nothing else unless named")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *dir == "" {
		return fmt.Errorf("-out is missing; example: mksticks -out sticks clean infected")
	}
	all := stick.Sticks()
	var known []string
	for _, s := range all {
		known = append(known, s.Name)
	}
	wanted := flags.Args()
	for _, name := range wanted {
		if !slices.Contains(known, name) {
			return fmt.Errorf("there is no stick %q (want %s)", name, strings.Join(known, ", "))
		}
	}
	if len(wanted) == 0 && *bench == 0 {
		wanted = known
	}
	if err := os.MkdirAll(*dir, 0o755); err != nil {
		return err
	}
	for _, s := range all {
		if !slices.Contains(wanted, s.Name) {
			continue
		}
		path := filepath.Join(*dir, s.Name+".img")
		if err := s.Create(path); err != nil {
			return err
		}
		fmt.Fprintf(out, "%s: %s\n", path, s.About)
	}
	if *bench > 0 {
		if err := stick.CreateBench(*dir, *bench<<20, 1); err != nil {
			return err
		}
		fmt.Fprintf(out, "%s: MBR, FAT32, about %d MB as a hospital's stick has them; the same files below %s\n",
			filepath.Join(*dir, "bench.img"), *bench, filepath.Join(*dir, "bench"))
	}
	return nil
}
