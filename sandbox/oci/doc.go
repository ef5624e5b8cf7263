// Package oci is the sandbox.Runner that runs each command in a container of an
// OCI runtime installed on this machine, runc, crun or runsc, without an engine. It
// keeps its own images, unpacked, and never downloads, builds or changes one: of an
// image it takes the layers and nothing else. Whatever a killed worker left of
// containers, mounts, cgroups and the runtime's state is removed when the same
// owner starts again.
//
// How a run is put together, and why:
//
//   - The container's users are a range of the machine's from sandbox.IDBase on,
//     so that not even its root, whom no process inside is, is anybody here. The
//     runtime enters that range before it mounts, so what it mounts lies where
//     the range's root may pass: below mountsDir, which is closed to others.
//   - The root is an overlay without an upper layer: mount points in front, then
//     PID 1's program and a few files that engines write too, then the image. It
//     cannot be written to, by the runtime either, so images stay as they were
//     unpacked, and an image without /proc or with a symlink of that name serves.
//   - The build directory is an overlay over the input tree, or a copy of it, on
//     a tmpfs of Limits.DiskBytes, mounted here and bound into the container.
//   - The runtime starts PID 1 (package container/pid1) and leaves; PID 1's
//     streams are pipes to this process. When its standard input ends, for
//     whatever reason, PID 1 ends, and with it everything inside.
package oci
