//go:build gavel_init

package container

import _ "embed"

// embeddedInit is sandbox/container/init, which make build puts there first.
//
//go:embed embed/init.bin
var embeddedInit []byte
