"""The bodies of requests and answers, as pydantic models. The OpenAPI document shows them."""
