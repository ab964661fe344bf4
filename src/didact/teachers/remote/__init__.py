"""Teachers and judges behind a server that talks like OpenAI's."""
