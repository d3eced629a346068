"""What a function platform imports: `gateway.function.handler`, or `gateway.function.apigw_interface`.

The model server is elsewhere, at `GATEWAY_TFS_TARGET`.
"""

from gateway.runtime.lambda_events import make_digit_handler, make_handler
from gateway.wsgi import app

handler = make_handler(app)
apigw_interface = make_digit_handler(app)
