package kv

import (
	"reflect"
	"strings"
	"testing"

	"rmqctl/internal/vfs"
)

const path = "/data/namesrv/kvConfig.json"

func open(t *testing.T, fsys vfs.FS) *Store {
	t.Helper()
	s, err := Open(fsys, path)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestPutSurvivesAPowerCut(t *testing.T) {
	disk := vfs.NewMem()
	s := open(t, disk)
	if _, ok := s.Namespace("ORDER_TOPIC_CONFIG"); ok {
		t.Error("an empty store has a namespace")
	}
	for _, e := range [][2]string{{"T1", "broker-a:4"}, {"T2", "broker-a:4;broker-b:4"}, {"T1", "broker-a:8"}} {
		if err := s.Put("ORDER_TOPIC_CONFIG", e[0], e[1]); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Delete("ORDER_TOPIC_CONFIG", "T2"); err != nil {
		t.Fatal(err)
	}
	if err := s.Delete("nowhere", "T2"); err != nil {
		t.Fatal(err)
	}
	got, ok := open(t, disk).Namespace("ORDER_TOPIC_CONFIG")
	if !ok || !reflect.DeepEqual(got, map[string]string{"T1": "broker-a:8"}) {
		t.Errorf("%v %v", got, ok)
	}
	text, err := vfs.ReadFile(disk, path)
	if want := "{\n\t\"configTable\":{\n\t\t\"ORDER_TOPIC_CONFIG\":{\n\t\t\t\"T1\":\"broker-a:8\"\n\t\t}\n\t}\n}"; err != nil || string(text) != want {
		t.Errorf("%s %v", text, err)
	}
}

func TestReadsWhatRocketMQWrote(t *testing.T) {
	disk := vfs.NewMem()
	if err := disk.MkdirAll("/data/namesrv", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := vfs.WriteFileAtomic(disk, path, []byte("{\n\t\"configTable\":{\n\t\t\"NS\":{\"K\":\"V\"\n\t\t},\"empty\":null}\n}"), 0o644); err != nil {
		t.Fatal(err)
	}
	s := open(t, disk)
	if v, ok := s.Get("NS", "K"); !ok || v != "V" {
		t.Errorf("%q %v", v, ok)
	}
	if _, ok := s.Get("empty", "K"); ok {
		t.Error("null is a value")
	}
}

func TestABrokenFileIsRefusedAndNotOverwritten(t *testing.T) {
	disk := vfs.NewMem()
	if err := disk.MkdirAll("/data/namesrv", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := vfs.WriteFileAtomic(disk, path, []byte("{\"configTable\":{"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(disk, path); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("%v", err)
	}
}
