"""Requests to a model and its responses, shared by the client, the server and a model in this process."""
