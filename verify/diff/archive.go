package diff

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strconv"
	"strings"
)

// archive is anything with named parts: an archive, a compressed file with its one
// content, an ELF file with its sections.
type archive struct {
	kind    string  // of members, for Difference.Kind
	fields  []field // of the archive itself
	members []member
	// unordered says that the members' order is not worth a word: it follows from
	// the format.
	unordered bool
	// equalMeans is the cause where all members and fields are equal, and why.
	equalMeans Cause
	equalNote  string
	broken     string // where its list ends too early and why, "" where it is whole
	closers    []io.Closer
	program    *elf.File // of which the members are sections, nil of all others
}

func (a *archive) close() {
	if a == nil {
		return
	}
	for _, c := range a.closers {
		c.Close() // of unlinked files that were only read: nothing to lose
	}
}

// member is one named part.
type member struct {
	name   string
	fields func() []field // nil for none; made when compared, as there are many
	// open returns the content, nil where there is none. Content that is not a part
	// of the archive's own bytes is a *spooled, which the caller closes.
	open func() (Blob, error)
	// packed is the content as it is stored, nil where that is what open gives.
	packed Blob
	// layout is where a program's loader puts it, "" if it is not loaded. Where a layout
	// changes, what is loaded refers to the rest by other addresses.
	layout string
	// table members hold offsets, names and digests of the others, and were written by
	// the tool that put all together.
	table bool
	// made members stand for what the format has no member for.
	made bool
	// means is the cause of a content that differs where the format says it.
	means Cause
	note  string
}

// field is one value in a header.
type field struct {
	name, value string
	// cause of a value that differs; "" has the two values judged as texts, and is
	// otherwise, where they show nothing.
	cause, otherwise Cause
	// derived values follow from others: they count only where nothing else differs.
	derived bool
	mode    bool   // value is an octal mode
	seconds bool   // value is a time that zones may shift
	note    string // what the value is, said where nothing else is
}

func decimal(n int64) string { return strconv.FormatInt(n, 10) }

// compareArchives fills d with what differs between two archives' fields, lists and
// members.
func (s *session) compareArchives(d *Difference, x, y *archive, spans *spans, depth int) error {
	var fs, derived findings
	s.compareFields(&fs, &derived, "", x.fields, y.fields)
	pairs, onlyA, onlyB, order := match(x, y)
	repacked, onlyA, onlyB := matchRepacked(x, y, onlyA, onlyB)
	pairs = append(pairs, repacked...)
	if order != nil && !x.unordered {
		fs.add(*order)
	}
	for _, p := range pairs {
		if len(d.Members) >= maxChildren {
			other, err := s.another(&x.members[p.a], &y.members[p.b])
			if err != nil {
				return err
			}
			if other {
				d.Omitted++
			}
			continue
		}
		m, late, err := s.compareMembers(&x.members[p.a], &y.members[p.b], x.kind, depth)
		if err != nil {
			return err
		}
		derived = append(derived, late...)
		if m != nil {
			d.addMember(m)
		}
	}
	for _, side := range []struct {
		list []int
		of   *archive
		note string
	}{{onlyA, x, "only the first side has it"}, {onlyB, y, "only the second side has it"}} {
		for _, i := range side.list {
			if side.of.members[i].made {
				continue // of a list that ended before it
			}
			m := &Difference{Name: side.of.members[i].name, Kind: side.of.kind, SizeA: -1, SizeB: -1, Findings: []Finding{{Cause: Content, Note: side.note}}}
			if c := side.of.members[i].means; c != "" {
				m.Findings[0].Cause, m.Findings[0].Note = c, side.note+"; "+side.of.members[i].note
			}
			d.addMember(m)
		}
	}
	d.addBroken(&fs, x.broken, y.broken)
	d.Findings = append(d.Findings, fs...)
	if len(d.Findings) == 0 && len(d.Members) == 0 {
		if len(derived) > maxEvidence {
			derived = derived[:maxEvidence]
		}
		d.Findings = append(d.Findings, derived...)
	}
	if len(d.Findings) == 0 && len(d.Members) == 0 && x.equalMeans != "" {
		d.Findings = append(d.Findings, spans.repacked(Finding{Cause: x.equalMeans, Note: x.equalNote}))
	}
	shown, err := s.showFollowers(d, x, y)
	if err != nil {
		return err
	}
	markFollowers(d, x, y, pairs, shown)
	return nil
}

// addBroken says where a list of members ends too early: of one side, that is a
// difference.
func (d *Difference) addBroken(fs *findings, x, y string) {
	switch {
	case x == "" && y == "":
	case x != "" && y != "":
		d.Notes = append(d.Notes, "first side: not looked inside "+x, "second side: not looked inside "+y)
	default:
		side := "first"
		if x == "" {
			side = "second"
		}
		fs.add(Finding{Cause: Forged, Note: fmt.Sprintf("the %s side cannot be read %s", side, x+y)})
	}
}

func (d *Difference) addMember(m *Difference) {
	if len(d.Members) >= maxChildren {
		d.Omitted++
		return
	}
	d.Members = append(d.Members, m)
}

// known tells whether d or anything in it has a known cause.
func (d *Difference) known() bool {
	if findings(d.Findings).known() {
		return true
	}
	for _, m := range d.Members {
		if m.known() {
			return true
		}
	}
	return false
}

// markFollowers says of parts without a cause that they may differ because others
// do: tables hold offsets of the rest, and where a section moved or grew, code and
// data do too. Only tables that no program loads go without saying; what is loaded
// stays unknown, as nothing shows that a change of it is no other than that. What was
// read on both sides and is not the same stays unknown too, whoever loads it.
func markFollowers(d *Difference, x, y *archive, pairs []pair, read map[string]shown) {
	if !d.known() {
		return
	}
	of, moved := make(map[string]*member), false
	for _, p := range pairs {
		m := &x.members[p.a]
		if old := of[m.name]; old == nil || old.layout == "" {
			of[m.name] = m
		}
		moved = moved || m.layout != y.members[p.b].layout
	}
	for _, d := range d.Members {
		m := of[d.Name]
		seen, ok := read[d.Name]
		switch {
		case ok && seen.note != "":
			d.follow(seen)
		case m == nil || m.made || d.known():
		case m.table && m.layout == "" && !ok:
			d.MayFollow = true
			d.Notes = append(d.Notes, "may follow from the differences beside it")
		case m.table || moved && m.layout != "":
			d.Notes = append(d.Notes, "may follow from the differences beside it, which does not show that all of it does")
		}
	}
}

// follow says that d differs in nothing but what follows from where things were built.
// Beside a path that shows, what else bytes look like is by chance; and paths change the
// order in which a linker has strings.
func (d *Difference) follow(by shown) {
	path := slices.ContainsFunc(d.Findings, func(f Finding) bool { return f.Cause == BuildPath })
	d.Findings = slices.DeleteFunc(d.Findings, func(f Finding) bool {
		return !f.known() || path && f.Cause != BuildPath || by.paths && f.Cause == Ordering
	})
	d.Follows = true
	d.Notes = append(d.Notes, by.note)
}

// pair is a member of both sides.
type pair struct{ a, b int }

// match finds each member's counterpart: the one of the same name, and of those the
// one of the same count. order says where the order of common members differs.
func match(x, y *archive) (pairs []pair, onlyA, onlyB []int, order *Finding) {
	type key struct {
		name string
		nth  int
	}
	count := make(map[string]int)
	index := make(map[key]int, len(y.members))
	for i := range y.members {
		n := y.members[i].name
		index[key{n, count[n]}] = i
		count[n]++
	}
	clear(count)
	used := make([]bool, len(y.members))
	last := -1
	for i := range x.members {
		n := x.members[i].name
		j, ok := index[key{n, count[n]}]
		count[n]++
		if !ok {
			onlyA = append(onlyA, i)
			continue
		}
		used[j] = true
		if j < last && order == nil {
			order = &Finding{Cause: Ordering, Where: "order of " + x.kind + "s",
				Note: fmt.Sprintf("the same names in another order: %s comes before %s on the second side only", Quote(n), Quote(y.members[last].name))}
		}
		last = max(last, j)
		pairs = append(pairs, pair{i, j})
	}
	for j := range y.members {
		if !used[j] {
			onlyB = append(onlyB, j)
		}
	}
	if order != nil {
		namesA, namesB := make([]string, len(pairs)), make([]string, 0, len(pairs))
		for i, p := range pairs {
			namesA[i] = x.members[p.a].name
		}
		for j := range y.members {
			if used[j] {
				namesB = append(namesB, y.members[j].name)
			}
		}
		if note := collation(namesA, namesB); note != "" {
			order.Cause, order.Note = Locale, order.Note+"; "+note
		}
	}
	return pairs, onlyA, onlyB, order
}

// matchRepacked pairs what is left of two lists by names that differ in how they were
// compressed, as data.tar.xz and data.tar.zst of two packages.
func matchRepacked(x, y *archive, onlyA, onlyB []int) (pairs []pair, restA, restB []int) {
	of := make(map[string]int)
	for _, j := range onlyB {
		if stem, ok := packedName(y.members[j].name); ok {
			of[stem] = j
		}
	}
	used := make(map[int]bool)
	for _, i := range onlyA {
		stem, ok := packedName(x.members[i].name)
		j, other := of[stem]
		if !ok || !other || used[j] {
			restA = append(restA, i)
			continue
		}
		used[j] = true
		pairs = append(pairs, pair{i, j})
	}
	for _, j := range onlyB {
		if !used[j] {
			restB = append(restB, j)
		}
	}
	return pairs, restA, restB
}

// packedName is a name without the suffix of a compressed file, if it has one.
func packedName(name string) (string, bool) {
	switch ext := path.Ext(name); ext {
	case ".gz", ".xz", ".zst", ".bz2":
		return strings.TrimSuffix(name, ext), true
	}
	return "", false
}

// another tells whether two members differ, without asking why: in what is stored, or
// in a header's value that follows from nothing else.
func (s *session) another(x, y *member) (bool, error) {
	if x.name != y.name {
		return true, nil
	}
	if x.fields != nil && y.fields != nil {
		var fs, late findings
		s.compareFields(&fs, &late, x.name, x.fields(), y.fields())
		if len(fs) > 0 {
			return true, nil
		}
	}
	if x.open == nil || y.open == nil {
		return false, nil
	}
	a, b := x.packed, y.packed
	if a == nil || b == nil {
		var errA, errB error
		a, errA = s.content(x)
		defer closeBlob(a)
		b, errB = s.content(y)
		defer closeBlob(b)
		if err := s.ctx.Err(); err != nil {
			return false, err
		}
		if errA != nil || errB != nil {
			return (errA == nil) != (errB == nil), nil
		}
	}
	spans, err := s.differ(a, b)
	return spans != nil, err
}

// compareMembers compares a member's header and content; late are the header's
// derived values.
func (s *session) compareMembers(x, y *member, kind string, depth int) (d *Difference, late findings, err error) {
	var fs findings
	if x.fields != nil && y.fields != nil {
		s.compareFields(&fs, &late, x.name, x.fields(), y.fields())
	}
	d, err = s.compareContents(x, y, &late, kind, depth)
	if err != nil {
		return nil, nil, err
	}
	if x.name != y.name {
		f := Finding{Cause: Unknown, Where: "name", A: quoteValue(x.name), B: quoteValue(y.name)}
		if d != nil && slices.ContainsFunc(d.Findings, func(f Finding) bool { return f.Cause == Compression }) {
			f.Cause = Compression // and not in name only
		}
		fs.add(f)
	}
	if d == nil {
		if len(fs) == 0 {
			return nil, late, nil
		}
		d = &Difference{Name: x.name, Kind: kind, SizeA: -1, SizeB: -1}
	}
	d.Findings = append(fs, d.Findings...)
	return d, late, nil
}

func (s *session) compareContents(x, y *member, late *findings, kind string, depth int) (d *Difference, err error) {
	if x.open == nil || y.open == nil {
		return nil, nil
	}
	if x.packed != nil && y.packed != nil {
		packed, err := s.differ(x.packed, y.packed)
		if err != nil || packed == nil {
			return nil, err
		}
		defer func() {
			if d == nil && err == nil {
				late.add(packed.repacked(Finding{Cause: Compression, Where: "stored bytes of " + Quote(x.name),
					Note: "what they unpack to is equal: another level or tool packed them"}))
			}
		}()
	}
	a, errA := s.content(x)
	defer closeBlob(a)
	b, errB := s.content(y)
	defer closeBlob(b)
	if err := s.ctx.Err(); err != nil {
		return nil, err
	}
	if errA != nil || errB != nil {
		return s.unreadable(x, y, kind, errA, errB)
	}
	if p, ok := a.(*hidden); ok {
		if q, ok := b.(*hidden); ok {
			if bytes.Equal(p.bytes, q.bytes) {
				return nil, nil // wherever it is: padding moves with the members
			}
			if d := compareHidden(x, kind, p, q); d != nil {
				return d, nil
			}
		}
	}
	if x.means != "" && x.means == y.means {
		spans, err := s.differ(a, b)
		if err != nil || spans == nil {
			return nil, err
		}
		return s.meant(x, kind, a, b, spans)
	}
	return s.compare(x.name, kind, a, b, depth+1)
}

// repacked is what is said where what is stored differs and what it unpacks to does
// not: no other level or tool changes a single byte.
func (d *spans) repacked(f Finding) Finding {
	if d.Differing == 1 && d.LengthA == d.LengthB {
		f.Cause, f.Note = Forged, "one stored byte differs, and what it unpacks to is equal: forged or corrupted"
	}
	return f
}

// meant is the difference of contents whose format names the cause.
func (s *session) meant(x *member, kind string, a, b Blob, spans *spans) (*Difference, error) {
	d := &Difference{Name: x.name, Kind: kind, SizeA: a.Size(), SizeB: b.Size(), Format: "bytes", Range: &spans.Range}
	show := func(of Blob) string {
		raw, err := s.slice(of, max(0, of.Size()-20), 20) // a note's description is at its end
		if err != nil {
			return ""
		}
		return fmt.Sprintf("%x", raw)
	}
	d.Findings = []Finding{{Cause: x.means, A: show(a), B: show(b), Note: x.note}}
	return d, nil
}

// content opens a member; a decoder may panic there too.
func (s *session) content(m *member) (b Blob, err error) {
	defer recovered(&err)
	return m.open()
}

func closeBlob(b Blob) {
	if c, ok := b.(io.Closer); ok && c != nil {
		c.Close() // of an unlinked file that was only read
	}
}

// unreadable explains a member whose content could not be had on a side. Where the
// packed bytes differ that is a difference itself.
func (s *session) unreadable(x, y *member, kind string, errA, errB error) (*Difference, error) {
	d := &Difference{Name: x.name, Kind: kind, SizeA: -1, SizeB: -1}
	var spans *spans
	if x.packed != nil && y.packed != nil {
		var err error
		if spans, err = s.differ(x.packed, y.packed); err != nil {
			return nil, err
		}
		d.SizeA, d.SizeB, d.Format, d.Range = x.packed.Size(), y.packed.Size(), "compressed bytes", &spans.Range
	}
	if (errA == nil) != (errB == nil) {
		side, broken := "first", errA
		if broken == nil {
			side, broken = "second", errB
		}
		note := fmt.Sprintf("its content does not unpack on the %s side: %s", side, Quote(broken.Error()))
		if errors.Is(broken, errBound) {
			d.Notes = append(d.Notes, "not looked inside: "+note)
			return d, nil
		}
		if spans != nil && spans.Differing == 1 && spans.LengthA == spans.LengthB {
			note = "one byte differs, and " + note
		}
		d.Findings = []Finding{{Cause: Forged, Note: note}}
		return d, nil
	}
	d.Notes = append(d.Notes, "not looked inside: "+Quote(errA.Error()))
	return d, nil
}
