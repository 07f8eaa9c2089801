package main

import (
	"context"
	"os"

	"pratique/rules"
	"pratique/rules/check"
	"pratique/rules/pack"
)

// test tries a pack with libyara itself, the version that kiosks have.
func (p *program) test(ctx context.Context, args []string) (int, error) {
	set := p.flags("test", "DIR", "test --clean /srv/studies ward-rules")
	var clean fileList
	set.Var(&clean, "clean", "`DIR` of files in which nothing may be found")
	if err := set.parse(args, 1, 1); err != nil {
		return 0, err
	}
	loaded, err := load(set.args[0])
	if err != nil {
		return 0, err
	}
	res, err := check.Test(ctx, loaded, clean)
	if err != nil {
		return 0, err
	}
	p.say("%d rules, %d samples, %d clean files of %d MB, %d larger ones left out", res.Rules, res.Samples, res.Clean, res.Bytes/1e6, res.Skipped)
	return p.problems(res.Problems), nil
}

// load reads a pack's folder. A pack that does not load is refused, as build refuses it.
func load(dir string) (rules.Pack, error) {
	if _, err := os.Stat(dir); err != nil {
		return rules.Pack{}, err
	}
	loaded, err := rules.LoadFS(os.DirFS(dir))
	if err != nil {
		return rules.Pack{}, &pack.Refusal{Reason: pack.Malformed, Text: err.Error() + "; rulepack lint says more"}
	}
	return loaded, nil
}
