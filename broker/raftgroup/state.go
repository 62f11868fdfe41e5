// What a member must not forget: its term and vote (file "vote"), and where the log begins and who the members are (file
// "group").

package raftgroup

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"

	pb "go.etcd.io/raft/v3/raftpb"

	"rmqctl/internal/vfs"
)

// The file "vote" has two slots, a page apart, so that writing one cannot tear the other:
//
//	| "RMQRVOT1" | sequence u64 | term u64 | vote u64 | commit u64 | crc32c of the 40 bytes before u32 |
//
// The valid one with the higher sequence counts. What must be durable goes into the slot that is not the last durable one,
// and is synced; what need not be (commit) goes there too, and may be torn: the durable slot stays.
const (
	slotSize = 44
	slotStep = 4096
	voteMark = "RMQRVOT1"
)

type voteFile struct {
	f    vfs.File
	seq  uint64
	safe int // the slot that is on the disk
	now  pb.HardState
}

func putSlot(b []byte, seq uint64, h pb.HardState) {
	copy(b, voteMark)
	binary.BigEndian.PutUint64(b[8:], seq)
	binary.BigEndian.PutUint64(b[16:], h.Term)
	binary.BigEndian.PutUint64(b[24:], h.Vote)
	binary.BigEndian.PutUint64(b[32:], h.Commit)
	binary.BigEndian.PutUint32(b[40:], crc32.Checksum(b[:40], castagnoli))
}

func parseSlot(b []byte) (seq uint64, h pb.HardState, ok bool) {
	if len(b) < slotSize || string(b[:8]) != voteMark || binary.BigEndian.Uint32(b[40:]) != crc32.Checksum(b[:40], castagnoli) {
		return 0, h, false
	}
	h = pb.HardState{Term: binary.BigEndian.Uint64(b[16:]), Vote: binary.BigEndian.Uint64(b[24:]), Commit: binary.BigEndian.Uint64(b[32:])}
	return binary.BigEndian.Uint64(b[8:]), h, true
}

// openVote makes the file with both slots good before it gets its name, and before the file "group" is made. So a file with
// none, or none beside a group, is damage: this member might vote twice in a term, and must not go on.
func openVote(fsys vfs.FS, dir string, fresh bool) (*voteFile, error) {
	name := filepath.Join(dir, "vote")
	b, err := vfs.ReadFile(fsys, name)
	if errors.Is(err, fs.ErrNotExist) && fresh {
		b = make([]byte, slotStep+slotSize)
		putSlot(b, 1, pb.HardState{})
		putSlot(b[slotStep:], 2, pb.HardState{})
		err = vfs.WriteFileAtomic(fsys, name, b, 0o644)
	}
	if err != nil {
		return nil, err
	}
	v := &voteFile{}
	if v.seq, v.now, v.safe, err = readVote(b); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	v.f, err = fsys.OpenFile(name, os.O_RDWR, 0)
	if err == nil {
		err = v.f.Sync() // a killed process may have written what we now act on
	}
	return v, err
}

func readVote(b []byte) (seq uint64, h pb.HardState, slot int, err error) {
	for i := range 2 {
		if len(b) < i*slotStep {
			break
		}
		if s, sh, ok := parseSlot(b[i*slotStep:]); ok && s > seq {
			seq, h, slot = s, sh, i
		}
	}
	if seq == 0 {
		err = errors.New("neither copy of the vote is good")
	}
	return seq, h, slot, err
}

func (v *voteFile) write(h pb.HardState, durable bool) error {
	var b [slotSize]byte
	putSlot(b[:], v.seq+1, h)
	slot := 1 - v.safe
	if _, err := v.f.WriteAt(b[:], int64(slot)*slotStep); err != nil {
		return fmt.Errorf("write the vote: %w", err)
	}
	if durable {
		if err := v.f.Sync(); err != nil {
			return fmt.Errorf("sync the vote: %w", err)
		}
		v.safe = slot
	}
	v.seq, v.now = v.seq+1, h
	return nil
}

// memberState is a member in the file "group".
type memberState struct {
	ID         uint64 `json:"id"`
	Addr       string `json:"addr"`
	Configured string `json:"configured,omitempty"` // what the configuration said then; another word of it later wins
}

// groupState is the file "group": one line with the checksum of the JSON text that follows.
type groupState struct {
	Group   string        `json:"group"`
	Self    uint64        `json:"self"`
	Base    base          `json:"base"`
	Reset   bool          `json:"reset,omitempty"` // the log is being emptied to begin at Base
	ConfAt  uint64        `json:"confAt"`          // changes of members up to this entry are made
	Conf    pb.ConfState  `json:"conf"`
	Members []memberState `json:"members"`
	NoVote  string        `json:"noVote,omitempty"` // why this member does not vote: "power" or "new"

	QueueEnds []byte `json:"queueEnds,omitempty"` // with Reset: what the log is told
}

// runState is the file "run": how the last run ended.
type runState struct {
	Boot    string `json:"boot"`
	Clean   bool   `json:"clean"`
	Durable bool   `json:"durable"` // nothing was acknowledged before the disk had it
}

func saveJSON(fsys vfs.FS, name string, v any) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return vfs.WriteFileAtomic(fsys, name, fmt.Appendf(nil, "rmqraft 1 %08x\n%s\n", crc32.Checksum(text, castagnoli), text), 0o644)
}

func loadJSON(fsys vfs.FS, name string, v any) (found bool, err error) {
	b, err := vfs.ReadFile(fsys, name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err == nil {
		err = parseJSON(b, v)
	}
	if err != nil {
		return false, fmt.Errorf("%s: %w", name, err)
	}
	return true, nil
}

func parseJSON(b []byte, v any) error {
	head, text, _ := bytes.Cut(b, []byte("\n"))
	text = bytes.TrimSuffix(text, []byte("\n"))
	if string(head) != fmt.Sprintf("rmqraft 1 %08x", crc32.Checksum(text, castagnoli)) {
		return errors.New("the text is not what was written")
	}
	return json.Unmarshal(text, v)
}
