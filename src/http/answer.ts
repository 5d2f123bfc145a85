/**
 * Sends an answer that has bytes of its own: which status, which header fields, which of the bytes (RFC 9110; docs/http.md
 * says why).
 */
import { FootageError } from '../errors.ts';
import type { Answer, SendOptions } from '../session/session.ts';
import { judge, rangeApplies, type Verdict } from './conditions.ts';
import { type Exchange, fieldOf, type Request, type Response, singleFieldOf } from './exchange.ts';
import { parseRange } from './range.ts';

export type Fields = Readonly<Record<string, string | number>>;

/** `fields` are those that the answer has besides, whatever part of it is sent. */
export async function sendAnswer(
  exchange: Exchange,
  answer: Answer,
  cacheControl: string,
  fields: Fields = {},
): Promise<void> {
  const { req, res } = exchange;
  const always = { ETag: answer.etag, 'Cache-Control': cacheControl };
  switch (verdictOn(req, answer)) {
    case 'failed':
      throw new FootageError(
        'E_PRECONDITION',
        'The footage of this range is not the one that If-Match or If-Unmodified-Since names: ask for it anew.',
      );
    case 'not-modified':
      // No other field: the client has them (15.4.5).
      res.writeHead(304, always);
      res.end();
      return;
    case 'send':
      return sendBody(exchange, answer, { ...always, 'Accept-Ranges': 'bytes', ...fields, ...dateOf(answer) });
  }
}

/** undefined while it lies ahead: a time that has not come is no time of a change (8.8.2.1). */
export function lastModifiedOf({ lastModifiedUtcMs }: Answer): number | undefined {
  return lastModifiedUtcMs <= Date.now() ? lastModifiedUtcMs : undefined;
}

function dateOf(answer: Answer): Fields {
  const utcMs = lastModifiedOf(answer);
  return utcMs === undefined ? {} : { 'Last-Modified': new Date(utcMs).toUTCString() };
}

function verdictOn(req: Request, answer: Answer): Verdict {
  const fields = {
    ifMatch: fieldOf(req, 'if-match'),
    ifNoneMatch: fieldOf(req, 'if-none-match'),
    ifModifiedSince: singleFieldOf(req, 'if-modified-since'),
    ifUnmodifiedSince: singleFieldOf(req, 'if-unmodified-since'),
  };
  return judge(fields, { etag: answer.etag, lastModifiedUtcMs: lastModifiedOf(answer) }, Date.now());
}

async function sendBody({ req, res, clientAddress, sender }: Exchange, answer: Answer, shared: Fields): Promise<void> {
  const ifRange = fieldOf(req, 'if-range');
  // A range is defined for GET alone (14.2).
  const ranged = req.method === 'GET' && rangeApplies(ifRange, answer.etag);
  const { status, fields, send } = select(res, answer, ranged ? fieldOf(req, 'range') : undefined);
  for (const [name, value] of Object.entries({ ...shared, ...fields })) res.setHeader(name, value);
  // Who goes on with an answer has its date (15.3.7).
  if (status === 206 && ifRange !== undefined) res.removeHeader('Last-Modified');
  res.writeHead(status);
  if (req.method !== 'HEAD') await answer.send(res, { ...send, clientAddress, sender });
  res.end();
}

interface Selected {
  readonly status: 200 | 206;
  readonly fields: Fields;
  readonly send: SendOptions;
}

/** What of the answer the Range field takes. @throws FootageError E_RANGE_UNSATISFIABLE */
function select(res: Response, answer: Answer, rangeField: string | undefined): Selected {
  const { length, contentType } = answer;
  const result = parseRange(rangeField, length);
  if (result.kind === 'whole') {
    return { status: 200, fields: { 'Content-Type': contentType, 'Content-Length': length }, send: {} };
  }
  if (result.kind === 'unsatisfiable') {
    res.setHeader('Content-Range', `bytes */${length}`);
    throw new FootageError('E_RANGE_UNSATISFIABLE', `The answer has ${length} bytes: ask for a byte range inside it.`);
  }
  const { ranges } = result;
  const [range] = ranges;
  if (range !== undefined && ranges.length === 1) {
    const { start, end } = range;
    const contentRange = `bytes ${start}-${end - 1}/${length}`;
    const fields = { 'Content-Type': contentType, 'Content-Length': end - start, 'Content-Range': contentRange };
    return { status: 206, fields, send: { range } };
  }
  const { contentType: type, length: bytes } = answer.multipart(ranges);
  return { status: 206, fields: { 'Content-Type': type, 'Content-Length': bytes }, send: { ranges } };
}
