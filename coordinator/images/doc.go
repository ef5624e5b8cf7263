// Package images owns the names of a farm's images and what each image is made
// of, in a directory that the coordinators of one store share. It stores no
// content, judges no layer and decides no money: an image is named by the digest
// of its config, which names its layers, so that who runs it need not trust this
// record. A record is written once and never changes; a name may move, by whoever
// took it or by an admin.
package images
