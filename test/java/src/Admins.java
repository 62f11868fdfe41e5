// Admins runs mqadmin's commands one after the other without starting a JVM for each: a line of stdin is a command, its
// words separated by tabs; what it prints on both streams is followed by a line with END. It ends when stdin closes.

import java.io.BufferedReader;
import java.io.ByteArrayOutputStream;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import org.apache.rocketmq.tools.command.MQAdminStartup;

public class Admins {
    public static void main(String[] argv) throws Exception {
        PrintStream stdout = System.out;
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            ByteArrayOutputStream said = new ByteArrayOutputStream();
            PrintStream both = new PrintStream(said, true, "UTF-8");
            System.setOut(both);
            System.setErr(both);
            try {
                MQAdminStartup.main0(line.split("\t"), null);
            } catch (Throwable e) {
                e.printStackTrace();
            }
            both.flush();
            said.writeTo(stdout);
            stdout.println("\nEND");
            stdout.flush();
        }
        Runtime.getRuntime().halt(0);
    }
}
