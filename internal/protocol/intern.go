package protocol

// Interner hands out one string for equal bytes. It belongs to one reader and
// forgets everything when a peer shows too many different values.
type Interner struct {
	m    map[string]string
	size int        // bytes of text in m
	last [16]string // the newest of those whose place a field has
}

const (
	internEntries = 16 << 10 // ten thousand topics have room
	internBytes   = 1 << 20
	internLen     = 512
)

// at is String for a field that has its own place: most often its value is that of the frame before.
func (in *Interner) at(place int, b []byte) string {
	last := &in.last[place%len(in.last)]
	if *last != string(b) {
		*last = in.String(b)
	}
	return *last
}

func (in *Interner) String(b []byte) string {
	if s, ok := in.m[string(b)]; ok {
		return s
	}
	if len(b) > internLen {
		return string(b)
	}
	if in.m == nil || len(in.m) >= internEntries || in.size+len(b) > internBytes {
		in.m, in.size = make(map[string]string), 0
	}
	in.size += len(b)
	s := string(b)
	in.m[s] = s
	return s
}
