package attest

import (
	"bytes"
	"crypto"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	intoto "github.com/in-toto/attestation/go/v1"

	"gavel/raftfsm/build"
	"gavel/verify/keys"
)

// Recipe is a provenance statement read back: how to build again what it is
// about, and what its author says came of it.
type Recipe struct {
	// Provenance is what was stated, without Result, and without times.
	Provenance
	// Outcome is how the command ended, and Result what the author's commitment
	// opened to.
	Status           string
	ExitCode, Signal uint32
	ResultDigest     [32]byte
	// ManifestDigest is the SHA-256 of the result's manifest.
	ManifestDigest [32]byte
	// Files are the result's regular files, sorted by path.
	Files []RecipeFile
	// Key is the fingerprint of the key whose signature was checked; empty if none was.
	Key string
}

// RecipeFile is a regular file of a result.
type RecipeFile struct {
	Path   string
	SHA256 [32]byte
}

// ReadRecipe reads a provenance statement of Gavel's build type from a Sigstore
// bundle or a raw DSSE envelope. With pub nil nobody's signature is checked, and
// the recipe is anybody's word: what it says was built can still be built again.
// Unknown external parameters are refused, as SLSA's verification wants, for they
// could change what is meant; what else is unknown is ignored. Errors wrap
// ErrBundle, ErrSignature or ErrStatement.
func ReadRecipe(raw []byte, pub crypto.PublicKey) (*Recipe, error) {
	payload, key, err := recipePayload(raw, pub)
	if err != nil {
		return nil, err
	}
	r, err := parseRecipe(payload)
	if errors.Is(err, errSummary) {
		return nil, err
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrStatement, err)
	}
	r.Key = key
	return r, nil
}

// errSummary says that a statement is the cluster's, which says what came out and
// not how to make it.
var errSummary error = isSummary{}

type isSummary struct{}

func (isSummary) Error() string {
	return "it is the cluster's verification summary, which does not say how to build: take the provenance of a machine that built, such as worker-1" + bundleSuffix + " beside it"
}

func (isSummary) Unwrap() error { return ErrStatement }

const bundleSuffix = ".sigstore.json"

// dsseEnvelope is a raw DSSE envelope.
type dsseEnvelope struct {
	Payload     []byte `json:"payload"`
	PayloadType string `json:"payloadType"`
	Signatures  []struct {
		Sig []byte `json:"sig"`
	} `json:"signatures"`
}

// recipePayload returns the signed bytes, and whose signature was checked.
func recipePayload(raw []byte, pub crypto.PublicKey) (payload []byte, key string, err error) {
	var pkix []byte
	if pub != nil {
		if pkix, err = keys.PKIX(pub); err != nil {
			return nil, "", err
		}
		key = keys.Fingerprint(keys.ID(pkix))
	}
	if len(raw) > MaxBundleBytes {
		return nil, "", fmt.Errorf("%w: it has %d bytes, at most %d are read", ErrBundle, len(raw), MaxBundleBytes)
	}
	var e dsseEnvelope
	if json.Unmarshal(raw, &e) == nil && e.PayloadType != "" {
		if e.PayloadType != payloadType || len(e.Signatures) != 1 {
			return nil, "", fmt.Errorf("%w: a DSSE envelope of type %s with %d signatures, want %s and one", ErrBundle, shown(e.PayloadType), len(e.Signatures), payloadType)
		}
		if pub != nil {
			if err := keys.Verify(pkix, Payload(e.Payload), e.Signatures[0].Sig); err != nil {
				return nil, "", fmt.Errorf("%w: payload or signature were changed, or another key signed: %w", ErrSignature, err)
			}
		}
		return e.Payload, key, nil
	}
	b, err := parseBundle(raw)
	if err != nil {
		return nil, "", fmt.Errorf("%w: %w", ErrBundle, err)
	}
	if pub != nil {
		if err := verifyEnvelope(b, pub, pkix); err != nil {
			return nil, "", err
		}
	}
	return b.GetDsseEnvelope().Payload, key, nil
}

// lenient is a statement whose external parameters are yet to be read.
type lenient struct {
	Type          string       `json:"_type"`
	Subject       []descriptor `json:"subject"`
	PredicateType string       `json:"predicateType"`
	Predicate     struct {
		BuildDefinition struct {
			BuildType          string             `json:"buildType"`
			ExternalParameters json.RawMessage    `json:"externalParameters"`
			InternalParameters internalParameters `json:"internalParameters"`
		} `json:"buildDefinition"`
		RunDetails runDetails `json:"runDetails"`
	} `json:"predicate"`
}

func parseRecipe(payload []byte) (*Recipe, error) {
	var st lenient
	if err := json.Unmarshal(payload, &st); err != nil {
		return nil, fmt.Errorf("reading its JSON: %w", err)
	}
	definition := &st.Predicate.BuildDefinition
	switch {
	case st.PredicateType == PredicateVSA:
		return nil, errSummary
	case st.Type != intoto.StatementTypeUri || st.PredicateType != PredicateSLSA:
		return nil, fmt.Errorf("it is a statement %s with a predicate %s, want %s with %s", shown(st.Type), shown(st.PredicateType), intoto.StatementTypeUri, PredicateSLSA)
	case definition.BuildType != BuildType:
		return nil, fmt.Errorf("its build type is %s; what %s says can be built again here", shown(definition.BuildType), BuildType)
	}
	var external externalParameters
	d := json.NewDecoder(bytes.NewReader(definition.ExternalParameters))
	d.DisallowUnknownFields()
	if err := d.Decode(&external); err != nil {
		return nil, fmt.Errorf("reading its external parameters: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows its external parameters")
	}
	r := &Recipe{}
	internal, run := &definition.InternalParameters, &st.Predicate.RunDetails
	if err := errors.Join(r.readExternal(&external), r.readInternal(internal, run), r.readFiles(st.Subject, run.Byproducts)); err != nil {
		return nil, err
	}
	return r, nil
}

func (r *Recipe) readExternal(x *externalParameters) error {
	r.Argv, r.WorkingDirectory, r.Platform, r.Outputs = x.Arguments, x.WorkingDirectory, x.PlatformRoot, x.OutputPaths
	r.TimeoutMillis, r.SourceDateEpoch, r.Network = x.TimeoutMillis, x.SourceDateEpoch, x.Network
	l := &x.Limits
	r.Limits = Limits{MemoryBytes: l.MemoryBytes, CPUMillis: l.CPUMillis, Pids: l.Pids, DiskBytes: l.DiskBytes}
	for _, name := range slices.Sorted(maps.Keys(x.Environment)) {
		r.Env = append(r.Env, EnvVar{name, x.Environment[name]})
	}
	return errors.Join(r.readSource(x.Source), r.readCommand(x), readBlob("action", x.Action, &r.Action), readBlob("input root", x.InputRoot, &r.InputRoot))
}

// readCommand reads the command's digest, or what stands for it.
func (r *Recipe) readCommand(x *externalParameters) error {
	if x.Withheld == "" {
		if len(x.Arguments) == 0 {
			return errors.New("its command is empty")
		}
		return readBlob("command", x.Command, &r.Command)
	}
	if x.Command != (blob{}) || x.Arguments != nil || x.Environment != nil {
		return errors.New("its command is withheld and given")
	}
	r.Withheld = new([32]byte)
	return readDigest("withheld command", x.Withheld, r.Withheld)
}

func (r *Recipe) readSource(x *sourceOf) error {
	if x == nil {
		return nil
	}
	if x.Rule != GitTreeRule {
		return fmt.Errorf("its input root is made of its source by %s; what is known here is %s", shown(x.Rule), GitTreeRule)
	}
	r.Source = x.URI
	_, _, err := ParseSource(x.URI)
	return err
}

func readBlob(what string, b blob, to *Digest) error {
	if b.SizeBytes < 0 {
		return fmt.Errorf("its %s has %d bytes", what, b.SizeBytes)
	}
	to.SizeBytes = b.SizeBytes
	return readDigest(what, b.SHA256, &to.SHA256)
}

func readDigest(what, text string, to *[32]byte) error {
	if !isHexDigest(text) {
		return fmt.Errorf("its %s is named %s, which is no SHA-256 in lower-case hex", what, shown(text))
	}
	_, err := hex.Decode(to[:], []byte(text))
	return err
}

func (r *Recipe) readInternal(x *internalParameters, run *runDetails) error {
	r.Role, r.Simulated = x.Role, x.Simulated
	r.Builder = Builder{Name: x.Worker.Name, Operator: x.Worker.Operator, Class: x.Worker.Class}
	r.Status, r.ExitCode, r.Signal = x.Result.Status, x.Result.ExitCode, x.Result.Signal
	return errors.Join(
		readDigest("cluster", x.Cluster, &r.Cluster), readDigest("worker's key", x.Worker.Key, &r.Builder.Key),
		readDigest("result", x.Result.Digest, &r.ResultDigest), readDigest("build", run.Metadata.InvocationID, &r.Build))
}

// readFiles reads the subjects. A result without files has its manifest for one.
func (r *Recipe) readFiles(subjects, byproducts []descriptor) error {
	if len(byproducts) != 1 || byproducts[0].Name != ManifestSubject {
		return fmt.Errorf("its byproducts are not the one %s", ManifestSubject)
	}
	if err := readDigest("manifest", byproducts[0].Digest.SHA256, &r.ManifestDigest); err != nil {
		return err
	}
	if len(subjects) == 1 && subjects[0] == byproducts[0] {
		return nil
	}
	for i, s := range subjects {
		f := RecipeFile{Path: s.Name}
		if !build.CleanPath(s.Name) || i > 0 && r.Files[i-1].Path >= s.Name {
			return fmt.Errorf("its subject %s is no clean relative path, or out of order", shown(s.Name))
		}
		if err := readDigest("subject "+shown(s.Name), s.Digest.SHA256, &f.SHA256); err != nil {
			return err
		}
		r.Files = append(r.Files, f)
	}
	return nil
}
