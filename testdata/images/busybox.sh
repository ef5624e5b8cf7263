#!/bin/sh
# busybox.sh [--stubborn]: an image of nothing but a static busybox and its
# applets, 2 MB, made in a second from this machine's own busybox. Prints the
# image id, alone, on stdout.
#
# --stubborn makes an image of the same files whose config asks for everything
# a sandbox must not grant: variables of its own, an entry point, a user, a
# working directory, a health check, a volume. Tests run both.

. "$(dirname "$0")/image.sh"

need busybox busybox-static
busybox=$(command -v busybox)
if ldd "$busybox" >/dev/null 2>&1; then
	die "$busybox is linked dynamically: install busybox-static"
fi

root=$(mktemp -d "$cache/busybox.XXXXXX")
trap 'rm -rf "$root"' EXIT
chmod 0755 "$root"
umask 022
mkdir -p "$root/bin" "$root/dev" "$root/etc" "$root/proc" "$root/root" "$root/sys" "$root/usr/bin" "$root/var/data"
mkdir -m 1777 "$root/tmp"
install -m 0755 "$busybox" "$root/bin/busybox"
for applet in $("$busybox" --list); do
	[ "$applet" = busybox ] || ln -s busybox "$root/bin/$applet"
done
# Content under a path that the stubborn image declares a volume.
echo kept >"$root/var/data/file"
cat >"$root/etc/passwd" <<'END'
root:x:0:0:root:/root:/bin/sh
nobody:x:65534:65534:nobody:/nonexistent:/bin/false
END
cat >"$root/etc/group" <<'END'
root:x:0:
nogroup:x:65534:
staff:x:50:nobody
END
chown -R 0:0 "$root" 2>/dev/null || die "run this as root: the image's files must belong to root"

layer=$cache/busybox.$$.tar
trap 'rm -rf "$root" "$layer" "$layer.sha256"' EXIT
pack "$root" "$layer"
case ${1-} in
'') load "$layer" gavel-test:busybox '{}' ;;
--stubborn)
	load "$layer" gavel-test:stubborn '{"User":"root","Env":["IMAGE_SAYS=hello","HOME=/root","PATH=/evil:/bin"],"Entrypoint":["/bin/false"],"Cmd":["never"],"WorkingDir":"/var","Volumes":{"/var/data":{},"/scratch":{}},"Labels":{"gavel.owner":"image"},"Healthcheck":{"Test":["CMD-SHELL","touch /tmp/checked"],"Interval":1000000000},"StopSignal":"SIGUSR1"}'
	;;
*) die "usage: busybox.sh [--stubborn]" ;;
esac
