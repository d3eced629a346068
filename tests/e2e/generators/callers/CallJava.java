import java.nio.file.Files;
import java.nio.file.Path;
import java.io.File;
import java.util.Base64;
import java.util.List;
import org.openapitools.client.ApiClient;
import org.openapitools.client.api.PredictApi;
import org.openapitools.client.model.PredictFields;

class CallJava {
    public static void main(String[] arguments) throws Exception {
        ApiClient client = new ApiClient();
        client.updateBaseUri(arguments[0]);
        PredictApi api = new PredictApi(client);
        File photo = new File(arguments[1]);

        var uploaded = api.predict(List.of(photo), null, null, null, null, null, null);
        System.out.println("multipart " + uploaded.getPredictionResponse().getLabel());

        String base64 = Base64.getEncoder().encodeToString(Files.readAllBytes(photo.toPath()));
        var sent = api.predictJson(new PredictFields().image(base64), null, null, null, null, null, null);
        System.out.println("json " + sent.getPredictionResponse().getLabel());
    }
}
