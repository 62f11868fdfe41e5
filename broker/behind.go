// What the tables must not say after a crash: a table file that is damaged, an offset beyond the end of its queue.

package broker

import (
	"rmqctl/internal/jsonfile"
	"rmqctl/internal/protocol"
)

// tellDoubts says which texts of a table are passed over.
func (b *Broker) tellDoubts(name string) {
	anything := func(text []byte) error {
		var v struct{}
		return protocol.DecodeJSON(text, &v)
	}
	for _, why := range jsonfile.Doubts(b.o.FS, name, anything) {
		b.log.Warn("a table is damaged, the one before is taken", "file", name, "err", why)
	}
}

// mostTold bounds what is logged of one kind.
const mostTold = 20

// setBack puts offsets that lie beyond the end of their queue back to it. With ASYNC_FLUSH a power cut may take the end of
// the log and leave the offsets: messages put since would get the numbers of the lost ones, and be skipped.
func (b *Broker) setBack() {
	n := 0
	for key, queues := range b.offsets.Snapshot() {
		for queue, at := range queues {
			end := b.store.MaxOffset(key.Topic, queue)
			if at <= end {
				continue
			}
			b.offsets.Commit(key.Group, key.Topic, queue, end)
			if n++; n <= mostTold {
				b.log.Warn("offset set back to the end of the queue", "group", key.Group, "topic", key.Topic, "queue", queue, "from", at, "to", end)
			}
		}
	}
	if n > mostTold {
		b.log.Warn("offsets set back to the ends of their queues", "count", n)
	}
}
