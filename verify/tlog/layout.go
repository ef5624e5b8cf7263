package tlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// ErrMalformed says that bytes are not of the format they should have.
var ErrMalformed = errors.New("malformed")

// CheckpointPath is where the newest published checkpoint lies.
const CheckpointPath = "checkpoint"

// beside are the names that a log's directory may hold beside checkpoint and tile,
// each a file or, with a slash, a directory of files.
var beside = []string{"genesis", "trusted_root.json", "status.json", "transcript/", "epoch/", "manifest/", "vsa/"}

// replaceable are those whose content may change.
var replaceable = []string{"trusted_root.json", "status.json"}

// entriesLevel stands for the level of entry bundles, which lie beside the tiles.
const entriesLevel = -1

// tile names one tile or, at entriesLevel, one entry bundle.
type tile struct {
	level int
	n     uint64
	width int // 1 to 256
}

// path is the tile's place: tile/<L>/<N>[.p/<W>] or tile/entries/<N>[.p/<W>].
func (t tile) path() string {
	digits := fmt.Sprintf("%03d", t.n%1000)
	for n := t.n / 1000; n > 0; n /= 1000 {
		digits = fmt.Sprintf("x%03d/%s", n%1000, digits)
	}
	level := "entries"
	if t.level != entriesLevel {
		level = strconv.Itoa(t.level)
	}
	p := "tile/" + level + "/" + digits
	if t.width < tileWidth {
		p += ".p/" + strconv.Itoa(t.width)
	}
	return p
}

// limit is the most bytes that the tile can have.
func (t tile) limit() int64 {
	if t.level == entriesLevel {
		return maxBundleBytes
	}
	return int64(t.width) * hashBytes
}

// parseTilePath reads what path writes, and nothing else.
func parseTilePath(p string) (tile, error) {
	bad := fmt.Errorf("path %q: %w: no tile or entry bundle has it", p, ErrMalformed)
	rest, ok := strings.CutPrefix(p, "tile/")
	if !ok || len(p) > maxPathBytes {
		return tile{}, bad
	}
	level, rest, _ := strings.Cut(rest, "/")
	t := tile{level: entriesLevel, width: tileWidth}
	if level != "entries" {
		l, err := strconv.ParseUint(level, 10, 6)
		if err != nil {
			return tile{}, bad
		}
		t.level = int(l)
	}
	digits, width, partial := strings.Cut(rest, ".p/")
	if partial {
		w, err := strconv.ParseUint(width, 10, 8)
		if err != nil {
			return tile{}, bad
		}
		t.width = int(w)
	}
	for _, part := range strings.Split(digits, "/") {
		d, err := strconv.ParseUint(strings.TrimPrefix(part, "x"), 10, 10)
		if err != nil || d > 999 || t.n > maxSize/1000 {
			return tile{}, bad
		}
		t.n = t.n*1000 + d
	}
	// Whatever spelling passed so far, there is only one of each tile.
	if t.width == 0 || t.path() != p {
		return tile{}, bad
	}
	return t, nil
}

// unit is how many entries one hash of the tile covers, as a shift.
func (t tile) unit() uint {
	if t.level == entriesLevel {
		return 0
	}
	return uint(t.level) * tileHeight
}

// within tells whether a tree of size entries has this tile, or had it on its way.
func (t tile) within(size uint64) bool {
	if t.unit() >= 64 {
		return false
	}
	return t.n<<tileHeight+uint64(t.width) <= size>>t.unit()
}

// widthAt is how many hashes the tile number n of a level has in a tree of size
// entries; 0 if there is no such tile.
func widthAt(level int, n, size uint64) int {
	unit := tile{level: level}.unit()
	if unit >= 64 || size>>unit <= n<<tileHeight {
		return 0
	}
	return int(min(tileWidth, size>>unit-n<<tileHeight))
}

// levels is how many tile levels a tree of size entries has.
func levels(size uint64) int {
	n := 0
	for ; size > 0; size >>= tileHeight {
		n++
	}
	return n
}

// checkPath says whether a path can be one in a log's directory at all: relative,
// clean, without an element that could lead out of it or hide.
func checkPath(p string) error {
	if len(p) > maxPathBytes || !fs.ValidPath(p) || p == "." {
		return fmt.Errorf("path %q: %w: a clean relative path of at most %d bytes is wanted", p, ErrMalformed, maxPathBytes)
	}
	for _, c := range []byte(p) {
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '.' || c == '_' || c == '-' || c == '/') {
			return fmt.Errorf("path %q: %w: only letters, digits, '.', '_', '-' and '/' occur in a log", p, ErrMalformed)
		}
	}
	for part := range strings.SplitSeq(p, "/") {
		if strings.HasPrefix(part, ".") {
			return fmt.Errorf("path %q: %w: no name in a log starts with a dot", p, ErrMalformed)
		}
	}
	return nil
}

// isBeside tells whether p is a place for a file beside the log.
func isBeside(p string) bool {
	if checkPath(p) != nil {
		return false
	}
	dir, name := path.Split(p)
	if dir == "" {
		return slices.Contains(beside, name)
	}
	return slices.Contains(beside, dir)
}

// bundle is the content of an entry bundle: each entry after its length in two
// bytes, big-endian.
func appendEntry(bundle, entry []byte) []byte {
	return append(binary.BigEndian.AppendUint16(bundle, uint16(len(entry))), entry...)
}

// splitBundle reads an entry bundle of exactly width entries. They alias content.
func splitBundle(content []byte, width int) ([][]byte, error) {
	entries := make([][]byte, 0, width)
	for range width {
		if len(content) < 2 {
			return nil, fmt.Errorf("entry bundle: %w: it ends after %d of %d entries", ErrMalformed, len(entries), width)
		}
		n := int(binary.BigEndian.Uint16(content))
		if len(content) < 2+n {
			return nil, fmt.Errorf("entry bundle: %w: it ends inside entry %d", ErrMalformed, len(entries))
		}
		entries = append(entries, content[2:2+n:2+n])
		content = content[2+n:]
	}
	if len(content) > 0 {
		return nil, fmt.Errorf("entry bundle: %w: %d bytes follow its %d entries", ErrMalformed, len(content), width)
	}
	return entries, nil
}

// splitTile reads a tile of exactly width hashes.
func splitTile(content []byte, width int) ([][32]byte, error) {
	if len(content) != width*hashBytes {
		return nil, fmt.Errorf("tile: %w: %d bytes instead of %d hashes of %d", ErrMalformed, len(content), width, hashBytes)
	}
	hashes := make([][32]byte, width)
	for i := range hashes {
		hashes[i] = [32]byte(content[i*hashBytes:])
	}
	return hashes, nil
}

func joinTile(hashes [][32]byte) []byte {
	content := make([]byte, 0, len(hashes)*hashBytes)
	for _, h := range hashes {
		content = append(content, h[:]...)
	}
	return content
}
