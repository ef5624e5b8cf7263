package docker

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/image"

	"gavel/sandbox"
	"gavel/sandbox/container"
	"gavel/sandbox/rootfs"
)

// TakeImage loads an image into the engine, unless it is there, and removes those
// that this owner took and used longest ago where Config.ImageBytes asks for it.
func (r *Runner) TakeImage(ctx context.Context, img sandbox.Image) (string, error) {
	if err := r.enter(); err != nil {
		return "", err
	}
	defer r.running.Done()
	select { // one at a time, so that each sees what the others take
	case r.takes <- struct{}{}:
	case <-ctx.Done():
		return "", ctx.Err()
	}
	defer func() { <-r.takes }()

	root := img.Root()
	here, err := r.here(ctx, root)
	if err != nil {
		return "", err
	}
	r.touch(root)
	if here {
		return root, nil
	}
	var size int64
	for _, l := range img.Layers {
		size += max(l.Size, 0)
	}
	if r.config.ImageBytes > 0 && size > r.config.ImageBytes {
		return "", container.Unavailable(fmt.Errorf("image %s takes %d bytes and this worker keeps %d of images; allow it more", root, size, r.config.ImageBytes))
	}
	if err := r.makeRoom(ctx, size, root); err != nil {
		return "", err
	}
	if err := r.load(ctx, img); err != nil {
		return "", err
	}
	if err := r.adopt(ctx, root); err != nil {
		return "", err
	}
	return root, r.makeRoom(ctx, 0, root) // what it takes unpacked is known now
}

// here says whether an image is in the engine, and if others took it also takes
// it for this owner, so that it stays when they let it go. An image that a person
// put there is served and never tagged: the tag might be its last.
func (r *Runner) here(ctx context.Context, root string) (bool, error) {
	found := image.InspectResponse{}
	err := r.retry(ctx, "looking for image "+root, func(ctx context.Context) (err error) {
		found, err = r.inspect(ctx, root)
		return err
	})
	switch {
	case cerrdefs.IsNotFound(err):
		return false, nil
	case err != nil:
		return false, err
	}
	if _, taken := rootOfTags(found.RepoTags); taken || slices.Contains(found.RepoTags, rootfs.DockerTag(root)) {
		err := r.adopt(ctx, root)
		if cerrdefs.IsNotFound(err) { // its owner let it go just now
			return false, nil
		}
		return err == nil, err
	}
	return true, nil
}

// load sends an image to the engine and checks what came of it.
func (r *Runner) load(ctx context.Context, img sandbox.Image) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	read, write := io.Pipe()
	written := make(chan error, 1)
	go func() {
		err := rootfs.WriteDockerArchive(ctx, write, img)
		write.CloseWithError(err)
		written <- err
	}()
	loadErr := r.send(ctx, read)
	read.CloseWithError(errLoaded)
	switch err := <-written; {
	case errors.Is(err, sandbox.ErrRefused):
		return err // the engine only saw it end
	case ctx.Err() != nil:
		return ctx.Err()
	case loadErr != nil:
		return container.Unavailable(fmt.Errorf("loading image %s into the Docker engine: %w", img.Root(), loadErr))
	case err != nil && !errors.Is(err, errLoaded):
		return container.Unavailable(fmt.Errorf("reading image %s: %w", img.Root(), err))
	}
	found, err := r.engine.ImageInspect(ctx, rootfs.DockerTag(img.Root()))
	if err != nil {
		return container.Unavailable(fmt.Errorf("looking for the image that was loaded: %w", err))
	}
	if found.ID != img.Root() && !r.containerd {
		err := fmt.Errorf("the Docker engine loaded image %s as %s; it keeps another config than it was given", img.Root(), found.ID)
		return container.Unavailable(errors.Join(err, r.untag(ctx, rootfs.DockerTag(img.Root()))))
	}
	return nil
}

// errLoaded ends the writing of an archive that the engine does not read further.
var errLoaded = errors.New("the engine has read all that it wants")

// send is the load call; the engine tells of a failure inside its answer.
func (r *Runner) send(ctx context.Context, archive io.Reader) error {
	answer, err := r.engine.ImageLoad(ctx, archive)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	for words := json.NewDecoder(answer.Body); ; {
		var word struct{ Error string }
		err := words.Decode(&word)
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil && answer.JSON:
			return fmt.Errorf("reading the engine's answer: %w", err)
		case err != nil: // plain words
			return nil
		case word.Error != "":
			return errors.New(word.Error)
		}
	}
}

// adopt tags an image as this owner's, and takes the tag away that it was loaded with.
func (r *Runner) adopt(ctx context.Context, root string) error {
	return r.retry(ctx, "tagging image "+root, func(ctx context.Context) error {
		found, err := r.inspect(ctx, root)
		if cerrdefs.IsNotFound(err) {
			found, err = r.engine.ImageInspect(ctx, rootfs.DockerTag(root))
		}
		if err != nil {
			return err
		}
		if err := r.engine.ImageTag(ctx, found.ID, r.tag(root)); err != nil {
			return err
		}
		return r.untag(ctx, rootfs.DockerTag(root))
	})
}

func (r *Runner) untag(ctx context.Context, tag string) error {
	_, err := r.engine.ImageRemove(ctx, tag, image.RemoveOptions{})
	if cerrdefs.IsNotFound(err) {
		return nil
	}
	return err
}

// makeRoom lets images of this owner go, those used longest ago first, until more
// bytes fit. Images in use and keep stay; if these are too many the rest of the
// error says so.
func (r *Runner) makeRoom(ctx context.Context, more int64, keep string) error {
	if r.config.ImageBytes == 0 {
		return nil
	}
	var mine []held
	err := r.retry(ctx, "listing images", func(ctx context.Context) error {
		all, err := r.taken(ctx)
		mine = slices.DeleteFunc(all, func(h held) bool { return !slices.Contains(h.tags, r.tag(h.root)) })
		return err
	})
	if err != nil {
		return err
	}
	total := more
	for _, h := range mine {
		total += h.bytes
	}
	slices.SortFunc(mine, func(a, b held) int { return cmp.Compare(r.lastUse(a.root), r.lastUse(b.root)) })
	for _, h := range mine {
		if total <= r.config.ImageBytes {
			return nil
		}
		if h.root == keep || !r.letGo(h.root) {
			continue
		}
		if err := r.dropSpareOf(ctx, h.root); err != nil {
			return container.Unavailable(err)
		}
		if err := r.untag(ctx, r.tag(h.root)); err == nil {
			total -= h.bytes
		} else if !cerrdefs.IsConflict(err) { // a container of somebody's needs it
			return container.Unavailable(fmt.Errorf("removing image %s: %w", h.root, err))
		}
	}
	if more > 0 && total > r.config.ImageBytes {
		return container.Unavailable(fmt.Errorf("the images in use leave no room for %d bytes of the %d that this worker keeps; try later", more, r.config.ImageBytes))
	}
	return nil
}

// dropImages lets all images of this owner go.
func (r *Runner) dropImages() error {
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	all, err := r.taken(ctx)
	for _, h := range all {
		if tag := r.tag(h.root); slices.Contains(h.tags, tag) {
			err = errors.Join(err, r.untag(ctx, tag))
		}
	}
	if err != nil {
		return fmt.Errorf("removing images from the Docker engine: %w", err)
	}
	return nil
}

// touch counts a use of an image.
func (r *Runner) touch(root string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.uses[root] = time.Now().UnixNano()
}

// lastUse is when an image was used, as far as this process knows.
func (r *Runner) lastUse(root string) int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.uses[root]
}

// use keeps an image from being let go until done is called.
func (r *Runner) use(root string) (done func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.uses[root] = time.Now().UnixNano()
	r.users[root]++
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.users[root]--; r.users[root] == 0 {
			delete(r.users, root)
		}
	}
}

// letGo forgets an image, unless it is in use.
func (r *Runner) letGo(root string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.users[root] > 0 {
		return false
	}
	delete(r.images, root)
	delete(r.uses, root)
	return true
}

// adoptOrphans tags what an earlier worker loaded and had no time to tag.
func (r *Runner) adoptOrphans(ctx context.Context) error {
	var roots []string
	err := r.retry(ctx, "listing images", func(ctx context.Context) (err error) {
		roots, err = r.orphans(ctx)
		return err
	})
	for _, root := range roots {
		if adoptErr := r.adopt(ctx, root); !cerrdefs.IsNotFound(adoptErr) { // another worker may be about it
			err = errors.Join(err, adoptErr)
		}
	}
	return err
}
