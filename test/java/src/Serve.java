// Serve runs another class's main and ends the process as soon as stdin closes: a Java server that a test started
// is gone when the test is, however the test ends.
//
//   java Serve org.apache.rocketmq.broker.BrokerStartup -c broker.properties

import java.util.Arrays;

public class Serve {
    public static void main(String[] argv) throws Exception {
        Thread watch = new Thread(() -> {
            try { while (System.in.read() >= 0) { } } catch (Exception e) { /* closed is closed */ }
            Runtime.getRuntime().halt(9);
        });
        watch.setDaemon(true);
        watch.start();
        Class.forName(argv[0]).getMethod("main", String[].class)
            .invoke(null, (Object) Arrays.copyOfRange(argv, 1, argv.length));
    }
}
