/**
 * Checks of what goes into the native layer, the same for addon and twin: defaults, then types, then meaning. Behind
 * them values are plain and valid.
 */
import type { ScanRequest } from '../native-types.ts';

const SCAN_KEYS = new Set(['fd', 'from', 'to', 'seed', 'verify', 'resync', 'limit', 'cancel']);

/** Throws a TypeError or RangeError unless `value` is an integer in [low, high]. */
function checkInteger(name: string, value: unknown, low: number, high: number): void {
  if (typeof value !== 'number') throw new TypeError(`${name} must be a number`);
  if (!Number.isInteger(value) || value < low || value > high) {
    throw new RangeError(`${name} must be an integer from ${low} to ${high}, got ${value}`);
  }
}

function checkBoolean(name: string, value: unknown): void {
  if (typeof value !== 'boolean') throw new TypeError(`${name} must be a boolean`);
}

export function checkScanRequest(request: ScanRequest): void {
  for (const key of Object.keys(request)) {
    if (!SCAN_KEYS.has(key)) throw new TypeError(`unknown key of a scan request: ${key}`);
  }
  checkInteger('fd', request.fd, 0, 0x7fffffff);
  checkInteger('from', request.from, 0, Number.MAX_SAFE_INTEGER);
  checkInteger('to', request.to, 0, Number.MAX_SAFE_INTEGER);
  checkInteger('seed', request.seed, 0, 0xffffffff);
  checkBoolean('verify', request.verify);
  checkBoolean('resync', request.resync);
  checkInteger('limit', request.limit, 1, 0xffffffff);
  if (request.cancel !== undefined && !(request.cancel instanceof Int32Array && request.cancel.length > 0)) {
    throw new TypeError('cancel must be an Int32Array with at least one element');
  }
}

export function checkCrcInput(data: Uint8Array, crc: number): void {
  if (!(data instanceof Uint8Array)) throw new TypeError('data must be a Uint8Array');
  checkInteger('crc', crc, 0, 0xffffffff);
}

export function checkDescriptors(fds: Int32Array): void {
  if (!(fds instanceof Int32Array)) throw new TypeError('fds must be an Int32Array');
}
