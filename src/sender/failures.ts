/** The errors with which senders close. */
import { getSystemErrorName, inspect } from 'node:util';
import { FootageError, systemCode } from '../errors.ts';

/** Codes that say that the other side of the connection is not there any more. */
const GONE = new Set([
  'ECONNABORTED',
  'ECONNRESET',
  'EHOSTUNREACH',
  'ENETDOWN',
  'ENETRESET',
  'ENETUNREACH',
  'ENOTCONN',
  'EPIPE',
  'ERR_HTTP2_INVALID_STREAM',
  'ERR_HTTP2_STREAM_ERROR',
  'ERR_STREAM_DESTROYED',
  'ERR_STREAM_PREMATURE_CLOSE',
  'ETIMEDOUT',
]);

export function clientGone(cause?: unknown): FootageError {
  return new FootageError(
    'E_CLIENT_GONE',
    'The client closed the connection before it had everything: it may ask again for the rest, with a Range.',
    cause,
  );
}

export function clientIdle(idleTimeoutMs: number): FootageError {
  return new FootageError(
    'E_CLIENT_GONE',
    `The client took no byte for ${idleTimeoutMs} ms: it may ask again for the rest, with a Range, or idleTimeoutMs be raised.`,
  );
}

export function closedEarly(): FootageError {
  return new FootageError('E_SENDER', 'The sender was closed before everything was sent: wait for drained() first.');
}

export function endedEarly(): FootageError {
  return new FootageError(
    'E_SENDER',
    'The response was ended before everything was sent: wait for drained() before you call end().',
  );
}

export function fileEnded(): FootageError {
  return new FootageError(
    'E_SENDER',
    'A file ended before the range that was to be sent of it: it was cut or replaced meanwhile; run `footage verify`.',
  );
}

/** The reason for which the addon's sender closed, of an errno (positive). */
export function failureOfErrno(errno: number): FootageError {
  const code = getSystemErrorName(-errno);
  if (code === 'EIO') return fileEnded();
  return failureOfCause(Object.assign(new Error(code), { code }));
}

/** The reason for which a stream closed, of its error. */
export function failureOfCause(cause: unknown): FootageError {
  if (cause instanceof FootageError) return cause;
  if (cause === undefined || GONE.has(systemCode(cause) ?? '')) return clientGone(cause);
  const detail = cause instanceof Error ? cause.message : inspect(cause);
  return new FootageError('E_SENDER', `Sending failed (${detail}): see the cause, then ask again.`, cause);
}
