// Package rootfs turns images into directories and directories into room: it
// unpacks an image's layers, removes what was unpacked, keeps a bounded shelf of
// unpacked images, and writes an image as the archive that docker load takes.
// It never fetches anything, never runs anything of an image, never makes a
// device, and never writes outside the directory it was given, whatever the
// layers say. What stands under a final name is whole and has the digests its
// image promises; everything else has a temporary name that a sweep removes.
//
// How layers are read, where tools differ:
//
//   - A whiteout hides what lower layers put under its name, an opaque marker
//     what they put below its directory, wherever in the layer it stands; what
//     the same layer puts there stays. A whiteout where nothing is hides nothing.
//   - An entry below a symlink is written where the symlink leads inside the
//     root, as containerd does; a symlink that leads nowhere is refused.
//   - A hard link's target is named without passing a symlink, and exists.
//   - Devices, fifos and sockets are left out, and hard links to them: a sandbox
//     brings its own /dev. They hide what they would have replaced.
//   - Of extended attributes user.* stays, and for root security.capability; what
//     steers overlays (user.overlay.*) or the machine's own policy does not.
//   - Set-user and set-group bits stay: mount roots nosuid, and keep their
//     parent directory closed to other users, as a Shelf does.
//   - Directories that no entry names are 0755, root's, of 1970. All directories
//     keep their entry's time, whatever was put in them later.
package rootfs
