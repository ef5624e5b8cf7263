//go:build gavel_init

package native

import _ "embed"

// initBinary is sandbox/native/init, built statically before this package.
//
//go:embed embed/init.bin
var initBinary []byte
