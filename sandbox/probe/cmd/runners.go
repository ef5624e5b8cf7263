package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"gavel/sandbox"
	"gavel/sandbox/docker"
	"gavel/sandbox/native"
	"gavel/sandbox/oci"
	"gavel/sandbox/probe"
)

// plainUser is a user that owns nothing on any machine.
const plainUser = 65533

// varied departs from the fixed environment in everything that a Variation has.
var varied = sandbox.Variation{
	WorkRoot: "/build/v7/tree", Hostname: "v7", UID: 4321, Umask: 0o077, Locale: "C", TimeZone: "Asia/Tokyo",
	Clock: &sandbox.Clock{StartSeconds: 1_900_000_000, StepSeconds: 60}, CPUs: 1, ReverseOrder: true, FixedAddresses: true,
}

// contender is one runner to probe.
type contender struct {
	name string
	open func(ctx context.Context, dir string) (r sandbox.Runner, root string, err error)
}

// contenders are the runners of this process's user.
func contenders(suffix string) []contender {
	all := []contender{{"native" + suffix, openNative}, {"native/image" + suffix, openNativeImage}}
	if suffix == "" {
		all = append(all, contender{"docker", openDocker})
		for _, runtime := range []string{"runc", "crun"} {
			all = append(all, contender{runtime, func(ctx context.Context, dir string) (sandbox.Runner, string, error) {
				return openOCI(ctx, dir, runtime)
			}})
		}
	}
	return all
}

func openNative(ctx context.Context, dir string) (sandbox.Runner, string, error) {
	r, err := native.New(ctx, native.Config{ScratchDir: dir})
	return r, sandbox.HostRoot, err
}

func openNativeImage(ctx context.Context, dir string) (sandbox.Runner, string, error) {
	r, err := native.New(ctx, native.Config{ScratchDir: dir, ImageDir: filepath.Join(dir, "images")})
	if err != nil {
		return nil, "", err
	}
	return withImage(ctx, r)
}

func openDocker(ctx context.Context, dir string) (sandbox.Runner, string, error) {
	r, err := docker.New(ctx, docker.Config{ScratchDir: dir, Owner: owner()})
	if err != nil {
		return nil, "", err
	}
	script := exec.CommandContext(ctx, "testdata/images/busybox.sh")
	script.Stderr = os.Stderr
	id, err := script.Output()
	if err != nil {
		return nil, "", errors.Join(fmt.Errorf("making an image for docker: %w", err), r.Close())
	}
	return r, strings.TrimSpace(string(id)), nil
}

func openOCI(ctx context.Context, dir, runtime string) (sandbox.Runner, string, error) {
	r, err := oci.New(ctx, oci.Config{Runtime: runtime, ScratchDir: dir, ImageDir: filepath.Join(dir, "images"), Owner: owner() + runtime})
	if err != nil {
		return nil, "", err
	}
	return withImage(ctx, r)
}

// owner tells this driver's runs from every worker's.
func owner() string { return "probe-" + strconv.Itoa(os.Getpid()) }

// withImage gives a runner the image to probe, or closes it.
func withImage(ctx context.Context, r sandbox.ImageTaker) (sandbox.Runner, string, error) {
	img, err := busybox()
	if err != nil {
		return nil, "", errors.Join(err, r.Close())
	}
	root, err := r.TakeImage(ctx, img)
	if err != nil {
		return nil, "", errors.Join(err, r.Close())
	}
	return r, root, nil
}

// probeAll probes root's runners, then has a user without privileges probe its own.
func probeAll(ctx context.Context, o options, base string, planted *probe.Planted) ([]*probe.Report, error) {
	reports, err := probeEach(ctx, o, contenders(""), base, planted)
	if err != nil {
		return nil, err
	}
	if !o.runners.MatchString("native/user") && !o.runners.MatchString("native/image/user") {
		return reports, nil
	}
	dir := filepath.Join(base, "user")
	if err := errors.Join(os.Mkdir(dir, 0o755), os.Chown(dir, plainUser, plainUser)); err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	args := []string{"-child", dir, "-program", o.program, "-only", o.only.String(), "-runner", o.runners.String(), "-vary", o.vary.String(), "-vary-all=" + strconv.FormatBool(o.varyAll)}
	if o.verbose {
		args = append(args, "-v")
	}
	c := exec.CommandContext(ctx, self, args...)
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, os.Stderr
	c.Dir = dir
	c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: plainUser, Gid: plainUser}}
	if err := c.Run(); err != nil {
		return nil, fmt.Errorf("probing as user %d: %w", plainUser, err)
	}
	var theirs []*probe.Report
	if err := json.Unmarshal(out.Bytes(), &theirs); err != nil {
		return nil, fmt.Errorf("reading the reports of user %d: %w", plainUser, err)
	}
	return append(reports, theirs...), nil
}

// runChild probes as whoever this process is and writes the reports.
func runChild(ctx context.Context, o options) (err error) {
	planted, err := plant(filepath.Join(o.child, "worker"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, planted.Remove()) }()
	reports, err := probeEach(ctx, o, contenders("/user"), o.child, planted)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(reports)
}

// probeEach probes each runner that is asked for, and again varied if it can.
func probeEach(ctx context.Context, o options, all []contender, base string, planted *probe.Planted) ([]*probe.Report, error) {
	var reports []*probe.Report
	for _, c := range all {
		if !o.runners.MatchString(c.name) {
			continue
		}
		theirs, err := probeOne(ctx, o, c, base, planted)
		if err != nil {
			return nil, fmt.Errorf("probing %s: %w", c.name, err)
		}
		reports = append(reports, theirs...)
	}
	return reports, nil
}

func probeOne(ctx context.Context, o options, c contender, base string, planted *probe.Planted) (reports []*probe.Report, err error) {
	dir, err := os.MkdirTemp(base, "runner-")
	if err != nil {
		return nil, err
	}
	runs, err := os.MkdirTemp(base, "runs-")
	if err != nil {
		return nil, err
	}
	if err := errors.Join(os.Chmod(dir, 0o755), os.Chmod(runs, 0o755)); err != nil {
		return nil, err
	}
	r, root, err := c.open(ctx, dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	opts := probe.Options{Name: c.name, Root: root, Program: o.program, Planted: planted, Dir: runs, Only: o.selected, Each: o.each(c.name)}
	report, err := probe.Run(ctx, r, opts)
	if err != nil {
		return nil, err
	}
	reports = append(reports, report)
	if !o.vary.MatchString(c.name) {
		return reports, nil
	}
	variation, why, err := variationFor(ctx, r, root, runs)
	if err != nil {
		return nil, err
	}
	if why != "" {
		report.Unvaried = why
	}
	if !variation.Varies() {
		return reports, nil
	}
	opts.Name, opts.Variation, opts.Each = c.name+"+varied", variation, o.each(c.name+"+varied")
	opts.Only = func(p probe.Probe) bool { return o.selected(p) && (o.varyAll || !slow[p.Category]) }
	if report, err = probe.Run(ctx, r, opts); err != nil {
		return nil, err
	}
	return append(reports, report), nil
}

// slow are the categories whose probes take the machine's time, and to whose limits a
// variation means nothing.
var slow = map[probe.Category]bool{probe.Outputs: true, probe.Exhaustion: true, probe.Orphans: true}

// variationFor is the most that a runner can vary, and why that is not all.
func variationFor(ctx context.Context, r sandbox.Runner, root, dir string) (v sandbox.Variation, why string, err error) {
	withoutClock := varied
	withoutClock.Clock = nil
	for i, v := range []sandbox.Variation{varied, withoutClock} {
		err := tryVaried(ctx, r, root, filepath.Join(dir, "vary-"+strconv.Itoa(i)), v)
		if err == nil {
			return v, why, nil
		}
		if !errors.Is(err, sandbox.ErrRefused) {
			return sandbox.Variation{}, "", err
		}
		why = err.Error()
	}
	return sandbox.Variation{}, why, nil
}

// tryVaried runs an empty command varied: a runner that cannot refuses it.
func tryVaried(ctx context.Context, r sandbox.Runner, root, dir string, v sandbox.Variation) error {
	in, out := filepath.Join(dir, "in"), filepath.Join(dir, "out")
	if err := errors.Join(os.MkdirAll(in, 0o755), os.Mkdir(out, 0o755)); err != nil {
		return err
	}
	_, err := r.Run(ctx, sandbox.Spec{Root: root, Argv: []string{"true"}, InputDir: in, OutputDir: out, Variation: v})
	return err
}
