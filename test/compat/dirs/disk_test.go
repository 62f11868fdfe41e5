// The directory itself, looked at while no broker has it open.

package dirs

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"

	"rmqctl/internal/message"
)

// inspect compares the files of a cleanly stopped broker with the ledger, without anybody's code in between.
func (c *chain) inspect() {
	c.t.Helper()
	if _, err := os.Stat(filepath.Join(c.dir, "abort")); err == nil {
		c.t.Errorf("abort is there after a clean stop")
	}
	if info, err := os.Stat(filepath.Join(c.dir, "checkpoint")); err != nil || info.Size() != 4096 {
		c.t.Errorf("checkpoint: %v, %v", info, err)
	}
	logMin := c.logMin()
	files := map[string][]byte{}
	read := func(name string) []byte {
		b, ok := files[name]
		if !ok {
			var err error
			if b, err = os.ReadFile(name); err != nil {
				c.t.Fatal(err)
			}
			files[name] = b
		}
		return b
	}
	for _, s := range c.ledger.spots {
		first, records := c.ledger.kept(s, logMin)
		for i, want := range records {
			r := parse(want)
			at := r.PhysicalOffset
			b := read(filepath.Join(c.dir, "commitlog", fmt.Sprintf("%020d", at/segmentSize*segmentSize)))
			if !bytes.Equal(b[at%segmentSize:][:len(want)], want) {
				c.t.Fatalf("the log at %d is not the record of %v", at, s)
			}
			const size = unitsAFile * 20
			unit := (first + int64(i)) * 20
			b = read(filepath.Join(c.dir, "consumequeue", s.topic, fmt.Sprint(s.queue), fmt.Sprintf("%020d", unit/size*size)))
			if got := b[unit%size:][:20]; !bytes.Equal(got, c.unit(r)) {
				c.t.Fatalf("%v: unit %d is %x, expected %x", s, first+int64(i), got, c.unit(r))
			}
		}
	}
}

// unit is a record's entry in its queue.
func (c *chain) unit(r *message.Record) []byte {
	code := int64(0)
	if tag, ok := message.Property(r.Properties, message.PropTags); ok {
		code = message.TagHash(tag)
	}
	if string(r.Topic) == message.ScheduleTopic {
		code = r.StoreTimestamp + levels[r.QueueID].Milliseconds()
	}
	b := binary.BigEndian.AppendUint64(nil, uint64(r.PhysicalOffset))
	b = binary.BigEndian.AppendUint32(b, uint32(r.Size))
	return binary.BigEndian.AppendUint64(b, uint64(code))
}
