package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gavel/raftfsm/build"
	"gavel/raftfsm/wire"
)

// Names that a command has no room for once ended in a panic of the encoder.
func TestNamesWithoutRoomAreRefused(t *testing.T) {
	dir, long := t.TempDir(), strings.Repeat("n", 129)
	key := filepath.Join(dir, "k")
	if code, _, stderr := call(t.Context(), "keys", "new", key); code != exitDone {
		t.Fatal(stderr)
	}
	tooMany := []string{"account", "admit", "acme"}
	for range maxMembers + 1 {
		tooMany = append(tooMany, key+".pub")
	}
	for _, c := range []struct {
		args []string
		says string
	}{
		{[]string{"account", "open", long, "--key", key}, "an account cannot be called"},
		{[]string{"account", "open", "", "--key", key}, `an account cannot be called "": want a name of 1 to 64 letters`},
		{[]string{"account", "admit", long, key + ".pub"}, "an operator cannot be called"},
		{[]string{"account", "admit", "acme", key + ".pub=" + long}, "129 bytes long: want at most 128"},
		{tooMany, "513 keys: want at most 512"},
	} {
		if code, _, stderr := call(t.Context(), append(c.args, "--farm", "nowhere")...); code != exitUsage || !strings.Contains(stderr, c.says) {
			t.Errorf("%v: exit status %d: %s, want %q in it", c.args[:2], code, stderr, c.says)
		}
	}
}

// maxMembers is what the command's encoding takes, and no less.
func TestMostMembersFit(t *testing.T) {
	a := build.Admit{Operator: "acme", Members: make([]build.Member, maxMembers)}
	raw := wire.Encode(&a)
	if err := wire.Decode(raw, &build.Admit{}); err != nil {
		t.Error(err)
	}
	defer func() {
		if recover() == nil {
			t.Errorf("%d keys have room, and are refused", maxMembers+1)
		}
	}()
	a.Members = append(a.Members, build.Member{})
	wire.Encode(&a)
}

// A key that is not there stops a command before anything is sent: exit status 2.
func TestMissingKeySendsNothing(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "farm.json"), []byte(`{"endpoints":["127.0.0.1:1"]}`), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"ticket", "buy", "1", "--pool", "free", "--key", "missing"}, {"pool", "create", "p"}} {
		code, _, stderr := call(t.Context(), append(args, "--farm", dir)...)
		if code != exitUsage || !strings.Contains(stderr, "opening key file") || !strings.Contains(stderr, "Nothing was sent") {
			t.Errorf("%v: exit status %d: %s", args, code, stderr)
		}
	}
}

// Numbers that are too large are refused with the most there can be.
func TestTooLargeArguments(t *testing.T) {
	for _, c := range []struct {
		args []string
		says string
	}{
		{[]string{"lease", "bid", "--price", "1", "--last", "300"}, `invalid argument "300" for "--last" flag: want a whole number from 1 to 4`},
		{[]string{"lease", "bid", "--price", "1", "--first", "3", "--last", "2"}, "--last 2 comes before --first 3"},
		{[]string{"lease", "lend", "--to", "alice", "--periods", "5"}, "from 1 to 4"},
		{[]string{"account", "mint", "alice", "99999999999999"}, "more than there can be: want at most 4611686018427.387904"},
		{[]string{"account", "mint", "alice", "lots"}, "is no amount"},
		{[]string{"ticket", "buy", "100000000000"}, "want 1 to 1000 at once"},
		{[]string{"ticket", "buy", "0"}, "want 1 to 1000 at once"},
		{[]string{"pool", "show", "p", "--case", "-1"}, "--case -1: lots are numbered from 0"},
	} {
		if code, _, stderr := call(t.Context(), append(c.args, "--farm", "nowhere")...); code != exitUsage || !strings.Contains(stderr, c.says) {
			t.Errorf("%v: exit status %d: %s, want %q in it", c.args, code, stderr, c.says)
		}
	}
	pool := &build.Pool{Name: "free", Lane: build.LaneLottery}
	out := new(build.Market).Buy(&build.Env{Pool: pool}, build.ID{}, &build.BuyTickets{Pool: "free", Count: maxTickets + 1})
	if !strings.Contains(out.Detail, "want 1 to 1000 at once") {
		t.Errorf("the farm says %q", out.Detail)
	}
}
