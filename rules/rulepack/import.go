package main

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"time"

	"pratique/rules"
	"pratique/rules/check"
	"pratique/rules/feed"
)

// importFeed turns a feed into a hash list. What was refused is said on standard error.
func (p *program) importFeed(ctx context.Context, args []string) (code int, err error) {
	set := p.flags("import", "FEED", "import --pack ward-rules -o ward-rules/hashes/bazaar.txt full.csv")
	format := set.String("format", "", "`FORMAT` of the feed: hdb, csv, stix, misp or plain; otherwise by its name")
	var clean fileList
	set.Var(&clean, "clean", "`DIR` of files whose hashes are refused")
	packDir := set.String("pack", "", "`DIR` of the pack that the list is for: the hashes of its clean files are refused")
	name := set.String("o", "", "`FILE` to write, instead of standard output")
	if err := set.parse(args, 1, 1); err != nil {
		return 0, err
	}
	opt := feed.Options{Format: feed.Format(*format), Now: time.Now(), Poison: feed.NewPoison()}
	if *format == "" {
		opt.Format = feed.FormatOf(set.args[0])
	}
	if *packDir != "" {
		loaded, err := rules.LoadFS(os.DirFS(*packDir))
		if err != nil {
			return 0, err
		}
		for _, f := range loaded.Clean {
			opt.Poison.Add(f.Content, "the hash of a clean file")
		}
	}
	for _, dir := range clean {
		if err := check.Walk(ctx, dir, func(_ string, content []byte, err error) error {
			if err == nil {
				opt.Poison.Add(content, "the hash of a clean file")
			}
			return nil
		}); err != nil {
			return 0, err
		}
	}
	in, err := os.Open(set.args[0])
	if err != nil {
		return 0, err
	}
	defer in.Close()
	out := io.Writer(p.stdout)
	if *name != "" {
		// Beside its place and renamed: a list that broke off half way would look whole.
		tmp, err := os.CreateTemp(filepath.Dir(*name), ".rulepack-")
		if err != nil {
			return 0, err
		}
		defer os.Remove(tmp.Name()) // in vain once it is renamed
		defer tmp.Close()
		out = tmp
		defer func() {
			if err == nil && code == exitOK {
				err = errors.Join(tmp.Chmod(0o644), tmp.Sync(), os.Rename(tmp.Name(), *name))
			}
		}()
	}
	report, err := feed.Import(ctx, in, out, opt)
	if errors.Is(err, feed.ErrFormat) {
		p.say("rulepack: error: %v", err)
		p.say("rulepack: hint: --format says how it is written; nothing of it was kept")
		return exitRefused, nil
	}
	if err != nil {
		return 0, err
	}
	p.say("%s", report)
	if report.Taken == 0 {
		p.say("rulepack: error: there is no hash to take")
		return exitRefused, nil
	}
	return exitOK, nil
}
