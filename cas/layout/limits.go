package layout

// readers is how many blobs are hashed at once: SHA-256 is bound by the
// processor, reading by the disk, so a few more than small machines have cores.
const readers = 4
