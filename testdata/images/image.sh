# Shared by the image scripts; source it, do not run it.
#
# An image made here is an archive of one layer and one config with fixed
# times, owners and order, given to `docker load`: its id is the SHA-256 of the
# config, so the same files give the same id on every machine and every run.
# (`docker import` would write the time of day into the config.)

set -eu

say() { printf '%s\n' "$*" >&2; }

die() {
	say "${0##*/}: $*"
	exit 1
}

# need TOOL PACKAGE...: stop with what to install when TOOL is not there.
need() {
	command -v "$1" >/dev/null 2>&1 || die "$1 is missing: install it (Debian: apt-get install $2)"
}

need docker docker.io
need sha256sum coreutils
need tar tar

docker version >/dev/null 2>&1 ||
	die "the Docker engine does not answer: start it (systemctl start docker) or run this as root"

cache=${GAVEL_CACHE:-${HOME:?set HOME or GAVEL_CACHE}/.cache/gavel}/images
mkdir -p "$cache"

# engine_arch: the engine's name for this machine's architecture.
engine_arch() {
	case $(uname -m) in
	x86_64) echo amd64 ;;
	aarch64) echo arm64 ;;
	*) uname -m ;;
	esac
}

# pack DIR LAYER: DIR as a layer with fixed order, times and numeric owners, and
# LAYER.sha256 with its digest, which takes seconds for a large one.
pack() {
	tar --create --file "$2.part" --directory "$1" --sort=name --mtime=@0 \
		--numeric-owner --format=posix \
		--pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime .
	sha256sum "$2.part" | cut -d' ' -f1 >"$2.sha256"
	mv "$2.part" "$2"
}

# load LAYER TAG CONFIG: makes the image of one layer, loads it unless the
# engine has it, and prints its id. CONFIG is the JSON object of the image's
# "config" member, such as {"Env":["A=b"]}.
load() {
	load_diff=$(cat "$1.sha256")
	load_dir=$(mktemp -d "$cache/load.XXXXXX")
	printf '{"architecture":"%s","config":%s,"created":"1970-01-01T00:00:00Z","history":[{"created":"1970-01-01T00:00:00Z","created_by":"gavel testdata/images"}],"os":"linux","rootfs":{"diff_ids":["sha256:%s"],"type":"layers"}}' \
		"$(engine_arch)" "$3" "$load_diff" >"$load_dir/config"
	load_id=$(sha256sum "$load_dir/config" | cut -d' ' -f1)
	if ! docker image inspect "sha256:$load_id" >/dev/null 2>&1; then
		mv "$load_dir/config" "$load_dir/$load_id.json"
		ln "$1" "$load_dir/layer.tar" 2>/dev/null || cp "$1" "$load_dir/layer.tar"
		printf '[{"Config":"%s.json","RepoTags":["%s"],"Layers":["layer.tar"]}]' "$load_id" "$2" >"$load_dir/manifest.json"
		tar --create --directory "$load_dir" "$load_id.json" layer.tar manifest.json | docker load >&2 ||
			{ rm -rf "$load_dir"; die "the engine did not load $2"; }
	fi
	rm -rf "$load_dir"
	docker image inspect "sha256:$load_id" >/dev/null 2>&1 ||
		die "the engine gave $2 another id than sha256:$load_id: it does not name images by config digest (see OPERATING, containerd image store)"
	echo "sha256:$load_id"
}
