package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"pratique/rules/pack"
)

func (p *program) initRepository(_ context.Context, args []string) (int, error) {
	set := p.flags("init", "", "init --root anna.pub --root bert.pub --root cora.pub --signer dora.pub --signer emil.pub --publisher desk.pub --to repo")
	var root, signers, publishers fileList
	set.Var(&root, "root", "`FILE` with the public key of a person who may say who signs; give it several times")
	rootNeeds := set.Int("root-needs", 2, "`N` of them it takes, at least two")
	set.Var(&signers, "signer", "`FILE` with the public key of a person who may sign packs; give it several times")
	signersNeed := set.Int("signers-need", 2, "`N` of them it takes, at least two")
	set.Var(&publishers, "publisher", "`FILE` with a public key that may say what is newest; it can name no pack by itself")
	to := set.String("to", "", "`DIR` of the repository")
	change := set.Bool("change", false, "change who may sign in a repository that is in use: name everybody, also those who stay")
	if err := set.parse(args, 0, 0); err != nil {
		return 0, err
	}
	if err := set.need("root", "signer", "publisher", "to"); err != nil {
		return 0, err
	}
	team := pack.Team{RootNeeds: *rootNeeds, RulesNeeds: *signersNeed}
	var errs [3]error
	team.Root, errs[0] = publicKeys(root)
	team.Rules, errs[1] = publicKeys(signers)
	team.Publisher, errs[2] = publicKeys(publishers)
	if err := errors.Join(errs[:]...); err != nil {
		return 0, err
	}
	_, err := os.Stat(filepath.Join(*to, "metadata"))
	if used := err == nil; used != *change {
		if used {
			return 0, usagef("init: %s is in use; --change changes who may sign there", *to)
		}
		return 0, usagef("init: there is no repository in %s to change", *to)
	}
	if err := pack.Draft(*to, team, time.Now()); err != nil {
		return 0, usagef("init: %v", err)
	}
	p.say("Drafted in %s. It takes %d signatures of those named with --root: rulepack sign --key FILE %s", *to, *rootNeeds, *to)
	if *change {
		p.say("And as many as it took before of those who were named then. It is in force after the next rulepack publish.")
	}
	return exitOK, nil
}

func (p *program) sign(ctx context.Context, args []string) (int, error) {
	set := p.flags("sign", "PACK|DIR", "sign --key dora.key core.pack")
	flags := signingFlags(set)
	if err := set.parse(args, 1, 1); err != nil {
		return 0, err
	}
	if err := set.need("key"); err != nil {
		return 0, err
	}
	target := set.args[0]
	info, err := os.Stat(target)
	if err != nil {
		return 0, err
	}
	if info.IsDir() {
		key, err := p.open(flags)
		if err != nil {
			return 0, err
		}
		defer key.close()
		done, err := pack.SignDrafts(target, key.Key, key)
		if err != nil {
			return 0, err
		}
		p.say("Signed as %s: %s", key.Name, strings.Join(done, ", "))
		return exitOK, nil
	}
	signed, err := readPack(ctx, target, nil)
	if err != nil {
		return 0, err
	}
	for _, line := range pack.InspectFile(signed) { // what one is about to put one's name to
		p.say("%s", line)
	}
	key, err := p.open(flags)
	if err != nil {
		return 0, err
	}
	defer key.close()
	if err := signed.Sign(key.Key, key, time.Now()); err != nil {
		return 0, err
	}
	data, err := signed.Encode()
	if err != nil {
		return 0, err
	}
	if err := writeWhole(target+".sig", data); err != nil {
		return 0, err
	}
	p.say("Signed as %s. %s and %s.sig go on to the next person together.", key.Name, target, target)
	return exitOK, nil
}

// maxSignatures bounds a signature file: pack decodes no more.
const maxSignatures = 64 << 10

// readPack reads a pack file with its signatures: those named, else PACK.sig if there is one.
func readPack(ctx context.Context, file string, sigs []string) (*pack.Signed, error) {
	if len(sigs) == 0 {
		if _, err := os.Stat(file + ".sig"); err == nil {
			sigs = []string{file + ".sig"}
		}
	}
	var texts [][]byte
	for _, name := range sigs {
		data, err := readSmall(name, maxSignatures)
		if err != nil {
			return nil, err
		}
		texts = append(texts, data)
	}
	return pack.ReadSigned(ctx, file, texts...)
}

// writeWhole replaces a file in one step.
func writeWhole(name string, data []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(name), ".rulepack-")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name()) // in vain once it is renamed
	_, err = tmp.Write(data)
	if err := errors.Join(err, tmp.Chmod(0o644), tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), name)
}

func (p *program) publish(ctx context.Context, args []string) (int, error) {
	set := p.flags("publish", "[PACK [SIGNATURES...]]", "publish --key desk.key --to repo --carry /media/stick core.pack")
	flags := signingFlags(set)
	to := set.String("to", "", "`DIR` of the repository")
	days := set.Int("days", 30, "`N` days for which kiosks take this publication, at most 90")
	carry := set.String("carry", "", "`DIR` of a stick; what a kiosk needs is copied into its folder "+pack.StickFolder)
	if err := set.parse(args, 0, -1); err != nil {
		return 0, err
	}
	if err := set.need("key", "to"); err != nil {
		return 0, err
	}
	if *days < 1 || *days > int(pack.MaxPublishedLife/(24*time.Hour)) {
		return 0, usagef("publish: --days is 1 to 90")
	}
	now := time.Now()
	pub := pack.Publication{Now: now, GoodFor: time.Duration(*days) * 24 * time.Hour}
	if len(set.args) > 0 {
		signed, err := readPack(ctx, set.args[0], set.args[1:])
		if err != nil {
			return 0, err
		}
		if signed.Signatures() == 0 {
			return 0, &pack.Refusal{Reason: pack.NotSigned, Text: "nobody has signed " + filepath.Base(set.args[0])}
		}
		pub.Pack, pub.Signed = set.args[0], signed
	}
	key, err := p.open(flags)
	if err != nil {
		return 0, err
	}
	defer key.close()
	pub.Key, pub.Signer = key.Key, key
	waiting, err := pack.Publish(ctx, *to, pub)
	if err != nil {
		return 0, err
	}
	if waiting != nil {
		p.say("The draft of who may sign still waits, and what was before stays in force: %v", waiting)
	}
	_, digest, err := pack.FirstRoot(*to)
	if err != nil {
		return 0, err
	}
	p.say("Published. Kiosks that were enrolled with %s take it for %d days.", digest, *days)
	if *carry != "" {
		if err := pack.Carry(ctx, *to, *carry, now); err != nil {
			return 0, fmt.Errorf("%s: %w", *carry, err)
		}
		p.say("Copied to %s.", filepath.Join(*carry, pack.StickFolder))
	}
	return exitOK, nil
}
