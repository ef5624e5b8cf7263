package docker

import (
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"

	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/image"

	"gavel/sandbox/rootfs"
)

// tagPrefix begins the repository of every tag that a runner gives images it
// took; the rest names the owner, and the tag is the image's name. Tagged images
// survive docker image prune, and each owner removes only its own tags: the engine
// deletes an image with the last.
const tagPrefix = "gavel-image/"

// repository is the one of an owner's tags.
func repository(owner string) string {
	sum := sha256.Sum256([]byte(owner))
	return fmt.Sprintf("%s%x", tagPrefix, sum[:6])
}

// tag is the owner's for an image.
func (r *Runner) tag(root string) string {
	return repository(r.config.Owner) + ":" + strings.TrimPrefix(root, "sha256:")
}

// held is an image that a runner of any owner took into this engine.
type held struct {
	root  string // its name
	id    string // the engine's
	bytes int64  // with what it shares with others
	tags  []string
}

// taken lists the images that bear a runner's tag.
func (r *Runner) taken(ctx context.Context) ([]held, error) {
	list, err := r.engine.ImageList(ctx, image.ListOptions{Filters: filters.NewArgs(filters.Arg("reference", tagPrefix+"*:*"))})
	if err != nil {
		return nil, err
	}
	var found []held
	for _, i := range list {
		if root, ok := rootOfTags(i.RepoTags); ok {
			found = append(found, held{root: root, id: i.ID, bytes: i.Size, tags: i.RepoTags})
		}
	}
	return found, nil
}

// rootOfTags reads an image's name off the tags of those who took it.
func rootOfTags(tags []string) (root string, ok bool) {
	for _, t := range tags {
		if rest, ours := strings.CutPrefix(t, tagPrefix); ours {
			if _, hex, ok := strings.Cut(rest, ":"); ok && len(hex) == sha256.Size*2 {
				return "sha256:" + hex, true
			}
		}
	}
	return "", false
}

// orphans lists images that were loaded by a runner which ended before it tagged
// them as its own: they bear the archive's tag and no owner's.
func (r *Runner) orphans(ctx context.Context) (roots []string, err error) {
	list, err := r.engine.ImageList(ctx, image.ListOptions{Filters: filters.NewArgs(filters.Arg("reference", "gavel"))})
	if err != nil {
		return nil, err
	}
	for _, i := range list {
		for _, t := range i.RepoTags {
			hex, ok := strings.CutPrefix(t, "gavel:")
			root := "sha256:" + hex
			if ok && len(hex) == sha256.Size*2 && rootfs.DockerTag(root) == t && !slices.Contains(roots, root) {
				roots = append(roots, root)
			}
		}
	}
	return roots, nil
}
