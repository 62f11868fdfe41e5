// Package protocol is the wire of RocketMQ's remoting: frames, the two header
// encodings, typed headers, and every call this program sends or answers.
package protocol

// Encoding is the serialize type of a frame's header. It is chosen per frame.
type Encoding uint8

const (
	JSON   Encoding = 0
	Binary Encoding = 1
)

// Flag bits of a command.
const (
	FlagResponse int32 = 1
	FlagOneway   int32 = 2
)

// Language is the code of the sender's language.
type Language uint8

const (
	LanguageJava  Language = 0
	LanguageCPP   Language = 1
	LanguageOther Language = 7
	LanguageGo    Language = 9
)

var languageNames = [...]string{"JAVA", "CPP", "DOTNET", "PYTHON", "DELPHI", "ERLANG", "RUBY", "OTHER", "HTTP", "GO", "PHP", "OMS", "RUST", "NODE_JS"}

func (l Language) String() string {
	if int(l) < len(languageNames) {
		return languageNames[l]
	}
	return "OTHER"
}

// ParseLanguage never fails: a language nobody has heard of is OTHER.
func ParseLanguage(name []byte) Language {
	for i, n := range languageNames {
		if n == string(name) {
			return Language(i)
		}
	}
	return LanguageOther
}

// Command is one request or response.
//
// A command read from a connection is a view: Fields and Body lie in the read
// buffer and are valid until the handler returns. Strings handed out by it
// (Remark, Fields.Get, typed headers) are always safe to keep.
type Command struct {
	Code     int32
	Language Language
	Version  int32
	Opaque   int32
	Flag     int32
	Remark   string
	Fields   Fields
	Body     []byte
	Encoding Encoding
}

func (c *Command) IsResponse() bool { return c.Flag&FlagResponse != 0 }
func (c *Command) IsOneway() bool   { return c.Flag&FlagOneway != 0 }

// Err is nil for SUCCESS, else the peer's words as an *Error.
func (c *Command) Err() error {
	if c.Code == Success {
		return nil
	}
	return &Error{Status: c.Code, Remark: c.Remark}
}

// Clone returns a command that owns all its bytes.
func (c *Command) Clone() *Command {
	n := *c
	n.Fields = c.Fields.Clone()
	if c.Body != nil {
		n.Body = append([]byte(nil), c.Body...)
	}
	return &n
}

// Reset makes c the zero command and keeps its memory for the next frame.
func (c *Command) Reset() {
	ents := c.Fields.ents[:0]
	*c = Command{}
	c.Fields.ents = ents
}

// Fields are a command's extFields in the order of the wire. They are offsets
// into one buffer, so that parsing allocates nothing and cloning is one copy.
type Fields struct {
	buf  []byte
	ents []fieldEnt
}

type fieldEnt struct{ key, keyEnd, val, valEnd int32 }

func (f *Fields) Len() int { return len(f.ents) }

// Get returns the last value of k, as Java's map would.
func (f *Fields) Get(k string) (string, bool) {
	b, ok := f.view(k)
	return string(b), ok
}

// view is Get without the copy: valid as long as the frame.
func (f *Fields) view(k string) ([]byte, bool) {
	for i := len(f.ents) - 1; i >= 0; i-- {
		e := f.ents[i]
		if string(f.buf[e.key:e.keyEnd]) == k {
			return f.buf[e.val:e.valEnd], true
		}
	}
	return nil, false
}

// Set replaces k or adds it at the end.
func (f *Fields) Set(k, v string) {
	for i := range f.ents {
		e := &f.ents[i]
		if string(f.buf[e.key:e.keyEnd]) == k {
			f.buf = append(f.buf, v...)
			e.val, e.valEnd = int32(len(f.buf)-len(v)), int32(len(f.buf))
			return
		}
	}
	at := int32(len(f.buf))
	f.buf = append(f.buf, k...)
	f.buf = append(f.buf, v...)
	mid := at + int32(len(k))
	f.ents = append(f.ents, fieldEnt{at, mid, mid, mid + int32(len(v))})
}

// Delete removes every occurrence of k.
func (f *Fields) Delete(k string) {
	kept := f.ents[:0]
	for _, e := range f.ents {
		if string(f.buf[e.key:e.keyEnd]) != k {
			kept = append(kept, e)
		}
	}
	f.ents = kept
}

// Range calls fn for each field in wire order until it returns false.
func (f *Fields) Range(fn func(k, v string) bool) {
	for _, e := range f.ents {
		if !fn(string(f.buf[e.key:e.keyEnd]), string(f.buf[e.val:e.valEnd])) {
			return
		}
	}
}

// Clone returns fields that own their bytes.
func (f *Fields) Clone() Fields {
	if len(f.ents) == 0 {
		return Fields{}
	}
	return Fields{buf: append([]byte(nil), f.buf...), ents: append([]fieldEnt(nil), f.ents...)}
}

// FieldsOf builds fields from key, value, key, value, …
func FieldsOf(kv ...string) Fields {
	var f Fields
	for i := 0; i+1 < len(kv); i += 2 {
		f.Set(kv[i], kv[i+1])
	}
	return f
}
