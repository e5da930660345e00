"""Takes what is no event of the Hub, and no JSON."""

from urllib.parse import parse_qs

from fastapi import Request, Response
from huggingface_hub import webhook_endpoint


@webhook_endpoint("/sms")
async def sms(request: Request):
    fields = parse_qs((await request.body()).decode())
    text = f"<Response><Message>{fields['Body'][0]}</Message></Response>"
    return Response(text, media_type="application/xml")
