from huggingface_hub import webhook_endpoint


@webhook_endpoint()
async def no_argument():
    return "called"
