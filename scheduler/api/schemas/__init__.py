"""What goes in and what comes out of the API, as pydantic models; OpenAPI is made from them."""
