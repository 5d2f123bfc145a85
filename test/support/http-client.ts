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
  readonly body?: string;
}

/** One request; `agent: false` (a connection of its own) unless an agent is given. */
export async function request(url: string, { body, ...fields }: RequestFields = {}): Promise<Reply> {
  const { request: begin } = url.startsWith('https:') ? https : http;
  const outgoing = begin(url, { agent: false, rejectUnauthorized: false, ...fields } as RequestOptions).end(body);
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

/** A part of a multipart body: its header, names in lower case, and its bytes. */
export interface BodyPart {
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer;
}

/** The parts of a multipart/byteranges body (RFC 2046 5.1, RFC 9110 14.6); an exception for what is not exactly that. */
export function partsOf(contentType: string | undefined, body: Buffer): BodyPart[] {
  const boundary = /^multipart\/byteranges; boundary=([0-9A-Za-z'()+_,./:=?-]{1,70})$/.exec(contentType ?? '')?.[1];
  if (boundary === undefined) throw new Error(`not multipart: ${contentType}`);
  const delimiter = `\r\n--${boundary}`;
  const parts: BodyPart[] = [];
  // The first delimiter has no line end in front of it.
  let rest = Buffer.concat([Buffer.from('\r\n'), body]);
  if (rest.indexOf(delimiter) !== 0) throw new Error('the body does not begin with its boundary');
  for (;;) {
    rest = rest.subarray(delimiter.length);
    if (rest.equals(Buffer.from('--\r\n'))) return parts;
    const end = rest.indexOf(delimiter);
    const header = rest.indexOf('\r\n\r\n');
    if (end === -1 || header === -1 || header > end) throw new Error(`part ${parts.length} of the body is not whole`);
    parts.push({ headers: headersOf(rest.subarray(0, header)), body: rest.subarray(header + 4, end) });
    rest = rest.subarray(end);
  }
}

function headersOf(header: Buffer): Record<string, string> {
  const lines = header.toString('latin1').split('\r\n').slice(1);
  return Object.fromEntries(lines.map((line) => [line.split(':')[0]?.toLowerCase(), line.replace(/^[^:]*: */, '')]));
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
