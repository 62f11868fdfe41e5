package filter

import (
	"testing"

	"rmqctl/internal/message"
)

func TestExpressionAcceptsItsTagsOnly(t *testing.T) {
	for _, row := range []struct {
		expression    string
		ok, all       bool
		accepts, not  string
		notAcceptable bool
	}{
		{expression: "*", ok: true, all: true, accepts: "anything"},
		{expression: "", ok: true, all: true, accepts: ""},
		{expression: "TagA", ok: true, accepts: "TagA", not: "TagB", notAcceptable: true},
		{expression: " TagA || TagB||", ok: true, accepts: "TagB", not: "TagC", notAcceptable: true},
		{expression: "||", ok: false},
	} {
		tags, ok := Parse(row.expression)
		if ok != row.ok {
			t.Fatalf("Parse(%q) ok = %v", row.expression, ok)
		}
		if !ok {
			continue
		}
		if tags.All() != row.all || !tags.Accepts(message.TagHash(row.accepts)) {
			t.Errorf("%q: all=%v, accepts(%q)=%v", row.expression, tags.All(), row.accepts, tags.Accepts(message.TagHash(row.accepts)))
		}
		if row.notAcceptable && tags.Accepts(message.TagHash(row.not)) {
			t.Errorf("%q accepts %q", row.expression, row.not)
		}
	}
}

func TestCodesOfForeignClientsAreAcceptedBesideJavas(t *testing.T) {
	tags := Of([]string{"中"}, []int32{224985})
	if !tags.Accepts(20013) || !tags.Accepts(224985) || tags.Accepts(0) {
		t.Errorf("accepts: java %v, utf-8 %v, none %v", tags.Accepts(20013), tags.Accepts(224985), tags.Accepts(0))
	}
}

func FuzzParse(f *testing.F) {
	f.Add("TagA || TagB")
	f.Fuzz(func(t *testing.T, expression string) {
		tags, ok := Parse(expression)
		names, _ := Names(expression)
		for _, name := range names {
			if ok && !tags.Accepts(message.TagHash(name)) {
				t.Errorf("%q does not accept its own tag %q", expression, name)
			}
		}
	})
}
