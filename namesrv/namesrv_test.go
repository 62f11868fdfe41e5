package namesrv

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"rmqctl/internal/clock"
	"rmqctl/internal/conf"
	"rmqctl/internal/logging"
	"rmqctl/internal/protocol"
	"rmqctl/internal/remoting"
	"rmqctl/internal/vfs"
	"rmqctl/namesrv/config"
)

// rig is a name server in memory and the clients of a script, by name.
type rig struct {
	t       *testing.T
	clk     *clock.Fake
	disk    vfs.FS
	ln      *remoting.MemListener
	server  *Server
	clients map[string]*remoting.Client
	brokers map[string]string // address -> client that registered it last
	version int32
}

func settings(t *testing.T, text string) *conf.Live[config.Config] {
	t.Helper()
	props, err := conf.ParseProperties(strings.NewReader(text), "namesrv.properties")
	if err != nil {
		t.Fatal(err)
	}
	live, _, err := config.Load(config.Surroundings("/home/rmq", ""), props)
	if err != nil {
		t.Fatal(err)
	}
	return live
}

func newRig(t *testing.T) *rig {
	r := &rig{t: t, clk: clock.NewFake(time.UnixMilli(1_700_000_000_000)), disk: vfs.NewMem(), clients: map[string]*remoting.Client{}, brokers: map[string]string{}, version: protocol.V4_9_8}
	r.start("")
	t.Cleanup(r.stop)
	return r
}

func (r *rig) start(text string) {
	r.ln = remoting.NewMemListener()
	var err error
	r.server, err = New(Options{Config: settings(r.t, text), FS: r.disk, Clock: r.clk, Listener: r.ln})
	if err != nil {
		r.t.Fatal(err)
	}
	if err := r.server.Start(context.Background()); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) stop() {
	for name := range r.clients {
		r.hangUp(name)
	}
	if err := r.server.Close(); err != nil {
		r.t.Error(err)
	}
}

// hangUp closes a client and waits until the server has dropped the brokers that registered over it.
func (r *rig) hangUp(name string) {
	r.clients[name].Close()
	delete(r.clients, name)
	for addr, owner := range r.brokers {
		for deadline := time.Now().Add(10 * time.Second); owner == name; time.Sleep(time.Millisecond) {
			if _, known := r.server.answer.Table.Version(addr); !known {
				delete(r.brokers, addr)
				break
			}
			if time.Now().After(deadline) {
				r.t.Fatal("the server does not notice a closed connection")
			}
		}
	}
}

func (r *rig) ask(from string, cmd *protocol.Command) *protocol.Command {
	c := r.clients[from]
	if c == nil {
		c = remoting.NewClient(remoting.ClientOptions{Dial: r.ln.Dial, Version: r.version})
		r.clients[from] = c
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	resp, err := c.Invoke(ctx, "memory", cmd)
	for errors.Is(err, remoting.ErrClosed) && ctx.Err() == nil { // the clock was moved: we had been silent for too long
		resp, err = c.Invoke(ctx, "memory", cmd)
	}
	if err != nil {
		r.t.Fatalf("code %d: %v", cmd.Code, err)
	}
	return resp
}

// run is one command of a script.
//
//	request from=CONN code=N [field=value ...]   the lines below are the body; prints status, fields, body
//	register from=CONN addr=A name=B id=N [cluster=C] [counter=N] [compressed] [topics=T1:perm,T2:perm]
//	close CONN | advance DURATION | expire | version N (of new connections) | restart [key=value] | file PATH
func (r *rig) run(d *datadriven.TestData) string {
	switch d.Cmd {
	case "request":
		return r.request(d)
	case "register":
		return r.register(d)
	case "close":
		r.hangUp(d.CmdArgs[0].Key)
	case "advance":
		by, err := time.ParseDuration(d.CmdArgs[0].Key)
		if err != nil {
			return err.Error()
		}
		r.clk.Advance(by)
	case "expire": // what the scan does at its next tick
		r.server.answer.Expire()
	case "version":
		n, _ := strconv.Atoi(d.CmdArgs[0].Key)
		r.version = int32(n)
	case "restart":
		r.stop()
		var text strings.Builder
		for _, a := range d.CmdArgs {
			fmt.Fprintf(&text, "%s=%s\n", a.Key, a.Vals[0])
		}
		r.start(text.String())
	case "file":
		b, err := vfs.ReadFile(r.disk, d.CmdArgs[0].Key)
		if err != nil {
			return err.Error()
		}
		return string(b)
	default:
		return "unknown command"
	}
	return "ok"
}

func (r *rig) request(d *datadriven.TestData) string {
	cmd := &protocol.Command{Body: []byte(d.Input)}
	from := fmt.Sprintf("tool of version %d", r.version)
	for _, a := range d.CmdArgs {
		switch {
		case a.Key == "code":
			n, _ := strconv.Atoi(a.Vals[0])
			cmd.Code = int32(n)
		case a.Key == "from":
			from = a.Vals[0]
		default:
			cmd.Fields.Set(a.Key, strings.Join(a.Vals, ","))
		}
	}
	return describe(r.ask(from, cmd))
}

func describe(c *protocol.Command) string {
	out := protocol.StatusName(c.Code)
	if c.Remark != "" {
		out += " " + strings.ReplaceAll(c.Remark, "\n", " | ")
	}
	c.Fields.Range(func(k, v string) bool { out += " " + k + "=" + v; return true })
	if len(c.Body) > 0 {
		out += "\n" + string(c.Body)
	}
	return out
}

func (r *rig) register(d *datadriven.TestData) string {
	q := &protocol.RegisterBrokerRequest{ClusterName: "C"}
	var body protocol.RegisterBrokerBody
	from := ""
	body.TopicConfigs.Topics = map[string]*protocol.TopicConfig{}
	for _, a := range d.CmdArgs {
		var v string
		if len(a.Vals) > 0 {
			v = a.Vals[0]
		}
		n, _ := strconv.ParseInt(v, 10, 64)
		switch a.Key {
		case "from":
			from = v
		case "addr":
			q.BrokerAddr, q.HAServerAddr = v, strings.Replace(v, "911", "912", 1)
		case "name":
			q.BrokerName = v
		case "id":
			q.BrokerID = n
		case "cluster":
			q.ClusterName = v
		case "counter":
			body.TopicConfigs.DataVersion.Counter = n
		case "compressed":
			q.Compressed = true
		case "timeout":
			q.HeartbeatTimeoutMillis = &n
		case "topics":
			for _, t := range a.Vals {
				name, perm, _ := strings.Cut(t, ":")
				p, _ := strconv.Atoi(perm)
				body.TopicConfigs.Topics[name] = &protocol.TopicConfig{TopicName: name, Perm: int32(p), ReadQueueNums: 4, WriteQueueNums: 4, TopicFilterType: "SINGLE_TAG"}
			}
		}
	}
	r.brokers[q.BrokerAddr] = from
	b, err := body.Encode(q.Compressed)
	if err != nil {
		return err.Error()
	}
	q.BodyCRC32 = protocol.BodyCRC(b)
	return describe(r.ask(from, protocol.RegisterBroker.Request(q, b)))
}

func TestScripts(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		r := newRig(t)
		datadriven.RunTest(t, path, func(_ *testing.T, d *datadriven.TestData) string { return r.run(d) })
	})
}

func TestEveryNameServerCodeHasARoute(t *testing.T) {
	r := remoting.NewRouter(newRig(t).server.answer.Routes()...)
	for _, c := range []int32{100, 101, 102, 103, 104, 105, 106, 205, 206, 216, 217, 219, 224, 304, 311, 312, 313, 318, 319, 322, 327, 901, 904} {
		if !r.Has(c) {
			t.Errorf("%s (%d) is not answered", protocol.CodeName(c), c)
		}
	}
}

func TestTheScanDropsSilentBrokersByItself(t *testing.T) {
	r := newRig(t)
	r.clk.Advance(0)
	for r.clk.Waiting() == 0 {
		time.Sleep(time.Millisecond)
	}
	r.register(&datadriven.TestData{CmdArgs: []datadriven.CmdArg{{Key: "from", Vals: []string{"c"}}, {Key: "addr", Vals: []string{"10.0.0.1:10911"}}, {Key: "name", Vals: []string{"a"}}}})
	for deadline := time.Now().Add(10 * time.Second); len(r.server.answer.Table.Cluster().BrokerAddrTable) > 0; {
		r.clk.Advance(10 * time.Second)
		time.Sleep(time.Millisecond)
		if time.Now().After(deadline) {
			t.Fatal("nothing scans")
		}
	}
	if silent := r.clk.Now().Sub(time.UnixMilli(1_700_000_000_000)); silent <= 120*time.Second {
		t.Errorf("dropped after %v", silent)
	}
}

func TestListensAnnouncesAndCloses(t *testing.T) {
	var out bytes.Buffer
	log, _, err := logging.New(logging.Options{Console: &out, Level: "warn"})
	if err != nil {
		t.Fatal(err)
	}
	ready := false
	s, err := New(Options{Config: settings(t, "listenPort=0\nbindAddress=127.0.0.1\nkvConfigPath="+t.TempDir()+"/kv.json"), Log: log, Ready: func() { ready = true }})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	if out.String() != "The Name Server boot success. serializeType=JSON\n" || !ready {
		t.Errorf("%q %v", out.String(), ready)
	}
	_, port, _ := net.SplitHostPort(s.Addr())
	busy, err := New(Options{Config: settings(t, "listenPort="+port+"\nbindAddress=127.0.0.1\nkvConfigPath="+t.TempDir()+"/kv.json")})
	if err != nil {
		t.Fatal(err)
	}
	if err := busy.Start(context.Background()); err == nil || !strings.Contains(err.Error(), port) {
		t.Errorf("two on one port: %v", err)
	}
	for _, x := range []io.Closer{busy, s, s} {
		if err := x.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestABrokenKeyValueFileStopsTheStart(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/kv.json", []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := New(Options{Config: settings(t, "kvConfigPath="+dir+"/kv.json"), Log: slog.New(slog.DiscardHandler)})
	if err == nil || !strings.Contains(err.Error(), dir+"/kv.json") || errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
}
