/**
 * What tests of the HTTP handler share: one small archive with known footage, and the bytes its answers must have, read
 * without any sender.
 *
 * Camera `door`: 16 s from START, then nothing, then 16 s from START + 60 s. Camera `big`: 5 minutes from START, some
 * 31 MB: more than the buffers of a connection hold.
 */
import { execFileSync } from 'node:child_process';
import { open, readFile } from 'node:fs/promises';
import http from 'node:http';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { openArchive, type Archive, type SessionRequest } from '../../src/archive.ts';
import type { ArchiveFace } from '../../src/http/exchange.ts';
import { createHandler } from '../../src/http/handler.ts';
import { listen } from '../sender/rig.ts';
import { request, type RequestFields } from './http-client.ts';
import { mediaFile } from './media.ts';
import { withTemporaryFolder } from './tmp.ts';

export const START = '2026-01-31T12:00:00Z';
const START_MS = Date.parse(START);

/** The sample clip that ships with the product: H.264, 16 s. */
export const CLIP = join(import.meta.dirname, '..', '..', 'media', 'front-door.mp4');
export const DOOR = `/api/cameras/door/export.mp4?start=${START}&duration=16`;
export const BIG = `/api/cameras/big/export.mp4?start=${START}&duration=300`;

export async function fillArchive(path: string): Promise<void> {
  const archive = await openArchive(path);
  try {
    for (const seconds of [0, 60]) await archive.import('door', CLIP, { start: new Date(START_MS + seconds * 1000) });
    const long = await mediaFile('h264-aac');
    for (let minute = 0; minute < 5; minute++) {
      await archive.import('big', long, { start: new Date(START_MS + minute * 60_000) });
    }
  } finally {
    await archive.close();
  }
}

/**
 * An HTTP server with the handler alone, until the test ends; what the handler reports as the server's failures is in
 * `errors`.
 */
export async function serveHandler(archive: ArchiveFace, page = false) {
  const errors: unknown[] = [];
  const handler = createHandler(archive, { page, onError: (error) => errors.push(error) });
  const running = await listen(http.createServer(handler));
  onTestFinished(() => running[Symbol.asyncDispose]());
  const origin = `http://127.0.0.1:${running.port}`;
  return {
    errors,
    port: running.port,
    origin,
    get: (path: string, fields: RequestFields = {}) => request(`${origin}${path}`, fields),
  };
}

/** The bytes of an answer, straight from its plan. */
export async function bytesOf(archive: Archive, request: SessionRequest): Promise<Buffer> {
  const session = await archive.session(request);
  const parts: Uint8Array[] = [];
  for await (const slice of session.slices()) {
    parts.push(slice.kind === 'bytes' ? slice.data : await readRange(slice.path, slice.offset, slice.length));
  }
  return Buffer.concat(parts);
}

async function readRange(path: string, offset: number, length: number): Promise<Uint8Array> {
  const file = await open(path);
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, offset);
    if (bytesRead < length) throw new Error(`${path} ends at ${offset + bytesRead}`);
    return buffer;
  } finally {
    await file.close();
  }
}

/** A key and a certificate for localhost, made now. */
export async function makeCertificate(): Promise<{ key: Buffer; cert: Buffer }> {
  return withTemporaryFolder(async (folder) => {
    const [key, cert] = [join(folder, 'key.pem'), join(folder, 'cert.pem')];
    const kind = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
    const fields = ['-days', '2', '-subj', '/CN=localhost', '-keyout', key, '-out', cert];
    execFileSync('openssl', [...kind, ...fields], { stdio: 'ignore' });
    return { key: await readFile(key), cert: await readFile(cert) };
  });
}
