/** The body of a request: JSON, and not much of it. */
import { FootageError } from '../errors.ts';
import { type Request, singleFieldOf } from './exchange.ts';

const MAX_BODY_BYTES = 4096;

/**
 * The JSON of a request. A page of another site cannot send this content type without asking first (a CORS preflight).
 * @throws FootageError E_CONTENT_TYPE, E_BODY_SIZE, E_CLIENT_GONE, E_QUERY; `usage` says what to write
 */
export async function readJson(req: Request, usage: string): Promise<unknown> {
  if (!/^application\/json[ \t]*(?:;|$)/i.test(singleFieldOf(req, 'content-type') ?? '')) {
    throw new FootageError('E_CONTENT_TYPE', 'The body must be JSON: send it with "Content-Type: application/json".');
  }
  const body = wasRead(req) ? bodyOfMiddleware(req) : await readBytes(req);
  if (typeof body !== 'string' && !(body instanceof Uint8Array)) return body;
  try {
    return JSON.parse(body.toString());
  } catch (error) {
    throw new FootageError('E_QUERY', `The body is no JSON: ${usage}`, error);
  }
}

/** By what stands before the handler, such as `express.json()`: the bytes do not come again. */
function wasRead(req: Request): boolean {
  return req.readableDidRead || req.readableEnded;
}

function bodyOfMiddleware(req: Request): unknown {
  return 'body' in req ? req.body : '';
}

/** What is too long goes on being read, and dropped: who still sends it would not see the answer otherwise. */
function readBytes(req: Request): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    const gone = () => reject(new FootageError('E_CLIENT_GONE', 'The client left in the middle of its request.'));
    if (req.destroyed) return gone();
    const chunks: Buffer[] = [];
    let bytes = 0;
    req.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
      if (bytes <= MAX_BODY_BYTES) chunks.push(chunk);
      else reject(new FootageError('E_BODY_SIZE', `The body is too long: send ${MAX_BODY_BYTES} bytes at most.`));
    });
    req.once('end', () => resolve(Buffer.concat(chunks)));
    // Also where the server gives the client up, after its `requestTimeout`.
    req.once('close', gone);
  });
}
