/** HTTP clients for tests: answers with their bodies, several requests on one connection, and raw bytes for pipelining. */
import { once } from 'node:events';
import http, { type IncomingHttpHeaders, type IncomingMessage, type RequestOptions } from 'node:http';
import https from 'node:https';
import net from 'node:net';

export interface Reply {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
  /** Port of the client's side: equal for requests on one connection. */
  readonly localPort: number;
}

export interface RequestFields extends Omit<RequestOptions, 'headers'> {
  readonly headers?: Readonly<Record<string, string>>;
}

/** One request; `agent: false` (a connection of its own) unless an agent is given. */
export async function request(url: string, fields: RequestFields = {}): Promise<Reply> {
  const { request: begin } = url.startsWith('https:') ? https : http;
  const outgoing = begin(url, { agent: false, rejectUnauthorized: false, ...fields } as RequestOptions).end();
  const [response] = (await once(outgoing, 'response')) as [IncomingMessage];
  const localPort = response.socket.localPort ?? 0;
  const chunks: Buffer[] = [];
  for await (const chunk of response as AsyncIterable<Buffer>) chunks.push(chunk);
  return { status: response.statusCode ?? 0, headers: response.headers, body: Buffer.concat(chunks), localPort };
}

/** What an error answer says: `{"error": {"code": …, "message": …}}` and nothing else, else an exception. */
export function errorOf({ headers, body }: Reply): { code: string; message: string } {
  if (headers['content-type'] !== 'application/json; charset=utf-8')
    throw new Error(`not JSON: ${headers['content-type']}`);
  const parsed = JSON.parse(body.toString()) as { error: { code: string; message: string } };
  const shape = JSON.stringify([Object.keys(parsed), Object.keys(parsed.error)]);
  if (shape !== '[["error"],["code","message"]]') throw new Error(`not an error answer: ${body.toString()}`);
  return parsed.error;
}

/** Writes `text` at once on a new connection and returns all that comes until the server closes it. */
export async function exchangeRaw(port: number, text: string): Promise<Buffer> {
  const socket = net.connect(port, '127.0.0.1');
  await once(socket, 'connect');
  socket.write(text);
  const chunks: Buffer[] = [];
  for await (const chunk of socket as AsyncIterable<Buffer>) chunks.push(chunk);
  return Buffer.concat(chunks);
}
