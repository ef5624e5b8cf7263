package profile

import "github.com/opencontainers/runtime-spec/specs-go"

const architecture = specs.ArchX86_64
