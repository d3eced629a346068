import base64
import sys
from pathlib import Path

import openapi_client
from openapi_client import PredictApi, PredictFields

photo = Path(sys.argv[2]).read_bytes()

with openapi_client.ApiClient(openapi_client.Configuration(host=sys.argv[1])) as client:
    api = PredictApi(client)

    answer = api.predict(image=[("photo.jpg", photo)]).actual_instance
    print("multipart", answer.label)

    answer = api.predict_json(PredictFields(image=base64.b64encode(photo).decode())).actual_instance
    print("json", answer.label)
