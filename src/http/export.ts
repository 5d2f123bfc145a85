/**
 * The answers that are made of footage: a range of a camera as a file, and the manifest of the same range. Which status,
 * which header fields, which bytes (RFC 9110; docs/http.md says why).
 */
import { FootageError } from '../errors.ts';
import type { SendOptions, Session } from '../session/session.ts';
import { judge, rangeApplies, type Verdict } from './conditions.ts';
import { type Exchange, fieldOf, type Request, type Response, sendJson, singleFieldOf } from './exchange.ts';
import { type ExportOptions, parseExportQuery, queryOfPart, sameQuery } from './export-query.ts';
import { parseRange } from './range.ts';

type Fields = Readonly<Record<string, string | number>>;

/** One plan, and what was asked for it. */
interface Planned {
  readonly session: Session;
  readonly options: ExportOptions;
  /** undefined while it lies ahead: a time that has not come is no time of a change (8.8.2.1). */
  readonly lastModifiedUtcMs: number | undefined;
}

async function plan({ query, archive }: Exchange, camera: string): Promise<Planned> {
  const options = parseExportQuery(query);
  const session = await archive.session({ camera, ...options });
  const isPast = session.lastModifiedUtcMs <= Date.now();
  return { session, options, lastModifiedUtcMs: isPast ? session.lastModifiedUtcMs : undefined };
}

/** Sends the footage; `api` leads from the address of the request to that of `export.json`. */
export async function sendExport(exchange: Exchange, camera: string, api = ''): Promise<void> {
  const { req, res, query } = exchange;
  const planned = await plan(exchange, camera);
  const { etag } = planned.session;
  const always = { ETag: etag, 'Cache-Control': 'no-cache' };
  switch (verdictOn(req, planned)) {
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
    case 'send': {
      const shared = { ...always, ...describe(planned, camera, query, api) };
      return sendBody(req, res, planned.session, shared);
    }
  }
}

function verdictOn(req: Request, { session, lastModifiedUtcMs }: Planned): Verdict {
  const fields = {
    ifMatch: fieldOf(req, 'if-match'),
    ifNoneMatch: fieldOf(req, 'if-none-match'),
    ifModifiedSince: singleFieldOf(req, 'if-modified-since'),
    ifUnmodifiedSince: singleFieldOf(req, 'if-unmodified-since'),
  };
  return judge(fields, { etag: session.etag, lastModifiedUtcMs }, Date.now());
}

/** The fields that answers with footage have whatever part of it they hold. */
function describe(planned: Planned, camera: string, query: URLSearchParams, api: string): Fields {
  const { lastModifiedUtcMs } = planned;
  return {
    'Accept-Ranges': 'bytes',
    'Content-Disposition': `${query.has('download') ? 'attachment' : 'inline'}; filename="${fileName(camera, planned)}"`,
    Link: linksOf(planned.session, query, api),
    ...(lastModifiedUtcMs === undefined ? {} : { 'Last-Modified': new Date(lastModifiedUtcMs).toUTCString() }),
  };
}

/** The manifest, and the part that follows where the answer is split. */
function linksOf({ manifest: { part, parts } }: Session, query: URLSearchParams, api: string): string {
  const manifest = `<${api}export.json?${sameQuery(query)}>; rel="describedby"; type="application/json"`;
  return part < parts ? `${manifest}, <${api}export.mp4?${queryOfPart(query, part + 1)}>; rel="next"` : manifest;
}

async function sendBody(req: Request, res: Response, session: Session, shared: Fields): Promise<void> {
  const ifRange = fieldOf(req, 'if-range');
  // A range is defined for GET alone (14.2).
  const ranged = req.method === 'GET' && rangeApplies(ifRange, session.etag);
  const { status, fields, send } = select(res, session, ranged ? fieldOf(req, 'range') : undefined);
  for (const [name, value] of Object.entries({ ...shared, ...fields })) res.setHeader(name, value);
  // Who goes on with an answer has its date (15.3.7).
  if (status === 206 && ifRange !== undefined) res.removeHeader('Last-Modified');
  res.writeHead(status);
  if (req.method !== 'HEAD') await session.send(res, send);
  res.end();
}

interface Selected {
  readonly status: 200 | 206;
  readonly fields: Fields;
  readonly send: SendOptions;
}

/** What of the answer the Range field takes. @throws FootageError E_RANGE_UNSATISFIABLE */
function select(res: Response, session: Session, rangeField: string | undefined): Selected {
  const { length, contentType } = session;
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
  const { contentType: type, length: bytes } = session.multipart(ranges);
  return { status: 206, fields: { 'Content-Type': type, 'Content-Length': bytes }, send: { ranges } };
}

/** `door_2026-01-31T12-00-00Z_90s.mp4`: camera, start and length of what was asked, and what makes it another file. */
function fileName(camera: string, { session, options }: Planned): string {
  const { startUtcMs, endUtcMs } = session.manifest.asked;
  const start = new Date(startUtcMs).toISOString().replace('.000', '').replaceAll(':', '-');
  const { tracks, keyframes, part } = options;
  const only = [tracks, keyframes === true ? 'keyframes' : undefined, part === undefined ? undefined : `part${part}`];
  const words = [camera, start, `${Math.round(endUtcMs - startUtcMs) / 1000}s`, ...only];
  return `${words.filter((word) => word !== undefined).join('_')}.mp4`;
}

/** What was asked, what is delivered and what is missing: the manifest of the footage at `export.mp4`. */
export async function sendManifest(exchange: Exchange, camera: string): Promise<void> {
  const { req, res, query } = exchange;
  const { session, lastModifiedUtcMs } = await plan(exchange, camera);
  sendJson(req, res, 200, {
    ...session.manifest,
    lengthBytes: session.length,
    etag: session.etag,
    lastModified: lastModifiedUtcMs === undefined ? undefined : new Date(lastModifiedUtcMs).toISOString(),
    href: `export.mp4?${sameQuery(query)}`,
  });
}
