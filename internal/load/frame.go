// Requests rendered once; sending one is a copy and a few bytes changed in place.
package load

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"

	"rmqctl/internal/protocol"
)

// Values that stand in the templates where the real ones go. All have the width of what replaces them: opaques have
// ten digits because they start at opaqueBase, header fields travel as text and take leading zeros.
const (
	opaqueBase  = 1_000_000_000
	markOpaque  = 1_987_654_321
	markBorn    = 1_999_999_999_999
	markUniqKey = "7F0000010000000000009F9F9F9F9F9F"
	uniqPrefix  = 16 // of the key, the same for all messages of a run
	markOffset  = 9_199_999_999_999_999
)

// template is a frame with places to patch; a place of -1 is not there.
type template struct {
	bytes  []byte
	binary bool
	opaque int
	born   int
	topic  int
	queue  int
	digits int // of a queue id
	uniq   int
	offset int
	body   int
}

func (t *template) find(mark string) int {
	at := bytes.Index(t.bytes, []byte(mark))
	if at < 0 || bytes.Contains(t.bytes[at+len(mark):], []byte(mark)) && t.body < 0 {
		panic("load: template does not hold " + mark + " once")
	}
	return at
}

func digitsOf(n int) int { return len(fmt.Sprint(n)) }

// queueMark is a queue id as wide as the widest, which occurs nowhere else in the frame.
func queueMark(digits int) string { return strings.Repeat("9", digits) }

// properties are what stock clients send.
func properties(key string) string {
	return "UNIQ_KEY\x01" + key + "\x02WAIT\x01true\x02TAGS\x01TagA\x02"
}

// sendTemplate renders a send with the one-letter header.
func sendTemplate(o *Options, queues int32, runID uint32, body []byte) *template {
	topic := strings.Repeat("~", len(o.Topics[0]))
	key := fmt.Sprintf("7F000001%08X", runID) + markUniqKey[uniqPrefix:]
	h := protocol.SendMessageRequestV2{
		ProducerGroup: o.Group, Topic: topic, DefaultTopic: "TBW102", DefaultTopicQueueNums: queues, QueueID: 0,
		BornTimestamp: markBorn, Properties: []byte(properties(key)),
	}
	digits := digitsOf(int(queues) - 1)
	h.QueueID = mustInt(queueMark(digits))
	cmd := protocol.Command{Code: protocol.SendMessageV2.Code, Language: protocol.LanguageGo, Version: protocol.CurrentVersion,
		Opaque: markOpaque, Encoding: o.Encoding}
	t := &template{bytes: protocol.AppendFrame(nil, &cmd, protocol.SendMessageV2.RequestHeader(&h), body), digits: digits, body: -1, offset: -1}
	head := len(t.bytes) - len(body)
	all := t.bytes
	t.bytes = all[:head]
	t.placeOpaque(o.Encoding)
	t.born = t.find(fmt.Sprint(int64(markBorn)))
	t.topic = t.find(topic)
	t.uniq = t.find(key) + uniqPrefix
	t.queue = t.field("e", queueMark(digits))
	t.bytes, t.body = all, head
	return t
}

// pullTemplate renders a pull of everything from one queue. suspendMillis > 0 asks the broker to wait for a message.
func pullTemplate(o *Options, topic string, queue int32, suspendMillis int64) *template {
	h := protocol.PullMessageRequest{
		ConsumerGroup: o.Group, Topic: topic, QueueID: queue, QueueOffset: markOffset, MaxMsgNums: o.Pull,
		SysFlag: protocol.PullSubscription, Subscription: "*", ExpressionType: protocol.ExpressionTag, SuspendTimeoutMillis: suspendMillis,
	}
	if suspendMillis > 0 {
		h.SysFlag |= protocol.PullSuspend
	}
	cmd := protocol.Command{Code: protocol.PullMessage.Code, Language: protocol.LanguageGo, Version: protocol.CurrentVersion,
		Opaque: markOpaque, Encoding: o.Encoding}
	t := &template{bytes: protocol.AppendFrame(nil, &cmd, protocol.PullMessage.RequestHeader(&h)), body: -1}
	t.placeOpaque(o.Encoding)
	t.offset = t.find(fmt.Sprint(int64(markOffset)))
	return t
}

func (t *template) placeOpaque(e protocol.Encoding) {
	if t.binary = e == protocol.Binary; t.binary {
		t.opaque = 8 + 5
		return
	}
	t.opaque = t.find(fmt.Sprint(markOpaque))
}

// field finds the place of a short value by its key.
func (t *template) field(key, value string) int {
	if t.binary {
		k := append(binary.BigEndian.AppendUint16(nil, uint16(len(key))), key...)
		k = binary.BigEndian.AppendUint32(k, uint32(len(value)))
		return t.find(string(k)+value) + len(k)
	}
	k := `"` + key + `":"`
	return t.find(k+value+`"`) + len(k)
}

func mustInt(s string) int32 {
	n := int32(0)
	for i := range len(s) {
		n = n*10 + int32(s[i]-'0')
	}
	return n
}

func (t *template) putOpaque(b []byte, opaque int32) {
	if t.binary {
		binary.BigEndian.PutUint32(b[t.opaque:], uint32(opaque))
		return
	}
	putDigits(b[t.opaque:t.opaque+10], int64(opaque))
}

// appendSend appends one send.
func (t *template) appendSend(dst []byte, m *outgoing) []byte {
	at := len(dst)
	dst = append(dst, t.bytes...)
	b := dst[at:]
	t.putOpaque(b, m.opaque)
	copy(b[t.born:], m.born[:])
	copy(b[t.topic:], m.topic)
	putDigits(b[t.queue:t.queue+t.digits], int64(m.queue))
	putHex(b[t.uniq:t.uniq+16], uint64(m.conn)<<40|uint64(m.number)&(1<<40-1))
	if body := b[t.body:]; len(body) >= headLen {
		binary.BigEndian.PutUint32(body, m.run)
		binary.BigEndian.PutUint32(body[4:], m.conn)
		binary.BigEndian.PutUint64(body[8:], uint64(m.number))
		binary.BigEndian.PutUint64(body[16:], uint64(m.due))
	}
	return dst
}

// appendPull appends one pull.
func (t *template) appendPull(dst []byte, opaque int32, offset int64) []byte {
	at := len(dst)
	dst = append(dst, t.bytes...)
	t.putOpaque(dst[at:], opaque)
	putDigits(dst[at+t.offset:at+t.offset+16], offset)
	return dst
}

// outgoing is what differs from message to message.
type outgoing struct {
	opaque int32
	queue  int32
	run    uint32
	conn   uint32
	number int64
	due    int64
	topic  string
	born   [13]byte
}

func (m *outgoing) setBorn(unixMillis int64) { putDigits(m.born[:], unixMillis) }

func putDigits(b []byte, n int64) {
	for i := len(b) - 1; i >= 0; i-- {
		b[i] = byte('0' + n%10)
		n /= 10
	}
}

func putHex(b []byte, n uint64) {
	const digits = "0123456789ABCDEF"
	for i := len(b) - 1; i >= 0; i-- {
		b[i] = digits[n&15]
		n >>= 4
	}
}
