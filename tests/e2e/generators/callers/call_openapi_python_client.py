import base64
import sys
from pathlib import Path

from openapi_python_client_client import Client
from openapi_python_client_client.api.predict import predict, predict_json
from openapi_python_client_client.models import ImageParts, PredictFields, PredictionResponse
from openapi_python_client_client.types import File

client = Client(base_url=sys.argv[1])
photo = Path(sys.argv[2])

with photo.open("rb") as file:
    answer = predict.sync(client=client, body=ImageParts(image=[File(payload=file, file_name=photo.name)]))
assert isinstance(answer, PredictionResponse), answer
print("multipart", answer.label)

answer = predict_json.sync(client=client, body=PredictFields(image=base64.b64encode(photo.read_bytes()).decode()))
assert isinstance(answer, PredictionResponse), answer
print("json", answer.label)
