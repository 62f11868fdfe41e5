// What brokers of ours say to each other before and between the bytes of the log. Java brokers see none of it but one word
// that they ignore.
//
//	slave → master:  -1                 a Java master takes it for "nothing yet" and goes on waiting
//	master → slave:  note(hello)        a Java master says nothing: a second later the slave reports as DefaultHA does
//	slave → master:  note(hello with sums)
//	master → slave:  note(verdict)
//	slave → master:  -1 ...             while it keeps its tail aside and cuts it off
//	slave → master:  its end i64        and from here on both are DefaultHA, with now and then
//	master → slave:  note(pulse)        in place of a heartbeat
//
//	note: | noteMark i64 | size i32 | JSON | : the header of a frame with an offset that none has
package ha

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"strconv"

	"rmqctl/broker/ha/decide"
	"rmqctl/broker/ha/epoch"
)

const (
	// announce is the first word of a slave of ours.
	announce = -1
	// noteMark stands where a frame has its offset.
	noteMark = -0x726d71636e6f7465
	// maxNote bounds what is read for one note: a verdict may have the ends of very many queues.
	maxNote = 64 << 20
	// helloVersion is raised when an end must understand more than before.
	helloVersion = 1
)

// note is one of its fields.
type note struct {
	Hello   *hello   `json:"hello,omitempty"`
	Verdict *verdict `json:"verdict,omitempty"`
	Pulse   *pulse   `json:"pulse,omitempty"`
}

// hello is a decide.Side on the wire. A slave's has the sums for the places at which it has compared the histories.
type hello struct {
	Version int         `json:"version"`
	Cluster string      `json:"cluster"`
	Broker  string      `json:"broker"`
	ID      int64       `json:"id"`
	Addr    string      `json:"addr"`
	Epoch   int64       `json:"epoch"`
	Segment int64       `json:"segment"`
	Min     int64       `json:"min"`
	Max     int64       `json:"max"`
	Epochs  []wireEpoch `json:"epochs"`
	Sums    []sum       `json:"sums,omitempty"`
}

type wireEpoch struct {
	Epoch int64  `json:"epoch"`
	Life  string `json:"life"`
	Start int64  `json:"start"`
}

// verdict is the master's decision. A slave that is not refused takes the list of the hello.
type verdict struct {
	Action string `json:"action"`
	At     int64  `json:"at"`
	Why    string `json:"why,omitempty"`
	Ends   []byte `json:"ends,omitempty"` // of a restart: Source.QueueEnds
}

// pulse is how far the master is.
type pulse struct {
	Max   int64 `json:"max"`
	Epoch int64 `json:"epoch"`
}

func helloOf(side decide.Side) *hello {
	h := &hello{
		Version: helloVersion, Cluster: side.Cluster, Broker: side.Broker, ID: side.ID, Addr: side.Addr,
		Epoch: side.Epoch, Segment: side.Segment, Min: side.Min, Max: side.Max, Epochs: []wireEpoch{},
	}
	for _, e := range side.Epochs {
		h.Epochs = append(h.Epochs, wireEpoch{e.Epoch, strconv.FormatUint(e.Life, 16), e.Start})
	}
	return h
}

// side checks what came and makes it what is decided with.
func (h *hello) side() (decide.Side, error) {
	side := decide.Side{
		Identity: decide.Identity{Cluster: h.Cluster, Broker: h.Broker, ID: h.ID, Addr: h.Addr},
		Epoch:    h.Epoch, Segment: h.Segment, Min: h.Min, Max: h.Max,
	}
	for _, e := range h.Epochs {
		life, err := strconv.ParseUint(e.Life, 16, 64)
		if err != nil {
			return side, fmt.Errorf("%w: life %q", errFrame, e.Life)
		}
		side.Epochs = append(side.Epochs, epoch.Entry{Epoch: e.Epoch, Life: life, Start: e.Start})
	}
	if err := side.Epochs.Check(); err != nil {
		return side, err
	}
	switch {
	case h.Version < 1:
		return side, fmt.Errorf("%w: version %d", errFrame, h.Version)
	case h.Segment <= 0 || h.Min < 0 || h.Max < h.Min:
		return side, fmt.Errorf("%w: a log of %d to %d in files of %d", errFrame, h.Min, h.Max, h.Segment)
	case h.Epoch < side.Epochs.Last().Epoch:
		return side, fmt.Errorf("%w: epoch %d, list up to %d", errFrame, h.Epoch, side.Epochs.Last().Epoch)
	}
	return side, nil
}

// encode is the note as it goes out.
func (n note) encode() []byte {
	body, err := json.Marshal(n)
	if err != nil {
		panic(err) // numbers and texts only
	}
	mark := int64(noteMark)
	b := binary.BigEndian.AppendUint64(make([]byte, 0, headerSize+len(body)), uint64(mark))
	b = binary.BigEndian.AppendUint32(b, uint32(len(body)))
	return append(b, body...)
}

// isNote tells whether what begins with a whole header is a note.
func isNote(b []byte) bool { return int64(binary.BigEndian.Uint64(b)) == noteMark }

// noteSize is the length of a note's body, told by its header.
func noteSize(header []byte) (int, error) {
	n := int(int32(binary.BigEndian.Uint32(header[8:])))
	if n < 2 || n > maxNote {
		return 0, fmt.Errorf("%w: a note of %d bytes", errFrame, n)
	}
	return n, nil
}

func parseNote(body []byte) (n note, err error) {
	if err := json.Unmarshal(body, &n); err != nil {
		return n, fmt.Errorf("%w: %w", errFrame, err)
	}
	return n, nil
}

// readNote reads a whole note.
func readNote(r io.Reader) (n note, err error) {
	var h [headerSize]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return n, err
	}
	if !isNote(h[:]) {
		return n, fmt.Errorf("%w where a note was expected", errFrame)
	}
	size, err := noteSize(h[:])
	if err != nil {
		return n, err
	}
	body := make([]byte, size)
	if _, err := io.ReadFull(r, body); err != nil {
		return n, err
	}
	return parseNote(body)
}
