// Console asks what RocketMQ's console asks for its pages, and as it does: one admin client, made once, for as long as it runs,
// with every name server in its list. A line of stdin, a topic, is one look; what was seen is printed as Peer prints.

import java.util.TreeSet;
import org.apache.rocketmq.tools.admin.DefaultMQAdminExt;

class Console {
    static void run(String namesrv) throws Exception {
        DefaultMQAdminExt admin = new DefaultMQAdminExt(5000);
        admin.setNamesrvAddr(namesrv);
        admin.setInstanceName("console");
        admin.start();
        Peer.print("ready");
        for (String topic = Peer.STDIN.readLine(); topic != null; topic = Peer.STDIN.readLine()) {
            long t0 = System.nanoTime();
            try {
                Peer.print("looked", "body", look(admin, topic), "ms", (System.nanoTime() - t0) / 1000000);
            } catch (Exception e) {
                Peer.error(e, topic, t0);
            }
        }
        admin.shutdown();
        Peer.print("done");
    }

    // look lists the brokers, each asked for its run-time figures, and finds the topic in the list of topics and its route.
    static String look(DefaultMQAdminExt admin, String topic) throws Exception {
        TreeSet<String> brokers = new TreeSet<>();
        for (var b : admin.examineBrokerClusterInfo().getBrokerAddrTable().values()) {
            for (var addr : b.getBrokerAddrs().values()) {
                admin.fetchBrokerRuntimeStats(addr);
                brokers.add(addr);
            }
        }
        if (!admin.fetchAllTopicList().getTopicList().contains(topic)) throw new IllegalStateException("no topic " + topic);
        if (admin.examineTopicRouteInfo(topic).getBrokerDatas().isEmpty()) throw new IllegalStateException("no route");
        return String.join(" ", brokers);
    }
}
