package rebuild

const (
	// maxManifestBytes bounds a stated manifest that lies among the inputs, as for
	// coordinators: MaxOutputs paths of ordinary length.
	maxManifestBytes = 64 << 20
	// maxTreeBytes bounds the inputs laid out: the most that a tree may have.
	maxTreeBytes = 80 << 30
	// maxNamed is how many changed inputs an error names: a person reads ten.
	maxNamed = 10
)
