package jsonfile

import (
	"bytes"
	"encoding/json"
	"errors"
	"testing"

	"rmqctl/internal/vfs"
)

func TestLayoutIsFastjsons(t *testing.T) {
	for compact, want := range map[string]string{
		`{"offsetTable":{"T@G":{0:12,1:13}}}`: "{\n\t\"offsetTable\":{\n\t\t\"T@G\":{0:12,1:13\n\t\t}\n\t}\n}",
		`{"a":{},"b":[],"c":"x,{\"y"}`:        "{\n\t\"a\":{},\n\t\"b\":[],\n\t\"c\":\"x,{\\\"y\"\n}",
	} {
		if got := string(Indent([]byte(compact))); got != want {
			t.Errorf("%s:\n%s", compact, got)
		}
	}
}

func TestTheBakIsReadWhenTheFileIsMissingEmptyOrBroken(t *testing.T) {
	decode := func(b []byte) error {
		if !bytes.HasPrefix(b, []byte("{")) {
			return errors.New("not a table")
		}
		return nil
	}
	for name, row := range map[string]struct {
		file, bak string
		found     bool
		fails     bool
	}{
		"neither":               {},
		"only the file":         {file: "{}", found: true},
		"only the bak":          {bak: "{}", found: true},
		"empty file":            {file: "-", bak: "{}", found: true},
		"broken file":           {file: "x", bak: "{}", found: true},
		"broken file, no bak":   {file: "x", fails: true},
		"broken file, bad .bak": {file: "x", bak: "y", fails: true},
	} {
		m := newMem(t)
		put := func(name, text string) {
			if text == "" {
				return
			}
			if text == "-" {
				text = ""
			}
			if err := vfs.WriteFileAtomic(m, name, []byte(text), 0o640); err != nil {
				t.Fatal(err)
			}
		}
		put("/c/t.json", row.file)
		put("/c/t.json.bak", row.bak)
		found, err := Load(m, "/c/t.json", decode)
		if found != row.found || (err != nil) != row.fails {
			t.Errorf("%s: found %v, %v", name, found, err)
		}
	}
}

func TestSaveKeepsThePreviousText(t *testing.T) {
	m := newMem(t)
	for _, text := range []string{`{"a":1}`, `{"a":2}`} {
		if err := Save(m, "/c/t.json", []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]string{"/c/t.json": "{\n\t\"a\":2\n}", "/c/t.json.bak": "{\n\t\"a\":1\n}"} {
		if b, err := vfs.ReadFile(m, name); err != nil || string(b) != want {
			t.Errorf("%s: %q, %v", name, b, err)
		}
	}
}

func FuzzIndent(f *testing.F) {
	f.Add([]byte(`{"a":{"b":[1,{"c":"\"d"}]}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		var want, got bytes.Buffer
		if json.Compact(&want, text) != nil {
			Indent(text)
			return
		}
		if err := json.Compact(&got, Indent(want.Bytes())); err != nil || got.String() != want.String() {
			t.Errorf("%q laid out is %q, %v", want.String(), got.String(), err)
		}
	})
}

func newMem(t *testing.T) *vfs.Mem {
	m := vfs.NewMem()
	if err := m.MkdirAll("/c", 0o755); err != nil {
		t.Fatal(err)
	}
	return m
}
