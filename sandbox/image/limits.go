package image

import "gavel/sandbox"

// Bounds on what is read of an input before its layers.
const (
	maxManifestBytes = 4 << 20 // what registries take
	maxDescriptors   = 1000    // of an index with those inside it
	maxIndexDepth    = 4       // indexes of indexes; nobody nests more than two
	maxMembers       = 100_000 // files of an archive of images
	maxLinkHops      = 8       // links between an archive's members, as old archives have them

	// maxArchiveBytes is a whole archive of images when it is decompressed: its
	// layers and what surrounds them.
	maxArchiveBytes = sandbox.MaxImageBytes + 1<<30
)
