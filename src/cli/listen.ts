/** Starts and stops the HTTP server of `serve` and `demo`. */
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Archive } from '../archive.ts';
import { FootageError, systemCode } from '../errors.ts';

export interface Listening {
  readonly url: string;
  close(): Promise<void>;
}

/** @throws FootageError E_LISTEN */
export async function listen(archive: Archive, host: string, port: number): Promise<Listening> {
  const server = createServer(archive.handler({ page: true, onError: report }));
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error) => reject(listenError(error, host, port)));
    server.listen(port, host, resolve);
  });
  const { address, port: bound, family } = server.address() as AddressInfo;
  const url = `http://${family === 'IPv6' ? `[${address}]` : address}:${bound}`;
  return { url, close: () => closeServer(server) };
}

function report(error: unknown): void {
  process.stderr.write(`footage: ${String(error)}\n`);
}

function listenError(error: unknown, host: string, port: number): FootageError {
  const reason = systemCode(error) === 'EADDRINUSE' ? 'another program uses it' : String(error);
  return new FootageError(
    'E_LISTEN',
    `Cannot listen on ${host}:${port} (${reason}): choose another with --port.`,
    error,
  );
}

async function closeServer(server: Server): Promise<void> {
  const closed = new Promise((resolve) => server.close(resolve));
  server.closeAllConnections();
  await closed;
}
