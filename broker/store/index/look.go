package index

// The format for those who look at index files from outside: header, slot and entry as plain values.

// Sizes of the parts of a file.
const (
	HeaderSize = headerSize
	SlotSize   = slotSize
	EntrySize  = entrySize
)

// Header is what the first bytes of a file say.
type Header struct {
	BeginTime, EndTime int64 // store timestamps of the first and the newest message
	BeginPhys, EndPhys int64 // their log offsets
	Slots, Next        int32 // slots in use; number of the next entry
}

// ReadHeader reads a header, as it is there.
func ReadHeader(b []byte) Header {
	return Header{int64(be.Uint64(b)), int64(be.Uint64(b[8:])), int64(be.Uint64(b[16:])), int64(be.Uint64(b[24:])), int32(be.Uint32(b[32:])), int32(be.Uint32(b[36:]))}
}

// Entry is one key of one message.
type Entry struct {
	Hash    int32
	Phys    int64
	Seconds int32 // since BeginTime
	Prev    int32 // number of the entry before it in its slot, 0 = none
}

// ReadEntry reads entry i of b.
func ReadEntry(b []byte, i int) Entry {
	e := decodeEntry(b[i*entrySize:])
	return Entry{e.hash, e.phys, e.seconds, e.prev}
}

// FileInfo is how far a file reaches.
type FileInfo struct {
	Name    string
	Next    int32 // number of the next entry
	EndPhys int64 // log offset of the newest message
}

// Files says how far the files reach, oldest first.
func (x *Index) Files() []FileInfo {
	x.mu.RLock()
	defer x.mu.RUnlock()
	out := make([]FileInfo, len(x.files))
	for i, f := range x.files {
		f.mu.RLock()
		out[i] = FileInfo{f.name, f.h.next, f.h.endPhys}
		f.mu.RUnlock()
	}
	return out
}
