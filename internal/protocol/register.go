// The body of REGISTER_BROKER, plain and compressed.
//
// The compressed form is zlib over
//
//	| len 4 | DataVersion JSON |
//	| topicCount 4 | { len 4 | "name readQueues writeQueues perm FILTERTYPE[ attributes]" } … |
//	| len 4 | filterServerList JSON | … parts of 5.x, not needed here |
package protocol

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"strconv"
	"strings"
)

// RegisterBrokerBody is what a broker tells of itself.
type RegisterBrokerBody struct {
	FilterServerList []string         `json:"filterServerList"`
	TopicConfigs     TopicConfigTable `json:"topicConfigSerializeWrapper"`
}

// BodyCRC is the checksum of a register body as sent: CRC-32 without its top bit.
func BodyCRC(body []byte) int32 { return int32(crc32.ChecksumIEEE(body) & 0x7fffffff) }

// Encode returns the body in the asked form.
func (b *RegisterBrokerBody) Encode(compressed bool) ([]byte, error) {
	full := *b
	if full.FilterServerList == nil {
		full.FilterServerList = []string{}
	}
	if full.TopicConfigs.Topics == nil {
		full.TopicConfigs.Topics = map[string]*TopicConfig{}
	}
	if !compressed {
		return EncodeJSON(&full)
	}
	var out bytes.Buffer
	z, err := zlib.NewWriterLevel(&out, zlib.BestCompression)
	if err != nil {
		return nil, err
	}
	if _, err := z.Write(full.flat()); err != nil {
		return nil, fmt.Errorf("compress register body: %w", err)
	}
	if err := z.Close(); err != nil {
		return nil, fmt.Errorf("compress register body: %w", err)
	}
	return out.Bytes(), nil
}

func (b *RegisterBrokerBody) flat() []byte {
	be := binary.BigEndian
	text := func(dst, s []byte) []byte { return append(be.AppendUint32(dst, uint32(len(s))), s...) }
	topics := make([]*TopicConfig, 0, len(b.TopicConfigs.Topics))
	for _, t := range b.TopicConfigs.Topics {
		topics = append(topics, t)
	}
	slices.SortFunc(topics, func(x, y *TopicConfig) int { return strings.Compare(x.TopicName, y.TopicName) })
	dst := text(nil, Marshal(&b.TopicConfigs.DataVersion))
	dst = be.AppendUint32(dst, uint32(len(topics)))
	for _, t := range topics {
		dst = text(dst, fmt.Appendf(nil, "%s %d %d %d %s", t.TopicName, t.ReadQueueNums, t.WriteQueueNums, t.Perm, t.TopicFilterType))
	}
	return text(dst, Marshal(b.FilterServerList))
}

// DecodeRegisterBroker reads the body of a registration. No body is a broker
// without topics and with version 0. Senders before V3_0_11 send only the topics.
func DecodeRegisterBroker(body []byte, compressed bool, version int32) (*RegisterBrokerBody, error) {
	b := &RegisterBrokerBody{}
	switch {
	case len(body) == 0:
		return b, nil
	case compressed:
		return b, b.inflate(body)
	case version < V3_0_11:
		return b, DecodeJSON(body, &b.TopicConfigs)
	}
	return b, DecodeJSON(body, b)
}

// maxInflated bounds what a compressed body may become.
const maxInflated = 256 << 20

func (b *RegisterBrokerBody) inflate(body []byte) error {
	z, err := zlib.NewReader(bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("inflate register body: %w", err)
	}
	flat, err := io.ReadAll(io.LimitReader(z, maxInflated+1))
	if err != nil {
		return fmt.Errorf("inflate register body: %w", err)
	}
	if len(flat) > maxInflated {
		return fmt.Errorf("inflate register body: longer than %d bytes", maxInflated)
	}
	return b.parseFlat(flat)
}

func (b *RegisterBrokerBody) parseFlat(flat []byte) error {
	r := flatReader{flat}
	if v := r.text(); v != nil {
		if err := DecodeJSON(v, &b.TopicConfigs.DataVersion); err != nil {
			return fmt.Errorf("register body: data version: %w", err)
		}
	}
	n := r.int()
	b.TopicConfigs.Topics = map[string]*TopicConfig{}
	for range n {
		row := r.text()
		if row == nil {
			return fmt.Errorf("register body: %d topics announced, %d there", n, len(b.TopicConfigs.Topics))
		}
		t, err := parseFlatTopic(string(row))
		if err != nil {
			return err
		}
		b.TopicConfigs.Topics[t.TopicName] = t
	}
	if list := r.text(); list != nil {
		if err := DecodeJSON(list, &b.FilterServerList); err != nil {
			return fmt.Errorf("register body: filter servers: %w", err)
		}
	}
	return nil
}

func parseFlatTopic(row string) (*TopicConfig, error) {
	parts := strings.SplitN(row, " ", 6)
	if len(parts) < 5 {
		return nil, fmt.Errorf("register body: topic %q", row)
	}
	var nums [3]int32
	for i := range nums {
		n, err := strconv.ParseInt(parts[i+1], 10, 32)
		if err != nil {
			return nil, fmt.Errorf("register body: topic %q", row)
		}
		nums[i] = int32(n)
	}
	t := &TopicConfig{TopicName: parts[0], ReadQueueNums: nums[0], WriteQueueNums: nums[1], Perm: nums[2], TopicFilterType: parts[4]}
	if len(parts) == 6 {
		if err := DecodeJSON([]byte(parts[5]), &t.Attributes); err != nil {
			return nil, fmt.Errorf("register body: topic %q: %w", parts[0], err)
		}
	}
	return t, nil
}

// flatReader takes from the front; short input reads as 0 and nil.
type flatReader struct{ b []byte }

func (r *flatReader) int() int {
	if len(r.b) < 4 {
		r.b = nil
		return 0
	}
	n := int(int32(binary.BigEndian.Uint32(r.b)))
	r.b = r.b[4:]
	return max(n, 0)
}

func (r *flatReader) text() []byte {
	if len(r.b) < 4 {
		return nil
	}
	n := r.int()
	if n > len(r.b) {
		r.b = nil
		return nil
	}
	t := r.b[:n:n]
	r.b = r.b[n:]
	return t
}
