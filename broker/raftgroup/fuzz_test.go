package raftgroup

import (
	"bytes"
	"encoding/binary"
	"reflect"
	"testing"

	pb "go.etcd.io/raft/v3/raftpb"
)

func message() pb.Message {
	return pb.Message{Type: pb.MsgApp, From: 1, To: 2, Term: 3, LogTerm: 2, Index: 7, Commit: 6, Context: []byte("12345678"), Entries: []pb.Entry{
		{Term: 2, Index: 8, Data: []byte("first")}, {Term: 3, Index: 9}, {Term: 3, Index: 10, Type: pb.EntryConfChange, Data: []byte("third")}}}
}

func encoded(t testing.TB, m pb.Message) []byte {
	var f frames
	if err := f.add(&m); err != nil {
		t.Fatal(err)
	}
	return bytes.Join(f.buffers(), nil)
}

func TestAMessageIsCarriedAsItIs(t *testing.T) {
	want := message()
	snap := pb.Message{Type: pb.MsgSnap, From: 1, To: 2, Snapshot: &pb.Snapshot{Data: []byte("{}"), Metadata: pb.SnapshotMetadata{Index: 4, Term: 2}}}
	var stream []byte
	stream = append(append(append(stream, encoded(t, want)...), 0, 0, 0, 0), encoded(t, snap)...)
	r := bytes.NewReader(stream)
	got, _, err := readFrame(r)
	if err != nil || !reflect.DeepEqual(*got, want) {
		t.Fatalf("%+v, %v", got, err)
	}
	if m, n, err := readFrame(r); m != nil || n != 4 || err != nil {
		t.Fatalf("an empty frame reads as %v %d %v", m, n, err)
	}
	if got, _, err := readFrame(r); err != nil || !reflect.DeepEqual(*got, snap) {
		t.Fatalf("%+v, %v", got, err)
	}
}

func TestADamagedFrameIsRefusedAtEachByte(t *testing.T) {
	whole := encoded(t, message())
	for i := range whole {
		b := bytes.Clone(whole)
		b[i] ^= 0x10
		if m, _, err := readFrame(bytes.NewReader(b)); err == nil && m != nil {
			t.Fatalf("byte %d: taken for %+v", i, m)
		}
		if m, _, err := readFrame(bytes.NewReader(whole[:i])); err == nil {
			t.Fatalf("%d bytes are taken for %+v", i, m)
		}
	}
}

func FuzzFrame(f *testing.F) {
	f.Add(encoded(f, message())[4:])
	f.Add(encoded(f, pb.Message{Type: pb.MsgHeartbeat, From: 1, To: 2})[4:])
	f.Fuzz(func(t *testing.T, b []byte) {
		if m, err := parseFrame(b); err == nil {
			again, err := parseFrame(encoded(t, *m)[4:])
			if err != nil || len(again.Entries) != len(m.Entries) {
				t.Fatalf("%+v does not come through: %v", m, err)
			}
		}
	})
}

func FuzzHello(f *testing.F) {
	h := hello{version: 1, from: 1, to: 2, life: 3, group: "g", addr: "h:1", stage: lived, verdict: stranger}
	f.Add(h.append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := readHello(bytes.NewReader(b))
		if err != nil {
			return
		}
		again, err := readHello(bytes.NewReader(h.append(nil)))
		if err != nil || again != h {
			t.Fatalf("%+v became %+v, %v", h, again, err)
		}
	})
}

func FuzzRecord(f *testing.F) {
	e := entry{term: 3, from: 100, length: 10, crc: 7}
	var b [recordSize]byte
	e.put(b[:], 9, 8)
	f.Add(b[:], uint64(9), uint32(8))
	f.Fuzz(func(t *testing.T, b []byte, index uint64, before uint32) {
		e, err := parseRecord(b, index, before)
		if err != nil {
			return
		}
		var again [recordSize]byte
		e.put(again[:], index, before)
		if !bytes.Equal(again[:], b[:recordSize]) {
			t.Fatalf("%x became %x", b, again)
		}
	})
}

func FuzzState(f *testing.F) {
	b := make([]byte, slotStep+slotSize)
	putSlot(b, 1, pb.HardState{Term: 1})
	putSlot(b[slotStep:], 2, pb.HardState{Term: 2, Vote: 1})
	f.Add(b)
	f.Add([]byte("rmqraft 1 00000000\n{}\n"))
	var head [recordSize]byte
	fileHeader{first: 1, per: 8}.put(head[:])
	f.Add(head[:])
	f.Fuzz(func(t *testing.T, b []byte) {
		if seq, _, _, err := readVote(b); err == nil && seq == 0 {
			t.Fatal("no slot, and no error")
		}
		var g groupState
		if parseJSON(b, &g) == nil && len(b) < 19 {
			t.Fatal("no checksum was asked for")
		}
		if h, err := parseHeader(b); err == nil && (h.per == 0 || binary.BigEndian.Uint64(b[8:]) != h.first) {
			t.Fatalf("%+v", h)
		}
		snap := pb.Snapshot{Data: b, Metadata: pb.SnapshotMetadata{Index: 1, Term: 1}}
		if d, err := parseSnapshot(&snap); err == nil && d.Physical < 0 {
			t.Fatalf("%+v", d)
		}
	})
}
