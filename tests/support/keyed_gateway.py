"""What API Gateway does with the key of a request where `AzureCompatible` is `Yes`."""

from __future__ import annotations

from typing import Any

from local.gateway import Handler
from ops_anomaly.azure.authorizer import lambda_handler
from tests.support.cloudformation import deployed

AZURE = "/anomalydetector/"


def with_keys(handler: Handler, key: str) -> Handler:
    """Return a handler that is invoked for requests with this key, as the template has it.

    The authorizer of a path runs only where its header is there; the key that it finds is compared
    with the usage plan's; the gateway's own responses are those of the template.
    """
    document = deployed(AzureCompatible="Yes")["Api"]["Properties"]["Body"]
    schemes = document["components"]["securitySchemes"]
    responses = document["x-amazon-apigateway-gateway-responses"]

    def response(kind: str) -> dict[str, Any]:
        found = responses[kind]
        prefix = "gatewayresponse.header."
        headers = {
            name.removeprefix(prefix): value.strip("'")
            for name, value in found["responseParameters"].items()
        }
        body = found["responseTemplates"]["application/json"]
        return {"statusCode": int(found["statusCode"]), "headers": headers, "body": body}

    def handle(event: dict[str, Any], context: Any) -> dict[str, Any]:
        path = "/anomalydetector/{proxy+}" if event["path"].startswith(AZURE) else "/{proxy+}"
        [operation] = document["paths"][path].values()
        scheme = next(name for each in operation["security"] for name in each if name != "api_key")
        source = schemes[scheme]["x-amazon-apigateway-authorizer"]["identitySource"]
        header = source.removeprefix("method.request.header.").lower()
        if not any(name.lower() == header and value for name, value in event["headers"].items()):
            return response("UNAUTHORIZED")
        method = f"arn:aws:execute-api:us-east-1:123456789012:api/v1/{event['httpMethod']}"
        found = lambda_handler(event | {"methodArn": f"{method}{event['path']}"}, context)
        if found["usageIdentifierKey"] != key:
            return response("INVALID_API_KEY")
        return handler(event, context)

    return handle
