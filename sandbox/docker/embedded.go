//go:build gavel_init

package docker

import _ "embed"

// embeddedInit is sandbox/docker/init, which make build puts there first.
//
//go:embed embed/init.bin
var embeddedInit []byte
