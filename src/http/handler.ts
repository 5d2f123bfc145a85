/**
 * The drop-in handler for `node:http`, Express and everything that calls `(req, res, next?)`: addresses, queries and
 * answers. It knows nothing of recorders or segments: it asks the archive.
 */
import { FootageError } from '../errors.ts';
import type { SenderOptions } from '../sender/sender.ts';
import { sendCameras, sendHealth, sendRecording, sendTimeline, switchRecording } from './cameras.ts';
import { type ArchiveFace, type Exchange, fieldOf, type Request, type Response, sendJson } from './exchange.ts';
import { sendExport, sendManifest } from './export.ts';
import { HLS_ADDRESS, sendHls } from './hls.ts';
import { sendChannelState, sendExportOf2013, sendUnixTime, switchRecordingOf2013 } from './of-2013.ts';
import { isPageFile, sendPageFile } from './page.ts';

export interface HandlerOptions {
  /** Also serve the web page at `/`. Default false. */
  readonly page?: boolean;
  /** Whether requests may change something: switch recording on and off. False: as if there were no such address. Default true. */
  readonly control?: boolean;
  /** Address of the client, for limits by client: behind a proxy, what the proxy says. Default: that of the socket. */
  readonly clientAddress?: (req: Request) => string | undefined;
  /** Barriers and idle timeout of each answer's sender. */
  readonly sender?: SenderOptions;
  /** Told of failures that are not the client's: what an answer with status 500 and above hides. */
  readonly onError?: (error: unknown, req: Request) => void;
}

export type Handler = (req: Request, res: Response, next?: (error?: unknown) => void) => void;

/** Captured are the camera's name, and what follows if that is told apart later. */
type Respond = (exchange: Exchange, camera: string, rest: string) => Promise<void>;

interface Route {
  readonly pattern: RegExp;
  /** Answers GET and HEAD. */
  readonly read?: Respond;
  /** What changes something, and the method that does. */
  readonly change?: { readonly method: 'GET' | 'POST'; readonly respond: Respond };
}

const ROUTES: readonly Route[] = [
  { pattern: /^\/healthz$/, read: async ({ req, res }) => sendJson(req, res, 200, { status: 'ok' }) },
  { pattern: /^\/api\/cameras$/, read: sendCameras },
  { pattern: /^\/api\/cameras\/([^/]+)\/timeline$/, read: sendTimeline },
  { pattern: /^\/api\/cameras\/([^/]+)\/export\.mp4$/, read: (exchange, camera) => sendExport(exchange, camera) },
  { pattern: /^\/api\/cameras\/([^/]+)\/export\.json$/, read: sendManifest },
  { pattern: HLS_ADDRESS, read: sendHls },
  { pattern: /^\/api\/cameras\/([^/]+)\/health$/, read: sendHealth },
  {
    pattern: /^\/api\/cameras\/([^/]+)\/recording$/,
    read: sendRecording,
    change: { method: 'POST', respond: switchRecording },
  },
  { pattern: /^\/mod_nvr\/(?:file|[^/]+\.mp4)$/, read: sendExportOf2013 },
  { pattern: /^\/mod_nvr\/channel_state$/, read: sendChannelState },
  { pattern: /^\/mod_nvr\/unixtime$/, read: sendUnixTime },
  {
    pattern: /^\/mod_nvr_admin\/rec_on$/,
    change: { method: 'GET', respond: (exchange) => switchRecordingOf2013(exchange, true) },
  },
  {
    pattern: /^\/mod_nvr_admin\/rec_off$/,
    change: { method: 'GET', respond: (exchange) => switchRecordingOf2013(exchange, false) },
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
  const { pathname, searchParams: query } = url;
  const answers = answersAt(pathname, options);
  if (answers.size === 0) {
    if (next !== undefined) return next();
    throw new FootageError(
      'E_NOT_FOUND',
      `There is nothing at ${pathname.slice(0, 80)}: see the addresses in the README.`,
    );
  }
  const respond = answers.get(req.method ?? '');
  if (respond === undefined) {
    const methods = [...answers.keys()].join(', ');
    res.setHeader('Allow', methods);
    throw new FootageError('E_METHOD', `This address takes ${methods}, not ${req.method}.`);
  }
  const { sender = {} } = options;
  await respond({ req, res, query, archive, clientAddress: options.clientAddress?.(req), sender });
}

type BoundRespond = (exchange: Exchange) => Promise<void>;

/** By method; empty where there is nothing. */
function answersAt(pathname: string, { page = false, control = true }: HandlerOptions): Map<string, BoundRespond> {
  const route = ROUTES.find(({ pattern }) => pattern.test(pathname));
  if (route === undefined && page && isPageFile(pathname)) {
    return readingBy(({ req, res }) => sendPageFile(pathname, req, res));
  }
  const [, name = '', rest = ''] = route?.pattern.exec(pathname) ?? [];
  const bound = (respond: Respond) => (exchange: Exchange) => respond(exchange, decodeName(name), rest);
  const answers = route?.read === undefined ? new Map<string, BoundRespond>() : readingBy(bound(route.read));
  if (control && route?.change !== undefined) {
    const change = bound(route.change.respond);
    answers.set(route.change.method, async (exchange) => {
      refuseOtherSites(exchange.req);
      await change(exchange);
    });
  }
  return answers;
}

function readingBy(respond: BoundRespond): Map<string, BoundRespond> {
  return new Map(['GET', 'HEAD'].map((method) => [method, respond]));
}

/** Browsers say whose page makes a request (Fetch Metadata); programs, and addresses typed in by somebody, pass. */
function refuseOtherSites(req: Request): void {
  const site = fieldOf(req, 'sec-fetch-site') ?? 'none';
  if (site === 'same-origin' || site === 'none') return;
  throw new FootageError(
    'E_CROSS_SITE',
    'A page of another site asked for a change: ask from a page of this server, or from a program.',
  );
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
