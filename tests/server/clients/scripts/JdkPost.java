import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;

/** Posts the text of its second argument to its first three times over one client; prints status and body. */
public class JdkPost {
  public static void main(String[] arguments) throws Exception {
    var client = HttpClient.newHttpClient(); // prefers HTTP/2, so it offers an upgrade to h2c
    for (var attempt = 0; attempt < 3; attempt++) {
      var body = HttpRequest.BodyPublishers.ofString(arguments[1]);
      var request = HttpRequest.newBuilder(URI.create(arguments[0])).POST(body).build();
      var response = client.send(request, HttpResponse.BodyHandlers.ofString());
      System.out.println(response.statusCode() + " " + response.body().replace("\n", " "));
    }
  }
}
