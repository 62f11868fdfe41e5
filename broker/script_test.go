package broker

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"rmqctl/broker/config"
	"rmqctl/internal/conf"
	"rmqctl/internal/message"
	"rmqctl/internal/protocol"
	"rmqctl/internal/remoting"
	"rmqctl/internal/vfs"
)

// A script talks to a real broker on ports of the system's choice:
//
//	broker key=value ...                 start one in a fresh directory
//	restart [kill]                       stop it cleanly, or only drop it, and start it again
//	ask CODE key=value ...               a request with these fields; further lines are the body
//	    client=NAME                      from this client; default a
//	    version=N                        of the client
//	    background=NAME                  do not wait; see answer
//	    until=TEXT                       again and again, up to 15 s, until the answer has this text
//	answer NAME                          the answer of a request in the background
//	send topic=T [queue=0] [tags=] [props=k:v,...] BODY-LINES
//	told client=NAME                     the next request the broker sends to that client
//	close client=NAME
//
// Addresses, times and ids are masked in the output.
func TestScripts(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		w := &world{t: t, clients: map[string]*client{}, background: map[string]chan string{}}
		defer w.close()
		datadriven.RunTest(t, path, w.run)
	})
}

type world struct {
	t          *testing.T
	dir        string
	settings   []conf.Prop
	broker     *Broker
	clients    map[string]*client
	background map[string]chan string
}

type client struct {
	*remoting.Client
	told chan string
}

func (w *world) close() {
	for _, c := range w.clients {
		_ = c.Close()
	}
	w.clients = map[string]*client{}
	if w.broker != nil {
		if err := w.broker.Close(); err != nil {
			w.t.Error(err)
		}
		w.broker = nil
	}
}

func (w *world) run(t *testing.T, d *datadriven.TestData) string {
	w.t = t
	switch d.Cmd {
	case "broker":
		w.close()
		w.dir = t.TempDir()
		w.settings = nil
		for _, a := range d.CmdArgs {
			w.settings = append(w.settings, conf.Prop{Key: a.Key, Value: strings.Join(a.Vals, ",")})
		}
		return w.start()
	case "restart":
		w.close()
		return w.start()
	case "ask":
		return w.ask(d)
	case "send":
		return w.send(d)
	case "answer":
		select {
		case s := <-w.background[d.CmdArgs[0].Key]:
			return s
		case <-time.After(20 * time.Second):
			return "no answer"
		}
	case "told":
		select {
		case s := <-w.client(arg(d, "client", "a"), 0).told:
			return s
		case <-time.After(20 * time.Second):
			return "nothing"
		}
	case "silent":
		select {
		case s := <-w.client(arg(d, "client", "a"), 0).told:
			return s
		default:
			return "ok\n"
		}
	case "close":
		name := arg(d, "client", "a")
		_ = w.clients[name].Close()
		delete(w.clients, name)
		return "ok\n"
	}
	t.Fatalf("unknown command %s", d.Cmd)
	return ""
}

func (w *world) start() string {
	b, err := startBroker(w.t, w.dir, nil, w.settings...)
	if err != nil {
		return mask(strings.ReplaceAll(err.Error(), w.dir, "DIR")) + "\n"
	}
	w.broker = b
	return "ok\n"
}

// startBroker starts a broker in dir that listens on loopback, on ports of the system's choice.
func startBroker(t testing.TB, dir string, ready func(), settings ...conf.Prop) (*Broker, error) {
	t.Helper()
	return startBrokerOn(t, vfs.OS, dir, ready, settings...)
}

func startBrokerOn(t testing.TB, fsys vfs.FS, dir string, ready func(), settings ...conf.Prop) (*Broker, error) {
	t.Helper()
	base := []conf.Prop{
		{Key: "brokerName", Value: "b"}, {Key: "brokerClusterName", Value: "C"}, {Key: "storePathRootDir", Value: dir + "/store"},
		{Key: "listenPort", Value: "0"}, {Key: "bindAddress", Value: "127.0.0.1"}, {Key: "mappedFileSizeCommitLog", Value: "4194304"},
		{Key: "maxHashSlotNum", Value: "1000"}, {Key: "maxIndexNum", Value: "4000"},
	}
	live, _, err := config.Load(append(base, settings...))
	if err != nil {
		return nil, err
	}
	b, err := New(Options{Config: live, FS: fsys, Ready: ready})
	if err != nil {
		return nil, err
	}
	return b, b.Start(context.Background())
}

func arg(d *datadriven.TestData, key, otherwise string) string {
	for _, a := range d.CmdArgs {
		if a.Key == key {
			return strings.Join(a.Vals, ",")
		}
	}
	return otherwise
}

func (w *world) client(name string, version int32) *client {
	if c := w.clients[name]; c != nil {
		return c
	}
	c := &client{told: make(chan string, 100)}
	tell := func(x *remoting.Exchange) { c.told <- show(x.Request) }
	c.Client = remoting.NewClient(remoting.ClientOptions{Version: version, Router: remoting.NewRouter(
		remoting.On(protocol.NotifyConsumerIdsChanged, func(x *remoting.Exchange, _ *protocol.ConsumerGroupRequest) (*protocol.Empty, error) {
			tell(x)
			return nil, nil
		}),
		remoting.On(protocol.ResetConsumerClientOffset, func(x *remoting.Exchange, _ *protocol.ResetOffsetRequest) (*protocol.Empty, error) {
			tell(x)
			return nil, nil
		}),
		remoting.On(protocol.PushReplyMessageToClient, func(x *remoting.Exchange, _ *protocol.PushReplyMessageRequest) (*protocol.Empty, error) {
			tell(x)
			return nil, nil
		}),
		remoting.On(protocol.GetConsumerRunningInfo, func(x *remoting.Exchange, q *protocol.ConsumerRunningInfoRequest) (*protocol.Empty, error) {
			x.ReplyBody([]byte(`{"properties":{"PROP_CLIENT_VERSION":"V4_9_8"}}`))
			return nil, nil
		}),
		remoting.On(protocol.ConsumeMessageDirectly, func(x *remoting.Exchange, q *protocol.ConsumeDirectlyRequest) (*protocol.Empty, error) {
			tell(x)
			x.ReplyBody([]byte(`{"consumeResult":"CR_SUCCESS"}`))
			return nil, nil
		}),
		remoting.On(protocol.GetConsumerStatusOfClient, func(x *remoting.Exchange, q *protocol.ConsumerStatusRequest) (*protocol.Empty, error) {
			x.ReplyBody([]byte(`{"messageQueueTable":{{"brokerName":"b","queueId":0,"topic":"T"}:7}}`))
			return nil, nil
		}),
	)})
	w.clients[name] = c
	return c
}

func (w *world) ask(d *datadriven.TestData) string {
	code, err := strconv.Atoi(d.CmdArgs[0].Key)
	if err != nil {
		w.t.Fatalf("%s: %v", d.Pos, err)
	}
	version, _ := strconv.Atoi(arg(d, "version", "409"))
	c := w.client(arg(d, "client", "a"), int32(version))
	cmd := &protocol.Command{Code: int32(code)}
	for _, a := range d.CmdArgs[1:] {
		switch a.Key {
		case "client", "version", "background", "port", "until":
		default:
			cmd.Fields.Set(a.Key, strings.NewReplacer(`\x01`, "\x01", `\x02`, "\x02").Replace(strings.Join(a.Vals, ",")))
		}
	}
	if body := strings.TrimSuffix(d.Input, "\n"); body != "" {
		cmd.Body = []byte(body)
	}
	addr := w.broker.Addr()
	if arg(d, "port", "") == "vip" {
		addr = w.broker.VIPAddr()
	}
	do := func() string {
		ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
		defer cancel()
		answer, err := c.Invoke(ctx, addr, cmd)
		if err != nil {
			return "error: " + mask(err.Error()) + "\n"
		}
		return show(answer)
	}
	if text := arg(d, "until", ""); text != "" {
		for deadline := time.Now().Add(15 * time.Second); !strings.Contains(do(), text) && time.Now().Before(deadline); {
			time.Sleep(time.Millisecond)
		}
	}
	if name := arg(d, "background", ""); name != "" {
		done := make(chan string, 1)
		w.background[name] = done
		var held sync.WaitGroup
		held.Add(1)
		go func() { held.Done(); done <- do() }()
		held.Wait()
		if code == int(protocol.PullMessage.Code) {
			for w.broker.polls.Len() < len(w.background)-w.answered() {
				time.Sleep(time.Millisecond)
			}
		}
		return "ok\n"
	}
	return do()
}

// answered is the number of background requests that have their answer.
func (w *world) answered() (n int) {
	for _, done := range w.background {
		if len(done) > 0 {
			n++
		}
	}
	return n
}

func (w *world) send(d *datadriven.TestData) string {
	props := map[string]string{}
	if tags := arg(d, "tags", ""); tags != "" {
		props[message.PropTags] = tags
	}
	for _, p := range strings.Split(arg(d, "props", ""), ",") {
		if name, value, ok := strings.Cut(p, ":"); ok {
			props[name] = value
		}
	}
	queue, _ := strconv.Atoi(arg(d, "queue", "0"))
	q := &protocol.SendMessageRequestV2{
		ProducerGroup: "P", Topic: arg(d, "topic", "T"), DefaultTopic: "TBW102", DefaultTopicQueueNums: 4, QueueID: int32(queue),
		BornTimestamp: 1700000000000, Properties: message.EncodeProperties(props),
	}
	cmd := protocol.SendMessageV2.Request(q, []byte(strings.TrimSuffix(d.Input, "\n")))
	answer, err := w.client(arg(d, "client", "a"), 409).Invoke(context.Background(), w.broker.Addr(), cmd)
	if err != nil {
		return "error: " + err.Error() + "\n"
	}
	return show(answer)
}

var masks = []struct {
	re   *regexp.Regexp
	with string
}{
	{regexp.MustCompile(`127\.0\.0\.1:\d+`), "ADDR"},
	{regexp.MustCompile(`[0-9A-F]{32}`), "OFFSETID"},
	{regexp.MustCompile(`\b1[6-9]\d{11}\b`), "TIME"},
	{regexp.MustCompile(`PUSH_REPLY_TIME\\x01\d+`), "PUSH_REPLY_TIME"},
	{regexp.MustCompile(`"delayTime":\d+`), `"delayTime":D`},
}

func mask(s string) string {
	for _, m := range masks {
		s = m.re.ReplaceAllString(s, m.with)
	}
	return s
}

func show(c *protocol.Command) string { return mask(print(c)) }

// print shows a command: status or code, remark, fields in their order, body. Messages in a body are taken apart.
func print(c *protocol.Command) string {
	var out strings.Builder
	if c.IsResponse() {
		fmt.Fprintf(&out, "%d %s", c.Code, protocol.StatusName(c.Code))
	} else {
		fmt.Fprintf(&out, "%s", protocol.CodeName(c.Code))
	}
	if c.Remark != "" {
		fmt.Fprintf(&out, " %q", strings.SplitN(c.Remark, "\nSee ", 2)[0])
	}
	out.WriteByte('\n')
	var fields []string
	c.Fields.Range(func(k, v string) bool {
		fields = append(fields, k+"="+v)
		return true
	})
	slices.Sort(fields)
	if len(fields) > 0 {
		fmt.Fprintf(&out, "%s\n", strings.NewReplacer("\x01", `\x01`, "\x02", `\x02`).Replace(strings.Join(fields, " ")))
	}
	if len(c.Body) == 0 {
		return out.String()
	}
	if text, ok := printMessages(c.Body); ok {
		return out.String() + text
	}
	return out.String() + string(c.Body) + "\n"
}

func printMessages(b []byte) (string, bool) {
	var out strings.Builder
	for len(b) > 0 {
		m, n, err := message.Decode(b, message.Options{CheckCRC: true})
		if err != nil {
			return "", false
		}
		b = b[n:]
		fmt.Fprintf(&out, "%s/%d@%d %q", m.Topic, m.QueueID, m.QueueOffset, m.Body)
		if m.ReconsumeTimes > 0 {
			fmt.Fprintf(&out, " reconsumed=%d", m.ReconsumeTimes)
		}
		var props []string
		for k, v := range message.Properties(m.Properties) {
			props = append(props, k+"="+v)
		}
		slices.Sort(props)
		fmt.Fprintf(&out, " %v\n", props)
	}
	return out.String(), true
}
