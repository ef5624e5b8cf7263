#!/bin/sh
# debian.sh [--go]: a Debian image made by debootstrap with gcc, make and what
# else builds a Debian package; --go adds this machine's Go as /usr/local/go.
# Prints the image id, alone, on stdout.
#
# The first run takes a minute and 200 MB of downloads; it leaves the image's
# layer in ${GAVEL_CACHE:-$HOME/.cache/gavel}/images, and further runs only load
# that. Delete it to get newer packages. GAVEL_DEBIAN_SUITE (bookworm),
# GAVEL_DEBIAN_VARIANT (buildd, or minbase without compiler) and
# GAVEL_DEBIAN_MIRROR (debootstrap's default) choose what is fetched.

. "$(dirname "$0")/image.sh"

suite=${GAVEL_DEBIAN_SUITE:-bookworm}
variant=${GAVEL_DEBIAN_VARIANT:-buildd}
name=debian-$suite-$variant

[ "$(id -u)" = 0 ] || die "run this as root: debootstrap makes files of other users"
need debootstrap debootstrap
case ${1-} in
'') ;;
--go)
	need go golang
	name=$name-$(go env GOVERSION)
	;;
*) die "usage: debian.sh [--go]" ;;
esac

# base DIR: a fresh root without anything that depends on when it was made.
base() {
	# shellcheck disable=SC2086 # the mirror is absent or one word
	debootstrap --variant="$variant" "$suite" "$1" ${GAVEL_DEBIAN_MIRROR-} >&2
	rm -rf "$1"/var/cache/apt/* "$1"/var/lib/apt/lists/* "$1"/var/log/* "$1"/var/cache/ldconfig "$1"/debootstrap
	rm -f "$1"/etc/machine-id "$1"/etc/hostname "$1"/etc/resolv.conf "$1"/var/lib/dpkg/*-old
	find "$1/dev" -mindepth 1 -delete # the engine makes its own
}

# add_go DIR: this machine's Go, found through the fixed PATH by a link.
add_go() {
	mkdir -p "$1/usr/local/go"
	tar --create --directory "$(go env GOROOT)" --exclude=./test --exclude=./pkg/obj . |
		tar --extract --directory "$1/usr/local/go" --no-same-owner
	ln -sf ../go/bin/go "$1/usr/local/bin/go"
	ln -sf ../go/bin/gofmt "$1/usr/local/bin/gofmt"
}

layer=$cache/$name.tar
exec 9>"$cache/$name.lock"
flock 9 # two at once would fetch twice
if [ ! -f "$layer" ]; then
	root=$(mktemp -d "$cache/$name.XXXXXX")
	trap 'rm -rf "$root"' EXIT
	umask 022
	chmod 0755 "$root"
	base "$root" || die "debootstrap failed; its log is above"
	[ "${1-}" != --go ] || add_go "$root"
	pack "$root" "$layer"
fi
load "$layer" "gavel-test:$name" '{}'
