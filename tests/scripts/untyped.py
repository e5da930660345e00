import huggingface_hub


@huggingface_hub.webhook_endpoint
def untyped(payload):
    return payload.repo.name
