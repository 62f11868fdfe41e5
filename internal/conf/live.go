package conf

// This file turns tables and settings into a configuration that readers can take a snapshot of.

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/agnivade/levenshtein"
)

// ErrNeedsRestart: the key is known but is read at start only.
var ErrNeedsRestart = errors.New("needs a restart")

// Error is a setting that cannot be used.
type Error struct {
	Prop
	Err error
}

func (e *Error) Error() string {
	if e.File == "" {
		return e.Key + ": " + e.Err.Error()
	}
	return e.Pos() + ": " + e.Key + ": " + e.Err.Error()
}

func (e *Error) Unwrap() error { return e.Err }

// Warning is something the user should know though the program goes on.
type Warning struct {
	Prop
	Text string
}

func (w Warning) String() string { return (&Error{w.Prop, errors.New(w.Text)}).Error() }

// Finding is what there is to say about settings that are fine one by one.
type Finding struct {
	Key   string
	Text  string
	Fatal bool // the configuration is refused
}

// finisher is a configuration that fills what was left empty from other fields and says what does not go together.
type finisher interface{ Finish() []Finding }

// Live is a configuration that may change while it is read: readers Load a snapshot, Update swaps it.
type Live[T any] struct {
	keys    func(*T) Set
	current atomic.Pointer[T]

	mu       sync.Mutex        // guards what follows, and makes updates one at a time
	unknown  []Prop            // settings without a row, kept so that they can be shown
	ignored  map[string]string // settings of Known rows
	watchers map[string][]func(*T)
}

// NewLive applies the layers in their order (a later one wins) to the defaults of the table. All errors are reported
// together; warnings name unknown keys, keys without effect, doubtful values.
func NewLive[T any](keys func(*T) Set, layers ...[]Prop) (*Live[T], []Warning, error) {
	l := &Live[T]{keys: keys, ignored: map[string]string{}, watchers: map[string][]func(*T){}}
	c := new(T)
	set := keys(c)
	if err := set.setDefaults(); err != nil {
		return nil, nil, err
	}
	a := applier{set: set, origin: map[*Key]Prop{}}
	for _, layer := range layers {
		a.apply(layer)
	}
	found, err := finish(c, set, a.origin)
	a.warnings = append(a.warnings, found...)
	if err := errors.Join(append(a.errs, err)...); err != nil {
		return nil, a.warnings, err
	}
	for k, p := range a.origin {
		if k.NoUse != "" {
			l.ignored[k.Name] = p.Value
		}
	}
	l.unknown = a.unknown
	l.current.Store(c)
	return l, a.warnings, nil
}

// Load is the configuration as it is now. Take it once per request; never change what it points to.
func (l *Live[T]) Load() *T { return l.current.Load() }

// OnChange calls f after each Update that gave the key another value.
func (l *Live[T]) OnChange(key string, f func(*T)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, ok := l.keys(new(T)).Find(key); !ok {
		panic("conf: OnChange of unknown key " + key)
	}
	l.watchers[key] = append(l.watchers[key], f)
}

// Update sets keys while the program runs: all of them, or none and an error that names each one at fault.
// A key that is not live may be mentioned if its value stays what it is.
func (l *Live[T]) Update(values map[string]string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	next := *l.current.Load()
	set := l.keys(&next)
	var errs []error
	var changed []string
	for _, name := range sortedKeys(values) {
		key, did, err := l.changeLocked(set, name, values[name])
		if err != nil {
			errs = append(errs, &Error{Prop{Key: name}, err})
		}
		if did {
			changed = append(changed, key)
		}
	}
	if _, err := finish(&next, set, nil); err != nil {
		errs = append(errs, err)
	}
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	l.current.Store(&next)
	for _, key := range changed {
		for _, f := range l.watchers[key] {
			f(&next)
		}
	}
	return nil
}

// changeLocked sets one key of the copy that is about to become current.
func (l *Live[T]) changeLocked(set Set, name, value string) (key string, changed bool, err error) {
	k, ok := set.Find(name)
	if !ok {
		return name, false, fmt.Errorf("unknown key%s", didYouMean(set.Nearest(name)))
	}
	if k.NoUse != "" && !k.refused {
		return k.Name, false, fmt.Errorf("known, has no effect: %s", k.NoUse)
	}
	old := k.get()
	if err := k.set(strings.TrimSpace(value)); err != nil {
		return k.Name, false, err
	}
	if changed = k.get() != old; changed && !k.Live {
		return k.Name, false, ErrNeedsRestart
	}
	return k.Name, changed, nil
}

// Values are all settings as text: acting ones as they are, then those without effect and unknown ones if they were given.
func (l *Live[T]) Values() []Prop {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := *l.current.Load()
	var props []Prop
	for _, k := range l.keys(&c) {
		if k.NoUse == "" {
			props = append(props, Prop{Key: k.Name, Value: k.get()})
		}
	}
	for _, name := range sortedKeys(l.ignored) {
		props = append(props, Prop{Key: name, Value: l.ignored[name]})
	}
	return append(props, l.unknown...)
}

// Properties is Values as .properties text, one line per key.
func (l *Live[T]) Properties() string {
	var b strings.Builder
	for _, p := range l.Values() {
		b.WriteString(FormatProp(p.Key, p.Value) + "\n")
	}
	return b.String()
}

// EditFile sets keys in the text of the file they came from; see Edit.
func (l *Live[T]) EditFile(text string, values map[string]string) (string, error) {
	set := l.keys(new(T))
	proper := map[string]string{}
	for name, v := range values {
		if k, ok := set.Find(name); ok {
			name = k.Name
		}
		proper[name] = strings.TrimSpace(v)
	}
	return Edit(text, sortedKeys(proper), proper, func(key string) []string {
		if k, ok := set.Find(key); ok {
			return k.names()
		}
		return []string{key}
	})
}

// Environment is the layer of settings that environment variables give.
func (s Set) Environment(lookup func(string) (string, bool)) []Prop {
	var props []Prop
	for _, k := range s {
		if k.Env == "" {
			continue
		}
		if v, ok := lookup(k.Env); ok && v != "" {
			props = append(props, Prop{Key: k.Name, Value: v, File: "environment " + k.Env})
		}
	}
	return props
}

func (s Set) setDefaults() error {
	for _, k := range s {
		if err := k.set(k.Default); err != nil {
			return fmt.Errorf("default of %s: %w", k.Name, err)
		}
	}
	return nil
}

// applier sets keys from layers and collects what there is to say.
type applier struct {
	set      Set
	origin   map[*Key]Prop // where each key was last set
	unknown  []Prop
	warnings []Warning
	errs     []error
}

func (a *applier) apply(layer []Prop) {
	seen := map[*Key]Prop{}
	for _, p := range layer {
		k, ok := a.set.Find(p.Key)
		if !ok {
			a.warn(p, "unknown key, ignored"+didYouMean(a.set.Nearest(p.Key)))
			a.unknown = append(a.unknown, p)
			continue
		}
		if before, twice := seen[k]; twice {
			a.warn(p, fmt.Sprintf("also set as %s at %s; this one counts", before.Key, before.Pos()))
		}
		seen[k], a.origin[k] = p, p
		a.set1(k, p)
	}
}

func (a *applier) set1(k *Key, p Prop) {
	if k.NoUse != "" && !k.refused {
		a.warn(p, "known, has no effect: "+k.NoUse)
	}
	v := strings.TrimSpace(p.Value)
	if v != p.Value && k.Type != "text" && k.NoUse == "" {
		a.warn(p, "blanks behind the value are dropped; RocketMQ would ignore the setting")
	}
	if err := k.set(v); err != nil {
		a.errs = append(a.errs, &Error{p, err})
	}
}

func (a *applier) warn(p Prop, text string) { a.warnings = append(a.warnings, Warning{p, text}) }

// finish completes a configuration; origin tells where a key was written.
func finish(c any, set Set, origin map[*Key]Prop) (warnings []Warning, err error) {
	x, ok := c.(finisher)
	if !ok {
		return nil, nil
	}
	var errs []error
	for _, f := range x.Finish() {
		p := Prop{Key: f.Key}
		if k, ok := set.Find(f.Key); ok && origin[k].Key != "" {
			p = origin[k]
		}
		if f.Fatal {
			errs = append(errs, &Error{p, errors.New(f.Text)})
			continue
		}
		warnings = append(warnings, Warning{p, f.Text})
	}
	return warnings, errors.Join(errs...)
}

// nearest is the name that differs in the fewest letters, if those are few.
func nearest(name string, names []string) string {
	best, at := "", max(2, len(name)/4)+1
	for _, n := range names {
		if d := levenshtein.ComputeDistance(strings.ToLower(name), strings.ToLower(n)); d < at {
			best, at = n, d
		}
	}
	return best
}

func didYouMean(name string) string {
	if name == "" {
		return ""
	}
	return "; did you mean " + name + "?"
}

func sortedKeys(m map[string]string) []string {
	return slices.Sorted(maps.Keys(m))
}
