// A strict decoder: a tree of TOML values into the structs of schema.go, with every fault reported at its place.

package inventory

import (
	"fmt"
	"reflect"
	"regexp"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/BurntSushi/toml"
)

// size is a number of bytes, written as a number or as "4G", "512MiB".
type size int64

var (
	typeDuration = reflect.TypeFor[time.Duration]()
	typeSize     = reflect.TypeFor[size]()
	typeSecret   = reflect.TypeFor[Secret]()
	typeFree     = reflect.TypeFor[map[string]any]()
)

var arrayIndex = regexp.MustCompile(`\[[0-9]+\]`)

type decoder struct {
	src      source
	problems Problems
}

// decode reads text; on a syntax error there is one problem and nothing else is known.
func decode(name, text string) (*file, *decoder) {
	text = strings.TrimPrefix(text, "\ufeff")
	d := &decoder{}
	tree := map[string]any{}
	if _, err := toml.Decode(text, &tree); err != nil {
		d.src = source{file: name, lines: strings.Split(text, "\n")}
		d.problems = append(d.problems, d.syntax(err))
		return nil, d
	}
	d.src = newSource(name, text)
	f := &file{}
	d.table("", tree, reflect.ValueOf(f).Elem())
	return f, d
}

func (d *decoder) syntax(err error) Problem {
	pe, ok := err.(toml.ParseError)
	if !ok {
		return Problem{File: d.src.file, Message: err.Error()}
	}
	msg := pe.Message
	if msg == "" {
		// An error about a key's second definition carries its text in the wrapped error only.
		msg = strings.TrimPrefix(pe.Error(), "toml: ")
	}
	col := pe.Position.Col
	if p := pe.Position; col == 0 {
		col = columnOf(strings.Join(d.src.lines, "\n"), p.Start)
	}
	return d.src.problem(span{line: pe.Position.Line, col: max(col, 1), width: max(pe.Position.Len, 1)}, msg, "")
}

// columnOf is the column, from 1, of a byte offset.
func columnOf(text string, at int) int {
	at = max(0, min(at, len(text)))
	return len([]rune(text[strings.LastIndexByte(text[:at], '\n')+1:at])) + 1
}

func (d *decoder) table(path string, m map[string]any, into reflect.Value) {
	fields := map[string]reflect.Value{}
	var known []string
	for i := range into.NumField() {
		name := into.Type().Field(i).Tag.Get("toml")
		fields[name] = into.Field(i)
		known = append(known, name)
	}
	for _, k := range sortedKeys(m) {
		f, ok := fields[k]
		if !ok {
			d.unknown(path, k, known, into.Type())
			continue
		}
		d.value(child(path, k), m[k], f)
	}
}

func (d *decoder) unknown(path, key string, known []string, t reflect.Type) {
	sort.Strings(known)
	hint := "known here: " + strings.Join(known, ", ")
	if at := holder(t, key); at != "" {
		hint = "it belongs into " + at + " = { " + key + " = … }"
	} else if n := nearest(key, known); n != "" {
		hint = "did you mean " + n + "?"
	}
	where := "the file"
	if path != "" {
		where = "[" + arrayIndex.ReplaceAllString(path, "") + "]"
	}
	d.problems = append(d.problems, d.src.atKey(child(path, key), fmt.Sprintf("unknown key %s in %s", key, where), hint))
}

// holder is the table inside t that has the key.
func holder(t reflect.Type, key string) string {
	for i := range t.NumField() {
		f := t.Field(i)
		if f.Type.Kind() != reflect.Struct || f.Type == typeSecret {
			continue
		}
		for j := range f.Type.NumField() {
			if f.Type.Field(j).Tag.Get("toml") == key {
				return f.Tag.Get("toml")
			}
		}
	}
	return ""
}

func (d *decoder) value(path string, v any, into reflect.Value) {
	if into.Kind() == reflect.Pointer {
		into.Set(reflect.New(into.Type().Elem()))
		d.value(path, v, into.Elem())
		return
	}
	switch into.Type() {
	case typeDuration:
		d.duration(path, v, into)
		return
	case typeSize:
		d.size(path, v, into)
		return
	case typeSecret:
		d.secret(path, v, into)
		return
	case typeFree:
		if m, ok := v.(map[string]any); ok {
			into.Set(reflect.ValueOf(m))
		} else {
			d.wrong(path, "a table", v)
		}
		return
	}
	switch into.Kind() {
	case reflect.String:
		if s, ok := v.(string); ok {
			into.SetString(s)
		} else {
			d.wrong(path, "a text in quotes", v)
		}
	case reflect.Bool:
		if b, ok := v.(bool); ok {
			into.SetBool(b)
		} else {
			d.wrong(path, "true or false", v)
		}
	case reflect.Int:
		if n, ok := v.(int64); ok {
			into.SetInt(n)
		} else {
			d.wrong(path, "a whole number", v)
		}
	case reflect.Slice:
		d.list(path, v, into)
	case reflect.Map:
		d.members(path, v, into)
	case reflect.Struct:
		if m, ok := v.(map[string]any); ok {
			d.table(path, m, into)
		} else {
			d.wrong(path, "a table", v)
		}
	}
}

// list takes a list of texts (one text will do) or an array of tables.
func (d *decoder) list(path string, v any, into reflect.Value) {
	var items []any
	switch v := v.(type) {
	case []any:
		items = v
	case []map[string]any:
		for _, m := range v {
			items = append(items, m)
		}
	case string:
		if into.Type().Elem().Kind() == reflect.String {
			into.Set(reflect.ValueOf([]string{v}))
			return
		}
		d.wrong(path, "an array of tables, [["+path+"]]", v)
		return
	default:
		if into.Type().Elem().Kind() == reflect.Struct {
			d.wrong(path, "an array of tables, [["+path+"]]", v)
		} else {
			d.wrong(path, "a list", v)
		}
		return
	}
	into.Set(reflect.MakeSlice(into.Type(), len(items), len(items)))
	for i, it := range items {
		d.value(item(path, i), it, into.Index(i))
	}
}

func (d *decoder) members(path string, v any, into reflect.Value) {
	m, ok := v.(map[string]any)
	if !ok {
		d.wrong(path, "a table", v)
		return
	}
	into.Set(reflect.MakeMap(into.Type()))
	for _, k := range sortedKeys(m) {
		e := reflect.New(into.Type().Elem()).Elem()
		d.value(child(path, k), m[k], e)
		into.SetMapIndex(reflect.ValueOf(k), e)
	}
}

func (d *decoder) duration(path string, v any, into reflect.Value) {
	s, ok := v.(string)
	if ok {
		if t, err := time.ParseDuration(s); err == nil && t >= 0 {
			into.SetInt(int64(t))
			return
		}
	}
	d.wrong(path, `a duration such as "30s" or "10m"`, v)
}

func (d *decoder) size(path string, v any, into reflect.Value) {
	switch v := v.(type) {
	case int64:
		if v >= 0 {
			into.SetInt(v)
			return
		}
	case string:
		if n, ok := parseSize(v); ok {
			into.SetInt(n)
			return
		}
	}
	d.wrong(path, `a size such as "512M" or "4GiB"`, v)
}

func (d *decoder) secret(path string, v any, into reflect.Value) {
	s, _ := v.(string)
	if sec, ok := parseSecret(s); ok {
		into.Set(reflect.ValueOf(sec))
		return
	}
	d.problems = append(d.problems, d.src.atValue(path, "a secret stands here by reference only",
		"write env:NAME, file:PATH, cmd:COMMAND or prompt"))
}

func (d *decoder) wrong(path, want string, v any) {
	d.problems = append(d.problems, d.src.atValue(path, "wants "+want+", not "+describe(v), ""))
}

func describe(v any) string {
	switch v := v.(type) {
	case string:
		return "the text " + strconv.Quote(v)
	case int64, float64:
		return fmt.Sprint("the number ", v)
	case bool:
		return fmt.Sprint(v)
	case map[string]any:
		return "a table"
	case []any, []map[string]any:
		return "a list"
	}
	return "a date"
}

// parseSize reads 1024, 512K, 512KB, 512KiB, 4G …: always powers of 1024, as systemd and RocketMQ count.
func parseSize(s string) (int64, bool) {
	t := strings.TrimSuffix(strings.TrimSuffix(strings.ToUpper(strings.TrimSpace(s)), "B"), "I")
	shift := 0
	if t != "" {
		if i := strings.IndexByte("KMGT", t[len(t)-1]); i >= 0 {
			shift, t = 10*(i+1), t[:len(t)-1]
		}
	}
	n, err := strconv.ParseInt(strings.TrimSpace(t), 10, 64)
	if err != nil || n < 0 || n > (1<<62)>>shift {
		return 0, false
	}
	return n << shift, true
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}
