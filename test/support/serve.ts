/** A plain server of single files with byte ranges: the reference that the product's answers are compared with. */
import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { once } from 'node:events';
import { basename } from 'node:path';

/** Serves `files` by their base names on 127.0.0.1 while `body` runs, which gets the server's address. */
export async function withFileServer<T>(files: readonly string[], body: (base: string) => Promise<T>): Promise<T> {
  const byName = new Map(files.map((file) => [`/${basename(file)}`, file]));
  const server = createServer((request, response) => {
    const file = byName.get(request.url ?? '');
    if (file === undefined) response.writeHead(404).end();
    else serveFile(file, request, response).catch((error: unknown) => response.destroy(toError(error)));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('the server has no port');
  try {
    return await body(`http://127.0.0.1:${address.port}`);
  } finally {
    server.closeAllConnections();
    server.close();
  }
}

async function serveFile(file: string, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const { size } = await stat(file);
  const match = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '');
  const start = Number(match?.[1] ?? 0);
  const end = match?.[2] ? Number(match[2]) : size - 1;
  const headers = { 'accept-ranges': 'bytes', 'content-type': 'video/mp4', 'content-length': end - start + 1 };
  if (match) response.writeHead(206, { ...headers, 'content-range': `bytes ${start}-${end}/${size}` });
  else response.writeHead(200, headers);
  createReadStream(file, { start, end }).pipe(response);
}

function toError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}
