package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"gavel/cas"
	"gavel/cas/tree"
	"gavel/verify/attest"
	"gavel/verify/source"
)

// gitDirectory is what a checkout has for itself at its top.
const gitDirectory = ".git"

// sourceOptions leave out what a commit's tree has not.
func (o *order) sourceOptions() tree.Options {
	if o.action.Source == "" {
		return tree.Options{}
	}
	return tree.Options{Without: []string{gitDirectory}}
}

// checkout holds the directory to the commit that it is said to be: what is made
// of Git's objects and of the files must be the same, to the last byte. It returns
// that root; the zero Digest where no commit is named.
func (o *order) checkout(ctx context.Context) (cas.Digest, error) {
	if o.action.Source == "" {
		return cas.Digest{}, nil
	}
	_, commit, err := attest.ParseSource(o.action.Source)
	if err != nil {
		return cas.Digest{}, usage("--source: %v", err)
	}
	root, err := source.Tree(ctx, o.dir, commit)
	if err != nil {
		return cas.Digest{}, refused(fmt.Errorf("--source: %w. Nothing was submitted", err))
	}
	entries, err := tree.Scan(ctx, o.dir, o.sourceOptions())
	if err != nil {
		return cas.Digest{}, err
	}
	scanned, _, err := tree.Directories(entries)
	if err != nil {
		return cas.Digest{}, err
	}
	want := cas.OfSum(root.SHA256, root.SizeBytes)
	return want, o.clean(ctx, want, scanned, commit)
}

// clean refuses a directory that is not the commit.
func (o *order) clean(ctx context.Context, want, scanned cas.Digest, commit string) error {
	if scanned == want {
		return nil
	}
	return refused(fmt.Errorf("%s is not a clean checkout of %s: %s. Nothing was submitted; git worktree add DIRECTORY %s makes one", o.dir, commit, o.unclean(ctx, commit), commit[:12]))
}

// maxUnclean bounds the paths that are named.
const maxUnclean = 4

// unclean asks git what a person would ask it.
func (o *order) unclean(ctx context.Context, commit string) string {
	git := func(args ...string) string {
		out, err := exec.CommandContext(ctx, "git", append([]string{"-C", o.dir}, args...)...).Output()
		if err != nil {
			return ""
		}
		return strings.TrimRight(string(out), "\n")
	}
	top, absent := filepath.EvalSymlinks(git("rev-parse", "--show-toplevel"))
	here, err := filepath.Abs(o.dir)
	if err == nil {
		here, err = filepath.EvalSymlinks(here)
	}
	if err == nil && absent == nil && top != here {
		return "it is not the top of its checkout, which is " + top
	}
	if head := git("rev-parse", "HEAD"); head != commit {
		return "another commit is checked out, " + head
	}
	status := git("status", "--porcelain", "--ignored", "--untracked-files=all")
	if status == "" {
		return "git calls it clean, but its files are not the commit's (line endings, a filter, an empty directory)"
	}
	lines := strings.Split(status, "\n")
	shown := lines[:min(len(lines), maxUnclean)]
	for i := range shown {
		shown[i] = strings.Join(strings.Fields(shown[i]), " ")
	}
	text := "git status says " + strings.Join(shown, ", ")
	if more := len(lines) - len(shown); more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

// withhold draws the salt that hides command and environment.
func (o *order) withhold() {
	o.action.Salt = new([32]byte)
	_, _ = rand.Read(o.action.Salt[:]) // never fails
}

// withheldName is the file, beside a build's attestations, that opens what was
// withheld.
const withheldName = "withheld.json"

// keepWithheld writes the file that opens a withheld command; where it cannot, the
// build goes on, and the farm's copy of the action has the salt too.
func (o *order) keepWithheld(f *farm, term *terminal, id [32]byte) {
	w := o.action.Withheld()
	if w == nil {
		return
	}
	dir := f.dir.attestations(hex.EncodeToString(id[:]))
	path := filepath.Join(dir, withheldName)
	raw, err := w.File()
	if err == nil {
		err = errors.Join(os.MkdirAll(dir, 0o755), writeWhole(path, raw, 0o600))
	}
	if err != nil {
		term.say("the build was taken, but the file that opens its command was not written: %v", err)
		return
	}
	term.say("command and environment are withheld; %s opens them: keep it, and show it to whom you like", path)
}
