/**
 * The drop-in handler for `node:http`, Express and everything that calls `(req, res, next?)`: addresses, queries and
 * answers. It knows nothing of recorders or segments: it asks the archive.
 */
import { FootageError } from '../errors.ts';
import type { SenderOptions } from '../sender/sender.ts';
import { parseSpan } from '../time.ts';
import { type ArchiveFace, type Exchange, type Request, type Response, sendJson } from './exchange.ts';
import { sendExport, sendManifest } from './export.ts';
import { HLS_ADDRESS, sendHls } from './hls.ts';
import { isPageFile, sendPageFile } from './page.ts';

export interface HandlerOptions {
  /** Also serve the web page at `/`. Default false. */
  readonly page?: boolean;
  /** Address of the client, for limits by client: behind a proxy, what the proxy says. Default: that of the socket. */
  readonly clientAddress?: (req: Request) => string | undefined;
  /** Barriers and idle timeout of each answer's sender. */
  readonly sender?: SenderOptions;
  /** Told of failures that are not the client's: what an answer with status 500 and above hides. */
  readonly onError?: (error: unknown, req: Request) => void;
}

export type Handler = (req: Request, res: Response, next?: (error?: unknown) => void) => void;

/** A route: its pattern, and what answers; captured are the camera's name, and what follows if that is told apart later. */
interface Route {
  readonly pattern: RegExp;
  readonly answer: (exchange: Exchange, camera: string, rest: string) => Promise<void>;
}

const ROUTES: readonly Route[] = [
  { pattern: /^\/healthz$/, answer: async ({ req, res }) => sendJson(req, res, 200, { status: 'ok' }) },
  { pattern: /^\/api\/cameras$/, answer: sendCameras },
  { pattern: /^\/api\/cameras\/([^/]+)\/timeline$/, answer: sendTimeline },
  { pattern: /^\/api\/cameras\/([^/]+)\/export\.mp4$/, answer: (exchange, camera) => sendExport(exchange, camera) },
  { pattern: /^\/api\/cameras\/([^/]+)\/export\.json$/, answer: sendManifest },
  { pattern: HLS_ADDRESS, answer: sendHls },
  { pattern: /^\/mod_nvr\/file$/, answer: sendExportOf2013 },
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
  const [, name = '', rest = ''] = route.pattern.exec(url.pathname) ?? [];
  const { sender = {} } = options;
  const clientAddress = options.clientAddress?.(req);
  await route.answer({ req, res, query: url.searchParams, archive, clientAddress, sender }, decodeName(name), rest);
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

/** The address of the 2013 system. */
function sendExportOf2013(exchange: Exchange): Promise<void> {
  const camera = exchange.query.get('stream') ?? '';
  return sendExport(exchange, camera, `../api/cameras/${encodeURIComponent(camera)}/`);
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
