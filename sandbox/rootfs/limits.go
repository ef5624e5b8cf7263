package rootfs

// Bounds on the tree of an image, besides sandbox.MaxImageBytes on its content.
const (
	maxEntries  = 2_000_000         // of all layers, with directories that only their content implies: above any distribution
	maxPath     = 4095              // the kernel's PATH_MAX without its NUL, where the entry really lies
	maxName     = 255               // the kernel's NAME_MAX
	maxDepth    = 255               // directories above an entry; removing a tree costs a descriptor each
	maxID       = 65535             // users and groups that a worker maps into a sandbox, with 0
	maxLinkName = 4095              // what a symlink can hold
	maxShift    = 1<<31 - 1 - maxID // what a user can be on this machine, and all of a range with it
)
