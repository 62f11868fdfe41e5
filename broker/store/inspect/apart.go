package inspect

// One record taken apart: what its unit and its index entries should say.

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strconv"

	"rmqctl/broker/store/index"
	"rmqctl/internal/message"
)

// takeApart is a worker's share of a block.
func (s *scanner) takeApart(b *block) {
	b.items = make([]item, len(b.starts))
	for i, p := range b.starts {
		it := &b.items[i]
		if _, it.bad = it.Parse(b.buf[p:], message.Options{CheckCRC: true}); it.bad != nil {
			it.PhysicalOffset = b.base + int64(p) // Parse has set the rest
			continue
		}
		if torn(&it.Record) {
			it.bad = errTorn
			continue
		}
		it.tags = s.d.tagsCode(&it.Record)
		if s.keys {
			it.hashes = keyHashes(&it.Record)
		}
	}
}

var errTorn = errors.New("the end of the record was not written")

// torn: no checksum covers topic and properties; that they end in zeros shows a write that stopped in them.
func torn(r *message.Record) bool {
	return len(r.Topic) == 0 || r.Topic[len(r.Topic)-1] == 0 || len(r.Properties) > 0 && r.Properties[len(r.Properties)-1] == 0
}

// hasQueue: prepared messages and rollbacks take no place in a queue.
func hasQueue(r *message.Record) bool {
	t := r.SysFlag & message.SysTransactionMask
	return t != message.SysPrepared && t != message.SysRollback
}

// tagsCode is the third field of a record's unit.
func (d *Dir) tagsCode(r *message.Record) int64 {
	if string(r.Topic) == message.ScheduleTopic {
		if level, err := strconv.Atoi(string(message.PropertyBytes(r.Properties, message.PropDelay))); err == nil && level > 0 {
			if d.o.DeliverTime == nil {
				return r.StoreTimestamp + 1000
			}
			return d.o.DeliverTime(level, r.StoreTimestamp)
		}
	}
	if tags := message.PropertyBytes(r.Properties, message.PropTags); tags != nil {
		return message.TagHash(string(tags))
	}
	return 0
}

// keyHashes are the index entries of a record: UNIQ_KEY and each of KEYS.
func keyHashes(r *message.Record) []int32 {
	if r.SysFlag&message.SysTransactionMask == message.SysRollback {
		return nil
	}
	var out []int32
	topic := string(r.Topic)
	if u := message.PropertyBytes(r.Properties, message.PropUniqKey); u != nil {
		out = append(out, index.Hash(topic, string(u)))
	}
	for _, k := range bytes.Split(message.PropertyBytes(r.Properties, message.PropKeys), []byte(" ")) {
		if len(k) > 0 {
			out = append(out, index.Hash(topic, string(k)))
		}
	}
	return out
}

func allZero(b []byte) bool {
	for len(b) >= 8 && binary.NativeEndian.Uint64(b) == 0 {
		b = b[8:]
	}
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
