package remoting

import (
	"net"
	"strings"
	"testing"

	"rmqctl/internal/protocol"
)

// BenchmarkServe is the server's share and a bare client's: frames rendered
// before, 64 in flight in one write, answers only counted.
func BenchmarkServe(b *testing.B) {
	router := NewRouter(On(protocol.SendMessageV2, func(x *Exchange, q *protocol.SendMessageRequestV2) (*protocol.SendMessageResponse, error) {
		r := Response[protocol.SendMessageResponse](x)
		r.MsgID, r.QueueID = "0A00000200002A9F00000000000003E8", q.QueueID
		return r, nil
	}, Fast))
	for name, enc := range map[string]protocol.Encoding{"json": protocol.JSON, "binary": protocol.Binary} {
		b.Run(name, func(b *testing.B) {
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				b.Fatal(err)
			}
			s := NewServer(Options{Router: router})
			go func() { _ = s.Serve(ln) }()
			defer s.Close()
			nc, err := net.Dial("tcp", ln.Addr().String())
			if err != nil {
				b.Fatal(err)
			}
			defer nc.Close()
			one := frame(310, 1, 0, enc, &protocol.SendMessageRequestV2{ProducerGroup: "producers", Topic: "orders", DefaultTopic: "TBW102", DefaultTopicQueueNums: 4,
				BornTimestamp: 1700000000000, Properties: []byte("UNIQ_KEY\x010A00000112345A07D6E505265C000001\x02WAIT\x01true\x02TAGS\x01A\x02")}, strings.Repeat("x", 1024))
			const inFlight = 64
			burst := []byte(strings.Repeat(string(one), inFlight))
			answer := len(protocol.AppendFrame(nil, &protocol.Command{Opaque: 1, Flag: 1, Version: 409, Encoding: enc},
				protocol.HeaderOf(&protocol.SendMessageResponse{MsgID: "0A00000200002A9F00000000000003E8"})))
			buf := make([]byte, 64<<10)
			b.ReportAllocs()
			b.ResetTimer()
			for i := 0; i < b.N; i += inFlight {
				if _, err := nc.Write(burst); err != nil {
					b.Fatal(err)
				}
				for got := 0; got < inFlight*answer; {
					n, err := nc.Read(buf)
					if err != nil {
						b.Fatal(err)
					}
					got += n
				}
			}
		})
	}
}
