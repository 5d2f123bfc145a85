/**
 * Request and response as the handler takes them: those of `node:http`, or of `node:http2` in their compatible form.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Http2ServerRequest, Http2ServerResponse } from 'node:http2';

export type Request = IncomingMessage | Http2ServerRequest;
export type Response = ServerResponse | Http2ServerResponse;

/** Ends an answer whose headers are set, without its body where HEAD was asked (RFC 9110 9.3.2). */
export function endWith(req: Request, res: Response, body: Uint8Array): void {
  if (req.method === 'HEAD') res.end();
  else res.end(body);
}
