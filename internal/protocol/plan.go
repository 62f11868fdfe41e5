// Typed headers: a struct whose fields carry `rmq:"wireName[,option…]"` tags is
// a header. The plan of a type is made once by reflection; reading and writing
// then walk it by field offsets, without reflection and without allocating.
//
// Field types: string, []byte, int32, int64, bool, float64, and pointers to them
// (not []byte), which stand for fields that may be absent. Options:
//
//	must    absent in a request is an error (upstream: not-null, then an NPE)
//	opt     not written when it is "" (a nullable string upstream)
//	intern  few distinct values per connection: topic, group; reading allocates nothing
//
// A string is always safe to keep. A []byte is a view of the frame and ends with it.
package protocol

import (
	"encoding/binary"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"unsafe"
)

// Empty is the header of a call that has none.
type Empty struct{}

type fieldKind uint8

const (
	kindString fieldKind = iota
	kindBytes
	kindInt32
	kindInt64
	kindBool
	kindFloat
	kindPtr fieldKind = 16 // added to the kinds above
)

type planField struct {
	name   string
	kind   fieldKind
	off    uintptr
	must   bool
	opt    bool
	intern bool
	json   string // `"name":"`
	bin    string // keyLen, key
}

// Plan is the layout of one header type.
type Plan struct {
	typ    reflect.Type
	fields []planField
	index  map[string]int
	must   uint64
}

// Header is a header value ready to be written.
type Header struct {
	plan *Plan
	ptr  unsafe.Pointer
}

var plans sync.Map // reflect.Type -> *Plan

func planOf(t reflect.Type) *Plan {
	if p, ok := plans.Load(t); ok {
		return p.(*Plan)
	}
	p := &Plan{typ: t, index: map[string]int{}}
	p.add(t, 0)
	if len(p.fields) > 64 {
		panic("protocol: more than 64 header fields in " + t.String())
	}
	got, _ := plans.LoadOrStore(t, p)
	return got.(*Plan)
}

func (p *Plan) add(t reflect.Type, base uintptr) {
	if t.Kind() != reflect.Struct {
		panic("protocol: header is no struct: " + t.String())
	}
	for i := range t.NumField() {
		sf := t.Field(i)
		if sf.Anonymous && sf.Type.Kind() == reflect.Struct {
			p.add(sf.Type, base+sf.Offset)
			continue
		}
		tag, ok := sf.Tag.Lookup("rmq")
		if !ok {
			continue
		}
		name, opts, _ := strings.Cut(tag, ",")
		f := planField{name: name, off: base + sf.Offset, kind: kindOf(sf.Type, t.String()+"."+sf.Name)}
		for o := range strings.SplitSeq(opts, ",") {
			switch o {
			case "":
			case "must":
				f.must = true
				p.must |= 1 << len(p.fields)
			case "opt":
				f.opt = true
			case "intern":
				f.intern = true
			default:
				panic("protocol: unknown option " + o + " in " + t.String())
			}
		}
		f.json = `"` + name + `":"`
		f.bin = string(binary.BigEndian.AppendUint16(nil, uint16(len(name)))) + name
		if _, dup := p.index[name]; dup {
			panic("protocol: field " + name + " twice in " + t.String())
		}
		p.index[name] = len(p.fields)
		p.fields = append(p.fields, f)
	}
}

func kindOf(t reflect.Type, where string) fieldKind {
	var ptr fieldKind
	if t.Kind() == reflect.Pointer {
		ptr, t = kindPtr, t.Elem()
	}
	switch t.Kind() {
	case reflect.String:
		return kindString + ptr
	case reflect.Int32:
		return kindInt32 + ptr
	case reflect.Int64:
		return kindInt64 + ptr
	case reflect.Bool:
		return kindBool + ptr
	case reflect.Float64:
		return kindFloat + ptr
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 && ptr == 0 {
			return kindBytes
		}
	}
	panic("protocol: header field of type " + t.String() + ": " + where)
}

// HeaderOf makes v, a pointer to a header struct or nil, ready to be written.
func HeaderOf(v any) Header {
	if v == nil {
		return Header{}
	}
	rv := reflect.ValueOf(v)
	if rv.Kind() != reflect.Pointer {
		panic("protocol: header is no pointer: " + rv.Type().String())
	}
	if rv.IsNil() {
		return Header{}
	}
	return planOf(rv.Type().Elem()).header(rv.UnsafePointer())
}

// header is empty for types without fields: upstream then writes no extFields.
func (p *Plan) header(ptr unsafe.Pointer) Header {
	if len(p.fields) == 0 || ptr == nil {
		return Header{}
	}
	return Header{p, ptr}
}

// DecodeFields fills v, a pointer to a zero header struct, from f.
func DecodeFields(f *Fields, v any) error {
	rv := reflect.ValueOf(v)
	p := planOf(rv.Type().Elem())
	return p.decode(f, rv.UnsafePointer(), nil, true)
}

// decode walks the fields as they stand on the wire. Peers write them in a
// stable order, so the field after the last one is tried before the index.
func (p *Plan) decode(f *Fields, ptr unsafe.Pointer, in *Interner, strict bool) error {
	if len(p.fields) == 0 {
		return nil
	}
	var seen uint64
	next := 0
	for _, e := range f.ents {
		key := f.buf[e.key:e.keyEnd]
		if next >= len(p.fields) || p.fields[next].name != string(key) {
			i, ok := p.index[string(key)]
			if !ok {
				continue
			}
			next = i
		}
		pf := &p.fields[next]
		if !pf.set(unsafe.Add(ptr, pf.off), f.buf[e.val:e.valEnd:e.valEnd], in, next) {
			return Errorf(SystemError, "field %s: %q is no %s", pf.name, clip(f.buf[e.val:e.valEnd]), pf.kind)
		}
		seen |= 1 << next
		next++
	}
	if missing := p.must &^ seen; strict && missing != 0 {
		for i := range p.fields {
			if missing&(1<<i) != 0 {
				return Errorf(SystemError, "the custom field <%s> is null", p.fields[i].name)
			}
		}
	}
	return nil
}

func clip(b []byte) []byte {
	if len(b) > 40 {
		return b[:40]
	}
	return b
}

func (k fieldKind) String() string {
	return [...]string{"string", "text", "int32", "int64", "boolean", "number"}[k&^kindPtr]
}

func (f *planField) set(at unsafe.Pointer, v []byte, in *Interner, place int) bool {
	switch f.kind {
	case kindString:
		if f.intern && in != nil {
			*(*string)(at) = in.at(place, v)
		} else {
			*(*string)(at) = string(v)
		}
	case kindBytes:
		*(*[]byte)(at) = v
	case kindInt32:
		n, ok := parseInt(v)
		*(*int32)(at) = int32(n)
		return ok && n == int64(int32(n))
	case kindInt64:
		n, ok := parseInt(v)
		*(*int64)(at) = n
		return ok
	case kindBool:
		*(*bool)(at) = isTrue(v)
	case kindFloat:
		n, err := strconv.ParseFloat(string(v), 64)
		*(*float64)(at) = n
		return err == nil
	case kindString + kindPtr:
		s := string(v)
		*(**string)(at) = &s
	case kindInt32 + kindPtr:
		n, ok := parseInt(v)
		n32 := int32(n)
		*(**int32)(at) = &n32
		return ok && n == int64(n32)
	case kindInt64 + kindPtr:
		n, ok := parseInt(v)
		*(**int64)(at) = &n
		return ok
	case kindBool + kindPtr:
		b := isTrue(v)
		*(**bool)(at) = &b
	case kindFloat + kindPtr:
		n, err := strconv.ParseFloat(string(v), 64)
		*(**float64)(at) = &n
		return err == nil
	}
	return true
}

// isTrue is Java's Boolean.parseBoolean.
func isTrue(v []byte) bool {
	return len(v) == 4 && v[0]|32 == 't' && v[1]|32 == 'r' && v[2]|32 == 'u' && v[3]|32 == 'e'
}

// absent says whether the field is not written.
func (f *planField) absent(at unsafe.Pointer) bool {
	if f.kind >= kindPtr {
		return *(*unsafe.Pointer)(at) == nil
	}
	switch f.kind {
	case kindString:
		return f.opt && *(*string)(at) == ""
	case kindBytes:
		return *(*[]byte)(at) == nil
	case kindInt32:
		return f.opt && *(*int32)(at) == 0
	case kindInt64:
		return f.opt && *(*int64)(at) == 0
	case kindBool:
		return f.opt && !*(*bool)(at)
	}
	return false
}

// appendScalar appends a field that is no text.
func (f *planField) appendScalar(dst []byte, at unsafe.Pointer) []byte {
	switch f.kind &^ kindPtr {
	case kindInt32:
		return strconv.AppendInt(dst, int64(*(*int32)(at)), 10)
	case kindInt64:
		return strconv.AppendInt(dst, *(*int64)(at), 10)
	case kindBool:
		return strconv.AppendBool(dst, *(*bool)(at))
	}
	return appendDouble(dst, *(*float64)(at))
}

// appendDouble writes as Java does: never without a fraction.
func appendDouble(dst []byte, v float64) []byte {
	n := len(dst)
	dst = strconv.AppendFloat(dst, v, 'f', -1, 64)
	if !strings.ContainsAny(string(dst[n:]), ".NI") {
		dst = append(dst, ".0"...)
	}
	return dst
}

func (p *Plan) appendJSON(dst []byte, ptr unsafe.Pointer) []byte {
	for i := range p.fields {
		f := &p.fields[i]
		at := unsafe.Add(ptr, f.off)
		if f.absent(at) {
			continue
		}
		if f.kind >= kindPtr {
			at = *(*unsafe.Pointer)(at)
		}
		dst = append(dst, f.json...)
		switch f.kind &^ kindPtr {
		case kindString:
			dst = appendString(dst[:len(dst)-1], *(*string)(at))
		case kindBytes:
			dst = appendString(dst[:len(dst)-1], *(*[]byte)(at))
		default:
			dst = append(f.appendScalar(dst, at), '"')
		}
		dst = append(dst, ',')
	}
	return dst
}

func (p *Plan) appendBinary(dst []byte, ptr unsafe.Pointer) []byte {
	for i := range p.fields {
		f := &p.fields[i]
		at := unsafe.Add(ptr, f.off)
		if f.absent(at) {
			continue
		}
		if f.kind >= kindPtr {
			at = *(*unsafe.Pointer)(at)
		}
		dst = append(dst, f.bin...)
		n := len(dst)
		dst = append(dst, 0, 0, 0, 0)
		switch f.kind &^ kindPtr {
		case kindString:
			dst = append(dst, *(*string)(at)...)
		case kindBytes:
			dst = append(dst, *(*[]byte)(at)...)
		default:
			dst = f.appendScalar(dst, at)
		}
		binary.BigEndian.PutUint32(dst[n:], uint32(len(dst)-n-4))
	}
	return dst
}

// fieldsInto sets every field of the header in f: for headers that travel with
// a Command instead of beside it.
func (p *Plan) fieldsInto(f *Fields, ptr unsafe.Pointer) {
	for i := range p.fields {
		pf := &p.fields[i]
		at := unsafe.Add(ptr, pf.off)
		if pf.absent(at) {
			continue
		}
		if pf.kind >= kindPtr {
			at = *(*unsafe.Pointer)(at)
		}
		switch pf.kind &^ kindPtr {
		case kindString:
			f.Set(pf.name, *(*string)(at))
		case kindBytes:
			f.Set(pf.name, string(*(*[]byte)(at)))
		default:
			f.Set(pf.name, string(pf.appendScalar(nil, at)))
		}
	}
}
