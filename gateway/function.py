"""Entry points for function platforms: `gateway.function.handler` and `gateway.function.apigw_interface`.

The model server runs separately, at `GATEWAY_TFS_TARGET`.
"""

from gateway.runtime.lambda_events import make_digit_handler, make_handler
from gateway.wsgi import app

handler = make_handler(app)
apigw_interface = make_digit_handler(app)
