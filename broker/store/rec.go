package store

// What is to be published about one record once its bytes are written: its unit in its queue, its keys in the index.

import (
	"strconv"
	"time"

	"rmqctl/broker/store/consumequeue"
	"rmqctl/broker/store/index"
	"rmqctl/internal/message"
)

// rec is what must be published about one record.
type rec struct {
	queue *consumequeue.Queue // nil: prepared and rollback messages have no place in a queue
	at    int64               // queue offset
	unit  consumequeue.Unit
	store int64         // store timestamp
	taken time.Duration // clock.Mono
	keys  keyHashes
	done  Done   // told when the round is done; nil: nobody waits, or he was told already
	batch *batch // the record is the last of it
}

// end is where the record ends in the log.
func (r *rec) end() int64 { return r.unit.Phys + int64(r.unit.Size) }

// result is what becomes known to who has put the record, or the batch that ends with it.
func (r *rec) result() PutResult {
	p := PutResult{PhysicalOffset: r.unit.Phys, Size: int(r.unit.Size), QueueOffset: r.at, StoreTimestamp: r.store, Count: 1,
		NextOffset: r.unit.Phys + int64(r.unit.Size)}
	b := r.batch
	if b == nil {
		return p
	}
	ids := make([]byte, 0, len(b.msgs)*33)
	for i := range b.msgs {
		if i > 0 {
			ids = append(ids, ',')
		}
		ids = message.AppendOffsetID(ids, b.msgs[i].StoreHost, b.msgs[i].PhysicalOffset)
	}
	first := &b.msgs[0]
	p.PhysicalOffset, p.QueueOffset, p.Size, p.Count, p.MessageIDs = first.PhysicalOffset, first.QueueOffset, b.size, len(b.msgs), string(ids)
	return p
}

// keyHashes are the index hashes of one message. Few messages have more than four keys.
type keyHashes struct {
	n    int
	few  [4]int32
	more []int32
}

func (k *keyHashes) add(h int32) {
	if k.n < len(k.few) {
		k.few[k.n] = h
	} else {
		k.more = append(k.more, h)
	}
	k.n++
}

// at is the i-th hash.
func (k *keyHashes) at(i int) int32 {
	if i < len(k.few) {
		return k.few[i]
	}
	return k.more[i-len(k.few)]
}

// prepare does outside the lock what needs no offset: checksum, hashes.
func (s *Store) prepare(m *message.Message, r *rec) {
	m.BodyCRC = message.BodyCRC(m.Body)
	if tags := message.PropertyBytes(m.Properties, message.PropTags); tags != nil {
		r.unit.Tags = message.TagHash(string(tags))
	}
	s.keysOf(m.Topic, m.Properties, m.SysFlag, &r.keys)
}

// keysOf collects the index hashes of a message: UNIQ_KEY and each of KEYS; nothing for a rollback.
func (s *Store) keysOf(topic string, props []byte, sysFlag int32, k *keyHashes) {
	if s.index == nil || sysFlag&message.SysTransactionMask == message.SysRollback {
		return
	}
	if u := message.PropertyBytes(props, message.PropUniqKey); u != nil {
		k.add(index.Hash(topic, string(u)))
	}
	keys := message.PropertyBytes(props, message.PropKeys)
	for len(keys) > 0 {
		i := 0
		for i < len(keys) && keys[i] != ' ' {
			i++
		}
		if i > 0 {
			k.add(index.Hash(topic, string(keys[:i])))
		}
		keys = keys[min(i+1, len(keys)):]
	}
}

// hasQueue tells whether a message takes a place in its queue.
func hasQueue(sysFlag int32) bool {
	t := sysFlag & message.SysTransactionMask
	return t != message.SysPrepared && t != message.SysRollback
}

func delayLevel(props []byte) (int, bool) {
	b := message.PropertyBytes(props, message.PropDelay)
	if b == nil {
		return 0, false
	}
	n, err := strconv.Atoi(string(b))
	return n, err == nil && n > 0
}

func (s *Store) deliverTime(level int, at int64) int64 {
	if s.o.DeliverTime == nil {
		return at + 1000
	}
	return s.o.DeliverTime(level, at)
}
