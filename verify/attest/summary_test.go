package attest_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	vsa "github.com/in-toto/attestation/go/predicates/vsa/v1"
	intoto "github.com/in-toto/attestation/go/v1"
	"google.golang.org/protobuf/encoding/protojson"
	"pgregory.net/rapid"

	"gavel/raftfsm/build"
	"gavel/verify/attest"
)

// sampleSummary has every field set, and text that JSON escapes.
func sampleSummary() *attest.Summary {
	m := sample().Result
	s := &attest.Summary{
		Cluster: sum("cluster"), Build: sum("build"), WallMillis: 1_700_000_012_345,
		Pool: "linux/amd64 \"<Söhne>\"", PolicySHA256: sum("policy"), Platform: "host",
		Verdict: build.Agreed, Validators: 2, Domains: 7, DomainKind: build.DomainOperator,
		Agreed: []attest.Agreement{
			{Domain: "ada", Operator: "ada", Worker: sum("a")}, {Domain: "bob", Operator: "bob", Worker: sum("b")}, {Domain: "cyd", Operator: "cyd", Worker: sum("c")},
		},
		LeftOut: []attest.LeftOut{{Worker: sum("b"), Why: "its signature does not verify"}},
		Inputs:  [][32]byte{sum("envelope a"), sum("envelope c")},
		Status:  m.Status, Result: sum("result"), Manifest: m.Summarise().Content, Subjects: attest.SubjectsOf(m),
		Draws: []build.DrawProof{
			{Subject: sum("build"), Purpose: build.PurposeAward, Round: 1},
			{Subject: sum("build"), Purpose: build.PurposeSeats, Round: 1<<64 - 1},
		},
		Transcript: sum("transcript"), Certificate: build.Certificate{Transcripts: [][32]byte{sum("transcript"), sum("another")}},
		Expected: []attest.Expectation{{Path: "bin/app", SHA256: artifact, Match: true}, {Path: "log", SHA256: sum("published")}},
	}
	for i := range s.GroupKey {
		s.GroupKey[i] = byte(i)
	}
	for i := range s.Certificate.Signature {
		s.Certificate.Signature[i], s.Draws[0].Signature[i], s.Draws[1].Signature[i] = byte(i), byte(2*i), byte(3*i)
	}
	return s
}

func summaryStatement(t testing.TB, s *attest.Summary) []byte {
	t.Helper()
	st, err := s.Statement()
	if err != nil {
		t.Fatal(err)
	}
	return st
}

// The bytes are signed and logged: any change to this file breaks every log.
func TestSummaryBytesAreFixed(t *testing.T) {
	got := summaryStatement(t, sampleSummary())
	if *update {
		if err := os.WriteFile("testdata/summary.json", got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("testdata/summary.json")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("summary changed:\n%s\nwant\n%s", got, want)
	}
	back, err := attest.ParseSummary(got)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(summaryStatement(t, back), got) {
		t.Error("a summary read back says something else")
	}
}

// in-toto's own types read it, once our extension fields are taken out strictly.
func TestSummaryIsSLSA(t *testing.T) {
	st := new(intoto.Statement)
	if err := protojson.Unmarshal(summaryStatement(t, sampleSummary()), st); err != nil {
		t.Fatal(err)
	}
	if err := st.Validate(); err != nil {
		t.Error(err)
	}
	raw, _ := protojson.Marshal(st.Predicate)
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(raw, &fields); err != nil {
		t.Fatal(err)
	}
	for name := range fields {
		if strings.HasPrefix(name, "gavel_") {
			delete(fields, name)
		}
	}
	raw, _ = json.Marshal(fields)
	v := new(vsa.VerificationSummary)
	if err := protojson.Unmarshal(raw, v); err != nil { // strict: no other field is unknown
		t.Fatal(err)
	}
	want := attest.VerifierIDPrefix + hexOf(sum("cluster"))
	if v.Verifier.Id != want || v.ResourceUri != "gavel:build/"+hexOf(sum("build")) || v.VerificationResult != "PASSED" ||
		!slices.Equal(v.VerifiedLevels, []string{"GAVEL_REPRODUCED_2"}) || len(v.InputAttestations) != 2 ||
		v.InputAttestations[1].Digest["sha256"] != hexOf(sum("envelope c")) || v.TimeVerified.AsTime().UnixMilli() != 1_700_000_012_345 {
		t.Errorf("%v", v)
	}
}

func TestLevelFollowsFromVerdictAndParties(t *testing.T) {
	for _, c := range []struct {
		verdict build.State
		domains []string
		level   string
	}{
		{build.Agreed, []string{"a", "b"}, "GAVEL_REPRODUCED_1"},
		{build.Agreed, []string{"a", "a", "b", "b", "c"}, "GAVEL_REPRODUCED_2"},
		{build.Agreed, []string{"a", "a"}, "FAILED"},
		{build.Agreed, nil, "FAILED"},
		{build.Judged, []string{"a", "b", "c", "d"}, "GAVEL_REPRODUCED_3"},
		{build.NonDeterministic, []string{"a", "b", "c"}, "FAILED"},
		{build.EnvironmentDependent, []string{"a", "b"}, "FAILED"},
		{build.Unsampled, []string{"a"}, "GAVEL_UNVERIFIED_SAMPLED"},
	} {
		s := sampleSummary()
		s.Verdict, s.Agreed = c.verdict, nil
		for i, d := range c.domains {
			s.Agreed = append(s.Agreed, attest.Agreement{Domain: d, Worker: [32]byte{byte(i)}})
		}
		if s.Level() != c.level || s.Passed() != (c.level != "FAILED") {
			t.Errorf("%v by %q: %s, passed %v, want %s", c.verdict, c.domains, s.Level(), s.Passed(), c.level)
		}
		st := summaryStatement(t, s)
		if back, err := attest.ParseSummary(st); err != nil || back.Level() != c.level {
			t.Errorf("%v: read back as %v, %v", c.verdict, back, err)
		}
		if result := `"verificationResult":"` + map[bool]string{true: "PASSED", false: "FAILED"}[s.Passed()] + `"`; !strings.Contains(string(st), result) {
			t.Errorf("%v does not say %s", c.verdict, result)
		}
	}
}

// summaryChanges each change one field.
var summaryChanges = map[string]func(*attest.Summary){
	"cluster":         func(s *attest.Summary) { s.Cluster[0]++ },
	"build":           func(s *attest.Summary) { s.Build[0]++ },
	"simulated":       func(s *attest.Summary) { s.Simulated = true },
	"clock":           func(s *attest.Summary) { s.WallMillis++ },
	"pool":            func(s *attest.Summary) { s.Pool += "x" },
	"policy":          func(s *attest.Summary) { s.PolicySHA256[0]++ },
	"platform":        func(s *attest.Summary) { s.Platform = "sha256:00" },
	"verdict":         func(s *attest.Summary) { s.Verdict = build.Judged },
	"asked":           func(s *attest.Summary) { s.Validators++ },
	"domains":         func(s *attest.Summary) { s.Domains++ },
	"kind":            func(s *attest.Summary) { s.DomainKind = build.DomainMachine },
	"agreed":          func(s *attest.Summary) { s.Agreed = s.Agreed[:2] },
	"operator":        func(s *attest.Summary) { s.Agreed[0].Operator = "eve" },
	"worker":          func(s *attest.Summary) { s.Agreed[0].Worker[0]++ },
	"left out":        func(s *attest.Summary) { s.LeftOut = nil },
	"why":             func(s *attest.Summary) { s.LeftOut[0].Why = "" },
	"input":           func(s *attest.Summary) { s.Inputs[0][0]++ },
	"inputs":          func(s *attest.Summary) { s.Inputs = s.Inputs[:1] },
	"order of inputs": func(s *attest.Summary) { slices.Reverse(s.Inputs) },
	"status":          func(s *attest.Summary) { s.Status = build.StatusSignaled },
	"exit code":       func(s *attest.Summary) { s.ExitCode++ },
	"signal":          func(s *attest.Summary) { s.Signal++ },
	"result":          func(s *attest.Summary) { s.Result[0]++ },
	"manifest":        func(s *attest.Summary) { s.Manifest[0]++ },
	"subject":         func(s *attest.Summary) { s.Subjects[0].SHA256[0]++ },
	"name":            func(s *attest.Summary) { s.Subjects[0].Name += "x" },
	"group key":       func(s *attest.Summary) { s.GroupKey[0]++ },
	"draw":            func(s *attest.Summary) { s.Draws[0].Signature[0]++ },
	"purpose":         func(s *attest.Summary) { s.Draws[0].Purpose = "other" },
	"draw's subject":  func(s *attest.Summary) { s.Draws[0].Subject[0]++ },
	"round":           func(s *attest.Summary) { s.Draws[0].Round++ },
	"transcript":      func(s *attest.Summary) { s.Transcript[0]++ },
	"certified":       func(s *attest.Summary) { s.Certificate.Transcripts[0][0]++ },
	"certificate":     func(s *attest.Summary) { s.Certificate.Signature[0]++ },
	"expected":        func(s *attest.Summary) { s.Expected[0].SHA256[0]++ },
	"match":           func(s *attest.Summary) { s.Expected[0].Match = false },
	"path":            func(s *attest.Summary) { s.Expected[0].Path = "bin/aqq" },
}

func TestEveryFieldOfASummaryIsSaid(t *testing.T) {
	seen := map[string]string{string(summaryStatement(t, sampleSummary())): "nothing"}
	for what, change := range summaryChanges {
		s := sampleSummary()
		change(s)
		got := string(summaryStatement(t, s))
		if other, ok := seen[got]; ok {
			t.Errorf("changing %s says the same as changing %s", what, other)
		}
		seen[got] = what
		back, err := attest.ParseSummary([]byte(got))
		if err != nil || string(summaryStatement(t, back)) != got {
			t.Errorf("%s is not read back: %v", what, err)
		}
	}
}

func TestSummaryRefusals(t *testing.T) {
	for says, change := range map[string]func(*attest.Summary){
		"delivers nothing":         func(s *attest.Summary) { s.Verdict = build.TooFew },
		"kind of domain":           func(s *attest.Summary) { s.DomainKind = 0 },
		"wall clock":               func(s *attest.Summary) { s.WallMillis = -1 },
		"no file":                  func(s *attest.Summary) { s.Subjects = nil },
		"not sorted":               func(s *attest.Summary) { slices.Reverse(s.Agreed) },
		"ascending":                func(s *attest.Summary) { slices.Reverse(s.Expected) },
		`"\xff" is not UTF-8`:      func(s *attest.Summary) { s.Pool = "\xff" },
		`"bin/\xfe" is not UTF-8`:  func(s *attest.Summary) { s.Subjects[0].Name = "bin/\xfe" },
		`"\xfd" is not UTF-8`:      func(s *attest.Summary) { s.LeftOut[0].Why = "\xfd" },
		`"op\xfc" is not UTF-8`:    func(s *attest.Summary) { s.Agreed[2].Operator = "op\xfc" },
		`"log\xfb" is not UTF-8`:   func(s *attest.Summary) { s.Expected[1].Path = "log\xfb" },
		`"award\xfa" is not UTF-8`: func(s *attest.Summary) { s.Draws[0].Purpose = "award\xfa" },
	} {
		s := sampleSummary()
		change(s)
		if _, err := s.Statement(); !errors.Is(err, attest.ErrSummary) || !strings.Contains(err.Error(), says) {
			t.Errorf("want an error that says %q, got %v", says, err)
		}
	}
}

// A summary in any other words is refused, even if it means the same.
func TestParseSummaryIsStrict(t *testing.T) {
	good := string(summaryStatement(t, sampleSummary()))
	for what, c := range map[string]struct{ from, to, says string }{
		"no JSON":           {good, "{", "reading its JSON"},
		"unknown field":     {`{"_type"`, `{"more":1,"_type"`, "unknown field"},
		"unknown extension": {`"gavel_verdict"`, `"gavel_more":1,"gavel_verdict"`, "unknown field"},
		"space":             {`{"_type"`, `{ "_type"`, "one form"},
		"trailing":          {good, good + "\n", "one form"},
		"twice":             {`"gavel_verdict"`, `"gavel_verdict":"judged","gavel_verdict"`, "one form"},
		"other case":        {`"gavel_verdict"`, `"Gavel_verdict"`, "one form"},
		"upper-case hex":    {hexOf(sum("result")), strings.ToUpper(hexOf(sum("result"))), "one form"},
		"short digest":      {hexOf(sum("result")), "00", "not 32 bytes in hex"},
		"long digest":       {hexOf(sum("result")), hexOf(sum("result")) + "00", "not 32 bytes in hex"},
		"no hex":            {hexOf(sum("result")), strings.Repeat("z", 64), "not 32 bytes in hex"},
		"level":             {"GAVEL_REPRODUCED_2", "GAVEL_REPRODUCED_3", "one form"},
		"result":            {`"PASSED"`, `"FAILED"`, "one form"},
		"verdict":           {`"agreed"`, `"settled"`, "delivers nothing"},
		"status":            {`"exited"`, `"fine"`, "unknown status"},
		"kind":              {`"gavel_domain_kind":"operator"`, `"gavel_domain_kind":"person"`, "one form"},
		"verifier":          {attest.VerifierIDPrefix, "https://gavel.dev/other/v1/", "does not begin"},
		"time":              {"2023-11-14T22:13:32.345Z", "yesterday", "no time"},
		"time zone":         {"2023-11-14T22:13:32.345Z", "2023-11-14T23:13:32.345+01:00", "no time"},
		"message":           {`"message":"`, `"message":"00`, "one form"},
		"subject":           {hexOf(artifact), hexOf(artifact)[1:], "not 32 bytes in hex"},
		"null":              {`"gavel_left_out":[`, `"gavel_left_out":null,"x":[`, "unknown field"},
		"number":            {`"gavel_validators":2`, `"gavel_validators":2.5`, "reading its JSON"},
		"size":              {good, strings.Repeat(" ", attest.MaxBundleBytes) + good, "at most"},
	} {
		changed := strings.Replace(good, c.from, c.to, 1)
		if changed == good {
			t.Fatalf("%s: %q is not in the summary", what, c.from)
		}
		if _, err := attest.ParseSummary([]byte(changed)); !errors.Is(err, attest.ErrSummary) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want an error that says %q", what, err, c.says)
		}
	}
}

func TestSummaryKeepsText(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := sampleSummary()
		text := rapid.String()
		s.Pool, s.Platform = text.Draw(t, "pool"), text.Draw(t, "platform")
		s.LeftOut[0].Why = text.Draw(t, "why")
		s.Subjects[0].Name = text.Draw(t, "name")
		st, err := s.Statement()
		if err != nil {
			t.Fatal(err)
		}
		back, err := attest.ParseSummary(st)
		if err != nil {
			t.Fatal(err)
		}
		if back.Pool != s.Pool || back.Platform != s.Platform || back.LeftOut[0] != s.LeftOut[0] || back.Subjects[0] != s.Subjects[0] {
			t.Fatalf("%+v became %+v", s, back)
		}
	})
}

func TestReportOnASummary(t *testing.T) {
	pub, signer := ed25519Key(t)
	s := sampleSummary()
	s.Simulated = true
	r, err := attest.VerifyBundle(bundleOf(t, summaryStatement(t, s), pub, signer), artifact, pub)
	if err != nil {
		t.Fatal(err)
	}
	if r.Predicate != attest.PredicateVSA || r.Result != "PASSED" || !slices.Equal(r.Levels, []string{"GAVEL_REPRODUCED_2"}) || !r.Simulated || r.Summary == nil || r.BuilderID != "" {
		t.Errorf("%+v", r)
	}
	for _, says := range []string{
		"signed this verification summary", "its subject bin/app (of 2)", "PASSED, at GAVEL_REPRODUCED_2", "SIMULATED",
		"agreed: 3 independent parties, by operator, got this result: ada, bob, cyd", "2 validators were asked for, to be drawn among 7",
		"is left out: its signature does not verify", "bin/app is what somebody else published", "log is NOT what somebody else published",
		"not proven:", "the draw's signatures (2) were not checked", "its 2 provenance statements were not checked", "no log entry", "no harm",
	} {
		if !strings.Contains(r.String(), says) {
			t.Errorf("the report does not say %q:\n%s", says, r)
		}
	}
	s.Verdict, s.ExitCode = build.EnvironmentDependent, 3
	r, err = attest.VerifyBundle(bundleOf(t, summaryStatement(t, s), pub, signer), artifact, pub)
	if err != nil || !r.Failed() || !strings.Contains(r.String(), "environment-dependent: the result is contested") || !strings.Contains(r.String(), "did not succeed: exited, exit code 3") {
		t.Errorf("%v\n%s", err, r)
	}
	s.Verdict = build.Unsampled
	if r, err = attest.VerifyBundle(bundleOf(t, summaryStatement(t, s), pub, signer), artifact, pub); err != nil || !strings.Contains(r.String(), "nobody built it again") {
		t.Errorf("%v\n%s", err, r)
	}
	// A cluster's summary that is not in its one form is not signed by any cluster.
	odd := bytes.Replace(summaryStatement(t, s), []byte(`{"_type"`), []byte(`{ "_type"`), 1)
	if _, err := attest.VerifyBundle(bundleOf(t, odd, pub, signer), artifact, pub); !errors.Is(err, attest.ErrStatement) || !errors.Is(err, attest.ErrSummary) {
		t.Errorf("an odd summary: %v", err)
	}
	// Another verifier's may extend it as it likes, within SLSA's rules.
	foreign := bytes.Replace(odd, []byte(attest.VerifierIDPrefix), []byte("https://other.example/"), 1)
	if r, err := attest.VerifyBundle(bundleOf(t, foreign, pub, signer), artifact, pub); err != nil || r.Summary != nil || !strings.Contains(r.String(), "its word was taken") {
		t.Errorf("another verifier's: %v", err)
	}
	for from, says := range map[string]string{`"PASSED"`: "its result is", `"resourceUri":"g`: "names its verifier"} {
		broken := bytes.Replace(foreign, []byte(from), []byte(strings.Replace(strings.Replace(from, "PASSED", "FINE", 1), "resourceUri", "resourceUrl", 1)), 1)
		if _, err := attest.VerifyBundle(bundleOf(t, broken, pub, signer), artifact, pub); !errors.Is(err, attest.ErrStatement) || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", from, err)
		}
	}
}

func FuzzParseSummary(f *testing.F) {
	f.Add(summaryStatement(f, sampleSummary()))
	s := sampleSummary()
	s.Verdict, s.DomainKind, s.Agreed, s.LeftOut, s.Inputs, s.Draws, s.Expected = build.Unsampled, build.DomainMachine, nil, nil, nil, nil, nil
	f.Add(summaryStatement(f, s))
	f.Fuzz(func(t *testing.T, raw []byte) {
		s, err := attest.ParseSummary(raw)
		if err != nil {
			if s != nil || !errors.Is(err, attest.ErrSummary) {
				t.Fatalf("%v, %v", s, err)
			}
			return
		}
		if again, err := s.Statement(); err != nil || !bytes.Equal(raw, again) {
			t.Fatalf("%q is read as %q: %v", raw, again, err)
		}
	})
}
