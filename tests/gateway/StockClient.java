import java.io.ByteArrayInputStream;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublisher;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse.BodyHandlers;

/** Java's own HTTP client as it comes: it offers h2c. Prints a line for each answer. */
public class StockClient {
    private static final HttpClient CLIENT = HttpClient.newHttpClient();
    private static String url;

    public static void main(String[] arguments) throws Exception {
        url = arguments[0];
        String one = "{\"inputs\": \"one\"}";
        String many = "{\"inputs\": [\"" + "x\", \"".repeat(5_000) + "last\"]}";
        post("plain", BodyPublishers.ofString(one), false);
        post("again", BodyPublishers.ofString(one), false);
        post("chunked", BodyPublishers.ofInputStream(() -> new ByteArrayInputStream(one.getBytes())), false);
        post("expect", BodyPublishers.ofString(one), true);
        post("many", BodyPublishers.ofString(many), false);
        send("get", HttpRequest.newBuilder(URI.create(url + "/health")).GET());
    }

    private static void post(String name, BodyPublisher body, boolean expectContinue) throws Exception {
        send(name, HttpRequest.newBuilder(URI.create(url + "/predict"))
            .header("Content-Type", "application/json").expectContinue(expectContinue).POST(body));
    }

    private static void send(String name, HttpRequest.Builder request) throws Exception {
        var answer = CLIENT.send(request.build(), BodyHandlers.ofString());
        String body = answer.body();
        String end = body.substring(Math.max(0, body.indexOf("\"counts\"")));
        System.out.println(name + " " + answer.statusCode() + " " + answer.version() + " " + end);
    }
}
