// Reading JSON bodies the way the peers' parsers do: numbers and booleans with
// or without quotes, keys that are bare numbers or whole objects, null for
// anything, members nobody knows.
package protocol

import (
	"bytes"
	"fmt"
	"reflect"
	"strconv"
)

// DecodeJSON fills v, a pointer, from b. What b does not mention stays as it was.
func DecodeJSON(b []byte, v any) error {
	d := bodyDecoder{scanner{b: bytes.Clone(b)}} // escapes are resolved in place
	if err := d.value(reflect.ValueOf(v).Elem(), 0); err != nil {
		return fmt.Errorf("JSON at %d: %w", d.i, err)
	}
	if d.space(); d.i != len(d.b) {
		return fmt.Errorf("JSON at %d: text after the value", d.i)
	}
	return nil
}

// Unmarshal is DecodeJSON under the name that pairs with Marshal.
func Unmarshal(b []byte, v any) error { return DecodeJSON(b, v) }

type bodyDecoder struct{ scanner }

func (d *bodyDecoder) value(v reflect.Value, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("nested deeper than %d", maxDepth)
	}
	if v.Type() == rawType {
		d.space()
		start := d.i
		if !d.skip(depth) {
			return fmt.Errorf("value expected")
		}
		v.SetBytes(bytes.Clone(d.b[start:d.i]))
		return nil
	}
	if d.null() {
		return nil
	}
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			v.Set(reflect.New(v.Type().Elem()))
		}
		return d.value(v.Elem(), depth)
	case reflect.Struct:
		return d.object(v, depth)
	case reflect.Map:
		return d.mapping(v, depth)
	case reflect.Slice:
		return d.list(v, depth)
	}
	start, end, ok := d.scalar()
	if !ok {
		return fmt.Errorf("%s expected", v.Kind())
	}
	return setScalar(v, d.b[start:end])
}

func setScalar(v reflect.Value, text []byte) error {
	switch v.Kind() {
	case reflect.String:
		v.SetString(string(text))
	case reflect.Bool:
		v.SetBool(isTrue(text) || string(text) == "1")
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		n, ok := lenientInt(text)
		if !ok || v.OverflowInt(n) {
			return fmt.Errorf("%q is no %s", clip(text), v.Kind())
		}
		v.SetInt(n)
	case reflect.Float64:
		if len(text) == 0 {
			return nil
		}
		f, err := strconv.ParseFloat(string(text), 64)
		if err != nil {
			return fmt.Errorf("%q is no number", clip(text))
		}
		v.SetFloat(f)
	default:
		return fmt.Errorf("cannot read into %s", v.Type())
	}
	return nil
}

// lenientInt also takes "" for 0 and whole numbers written as fractions.
func lenientInt(text []byte) (int64, bool) {
	if len(text) == 0 {
		return 0, true
	}
	if n, ok := parseInt(text); ok {
		return n, true
	}
	f, err := strconv.ParseFloat(string(text), 64)
	if err != nil || f != f || f >= 1<<63 || f < -1<<63 {
		return 0, false
	}
	return int64(f), true
}

func (d *bodyDecoder) object(v reflect.Value, depth int) error {
	if !d.open('{') {
		return fmt.Errorf("object expected")
	}
	p := bodyPlanOf(v.Type())
	for first := true; !d.close('}'); first = false {
		if !first && !d.open(',') {
			return fmt.Errorf("comma expected")
		}
		start, end, ok := d.key()
		if !ok || !d.open(':') {
			return fmt.Errorf("member expected")
		}
		i, known := p.byName[string(d.b[start:end])]
		if !known {
			if !d.skip(depth) {
				return fmt.Errorf("value expected")
			}
			continue
		}
		name := p.fields[i].name
		if err := d.value(v.Field(p.fields[i].index), depth+1); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// key is a member's name, quoted or bare.
func (d *bodyDecoder) key() (start, end int, ok bool) {
	if d.peek() == '"' {
		return d.str()
	}
	return d.scalar()
}

func (d *bodyDecoder) list(v reflect.Value, depth int) error {
	if !d.open('[') {
		return fmt.Errorf("list expected")
	}
	v.Set(reflect.MakeSlice(v.Type(), 0, 0))
	for first := true; !d.close(']'); first = false {
		if !first && !d.open(',') {
			return fmt.Errorf("comma expected")
		}
		item := reflect.New(v.Type().Elem()).Elem()
		if err := d.value(item, depth+1); err != nil {
			return err
		}
		v.Set(reflect.Append(v, item))
	}
	return nil
}

// mapping reads {key:value,…} and gson's form for keys that are objects,
// [[key,value],…].
func (d *bodyDecoder) mapping(v reflect.Value, depth int) error {
	if v.IsNil() {
		v.Set(reflect.MakeMap(v.Type()))
	}
	if d.peek() == '[' {
		return d.pairs(v, depth)
	}
	if !d.open('{') {
		return fmt.Errorf("object expected")
	}
	for first := true; !d.close('}'); first = false {
		if !first && !d.open(',') {
			return fmt.Errorf("comma expected")
		}
		key := reflect.New(v.Type().Key()).Elem()
		if err := d.mapKey(key, depth); err != nil {
			return err
		}
		if !d.open(':') {
			return fmt.Errorf("colon expected")
		}
		if err := d.mapValue(v, key, depth); err != nil {
			return err
		}
	}
	return nil
}

func (d *bodyDecoder) mapKey(key reflect.Value, depth int) error {
	if d.peek() == '{' {
		if key.Kind() != reflect.Struct {
			return fmt.Errorf("an object as key of a %s", key.Kind())
		}
		return d.object(key, depth+1)
	}
	start, end, ok := d.key()
	if !ok {
		return fmt.Errorf("key expected")
	}
	if key.Kind() == reflect.Struct { // the object's text as a string
		return DecodeJSON(d.b[start:end], key.Addr().Interface())
	}
	return setScalar(key, d.b[start:end])
}

func (d *bodyDecoder) mapValue(m, key reflect.Value, depth int) error {
	val := reflect.New(m.Type().Elem()).Elem()
	if err := d.value(val, depth+1); err != nil {
		return err
	}
	m.SetMapIndex(key, val)
	return nil
}

func (d *bodyDecoder) pairs(v reflect.Value, depth int) error {
	d.i++
	for first := true; !d.close(']'); first = false {
		if !first && !d.open(',') || !d.open('[') {
			return fmt.Errorf("pair expected")
		}
		key := reflect.New(v.Type().Key()).Elem()
		if err := d.mapKey(key, depth+1); err != nil {
			return err
		}
		if !d.open(',') {
			return fmt.Errorf("comma expected")
		}
		if err := d.mapValue(v, key, depth+1); err != nil {
			return err
		}
		if !d.close(']') {
			return fmt.Errorf("end of pair expected")
		}
	}
	return nil
}
