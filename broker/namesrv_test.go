package broker

import (
	"net"
	"sync"
	"testing"

	"rmqctl/internal/protocol"
	"rmqctl/internal/remoting"
)

// nameServer is as much of a name server as a broker needs: it remembers registrations and tells slaves their master.
type nameServer struct {
	server *remoting.Server
	addr   string

	mu      sync.Mutex // guards all below
	brokers map[int64]protocol.RegisterBrokerRequest
	topics  map[string]*protocol.TopicConfig
	rounds  int
	refuse  bool
}

func startNameServer(t *testing.T) *nameServer {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n := &nameServer{addr: ln.Addr().String(), brokers: map[int64]protocol.RegisterBrokerRequest{}, topics: map[string]*protocol.TopicConfig{}}
	n.server = remoting.NewServer(remoting.Options{Router: remoting.NewRouter(
		remoting.On(protocol.RegisterBroker, n.register),
		remoting.On(protocol.UnregisterBroker, n.unregister),
		remoting.On(protocol.GetBrokerCluster, n.cluster),
	)})
	done := make(chan struct{})
	go func() { defer close(done); _ = n.server.Serve(ln) }()
	t.Cleanup(func() { _ = n.server.Close(); <-done })
	return n
}

func (n *nameServer) register(x *remoting.Exchange, q *protocol.RegisterBrokerRequest) (*protocol.RegisterBrokerResponse, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.refuse || q.BodyCRC32 != protocol.BodyCRC(x.Request.Body) {
		return nil, protocol.Errorf(protocol.SystemError, "refused")
	}
	b, err := protocol.DecodeRegisterBroker(x.Request.Body, q.Compressed, x.Version())
	if err != nil {
		return nil, err
	}
	n.rounds++
	n.brokers[q.BrokerID] = *q
	if q.BrokerID == 0 {
		for name, c := range b.TopicConfigs.Topics {
			n.topics[name] = c
		}
		return nil, nil
	}
	master, ok := n.brokers[0]
	if !ok {
		return nil, nil
	}
	return &protocol.RegisterBrokerResponse{MasterAddr: master.BrokerAddr, HAServerAddr: master.HAServerAddr}, nil
}

func (n *nameServer) unregister(_ *remoting.Exchange, q *protocol.UnregisterBrokerRequest) (*protocol.Empty, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.brokers, q.BrokerID)
	return nil, nil
}

func (n *nameServer) cluster(x *remoting.Exchange, _ *protocol.Empty) (*protocol.Empty, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	info := protocol.ClusterInfo{BrokerAddrTable: map[string]*protocol.BrokerData{}}
	for id, q := range n.brokers {
		d := info.BrokerAddrTable[q.BrokerName]
		if d == nil {
			d = &protocol.BrokerData{BrokerName: q.BrokerName, Cluster: q.ClusterName, BrokerAddrs: map[int64]string{}}
			info.BrokerAddrTable[q.BrokerName] = d
		}
		d.BrokerAddrs[id] = q.BrokerAddr
	}
	x.ReplyBody(protocol.Marshal(&info))
	return nil, nil
}

func (n *nameServer) topic(name string) *protocol.TopicConfig {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.topics[name]
}

func (n *nameServer) knows(id int64) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	_, ok := n.brokers[id]
	return ok
}
