package protocol

// Interner hands out one string for equal bytes. It belongs to one reader and
// forgets everything when a peer shows too many different values.
type Interner struct{ m map[string]string }

const (
	internEntries = 4096
	internLen     = 512
)

func (in *Interner) String(b []byte) string {
	if s, ok := in.m[string(b)]; ok {
		return s
	}
	if len(b) > internLen {
		return string(b)
	}
	if in.m == nil || len(in.m) >= internEntries {
		in.m = make(map[string]string)
	}
	s := string(b)
	in.m[s] = s
	return s
}
