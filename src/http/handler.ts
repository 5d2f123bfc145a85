/**
 * The drop-in handler for `node:http`, Express and everything that calls `(req, res, next?)`: addresses, queries and
 * answers. It knows nothing of recorders or segments: it asks the archive.
 */
import type { CameraInfo, Timeline } from '../catalog/timeline.ts';
import { FootageError } from '../errors.ts';
import type { GapPolicy } from '../session/plan.ts';
import type { Session } from '../session/session.ts';
import { parseSpan } from '../time.ts';
import { endWith, type Request, type Response } from './exchange.ts';
import { isPageFile, sendPageFile } from './page.ts';
import { matchesNone, parseRange, rangeApplies } from './range.ts';

/** What the handler asks of an archive. */
export interface ArchiveFace {
  cameras(): Promise<CameraInfo[]>;
  timeline(camera: string, span?: { readonly startUtcMs: number; readonly endUtcMs: number }): Promise<Timeline>;
  session(request: {
    readonly camera: string;
    readonly start: string;
    readonly end?: string;
    readonly duration?: string;
    readonly gaps?: GapPolicy;
  }): Promise<Session>;
}

export interface HandlerOptions {
  /** Also serve the web page at `/`. Default false. */
  readonly page?: boolean;
  /** Told of failures that are not the client's: what an answer with status 500 and above hides. */
  readonly onError?: (error: unknown, req: Request) => void;
}

export type Handler = (req: Request, res: Response, next?: (error?: unknown) => void) => void;

interface Exchange {
  readonly req: Request;
  readonly res: Response;
  readonly query: URLSearchParams;
  readonly archive: ArchiveFace;
}

/** A route: its pattern, and what answers; the captured name is the camera's. */
interface Route {
  readonly pattern: RegExp;
  readonly answer: (exchange: Exchange, camera: string) => Promise<void>;
}

const ROUTES: readonly Route[] = [
  { pattern: /^\/healthz$/, answer: async ({ req, res }) => sendJson(req, res, 200, { status: 'ok' }) },
  { pattern: /^\/api\/cameras$/, answer: sendCameras },
  { pattern: /^\/api\/cameras\/([^/]+)\/timeline$/, answer: sendTimeline },
  { pattern: /^\/api\/cameras\/([^/]+)\/export\.mp4$/, answer: (exchange, camera) => sendExport(exchange, camera) },
  {
    // The address of the 2013 system.
    pattern: /^\/mod_nvr\/file$/,
    answer: (exchange) => sendExport(exchange, exchange.query.get('stream') ?? ''),
  },
];

export function createHandler(archive: ArchiveFace, options: HandlerOptions): Handler {
  return (req, res, next) => {
    void handle(archive, options, req, res, next).catch((error: unknown) => fail(error, req, res, options));
  };
}

async function handle(
  archive: ArchiveFace,
  options: HandlerOptions,
  req: Request,
  res: Response,
  next: ((error?: unknown) => void) | undefined,
): Promise<void> {
  const url = parseUrl(req.url ?? '/');
  const isPage = options.page === true && isPageFile(url.pathname);
  const route = ROUTES.find(({ pattern }) => pattern.test(url.pathname));
  if (route === undefined && !isPage) {
    if (next !== undefined) return next();
    throw new FootageError(
      'E_NOT_FOUND',
      `There is nothing at ${url.pathname.slice(0, 80)}: see the addresses in the README.`,
    );
  }
  if (req.method !== 'GET' && req.method !== 'HEAD') {
    res.setHeader('Allow', 'GET, HEAD');
    throw new FootageError('E_METHOD', `This address takes GET and HEAD, not ${req.method}.`);
  }
  if (route === undefined) return sendPageFile(url.pathname, req, res);
  const camera = decodeName(route.pattern.exec(url.pathname)?.[1] ?? '');
  await route.answer({ req, res, query: url.searchParams, archive }, camera);
}

function parseUrl(target: string): URL {
  try {
    return new URL(target, 'http://localhost');
  } catch (error) {
    throw new FootageError('E_QUERY', 'The address cannot be read: write a path and a query.', error);
  }
}

function decodeName(name: string): string {
  try {
    return decodeURIComponent(name);
  } catch (error) {
    throw new FootageError('E_CAMERA_NAME', 'The camera name in the address is not valid percent-encoding.', error);
  }
}

function sendJson(req: Request, res: Response, status: number, value: unknown): void {
  const body = Buffer.from(`${JSON.stringify(value)}\n`);
  res.writeHead(status, {
    'Content-Type': 'application/json; charset=utf-8',
    'Content-Length': body.byteLength,
    'Cache-Control': 'no-store',
  });
  endWith(req, res, body);
}

async function sendCameras({ req, res, archive }: Exchange): Promise<void> {
  const cameras = await archive.cameras();
  const list = cameras.map(({ name, startUtcMs, endUtcMs, recording }) => ({ name, startUtcMs, endUtcMs, recording }));
  sendJson(req, res, 200, { cameras: list });
}

async function sendTimeline({ req, res, query, archive }: Exchange, camera: string): Promise<void> {
  const asked = query.has('start') || query.has('end') || query.has('duration');
  sendJson(req, res, 200, await archive.timeline(camera, asked ? parseSpan(rangeOf(query)) : undefined));
}

function rangeOf(query: URLSearchParams): { start?: string; end?: string; duration?: string } {
  const keys = ['start', 'end', 'duration'] as const;
  return Object.fromEntries(keys.flatMap((key) => (query.has(key) ? [[key, query.get(key) ?? '']] : [])));
}

const GAP_POLICIES: readonly string[] = ['collapse', 'error'] satisfies GapPolicy[];

function gapPolicyOf(query: URLSearchParams): GapPolicy {
  const gaps = query.get('gaps') ?? 'collapse';
  if (GAP_POLICIES.includes(gaps)) return gaps as GapPolicy;
  throw new FootageError('E_QUERY', `"gaps" is ${GAP_POLICIES.join(' or ')}, not "${gaps.slice(0, 40)}".`);
}

async function sendExport({ req, res, query, archive }: Exchange, camera: string): Promise<void> {
  const { start, ...until } = rangeOf(query);
  if (start === undefined)
    throw new FootageError('E_QUERY', 'A range needs a start, and an end or a duration, not both.');
  const session = await archive.session({ camera, start, ...until, gaps: gapPolicyOf(query) });
  setEntityHeaders(res, session, fileName(camera, session), query.has('download'));
  if (matchesNone(req.headers['if-none-match'], session.etag)) {
    res.writeHead(304);
    res.end();
    return;
  }
  // A range is defined for GET alone (RFC 9110 14.2).
  const ranged = req.method === 'GET' && rangeApplies(req.headers['if-range'], session.etag);
  await sendBody(req, res, session, ranged ? req.headers.range : undefined);
}

async function sendBody(req: Request, res: Response, session: Session, rangeField: string | undefined): Promise<void> {
  const { length } = session;
  const result = parseRange(rangeField, length);
  if (result.kind === 'unsatisfiable') {
    for (const name of ['ETag', 'Last-Modified', 'Content-Disposition']) res.removeHeader(name);
    res.setHeader('Content-Range', `bytes */${length}`);
    throw new FootageError('E_RANGE_UNSATISFIABLE', `The answer has ${length} bytes: ask for a byte range inside it.`);
  }
  const range = result.kind === 'part' ? { start: result.start, end: result.end } : { start: 0, end: length };
  if (result.kind === 'part') res.setHeader('Content-Range', `bytes ${range.start}-${range.end - 1}/${length}`);
  res.setHeader('Content-Length', range.end - range.start);
  res.writeHead(result.kind === 'part' ? 206 : 200);
  if (req.method !== 'HEAD' && range.end > range.start) await session.send(res, { range });
  res.end();
}

function setEntityHeaders(res: Response, session: Session, name: string, download: boolean): void {
  res.setHeader('Content-Type', session.contentType);
  res.setHeader('Accept-Ranges', 'bytes');
  res.setHeader('ETag', session.etag);
  res.setHeader('Cache-Control', 'no-cache');
  res.setHeader('Content-Disposition', `${download ? 'attachment' : 'inline'}; filename="${name}"`);
  if (session.lastModifiedUtcMs <= Date.now()) {
    res.setHeader('Last-Modified', new Date(session.lastModifiedUtcMs).toUTCString());
  }
}

/** `door_2026-01-31T12-00-00Z_90s.mp4`: camera, start and length of what was asked. */
function fileName(camera: string, { manifest }: Session): string {
  const { startUtcMs, endUtcMs } = manifest.asked;
  const start = new Date(startUtcMs).toISOString().replace(/\.\d+/, '').replaceAll(':', '-');
  return `${camera}_${start}_${Math.round((endUtcMs - startUtcMs) / 1000)}s.mp4`;
}

function fail(error: unknown, req: Request, res: Response, { onError }: HandlerOptions): void {
  const known = error instanceof FootageError ? error : undefined;
  // Nobody is there to be told, or the archive is going down with its answers.
  if (known?.code === 'E_CLIENT_GONE' || (known?.code === 'E_CLOSED' && res.headersSent)) {
    res.destroy();
    return;
  }
  if (known === undefined || known.httpStatus >= 500) onError?.(error, req);
  if (res.headersSent) {
    // The answer is under way: cutting it is the only way to say that it is not whole.
    res.destroy();
    return;
  }
  const code = known?.code ?? 'E_IO';
  const message = known?.message ?? 'The server failed to answer: its log says why.';
  sendJson(req, res, known?.httpStatus ?? 500, { error: { code, message } });
}
