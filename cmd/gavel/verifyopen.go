package main

import (
	"context"
	"crypto/sha1"
	"errors"
	"fmt"
	"strconv"
	"strings"

	reapi "gavel/api/action"
	"gavel/verify/attest"
	"gavel/verify/dossier"
	"gavel/verify/keys"
	"gavel/verify/source"
)

// further are checks of a provenance against what its requester or a repository
// has besides.
type further struct {
	open   string // a file that opens a withheld command
	source string // a clone that has the commit
}

// check does what was asked for, and has the report say so.
func (f *further) check(ctx context.Context, report *dossier.Report) error {
	if f.open == "" && f.source == "" {
		return nil
	}
	if report.Bundle == nil {
		return nil // the signature does not hold: there is nothing to open
	}
	public, err := keys.ParsePKIX(report.Bundle.PKIX)
	if err != nil {
		return notVerified(err)
	}
	recipe, err := attest.ReadRecipe(report.BundleBytes, public)
	if err != nil {
		return usage("--open and --source are about a build's provenance, and BUNDLE is none: %v", err)
	}
	if f.open != "" {
		if err := f.checkOpen(report, recipe); err != nil {
			return err
		}
	}
	if f.source != "" {
		return f.checkSource(ctx, report, recipe)
	}
	return nil
}

func (f *further) checkOpen(report *dossier.Report, recipe *attest.Recipe) error {
	raw, err := readSmall(f.open, attest.MaxWithheldBytes)
	if err != nil {
		return refused(fmt.Errorf("reading what opens the command: %w", err))
	}
	w, err := attest.ReadWithheld(raw)
	if err != nil {
		return refused(fmt.Errorf("%s: %w", f.open, err))
	}
	if recipe.Withheld == nil {
		return usage("nothing is withheld in this provenance: leave --open out")
	}
	if w.Commitment() != *recipe.Withheld {
		return notVerified(fmt.Errorf("%w: %s is about another build's", attest.ErrWithheld, f.open))
	}
	argv, env, err := reapi.ReadCommand(w.Command)
	if err != nil {
		return notVerified(err)
	}
	quoted := make([]string, len(argv))
	for i, arg := range argv {
		quoted[i] = strconv.Quote(arg)
	}
	report.Proven = append(report.Proven, "the withheld command is "+strings.Join(quoted, " "))
	for _, v := range env {
		report.Proven = append(report.Proven, "its environment sets "+strconv.Quote(v.Name+"="+v.Value))
	}
	return nil
}

func (f *further) checkSource(ctx context.Context, report *dossier.Report, recipe *attest.Recipe) error {
	if recipe.Source == "" {
		return usage("this provenance names no commit: leave --source out")
	}
	_, commit, err := attest.ParseSource(recipe.Source)
	if err != nil {
		return notVerified(err)
	}
	root, err := source.Check(ctx, f.source, commit, recipe.InputRoot.SHA256, recipe.InputRoot.SizeBytes)
	switch {
	case errors.Is(err, source.ErrOtherRoot), errors.Is(err, source.ErrTree):
		return notVerified(err)
	case err != nil:
		return refused(err)
	}
	report.Proven = append(report.Proven, fmt.Sprintf("the input root that it names is the tree of commit %s, made again from %s (%d files)", commit, f.source, root.Files))
	if len(commit) == 2*sha1.Size {
		report.NotProven = append(report.NotProven, "that no other tree has that commit's id: SHA-1 collisions can be made, and a repository with SHA-256 ids leaves no such doubt")
	}
	return nil
}

func notVerified(err error) error {
	return &exit{code: exitFailed, err: fmt.Errorf("NOT verified: %w", err)}
}
