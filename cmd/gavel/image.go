package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	gavelv1 "gavel/api/gavel/v1"
	"gavel/cas"
	"gavel/cas/tree"
	"gavel/coordinator/images"
	"gavel/sandbox"
	"gavel/sandbox/image"
	"gavel/sandbox/rootfs"
)

func imageCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "image",
		Short: "the roots that builds run in: no registry needed",
		Long: `An image is kept in the farm's own store and named by the digest of its config, which
names every byte of it. Workers fetch it from there, once each; every kind of sandbox
runs the same image.

  gavel image add debian:12 debootstrap:bookworm?include=build-essential
  gavel image add app app.tar                what docker save, podman save or skopeo wrote
  gavel image add app ./layout               an OCI layout, or any root directory
  gavel image add app docker://registry.example/app:1.2
  gavel image list
  gavel image show debian:12
  gavel image rm app && gavel image gc
  gavel submit --image debian:12 --output app . -- make`,
		Args: wants(),
		RunE: action(func(_ context.Context, c *cobra.Command, _ []string) error { return c.Help() }),
	}
	c.AddCommand(imageAddCommand(), imageListCommand(), imageShowCommand(), imageRemoveCommand(), imageCollectCommand())
	return c
}

// imageReport is an image as --json prints it. add prints the first three alone.
type imageReport struct {
	Name     string        `json:"name"`   // the first, empty for none
	Digest   string        `json:"digest"` // of the config: what --image takes
	Size     uint64        `json:"size"`   // bytes of config and uncompressed layers
	Names    []string      `json:"names"`
	Platform string        `json:"platform"`
	Source   string        `json:"source"`
	AddedBy  string        `json:"added_by"`
	Added    string        `json:"added"` // RFC 3339
	Layers   []layerReport `json:"layers"`
}

type layerReport struct {
	Digest string `json:"digest"` // of the uncompressed archive
	Size   uint64 `json:"size"`
}

func newImageReport(i *gavelv1.Image) imageReport {
	r := imageReport{
		Digest: i.Digest, Size: i.Bytes, Names: slices.Clone(i.Names), Platform: i.Platform, Source: i.Source, AddedBy: i.AddedByName,
		Added: time.UnixMilli(i.AddedWallMillis).UTC().Format(time.RFC3339), Layers: []layerReport{},
	}
	if r.Names == nil {
		r.Names = []string{}
	}
	if len(r.Names) > 0 {
		r.Name = r.Names[0]
	}
	for _, l := range i.Layers {
		r.Layers = append(r.Layers, layerReport{sha256Text(l.Digest).String(), l.Bytes})
	}
	return r
}

func imageAddCommand() *cobra.Command {
	var dir, key string
	var asJSON bool
	c := &cobra.Command{
		Use:   "add NAME SOURCE",
		Short: "put an image into the farm's store and name it",
		Long: `Reads an image from where it is, uploads what the farm lacks of it, and names it. A name
that you took before moves to the new image; builds that name the digest stay with it.

SOURCE is one of

  FILE                 what docker save or an OCI tool wrote, compressed or not
  DIR                  an OCI layout (it has an oci-layout file), or else a root directory
  debootstrap:SUITE    a Debian root made now: debootstrap:bookworm?include=gcc,make
                       (also variant=minbase or buildd, and mirror=URL); needs root
  docker://REF         from a registry, such as docker://docker.io/library/debian:12
                       (docker:// can be left out where REF begins with a host)
  docker-archive:FILE, oci:PATH, dir:DIR  say what PATH is, where that is not plain

Everybody who may submit builds to the farm can read its images: keep secrets out of them.

The digest is the image's own, as docker image inspect prints it; that of a directory
follows from its files alone, so that the same tree has the same digest anywhere.

With --json it prints {"name","digest","size"}.`,
		Args: wants("NAME", "SOURCE"),
		RunE: action(func(ctx context.Context, c *cobra.Command, args []string) error {
			return addImage(ctx, newTerminal(c), dir, key, args[0], args[1], asJSON)
		}),
	}
	farmFlag(c, &dir)
	keyFlag(c, &key)
	c.Flags().BoolVar(&asJSON, "json", false, "print the result as JSON; progress goes to standard error")
	return c
}

func addImage(ctx context.Context, term *terminal, dir, key, name, source string, asJSON bool) error {
	if err := images.CheckName(name); err != nil {
		return usage("%v", err)
	}
	farm, err := connectKey(ctx, dir, key)
	if err != nil {
		return err
	}
	defer farm.Close()
	src, err := image.Open(ctx, source, image.Options{Progress: func(line string) { term.say("%s", line) }})
	if err != nil {
		return refused(fmt.Errorf("reading the image: %w. Nothing was added", err))
	}
	defer src.Close()
	term.say("unpacking it once, as every worker will")
	if err := tryUnpacking(ctx, src.Image); err != nil {
		return refused(fmt.Errorf("the image cannot be unpacked: %w. Nothing was added", err))
	}
	added, err := farm.putImage(ctx, term, name, source, src.Image)
	if err != nil {
		return err
	}
	if asJSON {
		return json.NewEncoder(term.out).Encode(map[string]any{"name": name, "digest": added.Digest, "size": added.Bytes})
	}
	term.print("%s  %s  %s", name, added.Digest, megabytes(int64(added.Bytes)))
	return nil
}

// tryUnpacking finds out before anybody bids on a build in it what no worker could
// unpack.
func tryUnpacking(ctx context.Context, img sandbox.Image) error {
	dir, err := os.MkdirTemp("", "gavel-image-")
	if err != nil {
		return err
	}
	return errors.Join(rootfs.Unpack(ctx, img, filepath.Join(dir, "root"), rootfs.Options{}), rootfs.Remove(dir))
}

// withoutPassword finds who signs in at a mirror or registry: everybody sees an image's source.
var withoutPassword = regexp.MustCompile(`://[^/@\s]*@`)

// putImage uploads what the farm lacks of an image and names it. A collection
// that ran in between may have taken a blob that was there: then it is sent again.
func (f *farm) putImage(ctx context.Context, term *terminal, name, source string, img sandbox.Image) (*gavelv1.Image, error) {
	store, err := f.images()
	if err != nil {
		return nil, err
	}
	config := cas.Of(img.Config)
	q := &gavelv1.PutImageRequest{Name: name, Digest: img.Root(), ConfigBytes: uint64(config.Size), Source: withoutPassword.ReplaceAllString(source, "://")}
	blobs := []cas.Blob{{Digest: config, Open: func() (io.ReadCloser, error) {
		return io.NopCloser(strings.NewReader(string(img.Config))), nil
	}}}
	for n, l := range img.Layers {
		d, err := cas.NewDigest(l.DiffID.Encoded(), l.Size)
		if err != nil {
			return nil, err
		}
		sum := d.Sum()
		q.Layers = append(q.Layers, &gavelv1.ImageLayer{Digest: sum[:], Bytes: uint64(l.Size)})
		blobs = append(blobs, cas.Blob{Digest: d, Open: func() (io.ReadCloser, error) { return img.Read(ctx, n) }})
	}
	const tries = 2
	for n := 1; ; n++ {
		if err := uploadMissing(ctx, term, name, store, blobs); err != nil {
			return nil, fmt.Errorf("uploading image %s: %w", name, plain(err))
		}
		added, err := f.Farm().PutImage(ctx, q)
		if status.Code(err) == codes.FailedPrecondition && n < tries {
			continue
		}
		if err != nil {
			return nil, refused(fmt.Errorf("the image was not added: %w", plain(err)))
		}
		return added, nil
	}
}

// uploadMissing sends what the store lacks.
func uploadMissing(ctx context.Context, term *terminal, name string, store cas.Uploader, blobs []cas.Blob) error {
	var all []cas.Digest
	for _, b := range blobs {
		all = append(all, b.Digest)
	}
	missing, err := store.Missing(ctx, all)
	if err != nil {
		return err
	}
	var send []cas.Blob
	p := tree.Progress{Files: len(blobs), HashedFiles: len(blobs)}
	for _, b := range blobs {
		p.Bytes += b.Digest.Size
		if slices.Contains(missing, b.Digest) && !slices.ContainsFunc(send, func(x cas.Blob) bool { return x.Digest == b.Digest }) {
			send = append(send, b)
			p.BlobBytes += b.Digest.Size
		}
	}
	progress := term.upload("image " + name)
	progress.show(p)
	err = store.Upload(ctx, send, func(d cas.Digest) {
		p.MovedBlobBytes += d.Size
		progress.show(p)
	})
	progress.end(err == nil)
	return err
}

// resolveImage turns a name into a digest, and says how large the image is in the
// farm's store: 0 for host, and for a digest that workers must have already.
func (f *farm) resolveImage(ctx context.Context, ref string) (root string, bytes uint64, err error) {
	if ref == sandbox.HostRoot {
		return ref, 0, nil
	}
	found, err := f.findImage(ctx, ref)
	var e *exit
	switch {
	case err == nil:
		return found.Digest, found.Bytes, nil
	case sandbox.ValidRoot(ref) && errors.As(err, &e): // the farm answers, and has none
		return ref, 0, nil
	}
	return "", 0, err
}

func (f *farm) findImage(ctx context.Context, ref string) (*gavelv1.Image, error) {
	r, err := f.Farm().Images(ctx, &gavelv1.ImagesRequest{Image: ref})
	if status.Code(err) == codes.NotFound {
		return nil, refused(plain(err))
	}
	if err != nil {
		return nil, fmt.Errorf("asking for image %s: %w", ref, plain(err))
	}
	if len(r.Images) != 1 {
		return nil, errors.New("the farm answers with no image")
	}
	return r.Images[0], nil
}

func imageListCommand() *cobra.Command {
	var dir string
	var asJSON bool
	c := &cobra.Command{
		Use:   "list",
		Short: "all images of the farm",
		Long: `Shows the farm's images with their names; one without a name is removed by gavel image gc,
unless a build that is under way needs it. Size is that of all layers, uncompressed.`,
		Args: wants(),
		RunE: action(func(ctx context.Context, c *cobra.Command, _ []string) error {
			farm, err := connect(ctx, dir)
			if err != nil {
				return err
			}
			defer farm.Close()
			r, err := farm.Farm().Images(ctx, &gavelv1.ImagesRequest{})
			if err != nil {
				return fmt.Errorf("asking for images: %w", plain(err))
			}
			return writeImages(newTerminal(c), r.Images, asJSON)
		}),
	}
	farmFlag(c, &dir)
	c.Flags().BoolVar(&asJSON, "json", false, "print a list as JSON")
	return c
}

func writeImages(term *terminal, list []*gavelv1.Image, asJSON bool) error {
	if asJSON {
		out := []imageReport{}
		for _, i := range list {
			out = append(out, newImageReport(i))
		}
		return json.NewEncoder(term.out).Encode(out)
	}
	if len(list) == 0 {
		term.print("no images: gavel image add NAME SOURCE adds one")
		return nil
	}
	w := tabwriter.NewWriter(term.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tDIGEST\tSIZE\tPLATFORM\tADDED BY")
	for _, i := range list {
		names := strings.Join(i.Names, ", ")
		if names == "" {
			names = "(none)"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", names, i.Digest, megabytes(int64(i.Bytes)), i.Platform, i.AddedByName)
	}
	return w.Flush()
}

func imageShowCommand() *cobra.Command {
	var dir string
	var asJSON bool
	c := &cobra.Command{
		Use:   "show IMAGE",
		Short: "what an image is made of",
		Long:  `Shows the image of a name or digest: its names, where it came from, and its layers, oldest first.`,
		Args:  wants("IMAGE"),
		RunE: action(func(ctx context.Context, c *cobra.Command, args []string) error {
			farm, err := connect(ctx, dir)
			if err != nil {
				return err
			}
			defer farm.Close()
			found, err := farm.findImage(ctx, args[0])
			if err != nil {
				return err
			}
			return newImageReport(found).write(newTerminal(c), asJSON)
		}),
	}
	farmFlag(c, &dir)
	c.Flags().BoolVar(&asJSON, "json", false, "print it as JSON")
	return c
}

func (r imageReport) write(term *terminal, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(term.out).Encode(r)
	}
	term.print("%s", term.paint(bold, r.Digest))
	if len(r.Names) > 0 {
		term.print("  names     %s", strings.Join(r.Names, ", "))
	}
	term.print("  platform  %s%s", r.Platform, foreign(r.Platform))
	term.print("  size      %s", megabytes(int64(r.Size)))
	term.print("  source    %s", r.Source)
	term.print("  added     %s by %s", r.Added, r.AddedBy)
	for _, l := range r.Layers {
		term.print("  layer     %s  %s", l.Digest, megabytes(int64(l.Size)))
	}
	return nil
}

// foreign remarks that this machine could not run it.
func foreign(platform string) string {
	if platform == "linux/"+runtime.GOARCH {
		return ""
	}
	return " (not this machine's, which is linux/" + runtime.GOARCH + ")"
}

func imageRemoveCommand() *cobra.Command {
	var dir, key string
	c := &cobra.Command{
		Use:   "rm NAME",
		Short: "take a name away",
		Long: `Takes a name away. The image stays, under its digest and its other names, until
gavel image gc removes what has no name.`,
		Args: wants("NAME"),
		RunE: action(func(ctx context.Context, c *cobra.Command, args []string) error {
			farm, err := connectKey(ctx, dir, key)
			if err != nil {
				return err
			}
			defer farm.Close()
			r, err := farm.Farm().RemoveImage(ctx, &gavelv1.RemoveImageRequest{Name: args[0]})
			if err != nil {
				return refused(fmt.Errorf("the name was not removed: %w", plain(err)))
			}
			newTerminal(c).print("%s no longer names %s", args[0], r.Digest)
			return nil
		}),
	}
	farmFlag(c, &dir)
	keyFlag(c, &key)
	return c
}

func imageCollectCommand() *cobra.Command {
	var dir, key string
	var asJSON, dry bool
	c := &cobra.Command{
		Use:   "gc",
		Short: "remove images without a name",
		Long: `Removes the images that you added and that have no name any more, and frees those of
their layers that no other image needs. What a build under way needs stays, and what
one asked for in the last 20 seconds. With the administrator's key (--key FARM/keys/admin) it is everybody's.
Workers forget images by themselves, the longest unused first.`,
		Args: wants(),
		RunE: action(func(ctx context.Context, c *cobra.Command, _ []string) error {
			farm, err := connectKey(ctx, dir, key)
			if err != nil {
				return err
			}
			defer farm.Close()
			r, err := farm.Farm().CollectImages(ctx, &gavelv1.CollectImagesRequest{DryRun: dry})
			if err != nil {
				return fmt.Errorf("collecting images: %w", plain(err))
			}
			return writeCollected(newTerminal(c), r, dry, asJSON)
		}),
	}
	farmFlag(c, &dir)
	keyFlag(c, &key)
	c.Flags().BoolVar(&dry, "dry-run", false, "say what would be removed, and remove nothing")
	c.Flags().BoolVar(&asJSON, "json", false, "print the result as JSON")
	return c
}

func writeCollected(term *terminal, r *gavelv1.CollectImagesResponse, dry, asJSON bool) error {
	if asJSON {
		list := []imageReport{}
		for _, i := range r.Images {
			list = append(list, newImageReport(i))
		}
		return json.NewEncoder(term.out).Encode(map[string]any{"images": list, "blobs": r.Blobs, "bytes": r.Bytes, "dry_run": dry})
	}
	verb := "removed"
	if dry {
		verb = "would remove"
	}
	for _, i := range r.Images {
		term.print("%s %s (%s)", verb, i.Digest, i.Source)
	}
	term.print("%s %s, %s of the store", verb, count(int64(len(r.Images)), "image"), megabytes(int64(r.Bytes)))
	return nil
}
