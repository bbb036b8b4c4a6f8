"""The OpenAPI document, as it was committed, and the page that shows it."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import aws_lambda_powertools

DOCUMENT = Path(__file__).with_name("openapi.json")
SWAGGER_UI = Path(aws_lambda_powertools.__file__).parent / "event_handler/openapi/swagger_ui"

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Anomaly detection for operations metrics</title>
<style>{style}</style>
</head>
<body>
<div id="swagger-ui"></div>
<script>{script}</script>
<script>
const ui = SwaggerUIBundle({{dom_id: "#swagger-ui", deepLinking: true, spec: {document}}});
// the target of the page's link to the document
ui.specActions.updateUrl(new URL("openapi.json", location).pathname);
</script>
</body>
</html>
"""


@cache
def openapi_document() -> str:
    """Return the document, as JSON text; `make openapi` writes it."""
    return DOCUMENT.read_text(encoding="utf-8")


def docs_page() -> str:
    """Return Swagger UI with the document: one page that loads nothing, and so works offline.

    Script and style are those that come with Powertools.
    """
    return PAGE.format(
        script=(SWAGGER_UI / "swagger-ui-bundle.min.js").read_text(encoding="utf-8"),
        style=(SWAGGER_UI / "swagger-ui.min.css").read_text(encoding="utf-8"),
        document=openapi_document().replace("</", "<\\/"),
    )
