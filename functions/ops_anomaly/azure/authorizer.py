"""The Lambda authorizer by which API Gateway finds the key in Azure's header, or in its own.

It decides nothing: it hands the key to API Gateway, which compares it with those of the usage plan,
throttles by the plan, and refuses an unknown one. So it holds no secret and needs no permission.
"""

from __future__ import annotations

from typing import Any

KEY_HEADERS = ("ocp-apim-subscription-key", "x-api-key")


def lambda_handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Return the key of a request, and a policy that lets the request through to its check.

    The policy is for the whole stage, as API Gateway caches it by key and not by path.

    Raises
    ------
    Exception
        `Unauthorized`, the one message that API Gateway makes a 401 of, if there is no key.
    """
    headers = {name.lower(): value for name, value in (event.get("headers") or {}).items()}
    key = next((headers[name] for name in KEY_HEADERS if headers.get(name)), None)
    if key is None:
        raise Exception("Unauthorized")  # API Gateway knows it by this text alone
    api, stage = event["methodArn"].split("/")[:2]
    return {
        "principalId": "api-key",
        "policyDocument": {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Effect": "Allow",
                    "Action": "execute-api:Invoke",
                    "Resource": f"{api}/{stage}/*",
                }
            ],
        },
        "usageIdentifierKey": key,
    }
