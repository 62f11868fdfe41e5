// The properties of a message that is sent: read once, changed as storing demands.

package processor

import (
	"bytes"

	"rmqctl/internal/message"
)

// sent is what the broker must know of the properties of a message it is about to store.
type sent struct {
	wait        bool // WAIT: the sender wants flush and replication awaited
	delay       int  // DELAY: the level, 0 for none
	transaction bool // TRAN_MSG: a half message
	props       []byte
}

// readProps looks at a message's properties once, drops WAIT, which is between sender and broker only, and adds
// CLUSTER. The text is built in buf.
//
//	name 0x01 value 0x02 name 0x01 value 0x02 ...      the last 0x02 may be missing
func readProps(buf, props []byte, cluster string) sent {
	s := sent{wait: true}
	for rest := props; len(rest) > 0; {
		entry := rest
		if end := bytes.IndexByte(rest, 0x02); end >= 0 {
			entry, rest = rest[:end], rest[end+1:]
		} else {
			rest = nil
		}
		eq := bytes.IndexByte(entry, 0x01)
		if eq <= 0 || eq+1 == len(entry) {
			continue
		}
		name, value := entry[:eq], entry[eq+1:]
		switch string(name) {
		case message.PropWait:
			s.wait = !bytes.EqualFold(value, []byte("false"))
			continue
		case message.PropCluster:
			continue
		case message.PropDelay:
			s.delay = number(value)
		case message.PropTransactionPrepared:
			s.transaction = bytes.EqualFold(value, []byte("true"))
		}
		buf = append(append(buf, entry...), 0x02)
	}
	if cluster != "" {
		buf = append(buf, message.PropCluster...)
		buf = append(append(buf, 0x01), cluster...)
		buf = append(buf, 0x02)
	}
	s.props = buf
	return s
}

// number reads a small decimal number; anything else is 0.
func number(text []byte) int {
	n := 0
	for _, c := range text {
		if c < '0' || c > '9' || n > 1<<20 {
			return 0
		}
		n = n*10 + int(c-'0')
	}
	return n
}
