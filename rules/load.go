package rules

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
)

// loadLists reads hashes.txt and the lists of the folder hashes.
func (p *Pack) loadLists(fsys fs.FS, sum *packDigest) error {
	names, err := fs.Glob(fsys, "hashes/*.txt") // Glob sorts
	if err != nil {
		return err
	}
	if _, err := fs.Stat(fsys, "hashes.txt"); err == nil {
		names = append([]string{"hashes.txt"}, names...)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if len(names) > maxLists {
		return fmt.Errorf("more than %d hash lists", maxLists)
	}
	room := int64(maxListBytes)
	for _, name := range names {
		list, err := readBounded(fsys, name, room)
		if err != nil {
			return err
		}
		room -= int64(len(list))
		p.Lists = append(p.Lists, list)
		sum.add(name, list)
	}
	return nil
}

// loadPolicies reads settings.toml and the policy of each class.
func (p *Pack) loadPolicies(fsys fs.FS, sum *packDigest) error {
	var defaults structural
	if text, err := readBounded(fsys, "settings.toml", maxTextBytes); err == nil {
		if defaults, err = parseSettings(text); err != nil {
			return fmt.Errorf("settings.toml: %w", err)
		}
		sum.add("settings.toml", text)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	names, err := fs.Glob(fsys, "policy/*.toml")
	if err != nil {
		return err
	}
	for _, name := range names {
		text, err := readBounded(fsys, name, maxTextBytes)
		if err != nil {
			return err
		}
		policy, err := parsePolicy(text, defaults)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if want := strings.TrimSuffix(path.Base(name), ".toml"); policy.Class != want {
			return fmt.Errorf("%s is for class %q", name, policy.Class)
		}
		p.Policies[policy.Class] = policy
		sum.add(name, text)
	}
	return nil
}

// loadSamples reads the recipes and the clean files.
func (p *Pack) loadSamples(fsys fs.FS, sum *packDigest) error {
	names, err := fs.Glob(fsys, "samples/*.toml")
	if err != nil {
		return err
	}
	if len(names) > maxSampleFiles {
		return fmt.Errorf("more than %d files of samples", maxSampleFiles)
	}
	for _, name := range names {
		text, err := readBounded(fsys, name, maxTextBytes)
		if err != nil {
			return err
		}
		samples, err := ParseSamples(text)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if p.Samples = append(p.Samples, samples...); len(p.Samples) > maxSamples {
			return fmt.Errorf("more than %d samples", maxSamples)
		}
		sum.add(name, text)
	}
	room := int64(maxCleanBytes)
	err = fs.WalkDir(fsys, "clean", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) && name == "clean" {
				return fs.SkipAll
			}
			return err
		}
		if d.IsDir() {
			return nil
		}
		if !d.Type().IsRegular() {
			return fmt.Errorf("%s is not a regular file", name)
		}
		if len(p.Clean) == maxCleanFiles {
			return fmt.Errorf("clean: more than %d files", maxCleanFiles)
		}
		content, err := readBounded(fsys, name, room)
		if err != nil {
			return err
		}
		room -= int64(len(content))
		p.Clean = append(p.Clean, File{Name: strings.TrimPrefix(name, "clean/"), Content: content})
		sum.add(name, content)
		return nil
	})
	return err
}

// readBounded reads a file of at most room bytes.
func readBounded(fsys fs.FS, name string, room int64) ([]byte, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, room+1))
	if err != nil {
		return nil, err
	}
	if int64(len(text)) > room {
		return nil, fmt.Errorf("%s: longer than the %d bytes that are left for it", name, room)
	}
	return text, nil
}
