package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"gavel/raftfsm/build"
	"gavel/sandbox"
)

// demoTimeout is what a command may take: a cold Go compile of 9 CPU-seconds has
// it thirty times on a machine that does other things too.
const demoTimeout = 5 * time.Minute

// demoProject is one of the sample projects, and what is promised of it.
type demoProject struct {
	name, title string
	dir         string // a copy of its own
	command     []string
	output      string
	verdict     build.State
	// ready returns once the project can be submitted.
	ready func() error
	// reference is the digest of the output as built on this machine outside the
	// farm; empty where nothing here can build it (an image's tools). Read after ready.
	reference digest.Digest
}

// projects are the three, in their order: the first is the one that is forged,
// because a forged build is built eleven times.
func (p *demoPlace) projects(ctx context.Context, root string) ([]*demoProject, error) {
	all := []*demoProject{
		{name: "hello-c", title: "a C program, with make", command: []string{"make"}, output: "hello", verdict: build.Judged},
		{name: "hello-go", title: "a Go program", command: []string{"sh", "build.sh"}, output: "hello", verdict: build.Agreed},
		{name: "clock", title: "a program that embeds the time it is built", command: []string{"sh", "build.sh"}, output: "clock", verdict: build.NonDeterministic},
	}
	for _, project := range all {
		var err error
		if project.dir, err = p.copyProject(project.name, "projects"); err != nil {
			return nil, err
		}
		project.ready = func() error { return nil }
	}
	if root != "host" {
		p.compileForImage(ctx, all[1])
		return all, nil
	}
	if _, err := exec.LookPath("go"); err != nil {
		return nil, refused(errors.New("the demonstration builds Go programs, and there is no go in the PATH: nothing was started. Install Go from https://go.dev/dl, or use --sandbox docker with an image that holds it"))
	}
	if err := p.buildHere(ctx, all[0]); err != nil {
		if all[0], err = p.tiny(ctx); err != nil {
			return nil, fmt.Errorf("nothing was started: %w", err)
		}
	}
	// Ten seconds on a small machine, which the farm's start and the first build hide.
	compiled := make(chan error, 1)
	go func() { compiled <- p.compileHere(ctx, all[1]) }()
	all[1].ready = sync.OnceValue(func() error { return <-compiled })
	return all, nil
}

// compileForImage fills the cache of a Go project if there is a Go here: it helps
// where the image holds the same one, and is worth no failure. What this machine
// makes is no reference for what the image's tools make.
func (p *demoPlace) compileForImage(ctx context.Context, project *demoProject) {
	if _, err := exec.LookPath("go"); err != nil {
		return
	}
	compiled := make(chan struct{})
	go func() {
		defer close(compiled)
		_ = p.compileHere(ctx, project) // then the image's Go compiles all of it
		project.reference = ""
	}()
	project.ready = func() error {
		<-compiled
		return nil
	}
}

// tiny takes the C program's place on a machine that cannot build it.
func (p *demoPlace) tiny(ctx context.Context) (*demoProject, error) {
	tiny := &demoProject{
		name: "tiny-go", title: "a small Go program, for want of a C compiler", command: []string{"sh", "build.sh"}, output: "tiny",
		verdict: build.Judged, ready: func() error { return nil },
	}
	var err error
	if tiny.dir, err = p.copyProject(tiny.name, "projects"); err != nil {
		return nil, err
	}
	return tiny, p.compileHere(ctx, tiny)
}

// compileHere builds a Go project outside the farm, and puts what was compiled of
// the standard library into the project's input: compiling it again costs each
// of up to eleven builds several CPU-seconds.
func (p *demoPlace) compileHere(ctx context.Context, project *demoProject) error {
	return p.buildHere(ctx, project, "GOCACHE="+filepath.Join(project.dir, "gocache"))
}

// buildHere builds a project outside the farm, with the tools that the native
// sandbox shows, and notes the output's digest.
func (p *demoPlace) buildHere(ctx context.Context, project *demoProject, env ...string) error {
	dir, err := p.copyProject(project.name, "here")
	if err != nil {
		return err
	}
	var tail []string
	if goTool, err := exec.LookPath("go"); err == nil {
		tail = append(tail, filepath.Dir(goTool))
	}
	environment := sandbox.Environment(sandbox.Spec{Env: append([]string{"HOME=" + p.scratch, "TMPDIR=" + p.scratch}, env...)}, tail...)
	path, err := lookIn(project.command[0])
	if err != nil {
		return err
	}
	c := exec.CommandContext(ctx, path, project.command[1:]...)
	c.Dir, c.Env = dir, environment
	var output bytes.Buffer
	c.Stdout, c.Stderr = &output, &output
	if err := c.Run(); err != nil {
		return fmt.Errorf("building %s on this machine: %w\n%s", project.name, err, bytes.TrimSpace(output.Bytes()))
	}
	project.reference, err = fileDigest(filepath.Join(dir, project.output))
	return err
}

// lookIn finds a program where a sandbox would.
func lookIn(name string) (string, error) {
	for _, dir := range filepath.SplitList(sandbox.SearchPath) {
		path := filepath.Join(dir, name)
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return path, nil
		}
	}
	return "", fmt.Errorf("there is no %s in %s", name, sandbox.SearchPath)
}

// order is the project as submit would order it.
func (p *demoProject) order(root string) (*order, error) {
	f := &submitFlags{
		maxPrice: credits{value: defaultMaxPrice}, validators: demoValidators, verify: "100%", onUnverified: "fail",
		image: root, outputs: []string{p.output}, timeout: demoTimeout, given: func(string) bool { return false },
	}
	return f.order(p.dir, p.command)
}
