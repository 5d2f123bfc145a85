/**
 * One request and its answer as the handler takes them: those of `node:http`, or of `node:http2` in their compatible
 * form; and what is asked of an archive to answer it.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Http2ServerRequest, Http2ServerResponse } from 'node:http2';
import type { CameraHealth } from '../camera-health.ts';
import type { CameraInfo, Timeline } from '../catalog/timeline.ts';
import { FootageError } from '../errors.ts';
import type { SenderOptions } from '../sender/sender.ts';
import type { SessionRequest } from '../session/request.ts';
import type { HlsRequest } from '../session/hls.ts';
import type { Answer, Session } from '../session/session.ts';

export type Request = IncomingMessage | Http2ServerRequest;
export type Response = ServerResponse | Http2ServerResponse;

/** A camera that this process is connected to, or tries to be. */
export interface CameraControl {
  readonly name: string;
  /** What was held in memory goes first; with `forMs` it stops by itself. While it records, what it shall do is set anew. */
  startRecording(options?: { readonly forMs?: number }): void;
  /** Once the post-event time is over. */
  stopRecording(): void;
  health(): CameraHealth;
}

/** What the handler asks of an archive. */
export interface ArchiveFace {
  cameras(): Promise<CameraInfo[]>;
  timeline(camera: string, span?: { readonly startUtcMs: number; readonly endUtcMs: number }): Promise<Timeline>;
  session(request: SessionRequest): Promise<Session>;
  hls(request: HlsRequest): Promise<Answer>;
  /** Whether there is footage of a camera of that name. @throws FootageError E_CAMERA_NAME */
  knowsCamera(camera: string): Promise<boolean>;
  /** Whether this process records that camera, whatever its frames come from. */
  isRecording(camera: string): boolean;
  /** undefined: this process is not connected to a camera of that name. */
  control(camera: string): CameraControl | undefined;
  liveCameras(): readonly CameraControl[];
}

export interface Exchange {
  readonly req: Request;
  readonly res: Response;
  readonly query: URLSearchParams;
  readonly archive: ArchiveFace;
  /** undefined: that of the socket. */
  readonly clientAddress: string | undefined;
  readonly sender: SenderOptions;
}

/** The value of a field of the request; several lines of it are one list (RFC 9110 5.3). */
export function fieldOf(req: Request, name: string): string | undefined {
  const value = req.headers[name];
  return Array.isArray(value) ? value.join(', ') : value;
}

/** As `fieldOf`, of a field that is no list: one that was sent more than once has no value. Node keeps the first. */
export function singleFieldOf(req: Request, name: string): string | undefined {
  const lines = req.rawHeaders.filter((text, i) => i % 2 === 0 && text.toLowerCase() === name);
  return lines.length > 1 ? undefined : fieldOf(req, name);
}

/** The text of a key that may be given once. @throws FootageError E_QUERY */
export function onlyOf(query: URLSearchParams, key: string): string | undefined {
  const [text, ...others] = query.getAll(key);
  if (others.length === 0) return text;
  throw new FootageError('E_QUERY', `"${key}" is given ${others.length + 1} times: give it once.`);
}

/** Ends an answer whose headers are set, without its body where HEAD was asked (RFC 9110 9.3.2). */
export function endWith(req: Request, res: Response, body: Uint8Array): void {
  if (req.method === 'HEAD') res.end();
  else res.end(body);
}

export function sendJson(req: Request, res: Response, status: number, value: unknown): void {
  const body = Buffer.from(`${JSON.stringify(value)}\n`);
  res.writeHead(status, {
    'Content-Type': 'application/json; charset=utf-8',
    'Content-Length': body.byteLength,
    'Cache-Control': 'no-store',
  });
  endWith(req, res, body);
}
