package server

import (
	"context"
	"strconv"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"gavel/cas"
	"gavel/cas/tree"
)

// GetTree implements REAPI: every distinct directory once, by breadth, root
// first; missing ones and what only they lead to are left out. A page token is
// how many directories to skip.
func (s *Server) GetTree(q *repb.GetTreeRequest, stream grpc.ServerStreamingServer[repb.GetTreeResponse]) error {
	ctx := stream.Context()
	view, err := s.view(ctx, q.InstanceName)
	if err != nil {
		return err
	}
	if err := checkFunction(q.DigestFunction); err != nil {
		return err
	}
	root, err := digest(q.RootDigest)
	if err != nil {
		return err
	}
	skip := 0
	if q.PageToken != "" {
		if skip, err = strconv.Atoi(q.PageToken); err != nil || skip < 0 {
			return invalid("page token %.20q is none of this server's", q.PageToken)
		}
	}
	limit := maxTreePage
	if q.PageSize > 0 {
		limit = min(limit, int(q.PageSize))
	}
	p := &pages{stream: stream, skip: skip, limit: limit}
	if err := s.breadthFirst(ctx, view, root, p.add); err != nil {
		return err
	}
	return p.flush("")
}

// breadthFirst calls visit for each distinct directory under root.
func (s *Server) breadthFirst(ctx context.Context, view cas.Store, root cas.Digest, visit func(*repb.Directory, int) error) error {
	queue, seen := []cas.Digest{root}, map[cas.Digest]struct{}{root: {}}
	for i := 0; i < len(queue); i++ {
		d := queue[i]
		if d.Size > tree.MaxDirectoryBytes {
			return invalid("directory %s is larger than %d bytes", d, tree.MaxDirectoryBytes)
		}
		raw, err := readAll(ctx, view, d)
		if err = s.fail(ctx, err); err != nil {
			if i > 0 && isNotFound(err) {
				continue
			}
			return err
		}
		dir := &repb.Directory{}
		if err := proto.Unmarshal(raw, dir); err != nil {
			return invalid("blob %s is no directory", d)
		}
		if err := visit(dir, len(raw)); err != nil {
			return err
		}
		for _, n := range dir.Directories {
			child, err := digest(n.Digest)
			if err != nil {
				return err
			}
			if _, queued := seen[child]; !queued {
				seen[child] = struct{}{}
				queue = append(queue, child)
			}
		}
		if len(queue) > maxTreeDirectories {
			return invalid("tree has more than %d directories", maxTreeDirectories)
		}
	}
	return nil
}

// pages collects directories into messages.
type pages struct {
	stream  grpc.ServerStreamingServer[repb.GetTreeResponse]
	skip    int // still to skip
	limit   int // directories of one message
	skipped int
	sent    int
	page    []*repb.Directory
	bytes   int
}

func (p *pages) add(d *repb.Directory, bytes int) error {
	if p.skip > 0 {
		p.skip--
		p.skipped++
		return nil
	}
	if len(p.page) == p.limit || len(p.page) > 0 && p.bytes+bytes > maxTreePageBytes {
		if err := p.flush(strconv.Itoa(p.skipped + p.sent + len(p.page))); err != nil {
			return err
		}
	}
	p.page = append(p.page, d)
	p.bytes += bytes
	return nil
}

// flush sends the page, with the token of the next one.
func (p *pages) flush(next string) error {
	err := p.stream.Send(&repb.GetTreeResponse{Directories: p.page, NextPageToken: next})
	p.sent += len(p.page)
	p.page, p.bytes = nil, 0
	return err
}
