package deb

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"gavel/api/action"
	"gavel/raftfsm/build"
	"gavel/verify/attest"
)

// The names and versions that Debian Policy 5.6.1, 5.6.7 and 5.6.12 allow.
var (
	nameForm    = regexp.MustCompile(`^[a-z0-9][a-z0-9+.-]+$`)
	versionForm = regexp.MustCompile(`^([0-9]+:)?[0-9][A-Za-z0-9.+~-]*$`)
)

// ErrPackage is wrapped where the archive has no such package, or nothing that can be rebuilt.
var ErrPackage = errors.New("the archive has no such package")

// Package is a binary package of the archive and the source that it was built from.
type Package struct {
	Name, Version, Architecture string
	Source, SourceVersion       string
	// File is the name of the package's file, and SHA256 what the archive signed for it.
	File   string
	SHA256 [32]byte
	Bytes  int64
	// Mirror and Suite are where the archive's base packages come from, for debootstrap.
	Mirror, Suite string
}

// SplitName reads PACKAGE[=VERSION].
func SplitName(text string) (name, version string, err error) {
	name, version, given := strings.Cut(text, "=")
	if !nameForm.MatchString(name) || given && !versionForm.MatchString(version) {
		return "", "", fmt.Errorf("%q is no PACKAGE or PACKAGE=VERSION", text)
	}
	return name, version, nil
}

// Find looks a binary package up; an empty version is the newest.
func (a *Apt) Find(ctx context.Context, name, version string) (*Package, error) {
	query := name
	if version != "" {
		query += "=" + version
	}
	out, err := a.run(ctx, "", "apt-cache", "show", "--no-all-versions", query)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrPackage, err)
	}
	known, err := a.run(ctx, "", "apt-cache", "madison", name)
	if err != nil {
		return nil, err
	}
	if strings.TrimSpace(out) == "" {
		return nil, fmt.Errorf("%w: %s", ErrPackage, lacking(known, name, version))
	}
	p, err := parsePackage(out)
	if err != nil {
		return nil, fmt.Errorf("%w: reading the archive's record of %s: %w", ErrPackage, query, err)
	}
	if p.Name != name || version != "" && p.Version != version {
		return nil, fmt.Errorf("%w: asked for %s, apt answers with %s=%s", ErrPackage, query, p.Name, p.Version)
	}
	if p.Mirror, p.Suite, err = origin(known, p.Version); err != nil {
		return nil, err
	}
	return p, a.baseSuite(ctx, p)
}

// baseSuite replaces a suite that only adds to another, such as security updates, by
// that one: a root is made of it.
func (a *Apt) baseSuite(ctx context.Context, p *Package) error {
	suite := p.Suite
	for _, s := range []string{"-security", "-updates", "-proposed-updates", "-backports"} {
		suite = strings.TrimSuffix(suite, s)
	}
	if suite == p.Suite {
		return nil
	}
	out, err := a.run(ctx, "", "apt-get", "indextargets", "--format", "$(CREATED_BY) $(REPO_URI) $(CODENAME) $(SUITE)", "Created-By: Packages")
	if err != nil {
		return err
	}
	for line := range strings.Lines(out) {
		if f := strings.Fields(line); len(f) == 4 && (f[2] == suite || f[3] == suite) {
			p.Mirror, p.Suite = f[1], suite
			return nil
		}
	}
	return fmt.Errorf("%w: %s is of suite %s, and apt knows no suite %s to make a root of", ErrPackage, p.Name, p.Suite, suite)
}

// parsePackage reads one stanza of a Packages file (deb-control(5)).
func parsePackage(stanza string) (*Package, error) {
	field := make(map[string]string)
	for line := range strings.Lines(stanza) {
		line = strings.TrimRight(line, "\n")
		if line == "" {
			break // another stanza
		}
		if key, value, ok := strings.Cut(line, ": "); ok && key != "" && key[0] != ' ' {
			field[key] = value
		}
	}
	p := &Package{Name: field["Package"], Version: field["Version"], Architecture: field["Architecture"], File: path.Base(field["Filename"])}
	p.Source, p.SourceVersion = p.Name, p.Version
	if s := field["Source"]; s != "" {
		name, rest, other := strings.Cut(s, " ")
		p.Source = name
		if other {
			p.SourceVersion = strings.TrimSuffix(strings.TrimPrefix(rest, "("), ")")
		}
	}
	for _, x := range []struct {
		value string
		form  *regexp.Regexp
	}{{p.Name, nameForm}, {p.Source, nameForm}, {p.Version, versionForm}, {p.SourceVersion, versionForm}, {p.Architecture, nameForm}} {
		if !x.form.MatchString(x.value) {
			return nil, fmt.Errorf("%q is no name or version", x.value)
		}
	}
	if !strings.HasSuffix(p.File, ".deb") || !build.CleanPath(p.File) {
		return nil, fmt.Errorf("its file is %q", p.File)
	}
	// The pool's file is named as dpkg-deb names it, without an epoch.
	sum, err := hex.DecodeString(field["SHA256"])
	if err != nil || len(sum) != len(p.SHA256) {
		return nil, fmt.Errorf("its SHA256 is %q", field["SHA256"])
	}
	copy(p.SHA256[:], sum)
	if _, err := fmt.Sscan(field["Size"], &p.Bytes); err != nil || p.Bytes <= 0 {
		return nil, fmt.Errorf("its size is %q", field["Size"])
	}
	return p, nil
}

// lacking says why apt shows no record of a name that it knows: it has other
// versions of it (apt-cache madison), or only packages that provide it.
func lacking(madison, name, version string) string {
	var versions []string
	for line := range strings.Lines(madison) {
		if columns := strings.Split(line, "|"); len(columns) == 3 && strings.HasSuffix(strings.TrimSpace(columns[2]), " Packages") {
			versions = append(versions, strings.TrimSpace(columns[1]))
		}
	}
	if len(versions) == 0 {
		return fmt.Sprintf("%s is no package, only a name that others provide or once had: name one of them (apt-cache showpkg %s lists them)", name, name)
	}
	return fmt.Sprintf("there is no %s %s, but %s: ask for that, or add a source that has %s to the machine's", name, version, strings.Join(slices.Compact(versions), ", "), version)
}

// origin reads from apt-cache madison where a version comes from.
func origin(madison, version string) (mirror, suite string, err error) {
	for line := range strings.Lines(madison) {
		columns := strings.Split(line, "|")
		if len(columns) != 3 || strings.TrimSpace(columns[1]) != version {
			continue
		}
		where := strings.Fields(columns[2]) // URI SUITE/COMPONENT ARCHITECTURE Packages
		if len(where) != 4 || where[3] != "Packages" {
			continue
		}
		suite, _, _ := strings.Cut(where[1], "/")
		return where[0], suite, nil
	}
	return "", "", fmt.Errorf("%w: apt does not say where version %s comes from", ErrPackage, version)
}

// Fetch downloads the package's source, by apt, which checks it against what the
// archive signed, into dir below the path that Debian's own rebuilders build in.
// Nothing is unpacked: the build does that, so that files have the times they had
// in the archive's.
func (a *Apt) Fetch(ctx context.Context, p *Package, dir string) error {
	to := filepath.Join(dir, filepath.FromSlash(workDir))
	if err := os.MkdirAll(to, 0o755); err != nil {
		return fmt.Errorf("fetching a source: %w", err)
	}
	a.progress(fmt.Sprintf("fetching the source %s %s", p.Source, p.SourceVersion))
	if _, err := a.run(ctx, to, "apt-get", "source", "--download-only", "--only-source", p.Source+"="+p.SourceVersion); err != nil {
		return fmt.Errorf("fetching a source (an old version may have left the archive): %w", err)
	}
	if _, err := os.Stat(filepath.Join(to, p.description())); err != nil {
		return fmt.Errorf("fetching a source: apt fetched no %s: %w", p.description(), err)
	}
	if p.binNMU() != "" {
		return a.fetchEntry(ctx, p, to)
	}
	return nil
}

// BuildDependencies are all packages that building needs, with what those need.
func (a *Apt) BuildDependencies(ctx context.Context, p *Package) ([]string, error) {
	args := []string{"build-dep", "--simulate", "--only-source"}
	if p.Architecture != "all" {
		args = append(args, "--arch-only")
	} else {
		args = append(args, "--indep-only")
	}
	out, err := a.run(ctx, "", "apt-get", append(args, p.Source+"="+p.SourceVersion)...)
	if err != nil {
		return nil, fmt.Errorf("finding the build dependencies of %s: %w", p.Source, err)
	}
	names := []string{"fakeroot"} // what plays root in a package's build; no package depends on it
	for line := range strings.Lines(out) {
		if words := strings.Fields(line); len(words) > 1 && words[0] == "Inst" {
			names = append(names, words[1])
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// ImageSource names a fresh root with these packages, as sandbox/image takes it.
func (p *Package) ImageSource(packages []string) string {
	source := "debootstrap:" + p.Suite + "?variant=buildd&mirror=" + p.Mirror
	if len(packages) > 0 {
		source += "&include=" + strings.Join(packages, ",")
	}
	return source
}

// workDir is where Debian's rebuilders have sources (reproducible builds' build path).
const workDir = "reproducible-path"

// withoutEpoch is a version as files are named by it.
func withoutEpoch(version string) string {
	if _, rest, ok := strings.Cut(version, ":"); ok {
		return rest
	}
	return version
}

// description is the name of the source's .dsc.
func (p *Package) description() string {
	return p.Source + "_" + withoutEpoch(p.SourceVersion) + ".dsc"
}

// tree is the directory that the source is unpacked to, as dpkg-source names it and
// Debian's builders have it: with upstream's version, without the archive's revision.
func (p *Package) tree() string {
	version := withoutEpoch(p.SourceVersion)
	if at := strings.LastIndexByte(version, '-'); at >= 0 {
		version = version[:at]
	}
	return p.Source + "-" + version
}

// script builds the source $1 in $2, only what one architecture ($3: any or all)
// has of it. The time is the changelog's, as in the archive's builds; where those put
// an entry before the source's, it is the file $4.
const script = `set -e
unset SOURCE_DATE_EPOCH
dpkg-source -x "$1" "$2"
if [ -n "$4" ]; then
	cat "$4" "$2/debian/changelog" >changelog
	cat changelog >"$2/debian/changelog"
	rm changelog
fi
cd "$2"
exec dpkg-buildpackage -us -uc --build="$3"
`

// Action is the build of what Fetch fetched, in an image; its input root is the
// caller's to set. env is added to what Debian's builders set.
func (p *Package) Action(image string, env []attest.EnvVar) *action.Action {
	part := "any"
	if p.Architecture == "all" {
		part = "all"
	}
	entry := ""
	if p.binNMU() != "" {
		entry = entryFile
	}
	return &action.Action{
		Argv:    []string{"sh", "-c", script, "sh", p.description(), p.tree(), part, entry},
		Env:     slices.Clone(env),
		Outputs: []string{p.File}, WorkDir: workDir, Root: image, TimeoutMillis: defaultTimeoutMillis,
	}
}

// Expected is what the archive published for it.
func (p *Package) Expected() build.Expected {
	return build.Expected{Path: p.File, Digest: p.SHA256}
}

// FetchBinary downloads the archive's own package into dir, which has no other, by
// apt, which checks it.
func (a *Apt) FetchBinary(ctx context.Context, p *Package, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("fetching a package: %w", err)
	}
	if _, err := a.run(ctx, dir, "apt-get", "download", p.Name+"="+p.Version); err != nil {
		return fmt.Errorf("fetching a package: %w", err)
	}
	// apt names files with an epoch, escaped; the pool, as dpkg-deb, without one.
	found, err := filepath.Glob(filepath.Join(dir, "*.deb"))
	if err != nil {
		return fmt.Errorf("fetching a package: %w", err)
	}
	if len(found) != 1 {
		return fmt.Errorf("fetching a package: %s has %d packages after it, want one", dir, len(found))
	}
	return os.Rename(found[0], filepath.Join(dir, p.File))
}
