// What brokers say: registration, heartbeats, good-byes.

package processor

import (
	"time"

	"rmqctl/internal/protocol"
	"rmqctl/internal/remoting"
	"rmqctl/namesrv/route"
)

// registerBroker. Asked by: every broker, every 30 s and whenever a topic changes. The connection it came over is a
// sign of life from now on: when it closes, the broker is dropped.
func (p *Processors) registerBroker(x *remoting.Exchange, q *protocol.RegisterBrokerRequest) (*protocol.RegisterBrokerResponse, error) {
	if q.BodyCRC32 != 0 && q.BodyCRC32 != protocol.BodyCRC(x.Request.Body) {
		return nil, protocol.Errorf(protocol.SystemError, "crc32 not match")
	}
	body, err := protocol.DecodeRegisterBroker(x.Request.Body, q.Compressed, x.Version())
	if err != nil {
		return nil, protocol.Errorf(protocol.SystemError, "%v", err)
	}
	r := route.Registration{
		Broker:        route.Broker{Cluster: q.ClusterName, Name: q.BrokerName, Addr: q.BrokerAddr, ID: q.BrokerID},
		HAAddr:        q.HAServerAddr,
		Version:       body.TopicConfigs.DataVersion,
		Topics:        body.TopicConfigs.Topics,
		FilterServers: body.FilterServerList,
		Owner:         x.Conn,
	}
	if q.HeartbeatTimeoutMillis != nil {
		r.Timeout = time.Duration(*q.HeartbeatTimeoutMillis) * time.Millisecond
	}
	_, known := p.Table.Version(q.BrokerAddr)
	master, moved, accepted := p.Table.Register(r, p.Clock.Now())
	p.logRegistration(r, known, moved, accepted)
	select {
	case <-x.Conn.Closed(): // while we worked: nobody else would notice
		p.Disconnected(x.Conn)
	default:
	}
	if table, ok := p.KV.Namespace(protocol.NamespaceOrderTopic); ok && p.Config.Load().ReturnOrderTopicConfigToBroker {
		x.ReplyBody(protocol.Marshal(&protocol.KVTable{Table: table}))
	}
	return &protocol.RegisterBrokerResponse{HAServerAddr: master.HAAddr, MasterAddr: master.Addr}, nil
}

func (p *Processors) logRegistration(r route.Registration, known bool, moved string, accepted bool) {
	log := p.Log.With("broker", r.Name, "id", r.ID, "remote", r.Addr)
	switch {
	case !accepted:
		log.Warn("registration ignored: a later election holds the place", "holder", moved)
	case moved != "":
		log.Warn("broker replaces another address under its name and id", "replaced", moved)
	case !known:
		log.Info("broker registered", "cluster", r.Cluster, "topics", len(r.Topics))
	}
}

// Disconnected drops the brokers that registered over a connection that has closed.
func (p *Processors) Disconnected(c *remoting.Conn) {
	for _, l := range p.Table.Disconnected(c, p.Clock.Now()) {
		p.Log.Warn("broker dropped: its connection closed", "broker", l.Name, "id", l.ID, "remote", l.Addr)
	}
}

// Expire drops the brokers that have fallen silent.
func (p *Processors) Expire() {
	for _, l := range p.Table.Expire(p.Clock.Now()) {
		p.Log.Warn("broker dropped: silent", "broker", l.Name, "id", l.ID, "remote", l.Addr, "took", l.Silent)
	}
}

// unregisterBroker. Asked by: a broker that stops.
func (p *Processors) unregisterBroker(_ *remoting.Exchange, q *protocol.UnregisterBrokerRequest) (*protocol.Empty, error) {
	b := route.Broker{Cluster: q.ClusterName, Name: q.BrokerName, Addr: q.BrokerAddr, ID: q.BrokerID}
	if p.Table.Unregister(b) {
		p.Log.Info("broker unregistered", "broker", b.Name, "id", b.ID, "remote", b.Addr)
	}
	return nil, nil
}

// queryDataVersion. Asked by: a broker with forceRegister=false, before it sends its topics. A sign of life.
func (p *Processors) queryDataVersion(x *remoting.Exchange, q *protocol.QueryDataVersionRequest) (*protocol.QueryDataVersionResponse, error) {
	var theirs protocol.DataVersion
	if len(x.Request.Body) > 0 {
		if err := protocol.DecodeJSON(x.Request.Body, &theirs); err != nil {
			return nil, protocol.Errorf(protocol.SystemError, "data version: %v", err)
		}
	}
	ours, known := p.Table.Version(q.BrokerAddr)
	if known {
		p.Table.Touch(q.BrokerAddr, p.Clock.Now())
		x.ReplyBody(protocol.Marshal(&ours))
	}
	return &protocol.QueryDataVersionResponse{Changed: !known || ours != theirs}, nil
}

// brokerHeartbeat. Asked by: brokers of 5.x between registrations.
func (p *Processors) brokerHeartbeat(_ *remoting.Exchange, q *protocol.BrokerHeartbeatRequest) (*protocol.Empty, error) {
	p.Table.Touch(q.BrokerAddr, p.Clock.Now())
	return nil, nil
}

// brokerMemberGroup. Asked by: brokers of 5.x, to see who else is in their group.
func (p *Processors) brokerMemberGroup(x *remoting.Exchange, q *protocol.BrokerMemberGroupRequest) (*protocol.Empty, error) {
	x.ReplyBody(protocol.Marshal(&protocol.BrokerMemberGroupBody{Group: p.Table.Group(q.ClusterName, q.BrokerName)}))
	return nil, nil
}
