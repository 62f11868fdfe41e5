package conf

import (
	"reflect"
	"strings"
	"testing"
)

func pairs(props []Prop) [][2]string {
	var out [][2]string
	for _, p := range props {
		out = append(out, [2]string{p.Key, p.Value})
	}
	return out
}

func TestParsePropertiesReadsJavasSyntax(t *testing.T) {
	tests := []struct {
		name, text string
		want       [][2]string
	}{
		{"equals, colon and blank separate", "a=1\nb:2\nc 3\nd = 4\ne : 5\nf\t=\t6\n", [][2]string{{"a", "1"}, {"b", "2"}, {"c", "3"}, {"d", "4"}, {"e", "5"}, {"f", "6"}}},
		{"comments and empty lines are dropped", "# x=1\n  ! y=2\n\n \t\nz=3", [][2]string{{"z", "3"}}},
		{"a value keeps further separators", "namesrvAddr=a:9876;b:9876\nv==x", [][2]string{{"namesrvAddr", "a:9876;b:9876"}, {"v", "=x"}}},
		{"a line goes on after a backslash", "a=1,\\\n   2,\\\r\n\t3\nb=4", [][2]string{{"a", "1,2,3"}, {"b", "4"}}},
		{"an even number of backslashes ends the line", `a=x\\` + "\nb=1", [][2]string{{"a", `x\`}, {"b", "1"}}},
		{"a comment does not go on", "# x \\\na=1", [][2]string{{"a", "1"}}},
		{"a continued line may look like a comment", "a=1\\\n#2", [][2]string{{"a", "1#2"}}},
		{"escapes in keys and values", `a\ b\=c=\ x\ty\u00e4\z`, [][2]string{{"a b=c", " x\tyäz"}}},
		{"two escapes are one character", `a=\ud83d\ude00`, [][2]string{{"a", "😀"}}},
		{"trailing blanks stay", "a=1 \t\n", [][2]string{{"a", "1 \t"}}},
		{"a key without a value", "a\nb=\n", [][2]string{{"a", ""}, {"b", ""}}},
		{"a byte order mark is no key", "\ufeffa=1", [][2]string{{"a", "1"}}},
		{"old Mac lines", "a=1\rb=2\r", [][2]string{{"a", "1"}, {"b", "2"}}},
		{"bytes of another character set in a comment", "# \xc4\xe3\na=1", [][2]string{{"a", "1"}}},
	}
	for _, tt := range tests {
		got, err := ParseProperties(strings.NewReader(tt.text), "f")
		if err != nil || !reflect.DeepEqual(pairs(got), tt.want) {
			t.Errorf("%s: %q, %v", tt.name, pairs(got), err)
		}
	}
}

func TestParsePropertiesNamesFileAndLine(t *testing.T) {
	for text, want := range map[string]string{
		"a=1\n\nb=\\u12":     "broker.properties:3: ",
		"a=1\\\n2\nb=\\u12g": "broker.properties:3: ",
		"\n=1":               "broker.properties:2: a value without a key",
		"a=1\nb=\xff":        "broker.properties:2: not UTF-8",
	} {
		if _, err := ParseProperties(strings.NewReader(text), "broker.properties"); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
	got, _ := ParseProperties(strings.NewReader("#\na=1\\\n\\\n2\nb=3"), "f")
	if got[0].Pos() != "f:2" || got[1].Pos() != "f:5" {
		t.Errorf("%v", got)
	}
}

func TestEditKeepsEverythingElse(t *testing.T) {
	text := "# broker a\nbrokerName = a\nmapedFileSizeCommitLog=1\\\n  024\n\n# retention\nfileReservedTime=48 # not a comment\nfileReservedTime=72"
	names := func(key string) []string {
		if key == "mappedFileSizeCommitLog" {
			return []string{key, "mapedFileSizeCommitLog"}
		}
		return []string{key}
	}
	got, err := Edit(text, []string{"deleteWhen", "fileReservedTime", "mappedFileSizeCommitLog"},
		map[string]string{"deleteWhen": "04;16", "fileReservedTime": "120", "mappedFileSizeCommitLog": "2048"}, names)
	want := "# broker a\nbrokerName = a\nmapedFileSizeCommitLog=2048\n\n# retention\nfileReservedTime=48 # not a comment\nfileReservedTime=120\ndeleteWhen=04;16\n"
	if err != nil || got != want {
		t.Errorf("%q %v", got, err)
	}
}

func FuzzParseProperties(f *testing.F) {
	f.Add("a=1\\\n 2\n#x\nb:\\u00e4")
	f.Add("\\u0020 = \\ud800")
	f.Fuzz(func(t *testing.T, text string) {
		props, err := ParseProperties(strings.NewReader(text), "f")
		if err != nil {
			return
		}
		var b strings.Builder
		for _, p := range props {
			b.WriteString(FormatProp(p.Key, p.Value) + "\n")
		}
		again, err := ParseProperties(strings.NewReader(b.String()), "f")
		if err != nil || !reflect.DeepEqual(pairs(again), pairs(props)) {
			t.Fatalf("%q -> %q -> %q %v", pairs(props), b.String(), pairs(again), err)
		}
		if len(props) == 0 {
			return
		}
		key := props[len(props)-1].Key
		edited, err := Edit(text, []string{key}, map[string]string{key: "new"}, func(k string) []string { return []string{k} })
		if err != nil {
			t.Fatal(err)
		}
		after, err := ParseProperties(strings.NewReader(edited), "f")
		if err != nil || len(after) != len(props) || after[len(after)-1].Value != "new" {
			t.Fatalf("%q edited to %q: %v %v", text, edited, after, err)
		}
	})
}
