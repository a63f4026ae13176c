"""What is asked of a model and what it answers: of the client, the server and a model in this process alike."""
