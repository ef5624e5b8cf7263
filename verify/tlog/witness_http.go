package tlog

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// The protocol is https://c2sp.org/tlog-witness: one call, add-checkpoint.
const (
	addCheckpoint   = "/add-checkpoint"
	sizeContentType = "text/x.tlog.size"
	// maxRequestBytes holds the line of the old size, the proof and the note.
	maxRequestBytes = 64 + maxProofHashes*45 + MaxNoteBytes
)

// formatAddCheckpoint is the body of an add-checkpoint call.
func formatAddCheckpoint(old uint64, path [][32]byte, signed []byte) []byte {
	body := fmt.Appendf(nil, "old %d\n", old)
	for _, h := range path {
		body = append(body, base64.StdEncoding.EncodeToString(h[:])+"\n"...)
	}
	return append(append(body, '\n'), signed...)
}

// parseAddCheckpoint reads the body of an add-checkpoint call: what
// formatAddCheckpoint writes, and nothing else. The note is returned as it is.
func parseAddCheckpoint(body []byte) (old uint64, path [][32]byte, signed []byte, err error) {
	malformed := func(what string) (uint64, [][32]byte, []byte, error) {
		return 0, nil, nil, fmt.Errorf("add-checkpoint request: %w: %s", ErrMalformed, what)
	}
	if len(body) > maxRequestBytes {
		return malformed("it is too long")
	}
	head, signed, ok := bytes.Cut(body, []byte("\n\n"))
	if !ok {
		return malformed("no empty line ends the proof")
	}
	lines := strings.Split(string(head), "\n")
	digits, ok := strings.CutPrefix(lines[0], "old ")
	old, err = strconv.ParseUint(digits, 10, 64)
	if !ok || err != nil || strconv.FormatUint(old, 10) != digits {
		return malformed("its first line is not the old size")
	}
	if len(lines)-1 > maxProofHashes {
		return malformed(fmt.Sprintf("it has %d hashes, at most %d", len(lines)-1, maxProofHashes))
	}
	for _, line := range lines[1:] {
		h, err := parseHash(line)
		if err != nil {
			return malformed("a line of its proof is no hash")
		}
		path = append(path, h)
	}
	return old, path, signed, nil
}

// WitnessHandler serves POST /add-checkpoint for a witness.
func WitnessHandler(w *Witness) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+addCheckpoint, func(out http.ResponseWriter, r *http.Request) {
		body, err := readBounded(r.Body, maxRequestBytes)
		if err != nil {
			http.Error(out, "the request is too long or was cut off", http.StatusBadRequest)
			return
		}
		old, path, signed, err := parseAddCheckpoint(body)
		var line []byte
		if err == nil {
			line, err = w.Update(old, path, signed)
		}
		if err != nil {
			refuse(out, err)
			return
		}
		out.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = out.Write(line)
	})
	return mux
}

// refuse answers with the status that the specification has for an error.
func refuse(out http.ResponseWriter, err error) {
	var conflict *ConflictError
	switch {
	case errors.As(err, &conflict):
		out.Header().Set("Content-Type", sizeContentType)
		out.WriteHeader(http.StatusConflict)
		_, _ = fmt.Fprintf(out, "%d\n", conflict.Size)
	case errors.Is(err, ErrUnknownLog):
		http.Error(out, ErrUnknownLog.Error(), http.StatusNotFound)
	case errors.Is(err, ErrSignature):
		http.Error(out, "the log's signature is missing", http.StatusForbidden)
	case errors.Is(err, ErrProof):
		http.Error(out, ErrProof.Error(), http.StatusUnprocessableEntity)
	case errors.Is(err, ErrMalformed):
		http.Error(out, err.Error(), http.StatusBadRequest)
	default:
		// The cause is of this machine: its disk, its signer.
		http.Error(out, "the witness cannot cosign at the moment", http.StatusInternalServerError)
	}
}

// WitnessClient asks one witness for cosignatures. It is for one log and one
// goroutine at a time.
type WitnessClient struct {
	URL     string // of the witness, to which /add-checkpoint is added
	Witness Cosigner
	HTTP    *http.Client // nil: one that gives a request ten seconds

	size uint64 // of the latest checkpoint that the witness is known to have
}

// Cosign asks the witness to cosign a signed checkpoint, and returns its signature
// line, verified. Prove makes consistency proofs (Log.Consistency): from which size
// on is what the witness answers. An error of type *ConflictError says that it has
// cosigned a larger checkpoint, or another of the same size.
func (w *WitnessClient) Cosign(ctx context.Context, signed []byte, prove func(old, size uint64) ([][32]byte, error)) (line []byte, err error) {
	c, err := ReadUnverified(signed)
	if err != nil {
		return nil, fmt.Errorf("asking witness %s: %w", w.Witness.Name, err)
	}
	var conflict *ConflictError
	// The witness' memory may be ahead of ours once; twice means that another asks, too.
	for range 3 {
		old := min(w.size, c.Size)
		path, err := prove(old, c.Size)
		if err != nil {
			return nil, fmt.Errorf("asking witness %s: %w", w.Witness.Name, err)
		}
		line, err = w.ask(ctx, formatAddCheckpoint(old, path, signed), signed)
		if err == nil {
			w.size = c.Size
			return line, nil
		}
		if !errors.As(err, &conflict) {
			return nil, fmt.Errorf("asking witness %s: %w", w.Witness.Name, err)
		}
		w.size = conflict.Size
		if conflict.Size > c.Size || conflict.Size == old {
			conflict.SameSize = conflict.Size == c.Size
			break
		}
	}
	return nil, fmt.Errorf("asking witness %s to cosign size %d: %w", w.Witness.Name, c.Size, conflict)
}

func (w *WitnessClient) ask(ctx context.Context, body, signed []byte) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(w.URL, "/")+addCheckpoint, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	client := w.HTTP
	if client == nil {
		client = &http.Client{Timeout: 10 * time.Second}
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	content, err := readBounded(response.Body, MaxNoteBytes)
	if err != nil {
		return nil, err
	}
	switch response.StatusCode {
	case http.StatusOK:
		return w.own(signed, content)
	case http.StatusConflict:
		size, err := strconv.ParseUint(strings.TrimSuffix(string(content), "\n"), 10, 64)
		if err != nil {
			return nil, fmt.Errorf("it answered a conflict without its size: %w", ErrMalformed)
		}
		return nil, &ConflictError{Size: size}
	}
	return nil, fmt.Errorf("it answered %s: %q", response.Status, cut(content))
}

// own is the witness' own line among those that it answered.
func (w *WitnessClient) own(signed, lines []byte) ([]byte, error) {
	for line := range bytes.Lines(lines) {
		if name, _, _ := bytes.Cut(bytes.TrimPrefix(line, []byte("— ")), []byte(" ")); string(name) != w.Witness.Name {
			continue
		}
		if err := w.Witness.Verify(signed, line); err == nil {
			return line, nil
		}
	}
	return nil, fmt.Errorf("%w: its answer has no good one of its own", ErrSignature)
}
