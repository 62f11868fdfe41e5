// JSON bodies as fastjson writes them, which is not quite JSON: members sorted
// by name, null members left out, map keys that are numbers without quotes, map
// keys that are objects as bare objects, no blank anywhere. Some clients cut
// these texts with string functions, so the exact shape is part of the wire.
package protocol

import (
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"
)

// Raw is a JSON value kept as it stands.
type Raw []byte

var rawType = reflect.TypeFor[Raw]()

// EncodeJSON writes v in fastjson's default form. Nil pointers, slices and maps
// are null and left out, as are zero fields tagged omitempty.
func EncodeJSON(v any) ([]byte, error) { return encodeJSON(v, false) }

// EncodeStandardJSON writes v so that any JSON parser reads it: numeric keys
// quoted, and nothing but ASCII.
func EncodeStandardJSON(v any) ([]byte, error) { return encodeJSON(v, true) }

// Marshal is EncodeJSON for types that cannot fail: the bodies of this package.
func Marshal(v any) []byte {
	b, err := EncodeJSON(v)
	if err != nil {
		panic(err)
	}
	return b
}

// AppendJSONString appends s as a JSON string.
func AppendJSONString(dst []byte, s string) []byte { return appendString(dst, s) }

func encodeJSON(v any, standard bool) ([]byte, error) {
	e := bodyEncoder{standard: standard}
	e.value(reflect.ValueOf(v))
	return e.b, e.err
}

type bodyField struct {
	name      string
	index     int
	omitEmpty bool
}

type bodyPlan struct {
	fields []bodyField // sorted by name
	byName map[string]int
}

var bodyPlans sync.Map // reflect.Type -> *bodyPlan

func bodyPlanOf(t reflect.Type) *bodyPlan {
	if p, ok := bodyPlans.Load(t); ok {
		return p.(*bodyPlan)
	}
	p := &bodyPlan{byName: map[string]int{}}
	for i := range t.NumField() {
		tag, ok := t.Field(i).Tag.Lookup("json")
		if !ok || tag == "-" {
			continue
		}
		name, opts, _ := strings.Cut(tag, ",")
		p.fields = append(p.fields, bodyField{name, i, opts == "omitempty"})
	}
	slices.SortFunc(p.fields, func(a, b bodyField) int { return strings.Compare(a.name, b.name) })
	for i, f := range p.fields {
		p.byName[f.name] = i
	}
	got, _ := bodyPlans.LoadOrStore(t, p)
	return got.(*bodyPlan)
}

type bodyEncoder struct {
	b        []byte
	standard bool
	err      error
}

func (e *bodyEncoder) value(v reflect.Value) {
	if !v.IsValid() {
		e.b = append(e.b, "null"...)
		return
	}
	if v.Type() == rawType {
		if v.Len() == 0 {
			e.b = append(e.b, "null"...)
		}
		e.b = append(e.b, v.Bytes()...)
		return
	}
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		e.value(v.Elem())
	case reflect.String:
		e.str(v.String())
	case reflect.Bool:
		e.b = strconv.AppendBool(e.b, v.Bool())
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		e.b = strconv.AppendInt(e.b, v.Int(), 10)
	case reflect.Uint8, reflect.Uint16, reflect.Uint32:
		e.b = strconv.AppendUint(e.b, v.Uint(), 10)
	case reflect.Float64:
		if f := v.Float(); math.IsNaN(f) || math.IsInf(f, 0) {
			e.b = append(e.b, "null"...)
		} else {
			e.b = appendDouble(e.b, f)
		}
	case reflect.Struct:
		e.object(v)
	case reflect.Slice:
		e.b = append(e.b, '[')
		for i := range v.Len() {
			if i > 0 {
				e.b = append(e.b, ',')
			}
			e.value(v.Index(i))
		}
		e.b = append(e.b, ']')
	case reflect.Map:
		e.mapping(v)
	default:
		e.err = fmt.Errorf("no JSON form for %s", v.Type())
	}
}

func (e *bodyEncoder) object(v reflect.Value) {
	e.b = append(e.b, '{')
	first := true
	for _, f := range bodyPlanOf(v.Type()).fields {
		fv := v.Field(f.index)
		if isNull(fv) || (f.omitEmpty && fv.IsZero()) {
			continue
		}
		if !first {
			e.b = append(e.b, ',')
		}
		first = false
		e.str(f.name)
		e.b = append(e.b, ':')
		e.value(fv)
	}
	e.b = append(e.b, '}')
}

func isNull(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map, reflect.Interface:
		return v.IsNil()
	}
	return false
}

// mapping writes the entries in the order of their keys.
func (e *bodyEncoder) mapping(v reflect.Value) {
	keys := v.MapKeys()
	text := make([]string, len(keys)) // how struct keys sort and are written
	order := make([]int, len(keys))
	for i, k := range keys {
		order[i] = i
		switch k.Kind() {
		case reflect.String:
			text[i] = k.String()
		case reflect.Struct:
			sub := bodyEncoder{standard: e.standard}
			sub.object(k)
			text[i] = string(sub.b)
		}
	}
	slices.SortFunc(order, func(a, b int) int {
		if k := keys[a]; k.CanInt() {
			return cmpInt(k.Int(), keys[b].Int())
		}
		return strings.Compare(text[a], text[b])
	})
	e.b = append(e.b, '{')
	for n, i := range order {
		if n > 0 {
			e.b = append(e.b, ',')
		}
		switch k := keys[i]; {
		case k.Kind() == reflect.String:
			e.str(text[i])
		case k.CanInt() && e.standard:
			e.b = append(e.b, '"')
			e.b = strconv.AppendInt(e.b, k.Int(), 10)
			e.b = append(e.b, '"')
		case k.CanInt():
			e.b = strconv.AppendInt(e.b, k.Int(), 10)
		case k.Kind() == reflect.Struct:
			e.b = append(e.b, text[i]...)
		default:
			e.err = fmt.Errorf("no JSON form for keys of type %s", k.Type())
		}
		e.b = append(e.b, ':')
		e.value(v.MapIndex(keys[i]))
	}
	e.b = append(e.b, '}')
}

func cmpInt(a, b int64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

func (e *bodyEncoder) str(s string) {
	if !e.standard {
		e.b = appendString(e.b, s)
		return
	}
	e.b = append(e.b, '"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			e.b = append(e.b, '\\', byte(r))
		case r >= 0x20 && r < utf8.RuneSelf:
			e.b = append(e.b, byte(r))
		case r > 0xffff:
			r -= 0x10000
			e.b = fmt.Appendf(e.b, `\u%04X\u%04X`, 0xd800+(r>>10), 0xdc00+(r&0x3ff))
		default:
			e.b = fmt.Appendf(e.b, `\u%04X`, r)
		}
	}
	e.b = append(e.b, '"')
}
