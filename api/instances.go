package api

// ImagesInstance is the REAPI instance name under which coordinators keep the
// blobs of images, apart from everything that builds are made of.
const ImagesInstance = "images"
