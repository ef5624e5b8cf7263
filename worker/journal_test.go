package worker

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gavel/raftfsm/build"
	"gavel/raftfsm/wire"
)

const writerVar = "GAVEL_TEST_JOURNAL"

// TestMain lets the test binary be the process that is killed.
func TestMain(m *testing.M) {
	if path := os.Getenv(writerVar); path != "" {
		writeForever(path)
	}
	os.Exit(m.Run())
}

// writeForever writes bids and says of each, once Put has returned, that it is there.
func writeForever(path string) {
	j, err := openJournal(path)
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	for i := int64(1); ; i++ {
		key := wire.NewHasher("test").I64(i).I64(int64(os.Getpid())).Sum()
		if err := j.Put(shelfBids, key, &bidRecord{Price: 7, Nonce: key, WallMillis: i}); err != nil {
			fmt.Println("error", err)
			os.Exit(1)
		}
		fmt.Println(hex.EncodeToString(key[:]))
	}
}

// Whatever was acknowledged before kill -9 is there afterwards, whole.
func TestJournalSurvivesKill(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.db")
	var acknowledged []build.ID
	for round := range 3 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), writerVar+"="+path)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for n := 0; lines.Scan(); n++ {
			raw, err := hex.DecodeString(lines.Text())
			if err != nil || len(raw) != 32 {
				t.Fatalf("the writer says %q", lines.Text())
			}
			acknowledged = append(acknowledged, build.ID(raw))
			if n == 20+round*17 {
				_ = cmd.Process.Kill()
			}
		}
		_ = cmd.Wait() // killed
		j, err := openJournal(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, key := range acknowledged {
			var r bidRecord
			if found, err := j.Get(shelfBids, key, &r); err != nil || !found || r.Nonce != key || r.Price != 7 {
				t.Fatalf("round %d: an acknowledged bid is lost (found %v, %v)", round, found, err)
			}
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestJournalBelongsToOneProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.db")
	j, err := openJournal(path)
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	if _, err := openJournal(path); err == nil || !strings.Contains(err.Error(), "running already") {
		t.Errorf("a second process: %v", err)
	}
}

func TestOldBidsAreForgotten(t *testing.T) {
	b := newBench(t, nil)
	now := time.Now()
	for name, age := range map[string]time.Duration{"old": bidAge + time.Hour, "young": bidAge - time.Hour} {
		if err := b.journal.Put(shelfBids, id(name), &bidRecord{WallMillis: now.Add(-age).UnixMilli()}); err != nil {
			t.Fatal(err)
		}
	}
	if err := forgetPromises(b.journal, now); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{"old": false, "young": true} {
		if found, err := b.journal.Get(shelfBids, id(name), &bidRecord{}); err != nil || found != want {
			t.Errorf("%s: found %v, %v", name, found, err)
		}
	}
}

func FuzzRecords(f *testing.F) {
	f.Add(wire.Encode(&bidRecord{Price: 1}))
	f.Add(wire.Encode(&attemptRecord{Lodged: []byte{1}}))
	f.Add(wire.Encode(&durationRecord{Millis: []int64{1, 2}}))
	f.Add(wire.Encode(&askRecord{Price: 1, Capacity: 2}))
	f.Add(wire.Encode(&finishedRecord{WallMillis: 1}))
	f.Fuzz(func(t *testing.T, raw []byte) {
		for _, r := range []wire.Record{&bidRecord{}, &attemptRecord{}, &durationRecord{}, &askRecord{}, &finishedRecord{}} {
			if wire.Decode(raw, r) == nil && !bytes.Equal(wire.Encode(r), raw) {
				t.Fatalf("%T has two encodings", r)
			}
		}
	})
}
