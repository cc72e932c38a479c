// A receiver in Java: PORT=4000 WEBHOOK_SECRET=whsec_... java Receiver.java
import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.util.Base64;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import javax.crypto.Mac;
import javax.crypto.spec.SecretKeySpec;

public class Receiver {
    static byte[] key = Base64.getDecoder().decode(System.getenv("WEBHOOK_SECRET").replaceFirst("^whsec_", ""));
    static Set<String> seen = ConcurrentHashMap.newKeySet(); // keep it in your database, so that a restart forgets nothing
    static Pattern name = Pattern.compile("\"(?:event|type)\"\\s*:\\s*\"([^\"]*)\""); // use your JSON library

    // Returns 0, or the status to answer with.
    static int verify(String id, String stamp, String signatures, byte[] body) throws Exception {
        if (id == null || stamp == null || !stamp.matches("[0-9]{1,12}")
                || Math.abs(System.currentTimeMillis() / 1000 - Long.parseLong(stamp)) > 300) return 400;
        Mac mac = Mac.getInstance("HmacSHA256");
        mac.init(new SecretKeySpec(key, "HmacSHA256"));
        mac.update((id + "." + stamp + ".").getBytes(StandardCharsets.UTF_8));
        byte[] want = mac.doFinal(body); // the bytes as they came, never re-encoded
        for (String signature : (signatures == null ? "" : signatures).split(" ")) {
            if (!signature.startsWith("v1,")) continue;
            try {
                byte[] got = Base64.getDecoder().decode(signature.substring(3));
                if (MessageDigest.isEqual(got, want)) return 0; // in constant time
            } catch (IllegalArgumentException e) {
                continue; // no base 64
            }
        }
        return 401;
    }

    static void handle(HttpExchange x) {
        try (x) {
            byte[] body = x.getRequestBody().readAllBytes();
            String id = x.getRequestHeaders().getFirst("webhook-id");
            int status = verify(id, x.getRequestHeaders().getFirst("webhook-timestamp"), x.getRequestHeaders().getFirst("webhook-signature"), body);
            if (status == 0 && seen.add(id)) { // the same delivery may come again: it has the same id
                Matcher m = name.matcher(new String(body, StandardCharsets.UTF_8));
                System.out.println("got " + (m.find() ? m.group(1) : "") + " " + x.getRequestHeaders().getFirst("Consentwire-Subject")
                        + " " + x.getRequestHeaders().getFirst("Consentwire-Sequence"));
            }
            x.sendResponseHeaders(status == 0 ? 204 : status, -1);
        } catch (Exception e) {
            System.err.println(e);
        }
    }

    public static void main(String[] args) throws Exception {
        String port = System.getenv().getOrDefault("PORT", "4000");
        HttpServer server = HttpServer.create(new InetSocketAddress("127.0.0.1", Integer.parseInt(port)), 0);
        server.createContext("/", Receiver::handle);
        server.start();
    }
}
