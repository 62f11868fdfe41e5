// Package filter decides which queue entries a subscription wants, from the 8-byte tag code alone.
//
// The code of an entry is Java's String.hashCode of the message's TAGS (0 without one). Hash collisions pass here and
// are dropped by the client, which compares the text.
package filter

import (
	"slices"
	"strings"

	"rmqctl/internal/message"
)

// Tags is the set of tag codes a subscription accepts. The zero value accepts everything.
type Tags struct {
	codes []int64 // sorted; nil accepts everything
}

// Accepts says whether an entry with this tag code belongs to the subscription.
func (t Tags) Accepts(code int64) bool {
	if t.codes == nil {
		return true
	}
	_, found := slices.BinarySearch(t.codes, code)
	return found
}

// All says whether every entry is accepted.
func (t Tags) All() bool { return t.codes == nil }

// Parse reads a tag expression: "*" and "" mean everything, otherwise tags separated by "||".
// An expression of separators only is an error, as it is for Java.
func Parse(expression string) (Tags, bool) {
	names, ok := Names(expression)
	if !ok {
		return Tags{}, false
	}
	return Of(names, nil), true
}

// Names splits a tag expression into its tags; none for an expression that accepts everything.
func Names(expression string) (names []string, ok bool) {
	if expression == "" || expression == "*" {
		return nil, true
	}
	for _, name := range strings.Split(expression, "||") {
		if name = strings.TrimSpace(name); name != "" {
			names = append(names, name)
		}
	}
	return names, len(names) > 0
}

// Of accepts the given tags, and beside them the codes a client computed itself. Clients in other languages hash
// UTF-8 bytes where Java hashes UTF-16 units; both kinds must find their messages, and the client compares the text.
func Of(names []string, sent []int32) Tags {
	if len(names) == 0 && len(sent) == 0 {
		return Tags{}
	}
	codes := make([]int64, 0, len(names)+len(sent))
	for _, name := range names {
		codes = append(codes, message.TagHash(name))
	}
	for _, code := range sent {
		codes = append(codes, int64(code))
	}
	slices.Sort(codes)
	return Tags{codes: slices.Compact(codes)}
}
