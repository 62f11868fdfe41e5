// Peer is the Java client that our servers are proved with: one program, compiled against either version's jars.
//
//   java Peer SUBCOMMAND key=value...
//
// Every result is one JSON object on a line of stdout: {"event":"sent"|"received"|"error"|"ready"|"done", ...}.
// The Go program in test/goclient has the same subcommands, the same keys and prints the same lines.

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.rocketmq.client.consumer.DefaultLitePullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendCallback;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

public class Peer {
    // The client library writes to System.out now and then; our lines own the real one.
    static final PrintStream OUT = System.out;
    static final BufferedReader STDIN = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    final Map<String, String> args = new HashMap<>();

    public static void main(String[] argv) throws Exception {
        System.setOut(System.err);
        Peer p = new Peer();
        for (int i = 1; i < argv.length; i++) {
            int eq = argv[i].indexOf('=');
            p.args.put(argv[i].substring(0, eq), argv[i].substring(eq + 1));
        }
        int code = 0;
        try {
            p.run(argv[0]);
        } catch (Throwable e) {
            e.printStackTrace();
            code = 1;
        }
        OUT.flush();
        System.exit(code); // client threads are not daemons
    }

    void run(String subcommand) throws Exception {
        if (!subcommand.endsWith("-loop") && !subcommand.endsWith("-told")) exitWhenStdinCloses();
        switch (subcommand) {
            case "produce": produce(); break;
            case "produce-loop": produceLoop(); break;
            case "produce-told": produceTold(); break;
            case "consume-told": consumeTold(); break;
            case "console-told": Console.run(str("namesrv", "127.0.0.1:9876")); break;
            case "consume": consume(); break;
            case "consume-loop": consumeLoop(); break;
            case "pull": pull(); break;
            case "litepull": litePull(); break;
            default: throw new IllegalArgumentException("no subcommand " + subcommand);
        }
    }

    // ---- producing

    // produce sends n messages how=sync|async|oneway|batch and ends.
    void produce() throws Exception {
        DefaultMQProducer producer = producer();
        int n = num("n", 1);
        String how = str("how", "sync");
        CountDownLatch answered = new CountDownLatch(n);
        for (int i = 0; i < n; i++) {
            final Message m = message(i);
            final long t0 = System.nanoTime();
            try {
                switch (how) {
                    case "sync":
                        sent(producer.send(m), m, t0);
                        break;
                    case "async":
                        producer.send(m, new SendCallback() {
                            public void onSuccess(SendResult r) { sent(r, m, t0); answered.countDown(); }
                            public void onException(Throwable e) { error(e, body(m.getBody()), t0); answered.countDown(); }
                        });
                        continue;
                    case "oneway":
                        producer.sendOneway(m);
                        break;
                    case "batch":
                        List<Message> batch = new ArrayList<>();
                        for (int k = 0; k < num("batch", 10) && i < n; k++, i++) batch.add(message(i));
                        i--;
                        SendResult r = producer.send(batch);
                        for (Message b : batch) sent(r, b, t0);
                        break;
                    default:
                        throw new IllegalArgumentException("how=" + how);
                }
            } catch (Exception e) {
                error(e, body(m.getBody()), t0);
            }
            answered.countDown();
        }
        if (how.equals("async")) answered.await(60, TimeUnit.SECONDS);
        if (how.equals("oneway")) Thread.sleep(500); // nothing says when the last one has left
        producer.shutdown();
        print("done", "n", n);
    }

    // produceLoop sends one message each `every` ms until stdin closes: the application of the failover tests.
    void produceLoop() throws Exception {
        DefaultMQProducer producer = producer();
        AtomicInteger stop = untilStdinCloses();
        print("ready");
        int i = 0;
        for (; stop.get() == 0; i++) {
            Message m = message(i);
            long t0 = System.nanoTime();
            try {
                sent(producer.send(m), m, t0);
            } catch (Exception e) {
                error(e, body(m.getBody()), t0);
            }
            Thread.sleep(num("every", 10));
        }
        producer.shutdown();
        print("done", "n", i);
    }

    // produceTold is an application that stays: a line of stdin, COUNT PREFIX TRIES PAUSE THREADS, orders COUNT messages named
    // PREFIX-0 and so on, PAUSE ms apart. Each is sent again, 100 ms later, until it is acknowledged or TRIES sends of it have
    // failed (0: never give up). The end of an order is an "ordered" line.
    void produceTold() throws Exception {
        DefaultMQProducer producer = producer();
        print("ready");
        for (String line = STDIN.readLine(); line != null; line = STDIN.readLine()) {
            String[] order = line.trim().split(" ");
            int count = Integer.parseInt(order[0]);
            Thread[] threads = new Thread[Integer.parseInt(order[4])];
            AtomicInteger next = new AtomicInteger();
            for (int k = 0; k < threads.length; k++) {
                threads[k] = new Thread(() -> {
                    for (int i = next.getAndIncrement(); i < count; i = next.getAndIncrement()) {
                        insist(producer, message(order[1], i), Integer.parseInt(order[2]));
                        pause(Integer.parseInt(order[3]));
                    }
                });
                threads[k].start();
            }
            for (Thread t : threads) t.join();
            print("ordered", "body", order[1], "n", count);
        }
        producer.shutdown();
        print("done");
    }

    static void insist(DefaultMQProducer producer, Message m, int tries) {
        for (int failed = 0; tries == 0 || failed < tries; failed++) {
            long t0 = System.nanoTime();
            try {
                sent(producer.send(m), m, t0);
                return;
            } catch (Exception e) {
                error(e, body(m.getBody()), t0);
            }
            pause(100);
        }
    }

    static void pause(int ms) {
        try { if (ms > 0) Thread.sleep(ms); } catch (InterruptedException e) { throw new IllegalStateException(e); }
    }

    DefaultMQProducer producer() throws Exception {
        DefaultMQProducer p = new DefaultMQProducer(str("group", "peer-producer"));
        p.setNamesrvAddr(str("namesrv", "127.0.0.1:9876"));
        p.setInstanceName(instance());
        p.setSendMsgTimeout(num("timeout", 3000));
        p.setRetryTimesWhenSendFailed(num("retries", 2));
        p.setRetryTimesWhenSendAsyncFailed(num("retries", 2));
        p.setSendLatencyFaultEnable(flag("latencyfault", false));
        p.setVipChannelEnabled(flag("vip", false));
        p.setCompressMsgBodyOverHowmuch(num("compress", 4096));
        p.setPollNameServerInterval(num("poll", 30000));
        p.start();
        return p;
    }

    Message message(int i) { return message(str("prefix", "m"), i); }

    Message message(String prefix, int i) {
        StringBuilder body = new StringBuilder(prefix + "-" + i);
        for (int size = num("size", 0); body.length() < size; ) body.append((char) ('a' + body.length() % 26));
        Message m = new Message(str("topic", "PeerTest"), pick("tags", i), pick("keys", i),
            body.toString().getBytes(StandardCharsets.UTF_8));
        if (num("delay", 0) > 0) m.setDelayTimeLevel(num("delay", 0));
        return m;
    }

    // pick takes the i-th of a comma list, round and round; keys=k% gives each message a key of its own.
    String pick(String key, int i) {
        String[] of = str(key, "").split(",");
        return of[i % of.length].replace("%", Integer.toString(i));
    }

    // ---- consuming

    // consume receives until n messages came or nothing came for idle ms, and ends.
    // Each message is refused `fail` times before it is accepted (fail=-1: always).
    void consume() throws Exception {
        AtomicInteger got = new AtomicInteger();
        AtomicLong last = new AtomicLong(System.currentTimeMillis());
        DefaultMQPushConsumer c = pushConsumer(got, last);
        int n = num("n", Integer.MAX_VALUE);
        long idle = num("idle", 10000);
        while (got.get() < n && System.currentTimeMillis() - last.get() < idle) Thread.sleep(20);
        Thread.sleep(num("linger", 300)); // one too many would show now
        c.shutdown();
        print("done", "n", got.get());
    }

    void consumeLoop() throws Exception {
        AtomicInteger got = new AtomicInteger();
        AtomicInteger stop = untilStdinCloses();
        DefaultMQPushConsumer c = pushConsumer(got, new AtomicLong());
        while (stop.get() == 0) Thread.sleep(20);
        c.shutdown();
        print("done", "n", got.get());
    }

    // consumeTold is an application that stays, and stops and goes on taking messages as lines of stdin tell: suspend, resume.
    void consumeTold() throws Exception {
        AtomicInteger got = new AtomicInteger();
        DefaultMQPushConsumer c = pushConsumer(got, new AtomicLong());
        for (String line = STDIN.readLine(); line != null; line = STDIN.readLine()) {
            if (line.equals("suspend")) c.suspend();
            if (line.equals("resume")) c.resume();
            print(line);
        }
        c.shutdown();
        print("done", "n", got.get());
    }

    DefaultMQPushConsumer pushConsumer(AtomicInteger accepted, AtomicLong last) throws Exception {
        DefaultMQPushConsumer c = new DefaultMQPushConsumer(str("group", "peer-consumer"));
        c.setNamesrvAddr(str("namesrv", "127.0.0.1:9876"));
        c.setInstanceName(instance());
        c.setVipChannelEnabled(flag("vip", false));
        c.setConsumeFromWhere(str("from", "first").equals("first")
            ? ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET : ConsumeFromWhere.CONSUME_FROM_LAST_OFFSET);
        model(c, str("model", "clustering"));
        c.setMaxReconsumeTimes(num("maxreconsume", -1));
        c.setPollNameServerInterval(num("poll", 30000));
        c.setHeartbeatBrokerInterval(num("heartbeat", 30000));
        c.subscribe(str("topic", "PeerTest"), str("tags", "*"));
        int fail = num("fail", 0);
        int level = num("retrylevel", 0);
        if (flag("orderly", false)) {
            c.registerMessageListener((MessageListenerOrderly) (messages, context) -> {
                for (MessageExt m : messages) received(m, context.getMessageQueue().toString(), true);
                accepted.addAndGet(messages.size());
                last.set(System.currentTimeMillis());
                return ConsumeOrderlyStatus.SUCCESS;
            });
        } else {
            c.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
                last.set(System.currentTimeMillis());
                for (MessageExt m : messages) {
                    pause(num("work", 0));
                    boolean accept = fail >= 0 && m.getReconsumeTimes() >= fail;
                    received(m, context.getMessageQueue().toString(), accept);
                    if (!accept) {
                        context.setDelayLevelWhenNextConsume(level);
                        return ConsumeConcurrentlyStatus.RECONSUME_LATER;
                    }
                }
                accepted.addAndGet(messages.size());
                return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
            });
        }
        c.start();
        print("ready");
        return c;
    }

    // model sets the message model by reflection: its class changed package between 4.9 and 5.x.
    @SuppressWarnings({"unchecked", "rawtypes"})
    static void model(DefaultMQPushConsumer c, String name) throws Exception {
        for (java.lang.reflect.Method m : DefaultMQPushConsumer.class.getMethods()) {
            if (!m.getName().equals("setMessageModel")) continue;
            m.invoke(c, Enum.valueOf((Class) m.getParameterTypes()[0], name.toUpperCase()));
        }
    }

    // pull reads every queue of a topic from its min offset with the old pull consumer, once to the end.
    @SuppressWarnings("deprecation")
    void pull() throws Exception {
        DefaultMQPullConsumer c = new DefaultMQPullConsumer(str("group", "peer-puller"));
        c.setNamesrvAddr(str("namesrv", "127.0.0.1:9876"));
        c.setInstanceName(instance());
        c.setVipChannelEnabled(flag("vip", false));
        c.start();
        int got = 0;
        for (MessageQueue q : c.fetchSubscribeMessageQueues(str("topic", "PeerTest"))) {
            long offset = c.minOffset(q);
            for (boolean more = true; more; ) {
                PullResult r = c.pull(q, str("tags", "*"), offset, 32);
                offset = r.getNextBeginOffset();
                if (r.getPullStatus() == PullStatus.FOUND) {
                    for (MessageExt m : r.getMsgFoundList()) {
                        received(m, q.toString(), true);
                        got++;
                    }
                }
                more = r.getPullStatus() == PullStatus.FOUND || r.getPullStatus() == PullStatus.NO_MATCHED_MSG;
            }
            c.updateConsumeOffset(q, offset);
        }
        c.shutdown();
        print("done", "n", got);
    }

    void litePull() throws Exception {
        DefaultLitePullConsumer c = new DefaultLitePullConsumer(str("group", "peer-litepuller"));
        c.setNamesrvAddr(str("namesrv", "127.0.0.1:9876"));
        c.setInstanceName(instance());
        c.setVipChannelEnabled(flag("vip", false));
        c.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        c.subscribe(str("topic", "PeerTest"), str("tags", "*"));
        c.start();
        int got = 0;
        int n = num("n", Integer.MAX_VALUE);
        for (long last = System.currentTimeMillis(); got < n && System.currentTimeMillis() - last < num("idle", 10000); ) {
            for (MessageExt m : c.poll(500)) {
                received(m, "", true);
                got++;
                last = System.currentTimeMillis();
            }
        }
        c.commitSync();
        c.shutdown();
        print("done", "n", got);
    }

    // ---- what is printed

    static void sent(SendResult r, Message m, long t0) {
        print("sent", "status", r.getSendStatus().name(), "msgId", r.getMsgId(), "offsetMsgId", r.getOffsetMsgId(),
            "broker", r.getMessageQueue().getBrokerName(), "queue", r.getMessageQueue().getQueueId(),
            "offset", r.getQueueOffset(), "body", body(m.getBody()), "ms", (System.nanoTime() - t0) / 1000000);
    }

    static void received(MessageExt m, String queue, boolean accepted) {
        print("received", "msgId", m.getMsgId(), "topic", m.getTopic(), "tags", m.getTags(), "keys", m.getKeys(),
            "queue", m.getQueueId(), "offset", m.getQueueOffset(), "reconsume", m.getReconsumeTimes(),
            "from", queue, "storeHost", String.valueOf(m.getStoreHost()), "body", body(m.getBody()), "accepted", accepted);
    }

    static void error(Throwable e, String body, long t0) {
        print("error", "error", String.valueOf(e), "body", body, "ms", (System.nanoTime() - t0) / 1000000);
    }

    // body is what names a message; the padding behind 64 characters is left out.
    static String body(byte[] b) {
        String s = new String(b, StandardCharsets.UTF_8);
        return s.length() > 64 ? s.substring(0, 64) : s;
    }

    static synchronized void print(String event, Object... fields) {
        StringBuilder s = new StringBuilder("{\"event\":\"" + event + "\",\"at\":" + System.currentTimeMillis());
        for (int i = 0; i < fields.length; i += 2) {
            if (fields[i + 1] == null) continue;
            s.append(",\"").append(fields[i]).append("\":");
            if (fields[i + 1] instanceof Number || fields[i + 1] instanceof Boolean) s.append(fields[i + 1]);
            else quote(s, fields[i + 1].toString());
        }
        OUT.println(s.append('}'));
        OUT.flush();
    }

    static void quote(StringBuilder s, String v) {
        s.append('"');
        for (char c : v.toCharArray()) {
            if (c == '"' || c == '\\') s.append('\\').append(c);
            else if (c < ' ') s.append(String.format("\\u%04x", (int) c));
            else s.append(c);
        }
        s.append('"');
    }

    // ---- arguments

    String str(String key, String otherwise) { return args.getOrDefault(key, otherwise); }
    int num(String key, int otherwise) { return args.containsKey(key) ? Integer.parseInt(args.get(key)) : otherwise; }
    boolean flag(String key, boolean otherwise) { return args.containsKey(key) ? Boolean.parseBoolean(args.get(key)) : otherwise; }
    String instance() { return str("instance", "peer-" + ProcessHandle.current().pid()); }

    static AtomicInteger untilStdinCloses() {
        AtomicInteger closed = new AtomicInteger();
        whenStdinCloses(() -> closed.set(1));
        return closed;
    }

    // exitWhenStdinCloses: nobody is left who wants the results.
    static void exitWhenStdinCloses() { whenStdinCloses(() -> Runtime.getRuntime().halt(3)); }

    static void whenStdinCloses(Runnable act) {
        Thread t = new Thread(() -> {
            try { while (System.in.read() >= 0) { } } catch (Exception e) { /* closed is closed */ }
            act.run();
        });
        t.setDaemon(true);
        t.start();
    }
}
