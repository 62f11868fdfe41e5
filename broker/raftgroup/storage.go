// The commit log and its index as what the raft library reads from.

package raftgroup

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"
)

// storage implements raft.Storage.
type storage struct {
	ix    *index
	log   Log
	group *groupState
	vote  *voteFile

	bare bool  // entries are wanted for what they are, not for what they say: they come without the log's bytes
	sick error // the log could not be read where a peer needs it: it cannot be helped from here, now
	warn func(msg string, args ...any)

	compact func() // moves the beginning to the log's oldest file
}

func (s *storage) InitialState() (pb.HardState, pb.ConfState, error) {
	return s.vote.now, s.group.Conf, nil
}

func (s *storage) FirstIndex() (uint64, error) { return s.ix.base.Index + 1, nil }
func (s *storage) LastIndex() (uint64, error)  { return s.ix.last, nil }

func (s *storage) Term(i uint64) (uint64, error) {
	switch {
	case i == s.ix.base.Index:
		return s.ix.base.Term, nil
	case i < s.ix.base.Index:
		return 0, raft.ErrCompacted
	case i > s.ix.last:
		return 0, raft.ErrUnavailable
	}
	e, err := s.ix.get(i)
	return e.term, err
}

// Entries returns those of [lo, hi) that fit into maxSize, at least one. Bytes that are not what they were when they were
// appended are given to nobody: the peer that needs them is told later, perhaps by another leader.
func (s *storage) Entries(lo, hi, maxSize uint64) ([]pb.Entry, error) {
	if lo <= s.ix.base.Index {
		return nil, raft.ErrCompacted
	}
	if hi > s.ix.last+1 {
		return nil, raft.ErrUnavailable
	}
	var out []pb.Entry
	for size := uint64(0); lo < hi; lo++ {
		e, err := s.ix.get(lo)
		if err != nil {
			return nil, err
		}
		if size += 16 + uint64(e.length); len(out) > 0 && size > maxSize {
			break
		}
		p := pb.Entry{Term: e.term, Index: lo, Type: e.kind}
		if e.kind == pb.EntryConfChange || !s.bare {
			if p.Data, err = s.data(lo, e); err != nil {
				return s.unreadable(out, lo, err)
			}
		}
		out = append(out, p)
	}
	return out, nil
}

func (s *storage) data(i uint64, e entry) ([]byte, error) {
	var b []byte
	if e.kind == pb.EntryConfChange {
		var err error
		if b, err = s.ix.change(i, e.term); err != nil {
			return nil, err
		}
	} else if e.length > 0 {
		b = make([]byte, e.length)
		for n := 0; n < len(b); {
			k, err := s.log.ReadWritten(e.from+int64(n), b[n:])
			if err == nil && k == 0 {
				err = errors.New("the log ends there")
			}
			if err != nil {
				return nil, fmt.Errorf("read the log at %d: %w", e.from+int64(n), err)
			}
			n += k
		}
	}
	if crc32.Checksum(b, castagnoli) != e.crc {
		return nil, fmt.Errorf("entry %d, %d bytes at %d, is not what was appended", i, e.length, e.from)
	}
	return b, nil
}

// unreadable answers for entry i: what comes before it; or that it was removed with the log's oldest file; or, of bytes
// that are damaged, that there is no snapshot either.
func (s *storage) unreadable(out []pb.Entry, i uint64, err error) ([]pb.Entry, error) {
	if len(out) > 0 {
		return out, nil
	}
	if s.bare {
		return nil, err
	}
	e, ierr := s.ix.get(i)
	if ierr == nil && e.from < s.log.MinPhysical() {
		return nil, raft.ErrCompacted
	}
	if s.sick == nil || s.sick.Error() != err.Error() {
		s.warn("cannot read the log for a peer", "err", err)
	}
	s.sick = err
	return nil, raft.ErrCompacted
}

// snapshotData is what a member learns that has to begin anew: where the log begins, and who is where.
type snapshotData struct {
	Physical  int64         `json:"physical"`
	ConfAt    uint64        `json:"confAt"` // up to which entry changes of members are made
	Members   []memberState `json:"members"`
	QueueEnds []byte        `json:"queueEnds,omitempty"`
}

// Snapshot is the beginning of the log. No bytes go with it: they follow as ordinary entries, from the oldest file on.
//
// Its members are those of now, not those of then: a new one must find itself among them. Changes that follow in the log
// and are made already are passed over.
func (s *storage) Snapshot() (pb.Snapshot, error) {
	if s.sick != nil {
		s.sick = nil
		return pb.Snapshot{}, raft.ErrSnapshotTemporarilyUnavailable
	}
	s.compact()
	at := s.ix.base.Physical
	ends, err := s.log.QueueEnds(at)
	if err != nil {
		s.warn("cannot tell a peer where the queues end", "offset", at, "err", err)
		return pb.Snapshot{}, raft.ErrSnapshotTemporarilyUnavailable
	}
	data, err := json.Marshal(snapshotData{Physical: at, ConfAt: s.group.ConfAt, Members: s.group.Members, QueueEnds: ends})
	if err != nil {
		return pb.Snapshot{}, err
	}
	return pb.Snapshot{Data: data, Metadata: pb.SnapshotMetadata{
		Index: s.ix.base.Index, Term: s.ix.base.Term, ConfState: s.group.Conf,
	}}, nil
}

func parseSnapshot(s *pb.Snapshot) (snapshotData, error) {
	var d snapshotData
	if err := json.Unmarshal(s.Data, &d); err != nil {
		return d, fmt.Errorf("snapshot: %w", err)
	}
	if d.Physical < 0 || s.Metadata.Index == 0 || s.Metadata.Term == 0 {
		return d, fmt.Errorf("snapshot of entry %d at %d", s.Metadata.Index, d.Physical)
	}
	return d, nil
}
