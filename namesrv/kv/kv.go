// Package kv is the name server's key-value configuration: texts by namespace and key, kept in kvConfig.json as
// RocketMQ keeps them. Ordered topics are described in it.
package kv

import (
	"fmt"
	"maps"
	"path/filepath"
	"sync"

	"rmqctl/internal/jsonfile"
	"rmqctl/internal/protocol"
	"rmqctl/internal/vfs"
)

// Store is the configuration and its file.
type Store struct {
	fsys vfs.FS
	path string

	mu     sync.RWMutex // guards tables; held over the write of the file, so that the file has the order of the changes
	tables map[string]map[string]string
}

// file is the layout of kvConfig.json.
type file struct {
	Tables map[string]map[string]string `json:"configTable"`
}

// Open loads the file at path; a missing one is an empty configuration.
func Open(fsys vfs.FS, path string) (*Store, error) {
	var f file
	_, err := jsonfile.Load(fsys, path, func(text []byte) error {
		f = file{}
		return protocol.DecodeJSON(text, &f)
	})
	if err != nil {
		return nil, fmt.Errorf("key-value configuration: %w", err)
	}
	s := &Store{fsys: fsys, path: path, tables: map[string]map[string]string{}}
	for namespace, table := range f.Tables {
		if table != nil {
			s.tables[namespace] = table
		}
	}
	return s, nil
}

// Get is one value.
func (s *Store) Get(namespace, key string) (string, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	v, ok := s.tables[namespace][key]
	return v, ok
}

// Namespace is a copy of all values of one; false when nothing was ever put there.
func (s *Store) Namespace(namespace string) (map[string]string, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	t, ok := s.tables[namespace]
	return maps.Clone(t), ok
}

// Put sets a value. When it returns without an error the file has it; with one, nothing has changed.
func (s *Store) Put(namespace, key, value string) error {
	return s.change(namespace, func(t map[string]string) { t[key] = value })
}

// Delete removes a value, if it is there.
func (s *Store) Delete(namespace, key string) error {
	if _, ok := s.Get(namespace, key); !ok {
		return nil
	}
	return s.change(namespace, func(t map[string]string) { delete(t, key) })
}

func (s *Store) change(namespace string, do func(map[string]string)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	table := maps.Clone(s.tables[namespace])
	if table == nil {
		table = map[string]string{}
	}
	do(table)
	next := maps.Clone(s.tables)
	next[namespace] = table
	if err := s.save(next); err != nil {
		return fmt.Errorf("key-value configuration: %w", err)
	}
	s.tables = next
	return nil
}

func (s *Store) save(tables map[string]map[string]string) error {
	text, err := protocol.EncodeJSON(file{tables})
	if err != nil {
		return err
	}
	if err := s.fsys.MkdirAll(filepath.Dir(s.path), 0o750); err != nil {
		return err
	}
	return jsonfile.Save(s.fsys, s.path, text)
}
