package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"

	"github.com/spf13/cobra"

	"gavel/verify/diff"
)

// diffFlags are what the two forms of the command share.
type diffFlags struct {
	farm, html string
	json       bool
	diffoscope bool
}

func diffCommand() *cobra.Command {
	var f diffFlags
	c := &cobra.Command{
		Use:   "diff BUILD | A B",
		Short: "say why results differ, down to the member and the byte",
		Long: `With BUILD, compares the result that the farm delivered with each that differs from
it; where none was delivered, the first with the others. With A and B, compares two
files or two directories with their modes, and asks no farm. It looks into archives, compressed files
and programs, and names a cause only where it can show it: a timestamp, a build path,
a host name, an order, … Links are compared by their targets and never followed.

  gavel diff 5f2c91aa --farm farm --html why.html
  gavel diff monday.tar.gz tuesday.tar.gz

Exit status: 0 equal, 1 different, 2 bad usage, or what cannot be compared; 4 no farm
answers.`,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) == 2 {
				return nil
			}
			return wants("BUILD, or A and B")(c, args)
		},
		RunE: action(func(ctx context.Context, c *cobra.Command, args []string) error {
			var answer *diffAnswer
			var err error
			if len(args) == 2 {
				answer, err = diffPaths(ctx, args[0], args[1], f.options())
			} else {
				answer, err = diffBuild(ctx, f.farm, args[0], f.options())
			}
			if err != nil {
				return uncomparable(err)
			}
			return answer.show(newTerminal(c), &f)
		}),
	}
	farmFlag(c, &f.farm)
	c.Flags().StringVar(&f.html, "html", "", "also write a page to `FILE` that needs nothing else to be read")
	c.Flags().BoolVar(&f.json, "json", false, "print JSON")
	c.Flags().BoolVar(&f.diffoscope, "diffoscope", false, "also run diffoscope, which must be installed, and add what it says")
	return c
}

// options names what of this machine may have got into a file.
func (f *diffFlags) options() diff.Options {
	o := diff.Options{Diffoscope: f.diffoscope}
	if host, err := os.Hostname(); err == nil {
		o.HostNames = append(o.HostNames, host)
	}
	if u, err := user.Current(); err == nil {
		o.Users = append(o.Users, u.Username)
	}
	return o
}

// uncomparable gives an error the exit status of what cannot be compared: 1 would
// say that something differs.
func uncomparable(err error) error {
	var e *exit
	if errors.As(err, &e) {
		return err
	}
	if code := codeOf(err); code != exitFailed {
		return &exit{code: code, err: err}
	}
	return refused(fmt.Errorf("they were not compared: %w", err))
}

// diffAnswer is what diff prints as JSON.
type diffAnswer struct {
	// Build is the build's id in hex; empty for two paths.
	Build string `json:"build,omitempty"`
	Same  bool   `json:"same"`
	// Comparisons are of the delivered result with each other one; of two paths there
	// is one.
	Comparisons []*diff.Report `json:"comparisons"`
	// Missing are the workers whose results differ and are not there to be compared.
	Missing []string `json:"missing,omitempty"`
}

func (a *diffAnswer) show(term *terminal, f *diffFlags) error {
	if f.html != "" {
		if err := writePage(f.html, a.Comparisons); err != nil {
			return refused(err)
		}
	}
	if err := a.print(term, f.json); err != nil {
		return refused(fmt.Errorf("printing what differs: %w", err))
	}
	if !a.Same {
		return &exit{code: exitFailed}
	}
	return nil
}

func (a *diffAnswer) print(term *terminal, asJSON bool) error {
	if asJSON {
		e := json.NewEncoder(term.out)
		e.SetIndent("", "  ")
		return e.Encode(a)
	}
	for _, r := range a.Comparisons {
		if err := r.Text(term.out); err != nil {
			return err
		}
	}
	for _, name := range a.Missing {
		term.print("the result of %s differs and is not there to be compared: its worker has not uploaded it", name)
	}
	if a.Same && len(a.Comparisons) == 0 {
		term.print("all results of build %s are equal", a.Build[:minBuildPrefix+4])
	}
	return nil
}

func writePage(path string, reports []*diff.Report) error {
	out, err := os.Create(path)
	if err == nil {
		err = errors.Join(diff.Page(out, reports...), out.Close())
	}
	if err != nil {
		return fmt.Errorf("writing the page: %w", err)
	}
	return nil
}

// closingTree is a tree that holds files open.
type closingTree interface {
	diff.Tree
	Close() error
}

// diffPaths compares two files or two directories.
func diffPaths(ctx context.Context, a, b string, o diff.Options) (*diffAnswer, error) {
	var trees [2]diff.Tree
	var directories [2]bool
	for i, path := range []string{a, b} {
		info, err := os.Stat(path)
		if err != nil {
			return nil, fmt.Errorf("%w. Name two files or two directories, or a build", err)
		}
		var tree closingTree
		if directories[i] = info.IsDir(); directories[i] {
			tree, err = diff.OpenDir(path)
		} else {
			tree, err = diff.OpenFileTree(path, filepath.Base(a))
		}
		if err != nil {
			return nil, err
		}
		defer tree.Close() // read only: there is nothing to lose
		trees[i] = tree
	}
	if directories[0] != directories[1] {
		return nil, fmt.Errorf("one of %s and %s is a directory and the other is not. Name two files or two directories", a, b)
	}
	r, err := diff.Trees(ctx, a, b, trees[0], trees[1], o)
	if err != nil {
		return nil, err
	}
	return &diffAnswer{Same: r.Same(), Comparisons: []*diff.Report{r}}, nil
}
