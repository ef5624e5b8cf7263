package sandbox

// IDBase is the machine's user, and group, that is root inside where a runner
// maps a sandbox's users to a range of the machine's: user n inside is IDBase+n, up
// to IDs of them. No login, service or other tool's range lies there, and images
// whose files were shifted by it serve every such runner.
const (
	IDBase = 0x7a7a0000
	IDs    = 65536
)
