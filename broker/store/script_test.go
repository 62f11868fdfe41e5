package store

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"rmqctl/internal/message"
	"rmqctl/internal/vfs"
)

// TestScripts plays testdata/script on memory and on the real file system; both must answer the same.
//
//	append topic=T queue=0 body=N n=N     batch topic=T n=N      flush | save | checkpoint
//	kill | close (then the store is opened again)                damage at=N
//	state | read topic=T queue=0 | key topic=T key=K | check
func TestScripts(t *testing.T) {
	for _, kind := range []string{"mem", "os"} {
		datadriven.Walk(t, "testdata/script", func(t *testing.T, path string) {
			t.Run(kind, func(t *testing.T) {
				p := newPlayer(t, kind)
				datadriven.RunTest(t, path, p.play)
				mustClose(t, p.s)
			})
		})
	}
}

type player struct {
	t    *testing.T
	fsys vfs.FS
	o    Options
	s    *Store
	said []string
	n    int
}

func newPlayer(t *testing.T, kind string) *player {
	p := &player{t: t, fsys: vfs.NewMem(), o: small("/store")}
	if kind == "os" {
		p.fsys, p.o.Dir = vfs.OS, t.TempDir()
	}
	p.o.Events.OnCorrupt = func(what string, off int64) {
		p.said = append(p.said, strings.ReplaceAll(fmt.Sprintf("%d: %s", off, what), p.o.Dir, "DIR"))
	}
	p.o.Clock = fakeClock()
	p.s = mustOpen(t, p.fsys, p.o)
	return p
}

func (p *player) play(t *testing.T, d *datadriven.TestData) string {
	topic, queue, n, body, key, at := "T", 0, 1, 10, "", 0
	scan(t, d, "topic", &topic)
	scan(t, d, "queue", &queue)
	scan(t, d, "n", &n)
	scan(t, d, "body", &body)
	scan(t, d, "key", &key)
	scan(t, d, "at", &at)
	switch d.Cmd {
	case "append":
		return p.append(topic, int32(queue), n, body)
	case "batch":
		return p.batch(topic, int32(queue), n, body)
	case "flush":
		return word(p.s.Flush())
	case "save":
		return word(p.s.table.Save(0, false))
	case "checkpoint":
		return word(p.s.Checkpoint())
	case "kill":
		abandon(p.s)
		return p.reopen()
	case "close":
		mustClose(t, p.s)
		return p.reopen()
	case "damage":
		seg := p.s.clog.Segments()[int64(at)/p.o.SegmentSize]
		return word(seg.WriteAt([]byte("damage!!"), int64(at)-seg.Base()))
	case "state":
		return p.state()
	case "read":
		return fmt.Sprintln(strings.ReplaceAll(strings.Join(bodies(t, p.s, topic, int32(queue)), " "), ".", ""))
	case "key":
		r, err := p.s.Query(topic, key, 10, 0, 1<<60)
		return fmt.Sprintf("%d messages, %s", len(r.Messages), word(err))
	case "check":
		return strings.Join(append(p.s.Check(), "checked"), "\n") + "\n"
	}
	t.Fatalf("%s: unknown command %s", d.Pos, d.Cmd)
	return ""
}

func word(err error) string {
	if err != nil {
		return err.Error() + "\n"
	}
	return "ok\n"
}

func (p *player) message(topic string, queue int32, size int) *message.Message {
	p.n++
	text := fmt.Sprintf("m%d", p.n)
	return msg(topic, queue, text+strings.Repeat(".", max(size-len(text), 0)), "UNIQ_KEY", text)
}

func (p *player) append(topic string, queue int32, n, size int) string {
	var r PutResult
	for range n {
		r = mustAppend(p.t, p.s, p.message(topic, queue, size))
	}
	return fmt.Sprintf("last at offset %d, log %d to %d\n", r.QueueOffset, r.PhysicalOffset, r.NextOffset)
}

func (p *player) batch(topic string, queue int32, n, size int) string {
	var items []message.BatchItem
	for range n {
		items = append(items, message.BatchItem{Body: p.message(topic, queue, size).Body})
	}
	r, err := p.s.AppendBatch(msg(topic, queue, ""), items)
	return fmt.Sprintf("%s first at offset %d, log %d to %d, %s", r.Status, r.QueueOffset, r.PhysicalOffset, r.NextOffset, word(err))
}

func (p *player) reopen() string {
	p.said = nil
	p.s = mustOpen(p.t, p.fsys, p.o)
	return strings.Join(append(p.said, fmt.Sprintf("log ends at %d", p.s.MaxPhysical())), "\n") + "\n"
}

func (p *player) state() string {
	var b strings.Builder
	for _, seg := range p.s.clog.Segments() {
		if seg.Base() >= p.s.MaxPhysical() {
			continue // made ahead, or just not yet
		}
		fmt.Fprintf(&b, "segment %s to %d\n", filepath.Base(seg.Path()), seg.End())
	}
	for _, topic := range p.s.Topics() {
		for _, q := range p.s.Queues(topic) {
			fmt.Fprintf(&b, "%s/%d %d to %d\n", topic, q, p.s.MinOffset(topic, q), p.s.MaxOffset(topic, q))
		}
	}
	return b.String()
}

// scan reads an argument that may be missing.
func scan(t *testing.T, d *datadriven.TestData, name string, to any) {
	if d.HasArg(name) {
		d.ScanArgs(t, name, to)
	}
}
