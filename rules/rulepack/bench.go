package main

import (
	"context"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"pratique/rules/check"
)

// bench prints a table of what each rule costs, the slowest first.
func (p *program) bench(ctx context.Context, args []string) (int, error) {
	set := p.flags("bench", "DIR", "bench --top 10 ward-rules")
	budget := check.DefaultBudget
	set.DurationVar(&budget.PerMB, "per-mb", budget.PerMB, "`TIME` that a rule may take for a megabyte of ordinary content")
	set.DurationVar(&budget.PerFile, "per-file", budget.PerFile, "`TIME` that a rule may take for a small file")
	set.DurationVar(&budget.Worst, "worst", budget.Worst, "`TIME` that a rule may take for a megabyte made of its own sample")
	corpus := set.String("corpus", "", "`DIR` of files to measure with, instead of a mixture of noise, text and pixels")
	top := set.Int("top", 20, "`N` slowest rules to print; 0 prints all")
	if err := set.parse(args, 1, 1); err != nil {
		return 0, err
	}
	loaded, err := load(set.args[0])
	if err != nil {
		return 0, err
	}
	var content []byte
	if *corpus != "" {
		if content, err = check.Corpus(ctx, *corpus); err != nil {
			return 0, err
		}
	}
	costs, err := check.Bench(ctx, loaded, content, budget)
	if err != nil {
		return 0, err
	}
	table := tabwriter.NewWriter(p.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "rule\tmegabyte\tsmall file\tworst megabyte\tfile\t")
	var over []check.Problem
	for i, c := range costs {
		mark := ""
		if len(c.Over) > 0 {
			mark = "over budget"
			over = append(over, check.Problem{File: c.File, Text: fmt.Sprintf("%s takes %s", c.Rule, strings.Join(c.Over, "; ")),
				Fix: "give its strings more fixed letters, bound its repeats, begin its condition with what is cheap"})
		}
		if i < *top || *top == 0 || mark != "" {
			fmt.Fprintf(table, "%s\t%v\t%v\t%v\t%s\t%s\n", c.Rule, c.PerMB.Round(time.Microsecond), c.PerFile.Round(100*time.Nanosecond),
				c.Worst.Round(time.Millisecond), c.File, mark)
		}
	}
	if err := table.Flush(); err != nil {
		return 0, err
	}
	return p.problems(over), nil
}
