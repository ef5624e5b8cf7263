package attest

import (
	"fmt"

	intoto "github.com/in-toto/attestation/go/v1"

	"gavel/raftfsm/build"
)

// PredicateSLSA is the predicate type of SLSA provenance v1.
const PredicateSLSA = "https://slsa.dev/provenance/v1"

// BuildType says how externalParameters is to be read: run arguments in
// workingDirectory of the input root (a REAPI Directory), inside platformRoot,
// with environment set on top of what the farm's sandbox fixes (PATH,
// HOME=/tmp, TMPDIR=/tmp, HOSTNAME=gavel, TZ=UTC, LC_ALL=C.UTF-8,
// SOURCE_DATE_EPOCH; user 65534, umask 022, directory /build), and collect
// outputPaths. Equal parameters ask for equal outputs. Where withheld is given it
// stands for command, arguments and environment: a commitment that the requester
// can open (Withheld). Where source is given the input root is that commit's tree,
// by its rule. Integers of 64 bits are decimal strings.
const BuildType = "https://gavel.dev/build/v1"

// The prefixes of runDetails.builder.id; the author's key id in hex follows. A
// policy that names the first can never take a simulated farm for a real one.
const (
	BuilderIDPrefix          = "https://gavel.dev/worker/v1/"
	SimulatedBuilderIDPrefix = "https://gavel.dev/simulated-worker/v1/"
)

// ManifestSubject names the result manifest: the subject when no regular file
// came out, and always a byproduct. Its digest is that of the manifest's bytes.
const ManifestSubject = "gavel-result"

type digestSet struct {
	SHA256 string `json:"sha256"`
}

type descriptor struct {
	Digest digestSet `json:"digest"`
	Name   string    `json:"name"`
}

type statement struct {
	Type          string       `json:"_type"`
	Predicate     predicate    `json:"predicate"`
	PredicateType string       `json:"predicateType"`
	Subject       []descriptor `json:"subject"`
}

type predicate struct {
	BuildDefinition buildDefinition `json:"buildDefinition"`
	RunDetails      runDetails      `json:"runDetails"`
}

type buildDefinition struct {
	BuildType            string             `json:"buildType"`
	ExternalParameters   externalParameters `json:"externalParameters"`
	InternalParameters   internalParameters `json:"internalParameters"`
	ResolvedDependencies []dependency       `json:"resolvedDependencies"`
}

type blob struct {
	SHA256    string `json:"sha256"`
	SizeBytes int64  `json:"sizeBytes,string"`
}

// externalParameters is the requester's side: everything that another machine
// needs to do the same.
type externalParameters struct {
	Action           blob              `json:"action"`
	Arguments        []string          `json:"arguments,omitzero"`
	Command          blob              `json:"command,omitzero"`
	Environment      map[string]string `json:"environment,omitzero"`
	InputRoot        blob              `json:"inputRoot"`
	Limits           limits            `json:"limits"`
	Network          bool              `json:"network"`
	OutputPaths      []string          `json:"outputPaths"`
	PlatformRoot     string            `json:"platformRoot"`
	Source           *sourceOf         `json:"source,omitempty"`
	SourceDateEpoch  int64             `json:"sourceDateEpoch,string"`
	TimeoutMillis    int64             `json:"timeoutMillis,string"`
	Withheld         string            `json:"withheld,omitempty"` // stands for command, arguments and environment
	WorkingDirectory string            `json:"workingDirectory"`
}

// sourceOf says where the requester has the input root from, and by which rule it
// is made of that.
type sourceOf struct {
	Rule string `json:"rule"`
	URI  string `json:"uri"`
}

type limits struct {
	CPUMillis   int64 `json:"cpuMillis,string"`
	DiskBytes   int64 `json:"diskBytes,string"`
	MemoryBytes int64 `json:"memoryBytes,string"`
	Pids        int64 `json:"pids,string"`
}

// internalParameters is the farm's side: who built, as what, and what came out
// besides files.
type internalParameters struct {
	Cluster   string `json:"cluster"`
	Result    result `json:"result"`
	Role      Role   `json:"role"`
	Simulated bool   `json:"simulated"`
	Worker    worker `json:"worker"`
}

type worker struct {
	Class    string `json:"class"`
	Key      string `json:"key"`
	Name     string `json:"name"`
	Operator string `json:"operator"`
}

type result struct {
	Digest   string `json:"digest"` // what the commitment opens to
	ExitCode uint32 `json:"exitCode"`
	Signal   uint32 `json:"signal"`
	Status   string `json:"status"`
}

type runDetails struct {
	Builder    builder      `json:"builder"`
	Byproducts []descriptor `json:"byproducts"`
	Metadata   metadata     `json:"metadata"`
}

type builder struct {
	ID string `json:"id"`
}

type metadata struct {
	FinishedOn   string `json:"finishedOn"`
	InvocationID string `json:"invocationId"`
	StartedOn    string `json:"startedOn"`
}

// Statement is p as an in-toto Statement v1 in RFC 8785 JSON: what the author
// signs and every coordinator derives again. Errors wrap ErrProvenance.
func (p *Provenance) Statement() ([]byte, error) {
	if err := p.validate(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrProvenance, err)
	}
	return canonical(statement{
		Type: intoto.StatementTypeUri, Subject: described(SubjectsOf(p.Result)), PredicateType: PredicateSLSA,
		Predicate: predicate{BuildDefinition: p.definition(), RunDetails: p.run()},
	}, isPlain(p.Env))
}

func (p *Provenance) definition() buildDefinition {
	summary := p.Result.Summarise()
	external := externalParameters{
		Action: p.Action.blob(), InputRoot: p.InputRoot.blob(), WorkingDirectory: p.WorkingDirectory,
		PlatformRoot: p.Platform, OutputPaths: append([]string{}, p.Outputs...),
		TimeoutMillis: p.TimeoutMillis, SourceDateEpoch: p.SourceDateEpoch, Network: p.Network, Limits: statedLimits(p.Limits),
	}
	if p.Withheld != nil {
		external.Withheld = hexDigest(*p.Withheld)
	} else {
		external.Command, external.Arguments, external.Environment = p.Command.blob(), p.Argv, make(map[string]string, len(p.Env))
		for _, v := range p.Env {
			external.Environment[v.Name] = v.Value
		}
	}
	if p.Source != "" {
		external.Source = &sourceOf{URI: p.Source, Rule: GitTreeRule}
	}
	return buildDefinition{
		BuildType: BuildType, ExternalParameters: external, ResolvedDependencies: p.dependencies(),
		InternalParameters: internalParameters{
			Cluster: hexDigest(p.Cluster), Role: p.Role, Simulated: p.Simulated,
			Worker: worker{Name: p.Builder.Name, Operator: p.Builder.Operator, Key: hexDigest(p.Builder.Key), Class: p.Builder.Class},
			Result: result{Status: summary.Status.String(), ExitCode: summary.ExitCode, Signal: summary.Signal, Digest: hexDigest(summary.Digest())},
		},
	}
}

func (p *Provenance) run() runDetails {
	prefix := BuilderIDPrefix
	if p.Simulated {
		prefix = SimulatedBuilderIDPrefix
	}
	return runDetails{
		Builder:    builder{ID: prefix + hexDigest(p.Builder.Key)},
		Metadata:   metadata{InvocationID: hexDigest(p.Build), StartedOn: wallTime(p.StartedMillis), FinishedOn: wallTime(p.FinishedMillis)},
		Byproducts: []descriptor{manifest(p.Result)},
	}
}

func statedLimits(l Limits) limits {
	return limits{MemoryBytes: l.MemoryBytes, CPUMillis: l.CPUMillis, Pids: l.Pids, DiskBytes: l.DiskBytes}
}

func described(list []Subject) []descriptor {
	out := make([]descriptor, len(list))
	for i, f := range list {
		out[i] = descriptor{Name: f.Name, Digest: digestSet{hexDigest(f.SHA256)}}
	}
	return out
}

func manifest(m *build.Manifest) descriptor {
	return descriptor{Name: ManifestSubject, Digest: digestSet{hexDigest(m.Summarise().Content)}}
}

func (d Digest) blob() blob { return blob{SHA256: hexDigest(d.SHA256), SizeBytes: d.SizeBytes} }
