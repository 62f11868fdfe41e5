package processor

import (
	"testing"

	"rmqctl/internal/protocol"
)

// unanswered are declared calls that a broker does not answer, and why.
var unanswered = map[int32]string{
	37: "transactions are not served: no half message is ever stored", 39: "the same", 323: "the same",
	402: "pop consumption of 5.x is not served",
	906: "5.x controller and acting master", 908: "the same",
	40: "the broker asks it", 220: "the broker asks it", 221: "the broker asks it", 326: "the broker asks it",
}

// nameServers answer these.
var nameServers = map[int32]bool{
	100: true, 101: true, 102: true, 103: true, 104: true, 105: true, 106: true, 205: true, 206: true, 216: true, 217: true, 219: true, 224: true,
	304: true, 311: true, 312: true, 313: true, 318: true, 319: true, 322: true, 327: true, 901: true, 904: true,
}

func TestEveryDeclaredCodeHasARouteOrAReason(t *testing.T) {
	p := &Processors{Pools: &Pools{}, Send: &Send{}, Reply: &Reply{}, Pull: &Pull{}, Query: &Query{}, Clients: &Clients{}, Offset: &Offset{},
		TopicAdmin: &TopicAdmin{}, GroupAdmin: &GroupAdmin{}, OffsetAdmin: &OffsetAdmin{}, Relay: &Relay{}, Broker: &BrokerAdmin{}}
	routes := map[int32]bool{}
	for _, r := range p.Routes() {
		if routes[r.Code()] {
			t.Errorf("%s stands in the menu twice", protocol.CodeName(r.Code()))
		}
		routes[r.Code()] = true
	}
	for _, call := range protocol.Calls() {
		switch reason := unanswered[call.Code]; {
		case routes[call.Code] && reason != "":
			t.Errorf("%s has a route and a reason to have none", call.Name)
		case !routes[call.Code] && reason == "" && !nameServers[call.Code]:
			t.Errorf("%s (%d) is declared and not answered", call.Name, call.Code)
		}
	}
	for _, r := range p.VIPRoutes() {
		if r.Code() == protocol.PullMessage.Code || r.Code() == protocol.LitePullMessage.Code {
			t.Error("pulls are served on the VIP port")
		}
	}
}
