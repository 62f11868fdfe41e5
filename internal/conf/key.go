// Package conf holds configuration keys as tables: one row says a key's name, type, default, unit, range and whether
// it may be changed while the program runs. Reading files, updating, printing and documenting follow from the rows.
package conf

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Set is the table of one program: its rows in the order they are documented.
type Set []*Key

// Key is one row. Make it with String, Int, Bool, Millis and so on, which bind it to the field it sets.
type Key struct {
	Name    string
	Aliases []string // other spellings that are accepted in files
	Doc     string
	Type    string   // text, int, decimal, true/false, ms, s, h, bytes; the words of an enum
	Default string   // as it would be written in a file
	Words   []string // of an enum
	Live    bool     // may be changed while the program runs
	Section string   // heading in the documentation
	NoUse   string   // why the key has no effect; "" for a key that acts
	Env     string   // environment variable that gives it a value when no file does

	low, high int64 // bounds of a number
	refused   bool  // NoUse, and any value but the default is an error
	set       func(text string) error
	get       func() string
}

// IsLive marks a key that takes effect without a restart.
func (k *Key) IsLive() *Key { k.Live = true; return k }

// Alias adds another spelling.
func (k *Key) Alias(names ...string) *Key { k.Aliases = append(k.Aliases, names...); return k }

// FromEnv names the environment variable that stands in when no file sets the key.
func (k *Key) FromEnv(name string) *Key { k.Env = name; return k }

// Range bounds a number, both ends included.
func (k *Key) Range(low, high int64) *Key { k.low, k.high = low, high; return k }

// Check adds a test that a value has to pass as well.
func (k *Key) Check(test func(value string) error) *Key {
	set := k.set
	k.set = func(s string) error {
		if err := test(s); err != nil {
			return err
		}
		return set(s)
	}
	return k
}

// String is a text; blanks around it are dropped, as RocketMQ does.
func String(field *string, name, def, doc string) *Key {
	return &Key{Name: name, Doc: doc, Type: "text", Default: def,
		set: func(s string) error { *field = strings.TrimSpace(s); return nil },
		get: func() string { return *field }}
}

// Int is a number that Java holds in an int.
func Int(field *int, name string, def int, doc string) *Key {
	return number(name, "int", int64(def), doc, math.MinInt32, math.MaxInt32,
		func(n int64) { *field = int(n) }, func() int64 { return int64(*field) })
}

// Int64 is a number that Java holds in a long.
func Int64(field *int64, name string, def int64, doc string) *Key {
	return number(name, "int", def, doc, math.MinInt64, math.MaxInt64,
		func(n int64) { *field = n }, func() int64 { return *field })
}

// Bytes is a size in bytes, not negative.
func Bytes(field *int64, name string, def int64, doc string) *Key {
	return number(name, "bytes", def, doc, 0, math.MaxInt64,
		func(n int64) { *field = n }, func() int64 { return *field })
}

// Float is a decimal number.
func Float(field *float64, name string, def float64, doc string) *Key {
	k := &Key{Name: name, Doc: doc, Type: "decimal", Default: formatFloat(def)}
	k.get = func() string { return formatFloat(*field) }
	k.set = func(s string) error {
		f, err := strconv.ParseFloat(s, 64)
		if err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
			return fmt.Errorf("%q is not a number", s)
		}
		if k.low != k.high && (f < float64(k.low) || f > float64(k.high)) {
			return fmt.Errorf("%s is not between %d and %d", s, k.low, k.high)
		}
		*field = f
		return nil
	}
	return k
}

// Millis is a duration written in milliseconds, not negative.
func Millis(field *time.Duration, name string, def time.Duration, doc string) *Key {
	return duration(field, name, "ms", time.Millisecond, def, doc)
}

// Seconds is a duration written in seconds, not negative.
func Seconds(field *time.Duration, name string, def time.Duration, doc string) *Key {
	return duration(field, name, "s", time.Second, def, doc)
}

// Hours is a duration written in hours, not negative.
func Hours(field *time.Duration, name string, def time.Duration, doc string) *Key {
	return duration(field, name, "h", time.Hour, def, doc)
}

// Bool is true or false in any case. Java takes every other word for false; here it is an error.
func Bool(field *bool, name string, def bool, doc string) *Key {
	return &Key{Name: name, Doc: doc, Type: "true/false", Default: strconv.FormatBool(def),
		get: func() string { return strconv.FormatBool(*field) },
		set: func(s string) error {
			switch strings.ToLower(s) {
			case "true":
				*field = true
			case "false":
				*field = false
			default:
				return fmt.Errorf("%q is neither true nor false", s)
			}
			return nil
		}}
}

// Enum is one of the words given, in capitals or not; def is one of them.
func Enum[T ~string](field *T, name string, def T, doc string, others ...T) *Key {
	words := []string{string(def)}
	for _, w := range others {
		words = append(words, string(w))
	}
	return &Key{Name: name, Doc: doc, Type: strings.Join(words, ", "), Default: string(def), Words: words,
		get: func() string { return string(*field) },
		set: func(s string) error {
			for _, w := range words {
				if strings.EqualFold(w, s) {
					*field = T(w)
					return nil
				}
			}
			return fmt.Errorf("%q is not one of %s%s", s, strings.Join(words, ", "), didYouMean(nearest(s, words)))
		}}
}

// Known is a key of RocketMQ that is accepted and has no effect here, and why.
func Known(name, def, why string) *Key {
	k := &Key{Name: name, Default: def, NoUse: why}
	value := def
	k.set = func(s string) error { value = s; return nil }
	k.get = func() string { return value }
	return k
}

// Unserved is a key of RocketMQ that asks for something this program does not do, and would be dangerous to ignore:
// any value but the default is refused.
func Unserved(name, def, why string) *Key {
	k := Known(name, def, why)
	k.refused = true
	k.set = func(s string) error {
		if !strings.EqualFold(s, def) {
			return fmt.Errorf("only %q is served: %s", def, why)
		}
		return nil
	}
	return k
}

// Knowns makes Known rows of "name=default name=default", which share a reason.
func Knowns(why, pairs string) Set {
	var rows Set
	for _, pair := range strings.Fields(pairs) {
		name, def, _ := strings.Cut(pair, "=")
		rows = append(rows, Known(name, def, why))
	}
	return rows
}

// Section puts a heading over rows.
func Section(title string, rows ...*Key) Set {
	for _, k := range rows {
		k.Section = title
	}
	return rows
}

// Join makes one table of several.
func Join(sets ...Set) Set {
	var all Set
	for _, s := range sets {
		all = append(all, s...)
	}
	return all
}

// Find is the row of a name or of an alias.
func (s Set) Find(name string) (*Key, bool) {
	for _, k := range s {
		for _, n := range k.names() {
			if n == name {
				return k, true
			}
		}
	}
	return nil, false
}

// Nearest is the name, or alias, that a misspelt one was probably meant to be; "" when none is near.
func (s Set) Nearest(name string) string {
	var names []string
	for _, k := range s {
		names = append(names, k.names()...)
	}
	return nearest(name, names)
}

// Set gives the row's field a value as it is written in a file. To check a value only, take the rows of a
// configuration that is thrown away.
func (k *Key) Set(text string) error { return k.set(strings.TrimSpace(text)) }

// Value is what the row's field holds now, as it would be written in a file.
func (k *Key) Value() string { return k.get() }

// names is every spelling, the proper one first.
func (k *Key) names() []string { return append([]string{k.Name}, k.Aliases...) }

func number(name, unit string, def int64, doc string, low, high int64, store func(int64), load func() int64) *Key {
	k := &Key{Name: name, Doc: doc, Type: unit, Default: strconv.FormatInt(def, 10), low: low, high: high}
	k.get = func() string { return strconv.FormatInt(load(), 10) }
	k.set = func(s string) error {
		n, err := k.parse(s)
		if err == nil {
			store(n)
		}
		return err
	}
	return k
}

func (k *Key) parse(s string) (int64, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil && !isNumber(s) {
		return 0, fmt.Errorf("%q is not a whole number", s)
	}
	if err != nil || n < k.low || n > k.high {
		return 0, fmt.Errorf("%s is not between %d and %d", s, k.low, k.high)
	}
	return n, nil
}

// isNumber: an integer that merely does not fit is told apart from a word.
func isNumber(s string) bool {
	digits := strings.TrimLeft(s, "+-")
	return digits != "" && strings.Trim(digits, "0123456789") == "" && len(s)-len(digits) < 2
}

func duration(field *time.Duration, name, unit string, one, def time.Duration, doc string) *Key {
	return number(name, unit, int64(def/one), doc, 0, math.MaxInt64/int64(one),
		func(n int64) { *field = time.Duration(n) * one }, func() int64 { return int64(*field / one) })
}

func formatFloat(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }
