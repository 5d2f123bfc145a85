/**
 * Makes the right sender for what a caller wants to send on. What `node:http` needs for bytes that go past it is known
 * here and nowhere else:
 *
 *  - a pipelined answer has no socket yet: it is waited for;
 *  - the header must be on the wire before the first byte of ours, and nothing of Node's may be waiting behind it;
 *  - bytes without chunk framing are allowed only where there is no chunked encoding;
 *  - TLS, HTTP/2, corked or wrapped answers, and those whose length Node checks itself, are written as streams;
 *  - an answer without a body (HEAD, 204, 304) is refused.
 *
 * Relies on three private names of Node, the same in 20 to 26 (`_handle.fd`, `_httpMessage`, `_hasBody`), and takes the
 * stream where they are not what they should be.
 */
import { ServerResponse } from 'node:http';
import { Http2ServerResponse } from 'node:http2';
import { Socket } from 'node:net';
import type { Writable } from 'node:stream';
import { FootageError } from '../errors.ts';
import { native as defaultNative } from '../native.ts';
import type { Native } from '../native-types.ts';
import { clientGone, clientIdle, failureOfCause } from './failures.ts';
import { NativeSender, type NativeTarget } from './native.ts';
import { resolveOptions } from './options.ts';
import { ProgressWatch } from './progress-watch.ts';
import type { Sender, SenderOptions } from './sender.ts';
import { StreamSender, type StreamTarget } from './stream.ts';

/** What can be sent on. A `net.Socket` or `tls.TLSSocket` is a Writable. */
export type SendTarget = ServerResponse | Http2ServerResponse | Writable;

export interface SenderForOptions extends SenderOptions {
  /** Addon or twin; by default what src/native.ts has loaded. */
  readonly native?: Native;
  /** Ends the wait of an answer for its turn, or for what Node has still to write. */
  readonly signal?: AbortSignal | undefined;
}

/** Status codes whose answers have no body (RFC 9110 15.3.5, 15.3.6, 15.4.5). */
const NO_BODY = new Set([204, 205, 304]);

const SETTLE_PERIOD_MS = 1000;

/**
 * A sender for `target`. Status and headers of an answer are set before; they are sent here. The caller ends the answer
 * itself, after `drained()`.
 *
 * Rejects with E_SENDER for an answer that has no body or was ended, E_CLIENT_GONE if the client goes before the answer
 * has its turn, the signal's reason if that aborts before, and a TypeError for unknown options.
 */
export async function senderFor(target: SendTarget, options: SenderForOptions = {}): Promise<Sender> {
  const { native = defaultNative, signal, ...rest } = options;
  const resolved = resolveOptions(rest);
  signal?.throwIfAborted();
  if (target instanceof ServerResponse) return forResponse(target, native, resolved, signal);
  if (target instanceof Http2ServerResponse) return forHttp2(target, resolved);
  if (target instanceof Socket) return forSocket(target, native, resolved, signal);
  refuseEnded(target);
  return new StreamSender(target, resolved);
}

async function forResponse(
  res: ServerResponse,
  native: Native,
  options: Required<SenderOptions>,
  signal: AbortSignal | undefined,
): Promise<Sender> {
  refuseEnded(res);
  refuseWithoutBody(hasBody(res) && !NO_BODY.has(res.statusCode));
  await turnOf(res, signal);
  const corked = res.writableCorked > 0;
  res.flushHeaders();
  refuseWithoutBody(hasBody(res));
  const { createSender } = native;
  if (createSender !== undefined && !corked && mayBypass(res)) {
    await settled(res, options.idleTimeoutMs, signal);
    refuseEndedMeanwhile(res);
    const target = bypass(res);
    if (target !== undefined) return makeNative(createSender, target, options);
  }
  return new StreamSender(res as ServerResponse & StreamTarget, options);
}

function forHttp2(res: Http2ServerResponse, options: Required<SenderOptions>): Sender {
  if (res.stream === undefined || res.stream.destroyed) throw clientGone();
  if (res.writableEnded) throw ended();
  refuseWithoutBody(res.req.method !== 'HEAD' && !NO_BODY.has(res.statusCode));
  if (!res.headersSent) res.writeHead(res.statusCode);
  return new StreamSender(res.stream, options);
}

async function forSocket(
  socket: Socket,
  native: Native,
  options: Required<SenderOptions>,
  signal: AbortSignal | undefined,
): Promise<Sender> {
  refuseEnded(socket);
  const { createSender } = native;
  if (createSender !== undefined && socket.writableCorked === 0 && descriptorOf(socket) !== undefined) {
    await settled(socket, options.idleTimeoutMs, signal);
    const fd = descriptorOf(socket);
    if (fd !== undefined && socket.writableLength === 0) return makeNative(createSender, { socket, fd }, options);
  }
  return new StreamSender(socket, options);
}

/** Fails where there is no descriptor left for the duplicate. */
function makeNative(
  create: NonNullable<Native['createSender']>,
  target: NativeTarget,
  options: Required<SenderOptions>,
): Sender {
  try {
    return new NativeSender(create, target, options);
  } catch (error) {
    throw failureOfCause(error);
  }
}

function ended(): FootageError {
  return new FootageError('E_SENDER', 'The answer was ended already: make its sender before you call end().');
}

function refuseEnded(target: { readonly destroyed: boolean; readonly writableEnded: boolean }): void {
  if (target.destroyed) throw clientGone();
  if (target.writableEnded) throw ended();
}

/** As an answer is finished Node calls it destroyed too, though its connection lives. */
function refuseEndedMeanwhile(res: ServerResponse): void {
  if (res.writableEnded && !res.req.socket.destroyed) throw ended();
}

function refuseWithoutBody(hasOne: boolean): void {
  if (hasOne) return;
  throw new FootageError(
    'E_SENDER',
    'This answer has no body (HEAD, 204, 205 or 304): end it with its headers, and make no sender for it.',
  );
}

function hasBody(res: ServerResponse): boolean {
  return (res as { _hasBody?: unknown })._hasBody !== false;
}

/** A pipelined answer is queued behind its forerunners and has no socket before they have ended. */
async function turnOf(res: ServerResponse, signal: AbortSignal | undefined): Promise<void> {
  if (res.socket === null) {
    // Node tells a waiting answer nothing of the end of its connection.
    const connection = res.req.socket;
    if (connection.destroyed) throw clientGone();
    await new Promise<void>((resolve) => {
      const settle = (): void => {
        res.off('socket', settle);
        res.off('close', settle);
        connection.off('close', settle);
        signal?.removeEventListener('abort', settle);
        resolve();
      };
      res.once('socket', settle);
      res.once('close', settle);
      connection.once('close', settle);
      signal?.addEventListener('abort', settle);
    });
    signal?.throwIfAborted();
  }
  refuseEndedMeanwhile(res);
  if (res.destroyed || res.socket === null || res.socket.destroyed) throw clientGone();
}

/** Whether the framing of this answer allows bytes that Node does not see. */
function mayBypass(res: ServerResponse): boolean {
  const strict = (res as { strictContentLength?: unknown }).strictContentLength === true;
  const wrapped = Object.hasOwn(res, 'write') || Object.hasOwn(res, 'end'); // compression, say
  return !res.chunkedEncoding && !strict && !wrapped;
}

/** The socket under an answer, if it is plain, ours now, and Node has nothing left to write. */
function bypass(res: ServerResponse): NativeTarget | undefined {
  const { socket } = res;
  if (socket === null || res.writableLength > 0 || res.writableCorked > 0) return undefined;
  if ((socket as { _httpMessage?: unknown })._httpMessage !== res) return undefined;
  const fd = descriptorOf(socket);
  return fd === undefined ? undefined : { socket, fd, response: res };
}

/** The descriptor of a plain socket. A TLS socket has one too, but what is sent there must be encrypted. */
function descriptorOf(socket: Socket): number | undefined {
  if (!(socket instanceof Socket) || socket.destroyed || 'encrypted' in socket) return undefined;
  const fd = (socket as { _handle?: { fd?: unknown } | null })._handle?.fd;
  return typeof fd === 'number' && fd > 0 ? fd : undefined;
}

/** Waits until what Node had to write has been written; rejects if the client goes, or takes nothing, meanwhile. */
async function settled(
  target: ServerResponse | Socket,
  idleTimeoutMs: number,
  signal: AbortSignal | undefined,
): Promise<void> {
  const socket = target instanceof Socket ? target : target.socket;
  if (socket === null || target.writableLength === 0) return;
  await new Promise<void>((resolve, reject) => {
    const finish = (error?: Error): void => {
      watch.stop();
      socket.off('close', onClose);
      signal?.removeEventListener('abort', onAbort);
      if (error === undefined) resolve();
      else reject(error);
    };
    const onClose = (): void => finish(clientGone());
    const onAbort = (): void => finish();
    const watch = new ProgressWatch({
      idleTimeoutMs,
      taken: () => queueSizeOf(socket),
      isWaiting: () => true,
      periodMs: () => SETTLE_PERIOD_MS,
      onProgress: () => undefined,
      onIdle: () => finish(clientIdle(idleTimeoutMs)),
    });
    socket.once('close', onClose);
    signal?.addEventListener('abort', onAbort);
    watch.start();
    socket.write('', (error) => finish(error === null || error === undefined ? undefined : clientGone(error)));
  });
  signal?.throwIfAborted();
}

/** Bytes that libuv has still to write; changes with every byte the client takes. */
function queueSizeOf(socket: Socket): number {
  const size = (socket as { _handle?: { writeQueueSize?: unknown } | null })._handle?.writeQueueSize;
  return typeof size === 'number' ? size : socket.writableLength;
}
