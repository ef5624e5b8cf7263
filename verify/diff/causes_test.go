package diff_test

import (
	"context"
	"strings"
	"testing"

	"gavel/verify/diff"
)

// Each line differs for one reason, or for none that can be shown.
func TestCausesOfLines(t *testing.T) {
	for _, c := range []struct {
		a, b  string
		cause diff.Cause
		says  string
	}{
		{"built Jan  2 2026 03:04:05", "built Jan  2 2026 03:04:06", diff.Timestamp, "Jan  2 2026 03:04:05 / "},
		{`"Jan  2 2026"`, `"Feb 12 2026"`, diff.Timestamp, "a date"},
		{"03:04:05", "03:14:59", diff.Timestamp, "a time of day"},
		{"on 2026-01-02T03:04:05Z ok", "on 2026-01-02T04:04:05Z ok", diff.Timestamp, ""},
		{"on 2026-01-02 03:04:05", "on 2026-01-02 08:34:05", diff.Timestamp, "time zones"},
		{"Fri, 02 Jan 2026 03:04:05 +0000", "Sat, 03 Jan 2026 03:04:05 +0000", diff.Timestamp, ""},
		{"Thu Jan  1 10:20:30 UTC 2026", "Thu Jan  1 10:20:31 UTC 2026", diff.Timestamp, ""},
		{"version 20260102", "version 20260103", diff.Timestamp, ""},
		{"stamp=1767323045;", "stamp=1767323046;", diff.Timestamp, "2026-01-02 03:04:05 UTC / 2026-01-02 03:04:06 UTC"},
		{"took 1.25s", "took 1.31s", diff.Timestamp, "how long"},
		{"# 1 \"/build/one/main.c\"", "# 1 \"/build/two/main.c\"", diff.BuildPath, "/build/one/main.c / /build/two/main.c"},
		{"DIR=/build/one", "DIR=/build/two", diff.BuildPath, ""},
		{"-I/build/one/include", "-I/srv/two/include", diff.BuildPath, "/build/one/include"},
		{"#include \"lib/one.h\"", "#include \"lib/two.h\"", diff.Unknown, ""},
		{"see https://a.example/one", "see https://b.example/two", diff.Unknown, "an address of the web"},
		{"compiled by root@build-1", "compiled by root@build-2", diff.HostName, "build-1"},
		{"compiled by root@build-1", "compiled by jo@build-1", diff.Owner, ""},
		{"Build-Host: alpha", "Build-Host: beta", diff.HostName, "named so"},
		{"built by alice", "built by bob", diff.Owner, ""},
		{"Built on a machine of seven today", "Built on a machine of eleven today", diff.Unknown, ""},
		{"here runs worker-7", "here runs elsewhere", diff.HostName, "took part"},
		{"LANG=C.UTF-8", "LANG=de_DE.UTF-8", diff.Locale, ""},
		{"ratio 3,14", "ratio 3.14", diff.Locale, "decimal sign"},
		{"make -j4 all", "make -j16 all", diff.Parallelism, ""},
		{"GOMAXPROCS=4", "GOMAXPROCS=2", diff.Parallelism, ""},
		{"{'alpha', 'beta', 'gamma'}", "{'gamma', 'alpha', 'beta'}", diff.Ordering, "3 parts in another order"},
		{`{"a":1,"b":[2,3],"c":3}`, `{"c":3,"a":1,"b":[3,2]}`, diff.Ordering, "3 parts in another order"},
		{"map[a:1 b:2 c:3]", "map[b:2 a:1 c:3]", diff.Ordering, ""},
		{"a=[1,2]", "a=[2,1]", diff.Ordering, ""},
		{"done in 12s", "done in 13s", diff.Timestamp, "how long"},
		{"pkg-1.2-20260102.tar", "pkg-1.2-20260103.tar", diff.Timestamp, ""},
		{"-I/ci/one/src/main.c", "-I/ci/two/src/main.c", diff.BuildPath, ""},
		{"GCC: (Debian 12.2.0-14+deb12u1) 12.2.0", "GCC: (GNU) 13.2.1 20230801", diff.Toolchain, "names itself"},
		{"nthreads=4", "nthreads=8", diff.Parallelism, ""},
		{"id 3f2504e0-4f89-41d3-9a0c-0305e82c3301", "id 4f2504e0-4f89-41d3-9a0c-0305e82c3302", diff.Random, "UUID"},
		{"id 0123456789abcdef0123", "id fedcba98765432100123", diff.Random, "hexadecimal"},
		{`Go build ID: "aaaaaaaaaaaaaaaaaaaa/bb"`, `Go build ID: "cccccccccccccccccccc/dd"`, diff.BuildID, ""},
		{"<app.Thing object at 0x7f3a5c0b2d90>", "<app.Thing object at 0x7fb15e2a1d90>", diff.Random, "in memory"},
		{"from /tmp/ccQx81Zb.o", "from /tmp/ccpL09aa.o", diff.Random, "temporary file"},
		{"server pid 4711", "server pid 812", diff.Random, "kernel"},
		{"GCC: (Debian 12.2.0)", "GCC: (Debian 13.1.0)", diff.Toolchain, ""},
		{"umask 0022", "umask 0002", diff.Permission, ""},
		{"the answer is forty-two", "the answer is forty-six", diff.Unknown, ""},
		{"the answer is 41", "the answer is 42", diff.Unknown, "one byte differs"},
		{"version 1.2.3", "version 1.2.4", diff.Unknown, "one byte differs"},
		{"say hello", "say hellu", diff.Unknown, "one byte differs"},
		{"error at main.go:12:34", "error at main.go:15:20", diff.Unknown, ""},
	} {
		d, err := diff.Files(context.Background(), "f", "f", blob([]byte("first\n"+c.a+"\nlast\n")), blob([]byte("first\n"+c.b+"\nlast\n")), diff.Options{HostNames: []string{"worker-7"}})
		if err != nil {
			t.Fatal(err)
		}
		if len(d.Findings) != 1 || d.Findings[0].Cause != c.cause || !strings.Contains(d.Findings[0].String(), c.says) {
			t.Errorf("%q / %q: want %s saying %q, got %+v", c.a, c.b, c.cause, c.says, d.Findings)
		}
	}
}

// Each of these was explained away by a cause that it does not have.
func TestCausesThatAreNone(t *testing.T) {
	for _, c := range [][2]string{
		{"phone 20250102", "phone 20251301"},
		{"password=20260101", "password=20260102"},
		{"exec=/usr/bin/safe", "exec=/usr/bin/evil"},
		{"root:x:0:0:root:/root:/bin/nologin", "root:x:0:0:root:/root:/bin/bash"},
		{"<b>x</b> is <i>y</em>", "<b>x</b> is <i>y</i>"},
		{"include /etc/good/x", "include /etc/evil/x"},
		{"pubkey=0123456789abcdef0123456789abcdef", "pubkey=ffff456789abcdef0123456789abcdef"},
		{"mac 00:1a:10:20:30:40", "mac 00:1a:10:20:31:40"},
		{"mac 10:20:30:aa:bb:cc", "mac 10:20:31:aa:bb:cc"},
		{"if [ $uid -eq 0 ]; then allow root; fi", "if [ $uid -eq 1000 ]; then allow bob; fi"},
		{"[ $uid -eq 0 ]", "[ $uid -eq 1000 ]"},
		{"a = b - c", "c = b - a"},
		{"cp src dst", "cp dst src"},
		{"if x { good() } else { evil() }", "if x { evil() } else { good() }"},
		{"f(src, dst)", "f(dst, src)"},
		{"m[i, j]", "m[j, i]"},
		{"[ a -gt b ]", "[ b -gt a ]"},
		{`{"a":{"x":1},"b":{"x":2}}`, `{"a":{"x":2},"b":{"x":1}}`},
		{`{"admin":"alice","guest":"mallory"}`, `{"admin":"mallory","guest":"alice"}`},
		{"from 2026-01-02 to 2026-01-09", "from 2026-01-09 to 2026-01-02"},
		{"f(3,14)", "f(3.14)"},
		{"f(x, 1,2)", "f(x, 1.2)"},
		{"sleep 5s", "sleep 9s"},
		{"timeout: 30s", "timeout: 31s"},
		{"timeout: 1.5s", "timeout: 9.5s"},
		{"total 1700000000 credits", "total 1700000500 credits"},
		{"contact: root@example.com", "contact: root@evil.com"},
		{"expires 2026-01-02", "expires never"},
		{"at 2026-01-02", "at 2026-01-09 and 2026-01-10"},
		{"v 12.2", "v"},
	} {
		d, err := diff.Files(context.Background(), "f", "f", blob([]byte("first\n"+c[0]+"\nlast\n")), blob([]byte("first\n"+c[1]+"\nlast\n")), diff.Options{})
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range d.Findings {
			if f.Cause != diff.Unknown {
				t.Errorf("%q / %q: want no cause, got %+v", c[0], c[1], f)
			}
		}
	}
}

func TestCausesOfManyLines(t *testing.T) {
	for name, c := range map[string]struct {
		a, b  string
		cause []diff.Cause
		says  string
	}{
		"two causes":   {"at 2026-01-02 in /build/one/x\n", "at 2026-01-09 in /build/two/x\n", []diff.Cause{diff.Timestamp, diff.BuildPath}, "/build/one/x"},
		"and unknown":  {"at 2026-01-02 it was red\n", "at 2026-01-09 it was blue\n", []diff.Cause{diff.Timestamp, diff.Unknown}, "red"},
		"line order":   {"a 1\nb 2\nc\n", "c\nb 2\na 1\n", []diff.Cause{diff.Ordering}, "same 3 lines"},
		"locale order": {"B\na\nc_d\n", "a\nB\nc_d\n", []diff.Cause{diff.Ordering}, "same 2 lines"},
		"collation":    {"B\na\nCe\nd\nb2\n", "a\nB\nb2\nCe\nd\n", []diff.Cause{diff.Ordering}, "same"},
		"dictionary":   {"B\nC\na\nd\n", "a\nB\nC\nd\n", []diff.Cause{diff.Locale}, "dictionary"},
		"jobs":         {"[1] a\n[2] x\n[1] b\n[2] y\n", "[2] x\n[1] a\n[2] y\n[1] b\n", []diff.Cause{diff.Parallelism}, "interleave"},
		"pretty set":   {"s = {\n 'b',\n 'a',\n 'c'\n}\n", "s = {\n 'a',\n 'c',\n 'b'\n}\n", []diff.Cause{diff.Ordering}, "parts in another order"},
		"line ends":    {"a\r\nb\r\n", "a\nb\n", []diff.Cause{diff.Unknown}, "end differently"},
		"a line more":  {"one\ntwo\nthree\n", "one\nthree\n", []diff.Cause{diff.Unknown}, "first side only"},
		"aligned":      {"x\nat 2026-01-02\ny\n", "new\nx\nat 2026-01-09\ny\n", []diff.Cause{diff.Unknown, diff.Timestamp}, "second side only"},
		"last newline": {"one\ntwo\n", "one\ntwo", []diff.Cause{diff.Unknown}, "end differently"},
		"repeated":     {"2026-01-02\nk\n2026-01-02\n", "2026-01-09\nk\n2026-01-09\n", []diff.Cause{diff.Timestamp}, "and 1 more like it"},
	} {
		d, err := diff.Files(context.Background(), "f", "f", blob([]byte(c.a)), blob([]byte(c.b)), diff.Options{})
		if err != nil {
			t.Fatal(err)
		}
		var causes []diff.Cause
		text := ""
		for _, f := range d.Findings {
			causes = append(causes, f.Cause)
			text += f.String() + "\n"
		}
		if len(causes) != len(c.cause) || !strings.Contains(text, c.says) {
			t.Errorf("%s: want %v saying %q, got\n%s", name, c.cause, c.says, text)
			continue
		}
		for i := range causes {
			if causes[i] != c.cause[i] {
				t.Errorf("%s: want %v, got\n%s", name, c.cause, text)
			}
		}
	}
}
